//! How many sessions a person may have, from where they count, and how fresh they must be.

use std::sync::Arc;

use shared_proto::check::Client;
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest};

use super::*;
use crate::session::{Filter, SessionStore, TokenHash};
use crate::testkit::{PASSWORD, Site, agent, keep_session};

const TOO_MANY: &str = "com.cafesoft.cams.auth.TooManySessionsException";
const HOME: &str = "192.0.2.1";

/// A site whose sessions have these parameters.
fn site(params: &[(&str, &str)]) -> Site {
    let site = Site::new();
    for (name, value) in params {
        let shipped = [("maximumSessions", "0"), ("whenTooMany", "endOldest"), ("clientNetwork", "none")];
        let (_, shipped) = shipped.into_iter().find(|(known, _)| known == name).unwrap();
        let param = |value: &str| format!("<param name=\"{name}\" value=\"{value}\"/>");
        site.edit("security-domain.xml", &param(shipped), &param(value));
    }
    site
}

fn client(address: &str) -> Client {
    Client { address: address.parse().unwrap(), user_agent: String::new() }
}

/// The session, or the exception.
async fn try_login(server: &Arc<Server>, password: &str, previous: Option<&Secret>) -> Result<Secret, String> {
    let callbacks = [("username", "alice"), ("password", password)];
    let request = LoginRequest {
        request_id: "r".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        callbacks: callbacks.map(|(name, value)| (name.to_owned(), value.into())).into(),
        previous_session: previous.cloned(),
        remember: None,
        forget: false,
        client: client(HOME),
    };
    match login(Arc::clone(server), agent(), request).await {
        Ok(LoginResponse::Success { session, .. }) => Ok(session),
        Ok(LoginResponse::Failure { exception, message, retry_after_seconds: None, .. }) if !message.is_empty() => {
            Err(exception)
        }
        other => panic!("{other:?}"),
    }
}

async fn log_in(server: &Arc<Server>) -> Secret {
    try_login(server, PASSWORD, None).await.unwrap()
}

async fn ask(server: &Server, token: &Secret, address: &str, path: &str) -> CheckResponse {
    let request = CheckRequest {
        request_id: "r".into(),
        scheme: "https".into(),
        host: "app.test".into(),
        port: 443,
        method: "GET".into(),
        path: path.into(),
        query: None,
        domain: "system".into(),
        entry: "http".into(),
        session: Some(token.clone()),
        client_cert: None,
        client: client(address),
    };
    let position = server.store.position().await.unwrap();
    check(server, position, &agent(), &request).await.unwrap()
}

async fn of(server: &Server, token: &Secret) -> Option<Session> {
    server.sessions.of_token(token, "app.test").await.unwrap()
}

/// Makes a session another one that the same token opens.
async fn change(server: &Server, token: &Secret, change: impl FnOnce(&mut Session)) {
    let mut session = of(server, token).await.unwrap();
    assert!(server.sessions.end(&session.id).await.unwrap());
    change(&mut session);
    server.store.insert(&TokenHash::of(token), &session).await.unwrap();
}

#[tokio::test]
async fn the_oldest_makes_room_or_the_newest_gets_none() {
    for way in ["endOldest", "refuse"] {
        let site = site(&[("maximumSessions", "2"), ("whenTooMany", way)]);
        let server = site.server().await;
        // Neither another domain's session nor one that nobody ended yet counts.
        keep_session(&server, "elsewhere", "other", i64::MAX, i64::MAX).await;
        keep_session(&server, "idle", "system", 0, i64::MAX).await;
        let first = log_in(&server).await;
        change(&server, &first, |session| session.created -= 9).await;
        let second = log_in(&server).await;
        let before = server.store.position().await.unwrap().seq;
        // The browser's own former session takes nobody's place.
        let second = try_login(&server, PASSWORD, Some(&second)).await.unwrap();
        assert!(of(&server, &first).await.is_some());
        assert_eq!(
            try_login(&server, "wrong", None).await.unwrap_err(),
            "javax.security.auth.login.FailedLoginException"
        );
        let third = try_login(&server, PASSWORD, None).await;
        let expected = if way == "refuse" { [true, true, false] } else { [false, true, true] };
        let third_token = third.clone().unwrap_or_else(|_| "none".into());
        for (token, is_live) in [&first, &second, &third_token].into_iter().zip(expected) {
            assert_eq!(of(&server, token).await.is_some(), is_live, "{way}");
        }
        let reasons: Vec<_> = site.events("session-ended").iter().map(|event| event["reason"].clone()).collect();
        let told = server.store.events_after(before, 10).await.unwrap();
        if way == "refuse" {
            assert_eq!(third.unwrap_err(), TOO_MANY);
            assert_eq!(reasons, ["replaced by a new login"]);
            assert_eq!(site.events("login-failed").last().unwrap()["reason"], login::TOO_MANY);
            let (request_id, host, session) = ("r".into(), "app.test".into(), Some(first));
            let request = LogoutRequest { request_id, host, session, remember: None, client: client(HOME) };
            logout(&server, &agent(), &request).await.unwrap();
            log_in(&server).await;
        } else {
            assert_eq!((reasons, told.len()), (vec!["replaced by a new login".into(), CROWDED_OUT.into()], 2));
        }
        let all = server.sessions.list(&Filter::default()).await.unwrap();
        assert_eq!(all.len(), 2 + 2, "{way}");
    }
}

