//! Guessing passwords, through the product: what is counted, what is locked, and who is let in all the same.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tests::link::Link;
use tests::policy_server::{Files, PASSWORD};
use tests::process::signal;
use tests::quickstart::replace;
use tests::{Agent, Client, PolicyServer, Postgres, Reply, within};

const LOCKED: &str = "com.cafesoft.cams.auth.MultipleFailedLoginsException";
const FAILED: &str = "javax.security.auth.login.FailedLoginException";
const HERE: &str = "192.0.2.1";
/// How long a changed file may take to count, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// An agent at a policy server; nothing is behind it that these tests ask for.
struct World {
    agent: Agent,
    files: Files,
    _server: PolicyServer,
}

impl World {
    async fn start(properties: &[(&str, &str)]) -> Self {
        let files = Files::new("One", None);
        let server = files.start().await;
        let address = server.address.to_string();
        let properties = [&[("cams.policy.server.1", address.as_str())], properties].concat();
        let agent = Agent::of(&files.conf(), "probe", &[("app.test", "http://127.0.0.1:9")], &properties).await;
        Self { agent, files, _server: server }
    }

    /// Posts the login form as a proxy does for a client with this address.
    async fn log_in(&self, user: &str, password: &str, forwarded_for: &str) -> Reply {
        let client = Client::new(&format!("http://app.test:{}", self.agent.address.port()), None);
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("cams_security_domain", "system"), ("cams_login_config", "http")])
            .extend_pairs([("cams_cb_username", user), ("cams_cb_password", password)])
            .finish();
        let request = Request::post("/cams/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", client.origin().origin())
            .header("x-forwarded-for", forwarded_for);
        client.request(request.body(Full::from(Bytes::from(body))).unwrap()).await
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        events(&self.files, kind)
    }
}

