//! Codes at a server of their own.

use std::sync::Arc;

use futures_util::future::join_all;
use shared_proto::check::{CheckRequest, CheckResponse, Client, SessionStanding};
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest};

use super::*;
use crate::agents::Rights;
use crate::enforcement::{check, login, logout};
use crate::session::SessionStore;
use crate::testkit::{PASSWORD, Site, keep_session};

const THERE: &str = "https://shop.test:8443";

fn agent(hosts: &[&str], entries: &[&str]) -> Registered {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (domains, capabilities) = (list(&["system", "other"]), vec![Capability::Enforce]);
    let rights = Rights { domains, hosts: list(hosts), entries: list(entries), capabilities };
    Registered { name: "web1".into(), fingerprint: String::new(), rights, created: 0 }
}

fn client() -> Client {
    Client { address: [192, 0, 2, 1].into(), user_agent: String::new() }
}

/// What the login host asks for this session.
fn leaving(session: &Secret) -> HandoverRequest {
    HandoverRequest {
        request_id: "r".into(),
        host: "login.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        session: session.clone(),
        audience: THERE.into(),
        target: "/x?a=b".into(),
        binding: "bound".into(),
        client: client(),
    }
}

/// What the site asks that is sent the code.
fn coming(code: &Secret) -> RedeemRequest {
    RedeemRequest {
        request_id: "r".into(),
        host: "shop.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        audience: THERE.into(),
        code: code.clone(),
        binding: "bound".into(),
        previous_session: None,
        remember: None,
        client: client(),
    }
}

fn handover() -> Handover {
    Handover {
        session: "one".into(),
        domain: "system".into(),
        entry: "http".into(),
        audience: THERE.into(),
        target: "/".into(),
        binding: "bound".into(),
        expires: 60,
    }
}

fn home(host: &str) -> Home<'_> {
    Home { host, address: "192.0.2.1" }
}

/// A server, and alice's session there.
struct World {
    site: Site,
    server: Arc<Server>,
    session: Secret,
}

impl World {
    async fn new() -> Self {
        Self::at(Site::new()).await
    }

    async fn at(site: Site) -> Self {
        let server = site.server().await;
        let session = log_in(&server).await;
        Self { site, server, session }
    }

    async fn code(&self) -> Secret {
        match hand_over(&self.server, &agent(&["login.test"], &["http"]), &leaving(&self.session)).await {
            Ok(HandoverResponse::Ready { code }) => code,
            other => panic!("{other:?}"),
        }
    }

    async fn show(&self, request: &RedeemRequest) -> Option<Secret> {
        let sites = agent(&["shop.test", "login.test"], &["http"]);
        match redeem(&self.server, &sites, request).await.unwrap() {
            RedeemResponse::Success { session, target, .. } => {
                assert_eq!(target, "/x?a=b");
                Some(session)
            }
            RedeemResponse::Refused => None,
            RedeemResponse::Unknown => panic!("the server knows what it says"),
        }
    }

    /// What the site at that host is told.
    async fn ask(&self, token: &Secret, host: &str, client: Client) -> CheckResponse {
        let request = CheckRequest {
            request_id: "r".into(),
            scheme: "https".into(),
            host: host.into(),
            port: 443,
            method: "GET".into(),
            path: "/private/".into(),
            query: None,
            domain: "system".into(),
            entry: "http".into(),
            session: Some(token.clone()),
            client_cert: None,
            client,
        };
        let position = self.server.store.position().await.unwrap();
        check(&self.server, position, &agent(&[host], &["http"]), &request).await.unwrap()
    }

    /// The id of a token's session.
    async fn of(&self, token: &Secret) -> Option<String> {
        self.server.sessions.of_token(token, "shop.test").await.unwrap().map(|session| session.id)
    }
}

