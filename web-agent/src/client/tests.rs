//! The link against a real TLS server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use shared_proto::check::Decision;
use tempfile::TempDir;

use super::*;
use crate::testkit::Ca;
use crate::testkit::policy_server::{Act, PolicyServer, welcome};

struct Setting {
    ca: Ca,
    dir: TempDir,
}

impl Setting {
    fn new() -> Self {
        crate::testkit::install_provider();
        Self { ca: Ca::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn config(&self, servers: &[&PolicyServer]) -> LinkConfig {
        LinkConfig {
            servers: servers.iter().map(|server| server.address.to_string()).collect(),
            authorities: self.ca.write(self.dir.path()),
            identity: self.ca.issue(self.dir.path(), "agent", "agent.test"),
            hello: HelloRequest {
                protocol: 1,
                version: "0".into(),
                cluster: "Test".into(),
                domain: "system".into(),
                entry: "http".into(),
                hosts: vec!["a.test".into()],
                jami_hosts: Vec::new(),
                jami_entry: String::new(),
            },
        }
    }

    fn link(&self, servers: &[&PolicyServer]) -> Link {
        Link::start(self.config(servers))
    }
}

fn question() -> CheckRequest {
    let question = json!({
        "request_id": "1", "scheme": "https", "host": "a.test", "port": 443, "method": "GET", "path": "/",
        "domain": "system", "entry": "http", "session": "canary", "client": {"address": "192.0.2.1"}
    });
    serde_json::from_value(question).unwrap()
}

fn granted(by: &str) -> Value {
    json!({"decision": {"is": "granted"}, "session": "none", "policy_hash": by})
}

/// A server that grants everything and signs with its name.
fn granting(by: &'static str) -> impl Fn(&str, &Value) -> Act + Send + Sync + 'static {
    move |path, _| if path.ends_with("/hello") { Act::Answer(200, welcome()) } else { Act::Answer(200, granted(by)) }
}

async fn decided_by(link: &Link) -> Result<String, String> {
    link.check(&question()).await.map(|answered| answered.answer.policy_hash).map_err(|error| error.to_string())
}

#[tokio::test]
async fn many_questions_share_one_connection() {
    let setting = Setting::new();
    let server = PolicyServer::start(&setting.ca, granting("one")).await;
    let link = setting.link(&[&server]);
    let (link, question) = (&link, question());
    let answers = futures_util::future::join_all((0..64).map(|_| link.check(&question))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().answer.decision == Decision::Granted));
    assert_eq!(server.connections(), 1);
    assert_eq!(server.asked("/agent/v1/hello").len(), 1);
    assert_eq!(server.asked("/agent/v1/check")[0]["session"], "canary");
}

/// Case 78: whatever a policy server does, it is an error and never an answer.
#[tokio::test]
async fn a_hostile_server_decides_nothing() {
    let acts = [
        (Act::Raw(b"not JSON".to_vec()), "cannot be understood"),
        (Act::Raw(b"{}".to_vec()), "cannot be understood"),
        (Act::Raw(Vec::new()), "cannot be understood"),
        (Act::Endless, "too long"),
        (Act::Close, "broke"),
        (Act::Answer(500, json!({"error": "told you so"})), "told you so"),
        (Act::Answer(403, json!({})), "refused (403)"),
        (Act::Answer(204, granted("x")), "refused (204)"),
        (Act::Answer(503, json!({"error": "busy"})), "overloaded"),
    ];
    for (act, expected) in acts {
        let setting = Setting::new();
        let what = format!("{act:?}").chars().take(60).collect::<String>();
        let server = PolicyServer::start(&setting.ca, move |path, _| {
            if path.ends_with("/hello") { Act::Answer(200, welcome()) } else { act.clone() }
        });
        let server = server.await;
        let error = decided_by(&setting.link(&[&server])).await.unwrap_err();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let setting = Setting::new();
    let server = PolicyServer::start(&setting.ca, |path, _| {
        if path.ends_with("/hello") { Act::Answer(200, welcome()) } else { Act::Hang }
    });
    let server = server.await;
    let link = setting.link(&[&server]);
    link.servers[0].clone().wait_for(|standing| matches!(standing, Standing::Up(_))).await.unwrap();
    // From here on the clock jumps to the next time limit whenever nothing else is left to do.
    tokio::time::pause();
    let error = decided_by(&link).await.unwrap_err();
    assert!(error.contains("in time"), "{error}");
}

#[tokio::test]
async fn hello_decides_who_is_spoken_with() {
    let with = |field: &str, value: Value| {
        let mut hello = welcome();
        hello[field] = value;
        hello
    };
    let cases = [
        (Act::Answer(200, welcome()), true),
        (Act::Answer(200, with("problems", json!(["host a.test is not yours"]))), true),
        (Act::Answer(200, with("protocol", json!(2))), false),
        (Act::Answer(200, with("cluster", json!("Other"))), false),
        (Act::Answer(403, json!({"error": "removed"})), false),
        (Act::Raw(b"hello".to_vec()), false),
    ];
    for (hello, accepted) in cases {
        let setting = Setting::new();
        let what = format!("{hello:?}");
        let server = PolicyServer::start(&setting.ca, move |path, _| {
            if path.ends_with("/hello") { hello.clone() } else { Act::Answer(200, granted("x")) }
        });
        let server = server.await;
        assert_eq!(decided_by(&setting.link(&[&server])).await.is_ok(), accepted, "{what}");
    }
}

/// Case 79: who is not the policy server is not asked, and who is not the agent is not answered.
#[tokio::test]
async fn only_certificates_of_the_cluster_count() {
    let address = "127.0.0.1:0".parse().unwrap();
    let setting = Setting::new();
    let name = shared_proto::names::POLICY_SERVER_NAME;
    let other_ca = PolicyServer::named(&Ca::new(), name, address, granting("x")).await;
    let other_name = PolicyServer::named(&setting.ca, "other.test", address, granting("x")).await;
    let right = PolicyServer::start(&setting.ca, granting("x")).await;
    assert!(decided_by(&setting.link(&[&other_ca])).await.is_err());
    assert!(decided_by(&setting.link(&[&other_name])).await.is_err());

    let mut stranger = setting.config(&[&right]);
    stranger.identity = Ca::new().issue(setting.dir.path(), "stranger", "agent.test");
    assert!(decided_by(&Link::start(stranger)).await.is_err());
    assert_eq!(right.asked("/agent/v1/check").len(), 0);
    assert!(decided_by(&setting.link(&[&right])).await.is_ok());
}

#[tokio::test]
async fn the_next_server_answers_for_one_that_is_down_or_busy() {
    let setting = Setting::new();
    let busy = PolicyServer::start(&setting.ca, |path, _| {
        if path.ends_with("/hello") { Act::Answer(200, welcome()) } else { Act::Answer(503, json!({"error": "busy"})) }
    });
    let (busy, second) = (busy.await, PolicyServer::start(&setting.ca, granting("second")).await);
    assert_eq!(decided_by(&setting.link(&[&busy, &second])).await.as_deref(), Ok("second"));

    let gone = PolicyServer::start(&setting.ca, granting("gone")).await;
    let config = setting.config(&[&gone, &second]);
    drop(gone);
    assert_eq!(decided_by(&Link::start(config)).await.as_deref(), Ok("second"));
}

#[tokio::test]
async fn a_server_that_returns_is_used_again() {
    let setting = Setting::new();
    let first = PolicyServer::start(&setting.ca, granting("first")).await;
    let (address, link) = (first.address, setting.link(&[&first]));
    assert_eq!(decided_by(&link).await.as_deref(), Ok("first"));

    drop(first);
    let mut standing = link.servers[0].clone();
    standing.wait_for(|standing| matches!(standing, Standing::Down)).await.unwrap();
    assert!(decided_by(&link).await.is_err());

    let name = shared_proto::names::POLICY_SERVER_NAME;
    let _again = PolicyServer::named(&setting.ca, name, address, granting("again")).await;
    standing.wait_for(|standing| matches!(standing, Standing::Up(_))).await.unwrap();
    assert_eq!(decided_by(&link).await.as_deref(), Ok("again"));
}

/// A check may be asked twice; a login is not, since it may have been counted.
#[tokio::test]
async fn only_what_changes_nothing_is_repeated() {
    let setting = Setting::new();
    let (closed, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (once, count) = (closed.clone(), asked.clone());
    let server = PolicyServer::start(&setting.ca, move |path, _| {
        if path.ends_with("/hello") {
            return Act::Answer(200, welcome());
        }
        count.fetch_add(1, Ordering::SeqCst);
        if once.swap(true, Ordering::SeqCst) { Act::Answer(200, granted("second time")) } else { Act::Close }
    });
    let server = server.await;
    let link = setting.link(&[&server]);
    assert_eq!(decided_by(&link).await.as_deref(), Ok("second time"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    closed.store(false, Ordering::SeqCst);
    let login = json!({
        "request_id": "1", "host": "a.test", "domain": "system", "entry": "http",
        "callbacks": {"password": "canary"}, "client": {"address": "192.0.2.1"}
    });
    let error = link.login(&serde_json::from_value(login).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("broke"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}