fn events(files: &Files, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(files.path("data/audit.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == kind).collect()
}

/// Logs in over the link; the exception, or nothing.
async fn ask(link: &Link, user: &str, password: &str, address: &str) -> Option<String> {
    let message = json!({
        "request_id": "r", "host": "app.test", "domain": "system", "entry": "http",
        "callbacks": {"username": user, "password": password}, "client": {"address": address},
    });
    let (status, answer) = link.ask("login", &message).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    match answer["is"].as_str() {
        Some("success") => None,
        _ => Some(answer["exception"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
    }
}

async fn linked(files: &Files) -> (PolicyServer, Link) {
    let agent = files.add_agent("web2");
    let server = files.start().await;
    let link = Link::connect(server.address, &agent).await;
    (server, link)
}

/// Fails until the name is locked for this address.
async fn lock(link: &Link, user: &str, address: &str) {
    for _ in 0..5 {
        assert_eq!(ask(link, user, "wrong", address).await.as_deref(), Some(FAILED));
    }
    assert_eq!(ask(link, user, PASSWORD, address).await.as_deref(), Some(LOCKED));
}

/// What a stranger sees, with the name taken out.
fn seen(reply: &Reply, user: &str) -> (StatusCode, BTreeMap<String, String>, String) {
    let headers = reply.headers.iter().filter(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status, headers, reply.text().replace(user, "NAME"))
}

#[tokio::test]
async fn every_spelling_of_a_name_locks_it_for_one_network_alone() {
    let world = World::start(&[("cams.trusted.proxies", "127.0.0.1")]).await;
    for user in ["alice", "ALICE", " alice ", "CORP\\alice", "alice@corp.example"] {
        let failed = world.log_in(user, "wrong", HERE).await;
        assert_eq!(failed.status, 401, "{user}: {failed:?}");
        assert!(failed.text().contains("invalid credentials") && failed.header("retry-after").is_empty());
    }
    for (user, address) in [("alice", HERE), ("uid=alice,ou=people", HERE), ("Alice", "::ffff:192.0.2.1")] {
        let locked = world.log_in(user, PASSWORD, address).await;
        assert_eq!(locked.status, 429, "{user}: {locked:?}");
        let seconds: u64 = locked.header("retry-after").parse().unwrap();
        assert!((600..=900).contains(&seconds), "{seconds}");
        let text = locked.text();
        assert!(text.contains("Authentication failed, too many failed logins. Try again in 1"), "{text}");
        assert!(text.contains(" minutes."), "{text}");
        assert!(locked.cookies().is_empty() && locked.header("www-authenticate").is_empty(), "{locked:?}");
    }
    let elsewhere = world.log_in("alice", PASSWORD, "192.0.2.2").await;
    assert_eq!(elsewhere.status, 303, "{elsewhere:?}");
    assert_eq!(world.log_in("bob", PASSWORD, HERE).await.status, 303, "somebody else behind that address");

    let [event] = &world.events("login-locked")[..] else { panic!("one lock") };
    assert_eq!((&event["user"], &event["network"]), (&"alice@corp.example".into(), &"192.0.2.1/32".into()));
    assert_eq!((&event["failures"], &event["client"]), (&5.into(), &HERE.into()));

    // Who does not exist is answered alike, all along the way.
    for attempt in 0..7 {
        let (known, unknown) = ("alice", "mallo");
        let from = "198.51.100.7";
        let [known, unknown] =
            [(known, world.log_in(known, "wrong", from).await), (unknown, world.log_in(unknown, "wrong", from).await)]
                .map(|(user, reply)| seen(&reply, user));
        assert_eq!(known.0, if attempt < 5 { 401 } else { 429 });
        let without_time = |(status, mut headers, text): (StatusCode, BTreeMap<String, String>, String)| {
            headers.remove("retry-after");
            (status, headers, text)
        };
        assert_eq!(without_time(known), without_time(unknown), "attempt {attempt}");
    }
}

#[tokio::test]
async fn nobody_moves_to_another_network_by_saying_so() {
    let world = World::start(&[]).await;
    for number in 0..5 {
        let failed = world.log_in("alice", "wrong", &format!("192.0.2.{number}")).await;
        assert_eq!(failed.status, 401, "{failed:?}");
    }
    assert_eq!(world.log_in("alice", PASSWORD, "192.0.2.99").await.status, 429);
    assert_eq!(world.events("login-locked")[0]["network"], "127.0.0.1/32");
}

#[tokio::test]
async fn guesses_at_once_get_no_further_than_guesses_in_turn() {
    let files = Files::new("One", None);
    let (_server, link) = linked(&files).await;
    let answers = join_all((0..200).map(|_| ask(&link, "alice", "wrong", HERE))).await;
    let checked = answers.iter().filter(|answer| answer.as_deref() == Some(FAILED)).count();
    assert!(answers.iter().all(Option::is_some) && (1..=5).contains(&checked), "{checked} passwords were looked at");
    let reasons = events(&files, "login-failed");
    let looked_at = |event: &&Value| event["reason"].as_str().unwrap().starts_with("FailedLoginException");
    assert_eq!((reasons.len(), reasons.iter().filter(looked_at).count()), (200, checked));
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await.as_deref(), Some(LOCKED));
}

#[tokio::test]
async fn honest_logins_at_once_all_succeed() {
    let files = Files::new("One", None);
    let (_server, link) = linked(&files).await;
    assert_eq!(join_all((0..12).map(|_| ask(&link, "alice", PASSWORD, HERE))).await, vec![None; 12]);
}

#[tokio::test]
async fn a_lock_survives_the_server_and_an_administrator_opens_it() {
    let files = Files::new("One", None);
    let (mut server, link) = linked(&files).await;
    lock(&link, "alice", HERE).await;
    lock(&link, "alice", "2001:db8::1").await;
    signal(server.process.pid(), "KILL");
    within(SOON, "the server is gone", || server.process.has_ended()).await;

    let server = files.start().await;
    let link = Link::connect(server.address, &files.path("conf/agents/web2")).await;
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await.as_deref(), Some(LOCKED));
    let locks = files.cams(&["user", "locks", "--json"]).json();
    let networks: Vec<&str> = locks.as_array().unwrap().iter().map(|lock| lock["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["192.0.2.1/32", "2001:db8::/64"]);
    assert!(locks[0]["locked_until"].as_i64().is_some() && locks[0]["failures"] == 5, "{locks}");
    assert!(!locks.to_string().contains("alice"));

    files.cams(&["user", "unlock", "alice", "--domain", "other"]).success();
    files.cams(&["user", "unlock", "alice", "--network", "192.0.2.9"]).success();
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await.as_deref(), Some(LOCKED));
    let said = files.cams(&["user", "unlock", "CORP\\Alice", "--network", "192.0.2.0/24"]).success();
    assert!(said.contains("192.0.2.1/32"), "{said}");
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await, None);
    assert_eq!(ask(&link, "alice", PASSWORD, "2001:db8::ffff").await.as_deref(), Some(LOCKED));
    files.cams(&["user", "unlock", "alice"]).success();
    assert_eq!(ask(&link, "alice", PASSWORD, "2001:db8::ffff").await, None);
    assert_eq!(files.cams(&["user", "locks", "--json"]).json(), json!([]));
    let unlocked = events(&files, "login-unlocked");
    assert_eq!(unlocked.len(), 2);
    assert_eq!((&unlocked[0]["user"], &unlocked[0]["failures"]), (&"CORP\\Alice".into(), &5.into()));
    assert!(unlocked[0]["actor"].as_str().unwrap().starts_with("uid "));
    assert_eq!(files.cams(&["user", "unlock", "alice", "--network", "here"]).code, 2);
}

#[tokio::test]
async fn policy_servers_of_one_store_count_together() {
    let Some(postgres) = Postgres::start().await else { return };
    let url = postgres.database();
    let files = Files::new("One", Some(&url));
    let peer = files.peer("Two", &url);
    let (_one, here) = linked(&files).await;
    let two = peer.start().await;
    let there = Link::connect(two.address, &files.path("conf/agents/web2")).await;
    let guesses = (0..20).map(|number| ask(if number % 2 == 0 { &here } else { &there }, "alice", "wrong", HERE));
    let answers = join_all(guesses).await;
    let checked = answers.iter().filter(|answer| answer.as_deref() == Some(FAILED)).count();
    assert!((1..=5).contains(&checked), "{checked} passwords were looked at");
    for link in [&here, &there] {
        assert_eq!(ask(link, "alice", PASSWORD, HERE).await.as_deref(), Some(LOCKED));
    }
    peer.cams(&["user", "unlock", "alice"]).success();
    assert_eq!(ask(&here, "alice", PASSWORD, HERE).await, None);
}

#[tokio::test]
async fn from_many_networks_a_person_is_delayed_and_never_locked_out() {
    const NETWORKS: usize = 12;
    let files = Files::new("One", None);
    let (_server, link) = linked(&files).await;
    for wave in 0..5 {
        let from = (0..NETWORKS).map(|network| format!("198.51.100.{network}"));
        let answers = join_all(from.map(async |from| ask(&link, "alice", &format!("wrong{wave}"), &from).await)).await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Some(FAILED)), "{answers:?}");
    }
    let start = Instant::now();
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await, None);
    let delayed = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&delayed), "{delayed:?}");
    let start = Instant::now();
    assert_eq!(ask(&link, "bob", PASSWORD, HERE).await, None);
    assert!(start.elapsed() < delayed, "nobody else waits as long");
}

