//! The store behaves alike on SQLite and on PostgreSQL.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use policy_server::agents::{Capability, Registered, Rights};
use policy_server::auth::subject::Subject;
use policy_server::auth::valves::throttle::rules::Count;
use policy_server::session::{Filter, Session, SessionStore, TokenHash};
use policy_server::store::{Pair, SealedKey, Store, StoreError, Total};
use shared_proto::event::Change;
use shared_proto::secret::Secret;
use tempfile::TempDir;
use tests::Postgres;
use tests::policy_server::Files;
use tests::postgres::PASSWORD;

/// A new store, and what it lives in.
pub struct Fixture {
    pub store: Store,
    url: Secret,
    dir: TempDir,
    _postgres: Option<Arc<Postgres>>,
}

impl Fixture {
    /// The same store, as another process sees it.
    pub async fn again(&self) -> Store {
        Store::open(&self.url, self.dir.path()).await.unwrap()
    }
}

/// One of each kind that the machine has.
pub async fn stores() -> Vec<Fixture> {
    let postgres = Postgres::shared().await;
    let urls = postgres.as_ref().map(|server| server.database()).into_iter().chain(["sqlite:cams.db".to_owned()]);
    let mut stores = Vec::new();
    for url in urls {
        let (url, dir) = (Secret::from(url), tempfile::tempdir().unwrap());
        let store = Store::open(&url, dir.path()).await.unwrap();
        stores.push(Fixture { store, url, dir, _postgres: postgres.clone() });
    }
    stores
}

pub fn session(id: &str, user: &str, last_used: i64) -> (TokenHash, Session) {
    let subject = Subject {
        user: user.to_owned(),
        roles: BTreeSet::from(["user".to_owned()]),
        attributes: Default::default(),
        proofs: Vec::new(),
    };
    let session = Session {
        id: id.to_owned(),
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        subject,
        created: last_used,
        last_used,
        rechecked: last_used,
        ends: 1_000,
        address: "192.0.2.1".to_owned(),
        user_agent: "it's \"quoted\" — ünïcode".to_owned(),
        series: None,
        remembered: false,
    };
    (TokenHash::of(&Secret::from(id)), session)
}

fn ids(sessions: Vec<Session>) -> Vec<String> {
    sessions.into_iter().map(|session| session.id).collect()
}

fn agent(name: &str) -> Registered {
    let rights = Rights {
        domains: vec!["system".into()],
        hosts: vec!["app.test".into()],
        entries: vec!["http".into()],
        capabilities: vec![Capability::Enforce],
    };
    Registered { name: name.into(), fingerprint: format!("print of {name}"), rights, created: 7 }
}

#[tokio::test]
async fn sessions_are_kept_found_and_ended() {
    for Fixture { store, .. } in &stores().await {
        let (token, mut first) = session("one", "alice", 100);
        let (other_token, other) = session("two", "bob", 500);
        store.insert(&token, &first).await.unwrap();
        store.insert(&other_token, &other).await.unwrap();
        assert!(store.insert(&token, &other).await.is_err(), "a token is nobody else's");

        let before = first.subject.clone();
        first.subject.roles.insert("admin".to_owned());
        for used in [200, 150] {
            store.touch("one", used).await.unwrap();
        }
        store.replace_subject("one", &before, &first.subject).await.unwrap();
        store.replace_subject("one", &before, &other.subject).await.unwrap();
        let found = store.find(&token, "").await.unwrap().unwrap().session;
        assert_eq!((found.last_used, &found.subject, &found.user_agent), (200, &first.subject, &first.user_agent));
        assert!(store.find(&TokenHash::of(&Secret::from("three")), "").await.unwrap().is_none());

        for (filter, expected) in [
            (Filter::default(), vec!["two", "one"]),
            (Filter { user: Some("alice".into()), ..Filter::default() }, vec!["one"]),
            (Filter { id: Some("two".into()), domain: Some("system".into()), ..Filter::default() }, vec!["two"]),
            (Filter { domain: Some("other".into()), ..Filter::default() }, vec![]),
        ] {
            assert_eq!(ids(store.list(&filter).await.unwrap()), expected, "{filter:?}");
        }
        for (unused_since, now, expected) in
            [(199, 999, vec![]), (200, 999, vec!["one"]), (0, 1_000, vec!["one", "two"])]
        {
            let overdue: BTreeSet<_> =
                ids(store.overdue("system", unused_since, now).await.unwrap()).into_iter().collect();
            assert_eq!(overdue, expected.into_iter().map(str::to_owned).collect(), "{unused_since} {now}");
        }
        assert!(store.delete("one").await.unwrap());
        assert!(!store.delete("one").await.unwrap());
        assert!(store.find(&token, "").await.unwrap().is_none());
    }
}

