//! The valve with a store, and what it lets through.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use shared_proto::secret::Secret;
use tempfile::TempDir;

use super::*;
use crate::auth::modules::Shared;
use crate::auth::subject::Subject;
use crate::store::tests::temporary;
use crate::token::Key;

const HERE: &str = "192.0.2.1";
const NOW: i64 = 1_800_000_000;

fn settings(text: &str) -> (Settings, String) {
    let mut problems = Problems::default();
    let mut params = Options::from_properties(Path::new("t"), text, &mut problems);
    let settings = Settings::take(&mut params, &mut problems);
    params.finish(&mut problems);
    (settings, problems.to_string())
}

struct Fixture {
    valve: ThrottleAuthValve,
    vault: Vault,
    _dir: TempDir,
}

impl Fixture {
    async fn new(params: &str) -> Self {
        let (store, dir) = temporary().await;
        let keys = KeyRing::new(Key::from_bytes([1; 32]), Vec::new());
        let vault = Vault { store, keys, cluster: "c".to_owned() };
        let (settings, problems) = settings(params);
        assert_eq!(problems, "");
        let valve = ThrottleAuthValve {
            vault: Some(vault.clone()),
            domain: "system".to_owned(),
            settings,
            waiting: Semaphore::new(WAITING),
            writing: Semaphore::new(WRITING),
            reading: Semaphore::new(READING),
            unchecked: AtomicI64::new(0),
        };
        Self { valve, vault, _dir: dir }
    }

    async fn attempt(&self, name: &str, from: &str, at: i64, run: LoginRun) -> (Option<ErrorKind>, Option<Note>) {
        let answers = BTreeMap::from([("username".to_owned(), Secret::from(name))]);
        let client: IpAddr = from.parse().unwrap();
        let now = Timestamp::from_second(at).unwrap();
        let attempt = LoginAttempt { answers: &answers, client, now, remembered: None };
        match self.valve.before(&attempt).await {
            Ok(()) => (None, self.valve.after(&attempt, &run).await),
            Err(error) => (Some(error.kind), None),
        }
    }

    /// Whether the stack was run.
    async fn fails(&self, name: &str, from: &str) -> bool {
        self.attempt(name, from, NOW, wrong()).await.0.is_none()
    }

    /// Three failures, as if they had been.
    async fn count(&self, name: &str, from: &str) -> i64 {
        let network = bucket::network(from.parse().unwrap(), 32, 64);
        let bucket = keyed_bucket(&self.vault.keys, name);
        let pair = Pair { domain: "system".to_owned(), bucket, network };
        let count = Count { failures: 3, since: NOW, ..Count::default() };
        self.vault.store.change_failures(&pair, |_| (count, NOW + 900, count.failures)).await.unwrap()
    }

    /// How an attempt was refused, and whether it took as long as a delay.
    async fn time(&self, name: &str, run: LoginRun) -> (Option<ErrorKind>, bool) {
        let start = Instant::now();
        let refused = self.attempt(name, HERE, NOW, run).await.0;
        (refused, start.elapsed() >= DELAY)
    }

    async fn rows(&self) -> usize {
        self.vault.store.kept_failures(None, None).await.unwrap().len()
    }
}

fn run(result: Result<Subject, LoginError>) -> LoginRun {
    let refused = result.as_ref().is_err_and(LoginError::refuses);
    let unavailable = result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable);
    LoginRun { result, modules: Vec::new(), unavailable, partly: unavailable, refused, rejected: refused }
}

fn wrong() -> LoginRun {
    run(Err(LoginError::new(ErrorKind::FailedLogin, "")))
}

fn right() -> LoginRun {
    let (roles, attributes) = Default::default();
    run(Ok(Subject { user: "alice".to_owned(), roles, attributes, proofs: Vec::new() }))
}

#[tokio::test]
async fn failures_lock_a_name_for_its_network_and_say_so_once() {
    let fixture = Fixture::new("").await;
    let spellings = ["alice", "ALICE", " alice", "CORP\\alice", "alice@corp"];
    for (n, name) in spellings.into_iter().enumerate() {
        let (refused, note) = fixture.attempt(name, HERE, NOW, wrong()).await;
        assert_eq!((refused, note.is_some()), (None, n == 4), "{name}");
        let reason = "locked for 900 s".to_owned();
        let event = audit::Kind::LoginLocked;
        assert!(note.is_none_or(|note| note == Note { event, network: format!("{HERE}/32"), failures: 5, reason }));
    }
    for name in spellings {
        let (refused, note) = fixture.attempt(name, "::ffff:192.0.2.1", NOW + 1, right()).await;
        assert_eq!((refused, note), (Some(ErrorKind::MultipleFailedLogins { retry_after: 899 }), None), "{name}");
    }
    assert!(fixture.fails("alice", "192.0.2.2").await, "from elsewhere");
    assert!(fixture.fails("bob", HERE).await, "somebody else");
    assert_eq!(fixture.attempt("alice", HERE, NOW + 900, wrong()).await.0, None, "its time is over");
    let stored = fixture.vault.store.kept_failures(None, None).await.unwrap();
    assert!(stored.iter().all(|kept| kept.pair.bucket.len() == 64 && !kept.pair.bucket.contains("alice")));
}

#[tokio::test]
async fn success_forgets_and_a_directory_that_is_down_does_not_count() {
    let fixture = Fixture::new("").await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert!(fixture.fails("alice", HERE).await);
        }
        for kind in [ErrorKind::Unavailable, ErrorKind::Login] {
            for _ in 0..9 {
                let down = run(Err(LoginError::new(kind.clone(), "")));
                assert_eq!(fixture.attempt("alice", HERE, NOW, down).await, (None, None));
            }
        }
        assert_eq!(fixture.attempt("alice", HERE, NOW, right()).await, (None, None));
        assert_eq!(fixture.rows().await, 0);
    }
}