#[tokio::test]
async fn a_throttle_that_is_turned_off_locks_nobody() {
    let files = Files::new("One", None);
    replace(&files.path("conf/domains/system/security-domain.xml"), |text| {
        text.replace("ThrottleAuthValve\" enabled=\"true\"", "ThrottleAuthValve\" enabled=\"false\"")
    });
    let (_server, link) = linked(&files).await;
    for _ in 0..8 {
        assert_eq!(ask(&link, "alice", "wrong", HERE).await.as_deref(), Some(FAILED));
    }
    assert_eq!(ask(&link, "alice", PASSWORD, HERE).await, None);
    let check = files.cams(&["check"]);
    assert!(check.code == 0 && format!("{check:?}").contains("ThrottleAuthValve is turned off"), "{check:?}");
}

/// Texts for some classes: its own, that of the class above, and the last resort.
const TEXTS: &str = "javax.security.auth.login.FailedLoginException.message=\"Nope\"\n\
    javax.security.auth.login.AccountException.message=\\\n    \"Closed & \\\"sealed\\\"\"\n\
    javax.security.auth.login.LoginException.message=Something else\n";

/// Who, with which password, and the class and text of the answer.
const CASES: [(&str, &str, &str, &str); 8] = [
    ("alice", "wrong", FAILED, "Nope"),
    ("nobody", PASSWORD, FAILED, "Nope"),
    ("disabled", "wrong", FAILED, "Nope"),
    ("expired", "wrong", FAILED, "Nope"),
    ("disabled", PASSWORD, "javax.security.auth.login.AccountException", "Closed & \"sealed\""),
    ("expired", PASSWORD, "javax.security.auth.login.AccountExpiredException", "Closed & \"sealed\""),
    ("stale", PASSWORD, "javax.security.auth.login.CredentialExpiredException", "Something else"),
    ("locked", PASSWORD, LOCKED, "Nope"),
];