/// However many servers ask at once, each session's account is looked up by one of them.
#[tokio::test]
async fn accounts_are_rechecked_in_turn_and_once() {
    for fixture in &stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        for number in 0..20 {
            let (token, mut session) = session(&format!("s{number}"), "alice", 0);
            session.rechecked = number;
            servers[0].insert(&token, &session).await.unwrap();
        }
        let takes = (0..8).map(|number| servers[number % 2].take_unchecked("system", 9, 100, 3));
        let taken = futures_util::future::join_all(takes).await;
        let mut taken: Vec<String> = taken.into_iter().flat_map(|taken| ids(taken.unwrap())).collect();
        // Those who met others at the same rows came away with fewer.
        while let more @ [_, ..] = &*ids(servers[0].take_unchecked("system", 9, 100, 3).await.unwrap()) {
            taken.extend_from_slice(more);
        }
        taken.sort();
        assert_eq!(taken, (0..10).map(|number| format!("s{number}")).collect::<Vec<_>>());
        assert!(servers[1].take_unchecked("other", 1_000, 100, 3).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn agents_and_keys_are_kept() {
    for Fixture { store, .. } in &stores().await {
        assert!(store.add_agent(&agent("b")).await.unwrap());
        assert!(store.add_agent(&agent("a")).await.unwrap());
        assert!(!store.add_agent(&agent("a")).await.unwrap());
        assert_eq!(store.agents().await.unwrap(), [agent("a"), agent("b")]);
        assert_eq!(store.agent_by_fingerprint("print of b").await.unwrap(), Some(agent("b")));
        assert!(store.remove_agent("b").await.unwrap());
        assert!(!store.remove_agent("b").await.unwrap());
        assert_eq!(store.agent_by_fingerprint("print of b").await.unwrap(), None);

        let key = |text: &str| SealedKey { certificate: text.into(), sealed: vec![0, 1, 255] };
        assert!(store.add_sealed_key("p", "r", &key("first"), 1).await.unwrap());
        assert!(!store.add_sealed_key("p", "r", &key("second"), 2).await.unwrap());
        let kept = store.sealed_key("p", "r").await.unwrap().unwrap();
        assert_eq!((kept.certificate.as_str(), kept.sealed.as_slice()), ("first", &[0, 1, 255][..]));
        assert!(store.sealed_key("p", "other").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn every_change_has_its_event_and_what_changed_nothing_has_none() {
    for Fixture { store, .. } in &stores().await {
        let before = store.position().await.unwrap();
        assert_eq!(before.seq, 0);
        assert!(!before.epoch.is_empty());
        let (token, one) = session("one", "alice", 100);
        store.insert(&token, &one).await.unwrap();
        store.touch("one", 200).await.unwrap();
        store.replace_subject("one", &session("x", "bob", 0).1.subject, &one.subject).await.unwrap();
        store.take_unchecked("system", 100, 200, 10).await.unwrap();
        store.delete("none").await.unwrap();
        store.remove_agent("none").await.unwrap();
        store.append(&[]).await.unwrap();
        assert_eq!(store.position().await.unwrap(), before);

        store.add_agent(&agent("a")).await.unwrap();
        store.add_agent(&agent("a")).await.unwrap();
        let mut promoted = one.subject.clone();
        promoted.roles.insert("admin".to_owned());
        store.replace_subject("one", &one.subject, &promoted).await.unwrap();
        store.delete("one").await.unwrap();
        let changed = |domain: &str| Change::DomainChanged { domain: domain.into() };
        store.append(&[changed("x"), changed("y")]).await.unwrap();
        store.remove_agent("a").await.unwrap();
        let expected = [
            Change::AgentsChanged,
            Change::SessionChanged { session: "one".into() },
            Change::SessionEnded { session: "one".into() },
            changed("x"),
            changed("y"),
            Change::AgentsChanged,
        ];
        let events = store.events_after(0, 100).await.unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(events.into_iter().map(|event| event.change).collect::<Vec<_>>(), expected);
        assert_eq!(store.events_after(3, 1).await.unwrap()[0].seq, 4);
        assert_eq!(store.position().await.unwrap().seq, 6);
        assert_eq!(store.primary_position().await.unwrap(), store.position().await.unwrap());
    }
}

#[tokio::test]
async fn numbers_follow_commits_whoever_writes() {
    const WRITERS: usize = 8;
    const CHANGES: usize = 25;
    for fixture in &stores().await {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            // Half of them as another process.
            let store = if writer % 2 == 0 { fixture.store.clone() } else { fixture.again().await };
            writers.spawn(async move {
                for change in 0..CHANGES {
                    store.append(&[Change::DomainChanged { domain: format!("{writer}-{change}") }]).await.unwrap();
                }
            });
        }
        // Whoever sees the head at `n` finds every event up to `n`, at any moment.
        while !writers.is_empty() {
            let seq = fixture.store.position().await.unwrap().seq;
            let seen = fixture.store.events_after(0, 1_000).await.unwrap();
            let seen: Vec<_> = seen.into_iter().map(|event| event.seq).collect();
            assert!(seen.len() as i64 >= seq, "{seq}: {seen:?}");
            assert!(seen.iter().copied().eq(1..=seen.len() as i64), "{seen:?}");
            while let Some(ended) = writers.try_join_next() {
                ended.unwrap();
            }
        }
        assert_eq!(fixture.store.position().await.unwrap().seq, (WRITERS * CHANGES) as i64);
    }
}

#[tokio::test]
async fn a_change_of_another_process_stirs() {
    for fixture in &stores().await {
        let (store, other) = (&fixture.store, fixture.again().await);
        let seen = async {
            while store.position().await.unwrap().seq == 0 {
                store.stirred().await;
            }
        };
        let change = async {
            other.append(&[Change::AgentsChanged]).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! { () = seen => {}, () = change => {}, () = store.listen() => {} }
        })
        .await
        .expect("a change is seen");
    }
}

#[tokio::test]
async fn old_events_go_and_recent_ones_stay() {
    const KEPT: i64 = 10_000;
    for Fixture { store, .. } in &stores().await {
        let changes: Vec<_> = (0..KEPT + 5).map(|_| Change::AgentsChanged).collect();
        store.append(&changes).await.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        store.trim_events(now).await.unwrap();
        assert_eq!(store.events_after(0, 1).await.unwrap()[0].seq, 1, "younger than an hour");
        store.trim_events(now + 4_000).await.unwrap();
        assert_eq!(store.events_after(0, 1).await.unwrap()[0].seq, 6, "beyond the last ten thousand");
        assert_eq!(store.position().await.unwrap().seq, KEPT + 5);
    }
}

#[tokio::test]
async fn an_embedded_store_that_starts_again_has_another_epoch() {
    for fixture in &stores().await {
        let before = fixture.store.position().await.unwrap();
        fixture.again().await;
        assert_eq!(fixture.store.position().await.unwrap(), before, "a command changes nothing");
        fixture.store.renew_epoch().await.unwrap();
        let after = fixture.store.position().await.unwrap();
        let is_embedded = fixture.url.expose().starts_with(b"sqlite:");
        assert_eq!(after.epoch != before.epoch, is_embedded);
        assert_eq!(after.seq, before.seq);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_the_password() {
    let Some(postgres) = Postgres::shared().await else { return };
    let good = postgres.database();
    for url in [
        good.replace(PASSWORD, &format!("wrong-{PASSWORD}")),
        good.replace("/cams", "/nowhere"),
        good.replace("?host=", "?host=/nonexistent"),
        good + &format!("&sslmode={PASSWORD}"),
    ] {
        let error = match Store::open(&Secret::from(url.clone()), std::path::Path::new("/")).await {
            Ok(_) => panic!("{url} opens"),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Url(_) | StoreError::Database(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    }
}

#[test]
fn a_store_url_is_checked_without_being_shown() {
    let check = |url: &str| {
        let files = Files::new("One", Some(url));
        let output = files.cams(&["check"]);
        assert!(!format!("{output:?}").contains(PASSWORD), "{output:?}");
        (files, output.code, output.stdout + &output.stderr)
    };
    let (files, code, said) = check(&format!("postgres://cams:{PASSWORD}@db.example.org/cams"));
    assert_eq!(code, 0, "{said}");
    let url = files.path("keys/store.url");
    std::fs::set_permissions(&url, std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = files.cams(&["check"]);
    assert!(output.code == 1 && output.stderr.contains("`cams.store.url`: "), "{output:?}");
    for wrong in [
        format!("mysql://cams:{PASSWORD}@db.example.org/cams"),
        format!("postgres://cams@db.example.org/cams?passwrd={PASSWORD}"),
        PASSWORD.to_owned(),
    ] {
        let (_, code, said) = check(&wrong);
        assert!(code == 1 && said.contains("cams.conf:") && said.contains("`cams.store.url`: "), "{said}");
    }
}

#[tokio::test]
async fn a_standby_proves_nothing_and_a_new_primary_has_another_epoch() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let url = postgres.database();
    let store = Store::open(&Secret::from(url), std::path::Path::new("/")).await.unwrap();
    store.append(&[Change::AgentsChanged]).await.unwrap();
    let before = store.position().await.unwrap();

    postgres.crash().await;
    postgres.make_standby();
    postgres.resume().await;
    let error = store.primary_position().await.unwrap_err();
    assert!(error.to_string().contains("recovery"), "{error}");
    assert!(store.append(&[Change::AgentsChanged]).await.is_err());
    assert_eq!(store.events_after(0, 9).await.unwrap().len(), 1, "it answers questions");

    postgres.psql("postgres", "SELECT pg_promote()");
    let after = store.primary_position().await.unwrap();
    assert_eq!(after.seq, before.seq);
    assert_ne!(after.epoch, before.epoch);
}

#[tokio::test]
async fn another_machine_is_believed_by_its_certificate_alone() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let (right, wrong) = (file("right.pem", made.cert.pem()), file("wrong.pem", stranger.cert.pem()));
    let started = Postgres::start_tls(&made.cert.pem(), &made.signing_key.serialize_pem()).await;
    let Some(postgres) = started else { return };
    let database = postgres.database();
    let (database, _) = database.split_once('?').unwrap();
    for (host, ca, opens) in [("localhost", &right, true), ("localhost", &wrong, false), ("127.0.0.1", &right, false)] {
        let url = database.replace("localhost", host) + "?sslmode=verify-full&sslrootcert=" + ca;
        let opened = Store::open(&Secret::from(url), dir.path()).await;
        assert_eq!(opened.is_ok(), opens, "{host} {ca}: {:?}", opened.err());
    }
}

fn pair(bucket: &str, network: &str) -> Pair {
    Pair { domain: "system".to_owned(), bucket: bucket.to_owned(), network: network.parse().unwrap() }
}

#[tokio::test]
async fn failures_are_counted_one_after_the_other() {
    const AT_ONCE: i64 = 40;
    for fixture in stores().await {
        let (store, again) = (&fixture.store, fixture.again().await);
        let one = pair("a", "192.0.2.1/32");
        assert_eq!(store.failures(&one).await.unwrap(), Count::default());
        let add = |count: Count| {
            let count = Count { failures: count.failures + 1, since: 100, ..count };
            (count, 1_000 + count.failures, count.failures)
        };
        let changes = (0..AT_ONCE).map(|n| if n % 2 == 0 { store } else { &again }.change_failures(&one, add));
        let mut seen: Vec<i64> = join_all(changes).await.into_iter().map(Result::unwrap).collect();
        seen.sort_unstable();
        assert_eq!(seen, (1..=AT_ONCE).collect::<Vec<_>>(), "each sees what the others did");

        for (bucket, network) in [("a", "2001:db8::/64"), ("b", "192.0.2.1/32"), ("c", "192.0.2.1/32")] {
            store.change_failures(&pair(bucket, network), add).await.unwrap();
        }
        let total = async |total, since, rows| store.total_failures(&one, total, since, rows).await.unwrap();
        assert_eq!(total(Total::User, 99, 10).await, AT_ONCE + 1);
        assert_eq!(total(Total::Network, 99, 10).await, AT_ONCE + 2);
        assert_eq!(total(Total::Network, 100, 10).await, 0, "windows that are over");
        assert!((2..=AT_ONCE + 1).contains(&total(Total::Network, 99, 2).await), "no more rows than asked for");
        assert_eq!(again.kept_failures(None, Some("a")).await.unwrap().len(), 2);
        assert_eq!(again.kept_failures(Some("other"), None).await.unwrap(), []);

        store.shrink_failures("other", 0).await.unwrap();
        store.shrink_failures("system", 3).await.unwrap();
        assert_eq!(store.kept_failures(None, None).await.unwrap().len(), 1, "of what expires together, all");
        store.purge_failures(999 + AT_ONCE).await.unwrap();
        assert_eq!(store.failures(&one).await.unwrap().failures, AT_ONCE);
        store.clear_failures(&one).await.unwrap();
        assert_eq!(store.failures(&one).await.unwrap(), Count::default());
    }
}