/// Somebody else's account counts under the victim's name, and does not buy further guesses.
#[tokio::test]
async fn the_success_of_a_like_name_forgets_nothing() {
    let fixture = Fixture::new("").await;
    let mut guesses = 0;
    for _ in 0..4 {
        for _ in 0..4 {
            guesses += usize::from(fixture.fails("victim@a.test", HERE).await);
        }
        fixture.attempt("victim@evil.test", HERE, NOW, right()).await;
    }
    assert_eq!(guesses, 5);
}

/// Any verdict counts, so that no kind of answer makes guessing free.
#[tokio::test]
async fn every_refusal_counts() {
    for kind in [
        ErrorKind::FailedLogin,
        ErrorKind::Account,
        ErrorKind::AccountExpired,
        ErrorKind::AccountLocked,
        ErrorKind::CredentialExpired,
        ErrorKind::Custom("a.B".to_owned()),
    ] {
        let fixture = Fixture::new("maxFailures=1").await;
        let refused = run(Err(LoginError::new(kind.clone(), "")));
        assert!(fixture.attempt("alice", HERE, NOW, refused).await.1.is_some(), "{kind:?}");
    }
}

const DELAY: Duration = Duration::from_secs(1);

/// A victim of any number of networks waits, and is let in.
#[tokio::test]
async fn failures_elsewhere_delay_and_lock_nobody_out() {
    let fixture = Fixture::new("userDelayAfter=6\nuserDelayMax=1s\nmaxFailures=50").await;
    for network in 0..40 {
        assert_eq!(fixture.count("alice", &format!("198.51.100.{network}")).await, 3);
    }
    assert_eq!(fixture.time("bob", right()).await, (None, false));
    assert_eq!(fixture.time("alice", right()).await, (None, true));
}

#[tokio::test]
async fn a_network_that_fails_under_many_names_is_slowed_but_not_who_logs_in() {
    let fixture = Fixture::new("networkDelayAfter=1\nnetworkDelayMax=1s").await;
    for number in 0..20 {
        assert_eq!(fixture.count(&format!("name{number}"), HERE).await, 3);
    }
    assert_eq!(fixture.time("alice", right()).await, (None, false));
    assert_eq!(fixture.time("alice", wrong()).await, (None, true));
}

#[tokio::test]
async fn a_flood_of_names_does_not_fill_the_store() {
    let mut fixture = Fixture::new("networkDelayMax=0").await;
    fixture.valve.settings.max_tracked = 16;
    for _ in 0..5 {
        fixture.fails("alice", HERE).await;
    }
    for number in 0..100 {
        fixture.fails(&format!("name{number}"), HERE).await;
        assert!(fixture.rows().await <= 16 + 16 / 8 + 1);
    }
    assert!(!fixture.fails("alice", HERE).await, "what is locked is forgotten last");
}

/// Sixteen at a time: more than may be looked at, all of them right.
#[tokio::test]
async fn honest_logins_at_once_wait_for_each_other() {
    let fixture = Fixture::new("").await;
    let attempts = (0..16).map(|_| fixture.attempt("alice", HERE, NOW, right()));
    for (refused, _) in futures_util::future::join_all(attempts).await {
        assert_eq!(refused, None);
    }
}

#[tokio::test]
async fn without_a_store_nobody_logs_in() {
    let services = Services::new(Shared::offline(), "system", BTreeMap::new());
    let mut params = Options::new(Path::new("t"), 1, "parameter");
    let valve = construct(&mut params, &services, &mut Problems::default());
    let answers = BTreeMap::from([("username".to_owned(), Secret::from("alice"))]);
    let now = Timestamp::from_second(NOW).unwrap();
    let attempt = LoginAttempt { answers: &answers, client: HERE.parse().unwrap(), now, remembered: None };
    assert_eq!(valve.before(&attempt).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[test]
fn wrong_parameters_are_problems() {
    assert_eq!(settings("").1, "");
    for (text, expected) in [
        ("maxFailures=0", "t:1: parameter `maxFailures` must be between 1 and"),
        ("maxFailures=many", "t:1: property `maxFailures`: `many` is not a number"),
        ("failureWindow=0", "t:1: parameter `failureWindow` must be at least 1s"),
        ("failureWindow=500ms", "t:1: parameter `failureWindow` must be at least 1s"),
        ("lockDuration=5h", "lockDuration must be at most lockDurationMax"),
        ("ipv4Prefix=33", "t:1: parameter `ipv4Prefix` must be between 8 and 32"),
        ("ipv4Prefix=0", "t:1: parameter `ipv4Prefix` must be between 8 and 32"),
        ("ipv6Prefix=129", "t:1: parameter `ipv6Prefix` must be between 16 and 128"),
        ("userDelayMax=6s", "t:1: parameter `userDelayMax` must be at most 5s"),
        ("networkDelayMax=1h", "t:1: parameter `networkDelayMax` must be at most 5s"),
        ("maxTracked=1", "t:1: parameter `maxTracked` must be between 1000 and"),
        ("maxFailure=3", "t:1: unknown property `maxFailure`, did you mean `maxFailures`?"),
    ] {
        let (_, problems) = settings(text);
        assert!(problems.starts_with(expected) || problems.ends_with(expected), "{text}: {problems}");
    }
}
