//! A running agent takes over a changed configuration, and keeps the old one where the new one is not good.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tests::quickstart::replace;
use tests::{Quickstart, within, within_async};

const SOON: Duration = Duration::from_secs(20);

fn has(cams: &Quickstart, event: &str, holds: impl Fn(&Value) -> bool) -> bool {
    cams.audit().iter().any(|line| line["event"] == event && holds(line))
}

#[tokio::test]
async fn a_good_change_counts_at_once_and_a_bad_one_never() {
    let cams = Quickstart::start(&[]).await;
    let agent = cams.facts().agent_conf;
    let alice = cams.client_of("alice").await;

    replace(&agent, |text| format!("{text}\ncams.login.uri=/cams/enter\n"));
    let moved = async || cams.client().get("/cams/enter").await.status == 200;
    within_async(SOON, "the new login address", moved).await;
    assert_eq!(alice.get("/private/").await.status, 200, "sessions go on");
    within(SOON, "both hashes in the audit log", || {
        has(&cams, "agent-configuration-loaded", |line| {
            line["old_hash"].is_string() && line["new_hash"].is_string() && line["old_hash"] != line["new_hash"]
        })
    })
    .await;

    replace(&agent, |text| format!("{text}\ncams.logout.uri=/cams/leave\ncams.no.such.property=1\n"));
    within(SOON, "the refusal in the audit log", || {
        let wanted = "unknown property `cams.no.such.property`";
        has(&cams, "agent-configuration-refused", |line| line["reason"].as_str().unwrap().contains(wanted))
    })
    .await;
    let named = format!("{}:", agent.display());
    assert!(has(&cams, "agent-configuration-refused", |line| line["reason"].as_str().unwrap().starts_with(&named)));
    let reply = alice.get("/cams/leave").await;
    assert!(!reply.text().contains("logged out"), "nothing of a bad file counts: {reply:?}");
    assert_eq!(alice.get("/private/").await.status, 200);
}

#[tokio::test]
async fn sites_upstreams_and_pages_change_while_it_runs() {
    let cams = Quickstart::start(&[]).await;
    let agent = cams.facts().agent_conf;
    let pages = tempfile::tempdir().unwrap();
    let template = "{% extends \"base.html\" %}";
    replace(&agent, |text| format!("{text}\ncams.pages.directory={}\n", pages.path().display()));
    within(SOON, "the folder is taken over", || {
        has(&cams, "agent-configuration-loaded", |line| line["old_hash"].is_string())
    })
    .await;
    fs::write(pages.path().join("no-such-page.html"), template).unwrap();
    within(SOON, "a misspelt template", || has(&cams, "agent-configuration-refused", |_| true)).await;
    fs::remove_file(pages.path().join("no-such-page.html")).unwrap();

    // An upstream where nobody listens any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(cams.client().get("/").await.status, 200);
    replace(&agent, |text| {
        let line = text.lines().find(|line| line.starts_with("cams.site.") && line.contains(".upstream=")).unwrap();
        let (name, _) = line.split_once('=').unwrap();
        text.replace(line, &format!("{name}=http://{gone}"))
    });
    within_async(SOON, "the new upstream", async || cams.client().get("/").await.status == 502).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_said() {
    let mut cams = Quickstart::start(&[]).await;
    replace(&cams.facts().agent_conf, |text| format!("{text}\ncams.listen.2=127.0.0.1:1\n"));
    within(SOON, "the agent says so", || {
        has(&cams, "agent-configuration-loaded", |line| {
            line["reason"].as_str().is_some_and(|r| r.contains("cams.listen"))
        })
    })
    .await;
    assert_eq!(cams.client().get("/").await.status, 200);

    let conf = cams.conf.clone();
    replace(&conf, |text| format!("{text}\ncams.assertion.key.lifetime=20d\n"));
    within(SOON, "the policy server says so", || {
        has(&cams, "restart-needed", |line| line["reason"].as_str().unwrap().contains("restart"))
    })
    .await;
    replace(&conf, |text| text.replace("lifetime=20d", "lifetime=many"));
    within(SOON, "and that it would not start", || {
        has(&cams, "restart-needed", |line| line["reason"].as_str().unwrap().contains("`many` is not a time"))
    })
    .await;
    assert!(!cams.process.has_ended());
    assert_eq!(cams.client().get("/").await.status, 200);
}
