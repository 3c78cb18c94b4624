//! What somebody without rights can do to a running policy server, and what odd files can: nothing that lasts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::policy_server::{Files, PASSWORD};
use tests::process::memory;
use tests::quickstart::replace;
use tests::{Link, within, within_async};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_flood_of_wrong_logins_leaves_no_memory_behind() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web2");
    let server = files.start().await;
    let link = Link::connect(server.address, &agent).await;
    let before = memory(server.process.pid());
    let mut logins = JoinSet::new();
    for number in 0..120 {
        let link = link.clone();
        logins.spawn(async move {
            let message = json!({
                "request_id": "r", "host": "app.test", "domain": "system", "entry": "http",
                "callbacks": {"username": format!("nobody{number}"), "password": "wrong"},
                "client": {"address": "192.0.2.1"},
            });
            link.ask("login", &message).await.1["is"].clone()
        });
    }
    while let Some(answer) = logins.join_next().await {
        assert_eq!(answer.unwrap(), "failure");
    }
    // One password on each core at a time, and each takes 19 MiB.
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let grown = memory(server.process.pid()).saturating_sub(before);
    assert!(grown < (cores + 1) * 19 * MIB + 32 * MIB, "{} MiB more", grown / MIB);
    link.log_in("alice", PASSWORD).await;
}

#[tokio::test]
async fn connections_without_a_certificate_lock_no_agent_out() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web2");
    let server = files.start().await;
    let address = server.address;
    let start = Instant::now();
    // More than there may be connections of agents, and each comes back as soon as it is thrown out.
    let mut flood = JoinSet::new();
    for _ in 0..300 {
        flood.spawn(async move {
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                let _ = stream.read(&mut [0; 16]).await;
            }
        });
    }
    within(SOON, "the flood in the log", || server.process.output().contains("too many handshakes")).await;
    within_async(SOON, "an agent among them", async || {
        let agent = agent.clone();
        let check = async move { Link::connect(address, &agent).await.check(None, "/").await.0 };
        tokio::spawn(check).await.is_ok_and(|status| status == 200)
    })
    .await;
    let lines = server.process.output().matches("a connection was refused").count() as u64;
    assert!(lines <= start.elapsed().as_secs() + 1, "{lines} lines in {:?}", start.elapsed());
}

#[tokio::test]
async fn a_fifo_for_a_file_stops_nothing() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web2");
    let mut server = files.start().await;
    let users = files.path("conf/domains/system/cams-users.xml");
    let good = fs::read_to_string(&users).unwrap();
    let link = Link::connect(server.address, &agent).await;
    assert_eq!(link.check(None, "/public/").await.1["decision"]["is"], "granted");

    put_fifo(&users);
    within(SOON, "the refusal", || server.process.output().contains("not a regular file")).await;
    link.log_in("alice", PASSWORD).await;
    replace(&files.path("conf/domains/system/access-control-policy.xml"), |text| {
        text.replace("\"everybody\"/>", "\"admins\"/>")
    });
    fs::remove_file(&users).unwrap();
    fs::write(&users, good).unwrap();
    within_async(SOON, "the tightened rule", async || {
        link.check(None, "/public/").await.1["decision"]["is"] == "login-required"
    })
    .await;

    put_fifo(&users);
    let refusals = |text: &str| text.matches("the changed users are not good").count();
    within(SOON, "the second refusal", || refusals(&server.process.output()) >= 2).await;
    server.process.terminate(Duration::from_secs(10)).await;
    let check = files.cams(&["check"]);
    assert!(check.stderr.contains("not a regular file"), "{check:?}");
}

fn put_fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