async fn log_in(server: &Arc<Server>) -> Secret {
    let callbacks = [("username", "alice"), ("password", PASSWORD)];
    let request = LoginRequest {
        request_id: "r".into(),
        host: "login.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        callbacks: callbacks.map(|(name, value)| (name.to_owned(), value.into())).into(),
        previous_session: None,
        remember: None,
        forget: false,
        client: client(),
    };
    match login(Arc::clone(server), agent(&["login.test"], &["http"]), request).await {
        Ok(LoginResponse::Success { session, .. }) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_opened_by_as_many_tokens_as_hosts_and_ends_once() {
    let world = World::new().await;
    let (first, second) = (world.code().await, world.code().await);
    let there = world.show(&coming(&first)).await.unwrap();
    let also = world.show(&coming(&second)).await.unwrap();
    let all = [world.session.clone(), there.clone(), also];
    let id = world.of(&world.session).await;
    for token in &all {
        assert!(id.is_some() && world.of(token).await == id);
    }
    let event = world.site.events("session-handed-over").remove(0);
    assert_eq!((event["session"].as_str(), event["host"].as_str()), (id.as_deref(), Some("shop.test")), "{event}");
    let pending = world.code().await;
    let (request_id, host, session) = ("r".into(), "shop.test".into(), Some(there));
    let goodbye = LogoutRequest { request_id, host, session, remember: None, client: client() };
    logout(&world.server, &agent(&["shop.test"], &["http"]), &goodbye).await.unwrap();
    for token in &all {
        assert_eq!(world.of(token).await, None);
    }
    assert!(world.show(&coming(&pending)).await.is_none(), "the session is over");
}

/// What was handed over is worth nothing to whoever carries it off: at no other site, and for no code.
#[tokio::test]
async fn a_token_is_good_where_it_was_handed_over_to() {
    let world = World::new().await;
    let there = world.show(&coming(&world.code().await)).await.unwrap();
    let all = agent(&["login.test", "shop.test", "xshop.test"], &["http"]);
    for (token, host, is_good) in [
        (&there, "shop.test", true),
        (&there, "login.test", false),
        (&there, "xshop.test", false),
        (&world.session, "shop.test", true),
        (&world.session, "login.test", true),
    ] {
        let answer = world.ask(token, host, client()).await;
        let expected = if is_good { SessionStanding::Live } else { SessionStanding::Ended };
        assert_eq!((answer.session, answer.identity.is_some()), (expected, is_good), "{host}");
    }
    for host in ["shop.test", "login.test"] {
        let onwards = HandoverRequest { host: host.into(), ..leaving(&there) };
        let answer = hand_over(&world.server, &all, &onwards).await.unwrap();
        assert!(matches!(answer, HandoverResponse::NoSession), "{host}: {answer:?}");
    }
    // An older agent does not say where it is.
    for (host, ends) in [("login.test", false), ("", false), ("shop.test", true)] {
        let (request_id, host, session) = ("r".into(), host.into(), Some(there.clone()));
        let goodbye = LogoutRequest { request_id, host, session, remember: None, client: client() };
        logout(&world.server, &all, &goodbye).await.unwrap();
        assert_eq!(world.of(&world.session).await.is_none(), ends, "{goodbye:?}");
    }
}

/// Hosts may be reached by different protocols, and so from different addresses.
#[tokio::test]
async fn a_token_is_of_the_network_that_it_was_fetched_from() {
    let site = Site::new();
    let network = |name: &str| format!("<param name=\"clientNetwork\" value=\"{name}\"/>");
    site.edit("security-domain.xml", &network("none"), &network("exact"));
    let world = World::at(site).await;
    let from = |address: &str| Client { address: address.parse().unwrap(), user_agent: String::new() };
    let request = RedeemRequest { client: from("2001:db8::1"), ..coming(&world.code().await) };
    let there = world.show(&request).await.unwrap();
    for (token, address, expected) in [
        (&there, "2001:db8::1", SessionStanding::Live),
        (&there, "192.0.2.1", SessionStanding::None),
        (&world.session, "192.0.2.1", SessionStanding::Live),
        (&world.session, "2001:db8::1", SessionStanding::None),
    ] {
        assert_eq!(world.ask(token, "shop.test", from(address)).await.session, expected, "{address}");
    }
    let abroad = HandoverRequest { client: from("2001:db8::1"), ..leaving(&world.session) };
    let answer = hand_over(&world.server, &agent(&["login.test"], &["http"]), &abroad).await.unwrap();
    assert!(matches!(answer, HandoverResponse::NoSession), "{answer:?}");
}

/// However often a session is handed over, what there is of it is bounded, and the newest and the login's are there.
#[tokio::test]
async fn tokens_and_codes_of_a_session_are_bounded() {
    let world = World::new().await;
    let (store, id) = (&world.server.store, world.of(&world.session).await.unwrap());
    let hash = |number: i64| TokenHash::of(&number.to_string().as_str().into());
    let found = async |number, host: &str| store.find(&hash(number), host).await.unwrap().is_some();
    for number in 0..6 {
        assert!(store.add_token(&hash(number), &id, &home("one.test"), number).await.unwrap());
    }
    for number in 0..6 {
        assert_eq!(found(number, "one.test").await, number >= 2, "{number}");
    }
    for number in 6..70 {
        let host = format!("{number}.test");
        assert!(store.add_token(&hash(number), &id, &home(&host), number).await.unwrap());
        assert!(found(number, &host).await);
        assert_eq!(found(5, "one.test").await, number < 69, "{number}");
    }
    assert!(world.of(&world.session).await.is_some());
    let mut codes = Vec::new();
    for number in 0..20 {
        let handover = Handover { session: id.clone(), expires: number, ..handover() };
        assert!(store.add_handover(&hash(number), &handover).await.unwrap());
        codes.push(hash(number));
    }
    let taken = join_all(codes.iter().map(|code| store.take_handover(code))).await;
    let left: Vec<_> = taken.into_iter().map(|taken| taken.unwrap().is_some()).collect();
    assert_eq!(left, (0..20).map(|number| number >= 4).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_a_live_session_of_the_entry_is_handed_over() {
    let world = World::new().await;
    let now = world.server.now().as_second();
    keep_session(&world.server, "over", "system", now, now).await;
    keep_session(&world.server, "elsewhere", "other", now, now + 1_000).await;
    let mine = agent(&["login.test"], &["http"]);
    for session in ["", "none", "over", "elsewhere"] {
        let answer = hand_over(&world.server, &mine, &leaving(&session.into())).await.unwrap();
        assert!(matches!(answer, HandoverResponse::NoSession), "{session}: {answer:?}");
    }
    let stranger = agent(&["shop.test"], &["http"]);
    let refused = hand_over(&world.server, &stranger, &leaving(&world.session)).await;
    assert!(matches!(refused, Err(EnforcementError::NotAllowed(_))), "{refused:?}");
}

/// Whatever does not fit, the code is gone afterwards, and the audit log says why.
#[tokio::test]
async fn a_code_is_good_for_one_site_and_one_browser() {
    let world = World::new().await;
    let check = async |change: fn(&mut RedeemRequest), reason: &str| {
        let code = world.code().await;
        let mut wrong = coming(&code);
        change(&mut wrong);
        assert!(world.show(&wrong).await.is_none(), "{reason}");
        let event = world.site.events("handover-refused").pop().unwrap();
        assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
        assert!(world.show(&coming(&code)).await.is_none(), "it was used");
    };
    check(|wrong| wrong.audience = "https://shop.test".into(), "another site").await;
    check(|wrong| wrong.audience = "http://shop.test:8443".into(), "another site").await;
    check(|wrong| wrong.audience = "https://login.test".into(), "another site").await;
    // The agent of one host says that it is another.
    check(|wrong| wrong.host = "login.test".into(), "another site").await;
    check(|wrong| wrong.binding = "other".into(), "another browser").await;
    check(|wrong| wrong.binding = String::new(), "another browser").await;
    for code in ["", "x"] {
        assert!(world.show(&coming(&code.into())).await.is_none());
    }
    // What is no agent of that site's does not even use it up.
    let code = world.code().await;
    let refused = redeem(&world.server, &agent(&["login.test"], &["http"]), &coming(&code)).await;
    assert!(matches!(refused, Err(EnforcementError::NotAllowed(_))), "{refused:?}");
    assert!(world.show(&coming(&code)).await.is_some());
}

#[tokio::test]
async fn a_code_that_was_bound_to_nothing_opens_nothing() {
    let world = World::new().await;
    let unbound = HandoverRequest { binding: String::new(), ..leaving(&world.session) };
    let made = hand_over(&world.server, &agent(&["login.test"], &["http"]), &unbound).await.unwrap();
    let HandoverResponse::Ready { code } = made else { panic!("{made:?}") };
    assert!(world.show(&RedeemRequest { binding: String::new(), ..coming(&code) }).await.is_none());
}

#[test]
fn a_minute_is_a_minute_and_entries_count() {
    let handover = handover();
    let request = coming(&"code".into());
    let check = |handover: &Handover, entries: &[&str], now, expected: Option<&str>| {
        let found = misfit(handover, &agent(&["shop.test"], entries), &request, now);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
    };
    check(&handover, &["http"], 0, None);
    check(&handover, &["http"], 59, None);
    check(&handover, &["http"], 60, Some("minute"));
    check(&handover, &["strong"], 0, Some("entry"));
    check(&Handover { entry: "strong".into(), ..handover.clone() }, &["http"], 0, Some("entry"));
    check(&Handover { domain: "other".into(), ..handover.clone() }, &["http"], 0, Some("domain"));
    check(&Handover { audience: "shop.test".into(), ..handover }, &["http"], 0, Some("site"));
}

#[tokio::test]
async fn of_all_who_show_a_code_at_once_one_is_let_in() {
    let world = World::new().await;
    let request = coming(&world.code().await);
    let shown = join_all((0..20).map(|_| world.show(&request))).await;
    assert_eq!(shown.into_iter().flatten().count(), 1);
}

#[tokio::test]
async fn the_session_that_a_browser_had_ends_unless_it_is_the_same() {
    let world = World::new().await;
    let other = log_in(&world.server).await;
    let tab = world.show(&coming(&world.code().await)).await.unwrap();
    let again = RedeemRequest { previous_session: Some(tab.clone()), ..coming(&world.code().await) };
    assert!(world.show(&again).await.is_some());
    assert!(world.of(&tab).await.is_some(), "two tabs at once");
    let instead = RedeemRequest { previous_session: Some(other.clone()), ..coming(&world.code().await) };
    assert!(world.show(&instead).await.is_some());
    assert!(world.of(&other).await.is_none() && world.of(&tab).await.is_some());
}
