use std::fs;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;
use crate::admin::Admin;
use crate::device::Standing;
use crate::session::Filter;
use crate::testkit::{Site, keep_session};

const POLICY: &str = "access-control-policy.xml";
const OPEN: &str = "<acr-ref id=\"everybody\"/>";
const CLOSED: &str = "<acr-ref id=\"admins\"/>";

async fn hash_after(server: &Server, watch: &mut Watch) -> String {
    server.follow(watch);
    server.loaded().hash.clone()
}

#[tokio::test]
async fn a_tightened_rule_counts_as_soon_as_what_kept_it_out_is_mended() {
    let site = Site::new();
    let broken: [(&str, &dyn Fn()); 4] = [
        ("not XML", &|| fs::write(site.file("cams-users.xml"), "<cams-users").unwrap()),
        ("missing", &|| fs::remove_file(site.file("cams-users.xml")).unwrap()),
        ("a FIFO", &|| {
            fs::remove_file(site.file("cams-users.xml")).unwrap();
            mkfifoat(CWD, site.file("cams-users.xml"), Mode::RUSR).unwrap();
        }),
        ("a folder", &|| {
            fs::remove_file(site.file("cams-users.xml")).unwrap();
            fs::create_dir(site.file("cams-users.xml")).unwrap();
        }),
    ];
    for (what, spoil) in broken {
        site.write_users(&["alice"]);
        let server = site.server().await;
        let mut watch = Watch::default();
        let before = hash_after(&server, &mut watch).await;
        spoil();
        site.edit(POLICY, OPEN, CLOSED);
        assert_eq!(hash_after(&server, &mut watch).await, before, "{what}");
        assert!(server.loaded().domains["system"].users[0].find("alice").is_some(), "{what}");
        let file = site.file("cams-users.xml");
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        site.write_users(&["alice", "bob"]);
        assert_ne!(hash_after(&server, &mut watch).await, before, "{what}");
        assert!(server.loaded().domains["system"].users[0].find("bob").is_some(), "{what}");
        site.edit(POLICY, CLOSED, OPEN);
        assert_eq!(hash_after(&server, &mut watch).await, before, "{what}: and is followed on");
    }
}

#[tokio::test]
async fn a_new_domain_is_taken_over_once_it_is_good() {
    let site = Site::new();
    let server = site.server().await;
    let mut watch = Watch::default();
    server.follow(&mut watch);
    site.copy_domain(&site.path("conf/domains/system"), "other");
    let login = site.path("conf/domains/other/login-config.xml");
    let good = fs::read(&login).unwrap();
    fs::write(&login, "<wrong").unwrap();
    site.edit(
        "../security-domain-registry.xml",
        "</security-domain-registry>",
        "<security-domain name='other'/>\n</security-domain-registry>",
    );
    for _ in 0..5 {
        server.follow(&mut watch);
    }
    assert_eq!(site.events("configuration-refused").len(), 1, "said once");
    fs::write(&login, good).unwrap();
    server.follow(&mut watch);
    assert!(server.loaded().domains.contains_key("other"));
}

/// The times are seconds before now: idle sessions end after 30 minutes.
#[tokio::test]
async fn sessions_past_their_limits_are_not_listed_and_removed() {
    let site = Site::new();
    let server = site.server().await;
    let now = server.now().as_second();
    for (id, domain, last_used, ends) in [
        ("live", "system", now, now + 60),
        ("idle", "system", now - 86_400, now + 60),
        ("over", "system", now, now - 1),
        ("perhaps-of-another-server", "gone", now - 86_400, now + 60),
        ("over-and-gone", "gone", now, now - 1),
    ] {
        keep_session(&server, id, domain, last_used, ends).await;
    }
    let admin = Admin::open(&site.conf()).await.unwrap();
    let ids = |sessions: Vec<crate::session::Session>| {
        let mut ids: Vec<String> = sessions.into_iter().map(|session| session.id).collect();
        ids.sort();
        ids
    };
    let left = ["live", "perhaps-of-another-server"];
    assert_eq!(ids(admin.sessions(&Filter::default()).await.unwrap()), left);
    assert_eq!(server.sessions.list(&Filter::default()).await.unwrap().len(), 5);
    server.purge().await;
    assert_eq!(ids(server.sessions.list(&Filter::default()).await.unwrap()), left);
    assert_eq!(site.events("session-ended").len(), 3);
}

#[tokio::test]
async fn whoever_is_out_of_a_file_once_is_seen_gone_even_without_a_device() {
    let site = Site::new();
    let server = site.server().await;
    let mut watch = Watch::default();
    server.follow(&mut watch);
    let subject = server.loaded().domains["system"].entry("http").unwrap().look_up("alice", server.now()).await;
    let subject = subject.unwrap().unwrap();
    let store = &server.store;
    store.put_jami_account("a", "alice").await;
    store.set_jami_account("a", "source", &format!("'{}'", subject.proofs[0].class)).await;
    store.set_jami_account("a", "subject", &format!("'{}'", serde_json::to_string(&subject).unwrap())).await;
    assert_eq!(store.take_unchecked_accounts("system", 0, 1, 9).await.unwrap().len(), 1, "no ids: always");
    for (users, expected) in [
        (["alice", "bob"], Standing::Stands),
        (["bob", "carol"], Standing::SeenGone),
        (["alice", "carol"], Standing::SeenGone),
    ] {
        site.write_users(&users);
        server.follow(&mut watch);
        server.notice_gone(&mut watch).await;
        assert_eq!(store.jami_account("a").await.unwrap().unwrap().standing, expected, "{users:?}");
    }
    store.set_jami_account("a", "suspended", "0").await;
    store.set_jami_account("a", "source_id", "'1'").await;
    assert!(store.take_unchecked_accounts("system", 9, 9, 9).await.unwrap().is_empty(), "an id, and no device");
}