/// Whoever shows a session away from home has none, and can end it only as its owner could: by logging out.
#[tokio::test]
async fn a_session_counts_in_its_network_and_lives_on_elsewhere() {
    for (network, near, is_near) in
        [("none", "192.0.2.9", true), ("subnet", "192.0.2.9", true), ("exact", "192.0.2.9", false)]
    {
        let site = site(&[("clientNetwork", network)]);
        let server = site.server().await;
        let token = log_in(&server).await;
        let used = server.now().as_second() - 100;
        change(&server, &token, |session| session.last_used = used).await;
        let shown = async |address: &str| {
            let answer = ask(&server, &token, address, "/private/").await;
            let is_demand = matches!(answer.decision, Decision::LoginRequired { .. });
            assert_eq!((is_demand, answer.identity.is_none()), (answer.session == SessionStanding::None, is_demand));
            answer.session == SessionStanding::Live
        };
        let far = network == "none";
        for address in ["203.0.113.5", "2001:db8::5", "203.0.113.5", "203.0.113.5"] {
            assert_eq!(shown(address).await, far, "{network} {address}");
        }
        let news: Vec<_> = site.events("session-elsewhere").iter().map(|event| event["client"].clone()).collect();
        if far {
            assert_eq!(news, [""; 0]);
            continue;
        }
        assert_eq!(news, ["203.0.113.5", "2001:db8::5", "203.0.113.5"], "once for each move");
        assert_eq!(of(&server, &token).await.unwrap().last_used, used, "it is not kept alive from there");
        assert_eq!(shown(near).await, is_near, "{network}");
        assert!(shown(HOME).await && shown("::ffff:192.0.2.1").await, "{network}");
        // What is open to everybody is open there too.
        let answer = ask(&server, &token, "203.0.113.5", "/").await;
        assert_eq!((answer.decision, answer.session), (Decision::Granted, SessionStanding::None));
    }
}

/// The last digits tell how the session came to be, and how long ago.
#[tokio::test]
async fn some_pages_want_a_login_that_was_typed_lately() {
    let site = Site::new();
    let rule = "<acr id=\"admins\"><auth roles=\"admin\"/></acr>";
    let fresh = "<acr id=\"admins\"><auth-method name=\"form\" maxAge=\"10s\"/></acr>";
    site.edit("access-control-policy.xml", rule, fresh);
    let server = site.server().await;
    for (path, remembered, ago, is_granted, longest) in [
        ("/private/", true, 100, true, 30_000),
        ("/admin/", false, 0, true, 10_000),
        ("/admin/", false, 8, true, 2_000),
        ("/admin/", false, 10, false, 0),
        ("/admin/", true, 0, false, 0),
    ] {
        let token = log_in(&server).await;
        change(&server, &token, |session| {
            session.remembered = remembered;
            session.created -= ago;
        })
        .await;
        let answer = ask(&server, &token, HOME, path).await;
        let case = format!("{path} {remembered} {ago}: {answer:?}");
        assert_eq!(answer.session, SessionStanding::Live, "{case}");
        assert_eq!(answer.identity.map(|identity| identity.remembered), Some(remembered), "{case}");
        match answer.decision {
            Decision::Granted => assert!(is_granted && answer.remember_ms <= longest, "{case}"),
            Decision::LoginRequired { entry, .. } => assert!(!is_granted && entry == "http", "{case}"),
            _ => panic!("{case}"),
        }
    }
}
