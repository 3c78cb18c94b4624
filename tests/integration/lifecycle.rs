//! Starting, stopping, and what happens when one of the two servers is killed or silent.

use std::fs;
use std::time::Duration;

use tests::process::is_alive;
use tests::{Client, Quickstart, within, within_async};

/// How long a killed server may be away.
const BACK: Duration = Duration::from_secs(30);

#[tokio::test]
async fn it_stops_within_five_seconds_and_leaves_no_process() {
    let mut cams = Quickstart::start(&[]).await;
    let facts = cams.facts();
    cams.process.terminate(Duration::from_secs(5)).await;
    assert!(!is_alive(facts.policy_server_pid) && !is_alive(facts.web_agent_pid), "{facts:?}");
}

#[tokio::test]
async fn a_second_start_keeps_users_keys_and_ca() {
    let first = Quickstart::start(&[]).await;
    let (dir, users, ca) = (first.dir(), first.users.clone(), first.ca_pem.clone());
    drop(first);
    let second = Quickstart::start_in(dir, &[]).await;
    assert_eq!(second.ca_pem, ca);
    let passwords = |users: &[tests::quickstart::User]| -> Vec<_> {
        users.iter().map(|user| (user.name.clone(), user.password.clone())).collect()
    };
    assert_eq!(passwords(&second.users), passwords(&users));
    assert_eq!(second.client_of("alice").await.get("/private/").await.status, 200);
}

#[tokio::test]
async fn passwords_are_random_in_every_folder() {
    let (one, other) = (Quickstart::start(&[]).await, Quickstart::start(&[]).await);
    for user in ["alice", "admin"] {
        assert_ne!(one.user(user).password, other.user(user).password);
        assert!(one.user(user).password.len() >= 12);
    }
    assert_ne!(one.ca_pem, other.ca_pem);
}

#[tokio::test]
async fn no_file_with_a_secret_is_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let cams = Quickstart::shared().await;
    let mut folders = vec![cams.dir().path().to_owned()];
    let mut secrets = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            let password = cams.users.iter().any(|user| text.contains(&user.password));
            if text.contains("PRIVATE KEY") || password {
                secrets += 1;
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            }
        }
    }
    assert!(secrets >= 2, "quickstart.json and a key at least: {secrets}");
}

async fn goes_on(client: &Client) -> bool {
    client.get_unless_cut("/private/").await.is_some_and(|reply| reply.status == 200)
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_the_session_goes_on() {
    let cams = Quickstart::start(&[]).await;
    let alice = cams.client_of("alice").await;
    let before = cams.facts();

    cams.kill9(before.policy_server_pid);
    within(BACK, "another policy server", || cams.facts().policy_server_pid != before.policy_server_pid).await;
    assert!(is_alive(before.web_agent_pid), "the agent must live on");
    within_async(BACK, "the session goes on", async || goes_on(&alice).await).await;

    cams.kill9(before.web_agent_pid);
    within(BACK, "another agent", || cams.facts().web_agent_pid != before.web_agent_pid).await;
    let policy_server = cams.facts().policy_server_pid;
    assert!(is_alive(policy_server), "the policy server must live on");
    let listens = async || tokio::net::TcpStream::connect(cams.raw().authority()).await.is_ok();
    within_async(BACK, "the agent listens where it did", listens).await;
    within_async(BACK, "the session goes on", async || goes_on(&alice).await).await;
    assert_eq!(cams.facts().url, before.url);
}

#[tokio::test]
async fn without_a_policy_server_nothing_protected_is_served() {
    let cams = Quickstart::start(&[]).await;
    let alice = cams.client_of("alice").await;
    assert_eq!(alice.get("/private/").await.status, 200);
    {
        let _silent = cams.suspend(cams.facts().policy_server_pid);
        // What the agent remembers counts for its lease; then nothing protected may go through.
        let closed = async || alice.get("/private/").await.status == 503;
        within_async(Duration::from_secs(20), "503 without a policy server", closed).await;
        for (client, target) in [(&alice, "/private/echo"), (&alice, "/admin/"), (&cams.client(), "/private/")] {
            let reply = client.get(target).await;
            assert_eq!(reply.status, 503, "{target}: {reply:?}");
            assert!(reply.header("retry-after").parse::<u32>().is_ok(), "{target}: {reply:?}");
        }
    }
    within_async(BACK, "the session goes on", async || goes_on(&alice).await).await;
}
