//! How long a session lives, how many a person has, from where they count and how fresh they must be: through the product.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use policy_server::session::limits::{Crowd, WhenTooMany};
use policy_server::session::{Filter, SessionStore, TokenHash, Turn};
use serde_json::Value;
use shared_proto::secret::Secret;
use tests::client::is_deletion;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Client, Reply, within_async};

use crate::remember_me::{self, Outcome, PASSED, REMEMBERED, SESSION, SOON, World, domain_file};
use crate::store::{session, stores};

const PAGE: &str = "/private/page";

/// A server whose sessions have these parameters, instead of those of the same name.
fn files(params: &[(&str, &str)]) -> Files {
    let files = Files::new("One", None);
    replace(&domain_file(&files, "security-domain.xml"), |text| {
        let is_given = |line: &str| params.iter().any(|(name, _)| line.contains(&format!("<param name=\"{name}\"")));
        let kept: Vec<&str> = text.lines().filter(|line| !is_given(line)).collect();
        let given: String =
            params.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>\n")).collect();
        let recheck = "<param name=\"recheckInterval\"";
        assert!(text.contains(recheck), "{text}");
        kept.join("\n").replace(recheck, &format!("{given}{recheck}"))
    });
    files
}

impl World {
    /// Their public ids.
    fn sessions(&self) -> BTreeSet<String> {
        let listed = self.files.cams(&["session", "list", "--json"]).json();
        listed.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn logged_in(&self) -> Client {
        let client = self.client();
        assert_eq!(client.log_in("alice", PASSWORD, PAGE).await.status, 303);
        client
    }
}

async fn passes(client: &Client) -> bool {
    match client.get_unless_cut(PAGE).await.map(|reply| reply.status.as_u16()) {
        Some(PASSED) => true,
        Some(302) | None => false,
        other => panic!("{other:?}"),
    }
}

/// Twenty at once, at two servers: at no moment are there more than there may be.
#[tokio::test(flavor = "multi_thread")]
async fn logins_at_the_same_moment_keep_the_limit() {
    for fixture in stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        for (user, beyond) in [("alice", WhenTooMany::Refuse), ("bob", WhenTooMany::EndOldest)] {
            let before = servers[0].position().await.unwrap().seq;
            let logins = (0..20).map(|number| {
                let server = servers[number % 2].clone();
                tokio::spawn(async move {
                    let (token, session) = session(&format!("{user}{number}"), user, 100);
                    let crowd = Crowd { most: NonZeroUsize::new(3).unwrap(), beyond };
                    let turn = Turn { crowd, replaces: None, idle_since: 0 };
                    let ended = server.insert_in_turn(&token, &session, &turn).await.unwrap();
                    let of_user = Filter { user: Some(user.to_owned()), ..Filter::default() };
                    assert!(server.list(&of_user).await.unwrap().len() <= 3);
                    ended.map(|ended| ended.len())
                })
            });
            let opened: Vec<usize> = join_all(logins).await.into_iter().filter_map(Result::unwrap).collect();
            let ended = opened.iter().sum::<usize>();
            let expected = if beyond == WhenTooMany::Refuse { (3, 0) } else { (20, 17) };
            assert_eq!((opened.len(), ended), expected, "{user}");
            assert_eq!(servers[1].events_after(before, 100).await.unwrap().len(), ended, "agents are told");
        }
        // The former session makes room, and what was idle for long takes none; another person has room of their own.
        let (token, new) = session("new", "alice", 100);
        let crowd = Crowd { most: NonZeroUsize::new(3).unwrap(), beyond: WhenTooMany::Refuse };
        let former = servers[0].list(&Filter { user: Some("alice".into()), ..Filter::default() }).await.unwrap();
        for (replaces, idle_since, expected) in [
            (None, 99, None),
            (Some("another"), 99, None),
            (Some(former[0].id.as_str()), 99, Some(1)),
            (None, 100, Some(0)),
        ] {
            let turn = Turn { crowd, replaces, idle_since };
            let ended = servers[0].insert_in_turn(&token, &new, &turn).await.unwrap();
            assert_eq!(ended.map(|ended| ended.len()), expected, "{replaces:?}");
            servers[0].delete(&new.id).await.unwrap();
        }
        assert!(servers[0].find(&TokenHash::of(&Secret::from("new")), "").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_person_has_so_many_sessions() {
    const TOO_MANY: &str = "You are logged in too often";
    for way in ["refuse", "endOldest"] {
        let world = World::of(files(&[("maximumSessions", "2"), ("whenTooMany", way)])).await;
        let first = world.logged_in().await;
        let before = world.sessions();
        // Logging in again in the same browser is another id and no second session.
        let former = first.cookie(SESSION).unwrap();
        assert_eq!(first.log_in("alice", PASSWORD, PAGE).await.status, 303);
        assert_ne!(first.cookie(SESSION).unwrap(), former);
        assert!(world.sessions().len() == 1 && world.sessions().is_disjoint(&before));
        let second = world.logged_in().await;
        assert!(passes(&first).await && passes(&second).await);
        let third = world.client();
        let wrong = third.log_in("alice", "wrong", PAGE).await;
        assert!(wrong.status == 401 && !wrong.text().contains(TOO_MANY), "{wrong:?}");
        let reply = third.log_in("alice", PASSWORD, PAGE).await;
        if way == "refuse" {
            assert!(reply.status == 401 && reply.text().contains(TOO_MANY), "{reply:?}");
            assert!(passes(&first).await && passes(&second).await && third.cookie(SESSION).is_none());
            second.get("/cams/logout").await;
            assert_eq!(third.log_in("alice", PASSWORD, PAGE).await.status, 303);
        } else {
            assert_eq!(reply.status, 303);
            within_async(SOON, "one of the older ones ends", async || !passes(&first).await || !passes(&second).await)
                .await;
        }
        assert!(passes(&third).await);
        assert_eq!(world.sessions().len(), 2, "{way}");
        assert_eq!(world.client().log_in("bob", PASSWORD, PAGE).await.status, 303);
    }
}

/// A session that is used outlives its idle limit by far, and not its lifetime; one that is not used does not.
#[tokio::test]
async fn a_session_ends_unused_and_at_its_time() {
    let world = World::of(files(&[("idleTimeout", "3s"), ("maximumLifetime", "8s")])).await;
    let (used, unused) = (world.logged_in().await, world.logged_in().await);
    let began = Instant::now();
    assert_eq!(world.sessions().len(), 2);
    let mut lived = Duration::ZERO;
    let mut last: Option<Reply> = None;
    while began.elapsed() < SOON && last.as_ref().is_none_or(|reply| reply.status == PASSED) {
        lived = began.elapsed();
        last = used.get_unless_cut(PAGE).await.or(last);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reply = last.unwrap();
    assert_eq!(reply.status, 302, "its time is over: {lived:?}");
    assert!(reply.cookies().iter().any(|cookie| cookie.name() == SESSION && is_deletion(cookie)), "{reply:?}");
    assert!((Duration::from_secs(6)..Duration::from_secs(12)).contains(&lived), "{lived:?}");
    assert_eq!(world.sessions(), BTreeSet::new(), "the other one ended long before");
    assert!(!passes(&unused).await);
    let reasons: Vec<Value> = world.events("session-ended").iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, ["its time was over"; 2]);
}

/// A page as a browser at this address asks for it.
async fn from(client: &Client, address: &str) -> Reply {
    let request = Request::get(PAGE).header("accept", "text/html").header("sec-fetch-mode", "navigate");
    client.request(request.header("x-forwarded-for", address).body(Full::default()).unwrap()).await
}

async fn log_in_from(client: &Client, address: &str) -> Reply {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", PAGE),
        ("cams_cb_username", "alice"),
        ("cams_cb_password", PASSWORD),
    ];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post("/cams/login")
        .header("origin", client.origin().origin())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-forwarded-for", address);
    client.request(request.body(Full::from(body)).unwrap()).await
}

/// A copied cookie opens nothing elsewhere, not even what the agent remembers, and harms nobody's session.
#[tokio::test]
async fn a_session_counts_in_its_own_network() {
    const HOME: &str = "192.0.2.7";
    let files = files(&[("clientNetwork", "subnet")]);
    let server = files.start().await;
    let address = server.address.to_string();
    let properties = [("cams.policy.server.1", address.as_str()), ("cams.trusted.proxies", "127.0.0.1")];
    let agent = Agent::of(&files.conf(), "probe", &[("app.test", "http://127.0.0.1:9")], &properties).await;
    let client = Client::new(&format!("http://app.test:{}", agent.address.port()), None);
    assert_eq!(log_in_from(&client, HOME).await.status, 303);
    let token = client.cookie(SESSION).unwrap();
    for (address, expected) in [
        (HOME, PASSED),
        (HOME, PASSED),
        ("203.0.113.5", 302),
        ("192.0.2.200", PASSED),
        ("203.0.113.5", 302),
        ("192.0.3.7", 302),
        (HOME, PASSED),
    ] {
        let reply = from(&client, address).await;
        assert_eq!(reply.status, expected, "{address}: {reply:?}");
        assert!(reply.cookies().iter().all(|cookie| cookie.name() != SESSION), "{address}: {reply:?}");
    }
    let audit = std::fs::read_to_string(files.path("data/audit.jsonl")).unwrap();
    assert_eq!(audit.matches("\"session-elsewhere\"").count(), 2, "once for each move: {audit}");
    // Whoever moved logs in anew, which replaces the session at home.
    assert_eq!(log_in_from(&client, "203.0.113.5").await.status, 303);
    assert_ne!(client.cookie(SESSION).unwrap(), token);
    assert_eq!(from(&client, "203.0.113.5").await.status, PASSED);
    client.set_cookie(SESSION, &token);
    assert_eq!(from(&client, HOME).await.status, 302);
    assert_eq!(files.cams(&["session", "list", "--json"]).json().as_array().unwrap().len(), 1);
}

/// A remembered browser reads on, but is asked before it may do what matters, and so is who typed too long ago.
#[tokio::test]
async fn what_matters_asks_for_a_fresh_login() {
    const MATTERS: &str = "/admin/transfer";
    const MAX_AGE: Duration = Duration::from_secs(3);
    let files = files(&[]);
    remember_me::remember(&files, &remember_me::valve());
    replace(&domain_file(&files, "access-control-policy.xml"), |text| {
        let rule = "<auth roles=\"admin\"/>";
        assert!(text.contains(rule), "{text}");
        text.replace(rule, "<auth-method name=\"form\" maxAge=\"3s\"/>")
    });
    let explain = |further: &[&str]| {
        let asked = ["explain", "--url", "https://app.test/admin/transfer", "--user", "alice", "--json"];
        files.cams(&[&asked, further].concat()).json()["decision"].clone()
    };
    assert_eq!(explain(&[]), "granted");
    assert_eq!(explain(&["--typed-ago", "2s"]), "granted");
    assert_eq!(explain(&["--typed-ago", "3s"]), "login-required");
    assert_eq!(explain(&["--remembered"]), "login-required");
    let world = World::of(files).await;
    let cookie = world.remembered("alice", PASSWORD).await;
    let back = world.visit(&cookie).await;
    assert_eq!(back.outcome(), Outcome::LoggedIn);
    let remembered = back.client.cookie(SESSION).unwrap();
    let attempts = world.events("login").len();
    let asked = back.client.get(MATTERS).await;
    assert!(
        asked.status == 302 && asked.cookies().iter().all(|cookie| ![SESSION, REMEMBERED].contains(&cookie.name())),
        "{asked:?}"
    );
    assert!(asked.location().contains("cams_login_config=http"), "{asked:?}");
    let form = asked.location();
    let form = back.client.get(&form[form.find("/cams/login").unwrap()..]).await;
    assert!(form.status == 200 && form.text().contains("cams_cb_password"), "{form:?}");
    assert_eq!(world.events("login").len(), attempts, "no cookie stands in for typing");
    assert!(passes(&back.client).await, "the session stands");

    let typed = Instant::now();
    assert_eq!(back.client.log_in("alice", PASSWORD, MATTERS).await.location(), MATTERS);
    assert_ne!(back.client.cookie(SESSION).unwrap(), remembered, "no session survives a login");
    let mut last = None;
    within_async(SOON, "the login is too long ago", async || {
        let (at, status) = (typed.elapsed(), back.client.get(MATTERS).await.status.as_u16());
        match status {
            PASSED => assert!(at < MAX_AGE + Duration::from_secs(1), "{at:?}: memory holds no longer than the rule"),
            302 => last = Some(at),
            other => panic!("{other}"),
        }
        last.is_some()
    })
    .await;
    assert!(last.unwrap() > MAX_AGE - Duration::from_secs(2), "{last:?}");
    assert!(passes(&back.client).await);
    // Nobody asked to be remembered this time: no old cookie is of use.
    assert_eq!(world.visit(&cookie).await.outcome(), Outcome::Forgotten);
}
