//! Starts of `cams quickstart` that fail, meet each other, or come after one that failed.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tests::Quickstart;
use tests::command::{Output, binary, cams};
use tests::process::Process;

fn start(dir: &TempDir, listen: &str) -> Output {
    cams(["quickstart", "--dir", dir.path().to_str().unwrap(), "--listen", listen])
}

#[tokio::test]
async fn a_start_that_failed_leaves_nothing_that_a_later_one_believes() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let failed = start(&dir, &taken.local_addr().unwrap().to_string());
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("--listen HOST:PORT"), "{failed:?}");
    let cams = Quickstart::start_in(dir, &[]).await;
    assert_eq!(cams.client_of("alice").await.get("/private/").await.status, 200);
}

/// As if the machine had stopped between any two of the files.
#[tokio::test]
async fn a_start_that_was_cut_short_is_made_good() {
    let first = Quickstart::start(&[]).await;
    let (dir, password) = (first.dir(), first.user("alice").password.clone());
    drop(first);
    for missing in ["agent/cams-webagent.conf", "tls", "conf/domains/system/cams-users.xml"] {
        let path = dir.path().join(missing);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        let cams = Quickstart::start_in(Arc::clone(&dir), &[]).await;
        assert_eq!(cams.user("alice").password, password, "{missing}");
        assert_eq!(cams.client_of("alice").await.get("/private/").await.status, 200, "{missing}");
    }
    // Passwords that nobody can know any more are not made up.
    fs::remove_file(dir.path().join("quickstart.json")).unwrap();
    let refused = start(&dir, "127.0.0.1:0");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("quickstart.json"), "{refused:?}");
}

#[tokio::test]
async fn two_products_do_not_share_a_folder() {
    let first = Quickstart::start(&[]).await;
    let files = ["quickstart.json", "conf/cams.conf", "agent/cams-webagent.conf"];
    let read = || files.map(|file| fs::read_to_string(first.dir().path().join(file)).unwrap());
    let before = read();
    let second = start(&first.dir(), "127.0.0.1:0");
    assert_eq!((second.code, second.stderr.lines().count()), (1, 1), "{second:?}");
    assert!(second.stderr.contains("already"), "{second:?}");
    assert_eq!(read(), before);
    assert_eq!(first.client_of("alice").await.get("/private/").await.status, 200);
}

#[tokio::test]
async fn a_first_start_is_quiet_and_listens_on_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["quickstart", "--listen", "localhost:0", "--dir"]).arg(dir.path());
    let mut process = Process::spawn(&mut command);
    process.line(Duration::from_secs(60), |line| line.starts_with("ready ").then_some(())).await;
    let said = process.output();
    assert!(!said.contains(" WARN ") && !said.contains(" ERROR "), "{said}");
}

/// Ctrl-C at a terminal reaches the whole group of processes; the children are told to stop once, by quickstart.
#[tokio::test]
async fn the_children_are_out_of_the_terminals_reach() {
    let cams = Quickstart::shared().await;
    let group = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').nth(2).unwrap().to_owned()
    };
    let facts = cams.facts();
    let own = group(cams.process.pid());
    assert!([facts.policy_server_pid, facts.web_agent_pid].iter().all(|pid| group(*pid) != own));
}

#[tokio::test]
async fn last_words_are_of_the_start_that_failed() {
    let cams = Quickstart::start(&[]).await;
    let (dir, users) = (cams.dir(), cams.domain_file("cams-users.xml"));
    drop(cams);
    fs::write(&users, "<cams-users><nonsense/></cams-users>").unwrap();
    let failed = start(&dir, "127.0.0.1:0");
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("cams-users.xml:1: "), "{failed:?}");
    assert!(!failed.stderr.contains("has stopped") && !failed.stderr.contains("is ready"), "{failed:?}");
}