fn parameters(reply: &Reply) -> BTreeMap<String, String> {
    let location = reply.location();
    let query = location.split_once('?').unwrap_or_else(|| panic!("{reply:?}")).1.to_owned();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn the_text_is_that_of_the_nearest_class_on_every_login_page() {
    let world = World::start(&[]).await;
    let file = |name: &str| world.files.path("conf/domains/system").join(name);
    replace(&file("cams-users.xml"), |users| {
        let bob = users.lines().find(|line| line.contains("'bob'")).unwrap();
        let other = |name: &str| bob.replace("'bob'", name);
        let others = [
            other("'disabled' enabled='false'"),
            other("'expired' expires='2020-01-01'"),
            other("'stale' credential-expires='2020-01-01'"),
            other("'locked'"),
        ];
        users.replace("</cams-users>", &format!("{}\n</cams-users>", others.join("\n")))
    });
    fs::write(file("login-exception.properties"), TEXTS).unwrap();
    // The users come with it: they were changed before.
    within(SOON, "the texts are taken over", || world.events("configuration-loaded").len() == 2).await;
    for _ in 0..5 {
        assert_eq!(world.log_in("locked", "wrong", HERE).await.status, 401);
    }

    for (user, password, class, text) in CASES {
        let failed = world.log_in(user, password, HERE).await;
        assert_eq!(failed.status, if class == LOCKED { 429 } else { 401 }, "{user}: {failed:?}");
        let escaped = text.replace('&', "&amp;").replace('"', "&quot;");
        assert!(
            failed.text().contains(&escaped) && failed.cookies().is_empty(),
            "{user}: no {escaped} in {}",
            failed.text()
        );
    }
    // Whoever does not know the password learns nothing about the account.
    let strangers = ["alice", "nobody", "disabled", "expired"].map(|user| (user, world.log_in(user, "wrong", HERE)));
    let mut answers = Vec::new();
    for (user, answer) in strangers {
        answers.push(seen(&answer.await, user));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");

    replace(&file("login-config.xml"), |text| text.replace("https://login.example.org/cams/login", "/public/in?a=b"));
    within(SOON, "the login page is another", || world.events("configuration-loaded").len() == 3).await;
    for user in ["alice", "nobody", "disabled", "expired"] {
        world.files.cams(&["user", "unlock", user]).success();
    }
    for (user, password, class, text) in CASES {
        let failed = world.log_in(user, password, HERE).await;
        assert_eq!(failed.status, 303, "{user}: {failed:?}");
        assert!(failed.location().contains("/public/in?a=b&") && failed.cookies().is_empty(), "{}", failed.location());
        let told = parameters(&failed);
        assert_eq!((told["cams_error"].as_str(), told["cams_exception"].as_str()), ("5000", class), "{user}");
        assert_eq!(told["cams_message"], text, "{user}");
        assert_eq!(told.contains_key("cams_retry_after"), class == LOCKED, "{user}: {told:?}");
    }

    fs::write(file("login-exception.properties"), "# nothing\n").unwrap();
    within(SOON, "the texts are gone", || world.events("configuration-loaded").len() == 4).await;
    let failed = world.log_in("alice", "wrong", HERE).await;
    assert_eq!(parameters(&failed)["cams_message"], "Authentication failed");
}
