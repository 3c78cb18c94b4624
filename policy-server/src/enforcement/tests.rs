use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use shared_proto::check::Client;
use shared_proto::login::{LoginRequest, LoginResponse};
use shared_proto::names::code;

use super::*;
use crate::auth::subject::Subject;
use crate::session::{Filter, Home, SessionService, SessionStore, TokenHash, Turn};
use crate::store::StoreError;
use crate::testkit::{PASSWORD, Site, agent, keep_session};

fn client() -> Client {
    Client { address: [192, 0, 2, 1].into(), user_agent: String::new() }
}

/// Alice's right password, from a browser that had this session.
fn right_login(previous: &str) -> LoginRequest {
    let callbacks = [("username", "alice"), ("password", PASSWORD)];
    LoginRequest {
        request_id: "r".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        callbacks: callbacks.map(|(name, value)| (name.to_owned(), value.into())).into(),
        previous_session: Some(previous.into()),
        remember: None,
        forget: false,
        client: client(),
    }
}

async fn sessions(server: &Server) -> BTreeMap<String, String> {
    let all = server.store.list(&Filter::default()).await.unwrap();
    all.into_iter().map(|session| (session.id, session.domain)).collect()
}

/// A store that keeps no new session.
struct Full(crate::store::Store);

#[async_trait]
impl SessionStore for Full {
    async fn insert(&self, _: &TokenHash, _: &Session) -> Result<(), SessionError> {
        Err(StoreError::Slow.into())
    }
    async fn insert_in_turn(
        &self,
        _: &TokenHash,
        _: &Session,
        _: &Turn<'_>,
    ) -> Result<Option<Vec<Session>>, SessionError> {
        Err(StoreError::Slow.into())
    }
    async fn add_token(&self, token: &TokenHash, id: &str, home: &Home<'_>, now: i64) -> Result<bool, SessionError> {
        self.0.add_token(token, id, home, now).await
    }
    async fn find(&self, token: &TokenHash, host: &str) -> Result<Option<Shown>, SessionError> {
        self.0.find(token, host).await
    }
    async fn touch(&self, id: &str, used: i64) -> Result<(), SessionError> {
        self.0.touch(id, used).await
    }
    async fn replace_subject(&self, id: &str, old: &Subject, new: &Subject) -> Result<(), SessionError> {
        self.0.replace_subject(id, old, new).await
    }
    async fn take_unchecked(
        &self,
        domain: &str,
        before: i64,
        now: i64,
        limit: i64,
    ) -> Result<Vec<Session>, SessionError> {
        self.0.take_unchecked(domain, before, now, limit).await
    }
    async fn list(&self, filter: &Filter) -> Result<Vec<Session>, SessionError> {
        self.0.list(filter).await
    }
    async fn domains(&self) -> Result<Vec<String>, SessionError> {
        self.0.domains().await
    }
    async fn delete(&self, id: &str) -> Result<bool, SessionError> {
        self.0.delete(id).await
    }
    async fn overdue(&self, domain: &str, unused_since: i64, now: i64) -> Result<Vec<Session>, SessionError> {
        self.0.overdue(domain, unused_since, now).await
    }
}

#[tokio::test]
async fn a_login_that_gets_no_session_is_recorded_and_takes_none_away() {
    let site = Site::new();
    let mut server = site.server().await;
    let store = server.store.clone();
    Arc::get_mut(&mut server).unwrap().sessions = SessionService::new(Arc::new(Full(store)));
    keep_session(&server, "former", "system", 0, i64::MAX).await;
    let result = login(server.clone(), agent(), right_login("former")).await;
    assert!(matches!(result, Err(EnforcementError::Unavailable(_))), "{result:?}");
    assert_eq!(sessions(&server).await.into_keys().collect::<Vec<_>>(), ["former"]);
    let failures = site.events("login-failed");
    assert_eq!(failures.len(), 1);
    assert_eq!((&failures[0]["user"], &failures[0]["agent"]), (&"alice".into(), &"web1".into()));
    assert_eq!(failures[0]["reason"], "no session could be opened");
    assert!(site.events("login").is_empty() && site.events("session-ended").is_empty());
}

#[tokio::test]
async fn an_agent_ends_sessions_of_its_domains_alone() {
    let site = Site::new();
    let server = site.server().await;
    for domain in ["system", "other"] {
        keep_session(&server, &format!("in-{domain}"), domain, 0, i64::MAX).await;
        let result = login(server.clone(), agent(), right_login(&format!("in-{domain}"))).await;
        assert!(matches!(result, Ok(LoginResponse::Success { .. })), "{result:?}");
    }
    let left = sessions(&server).await;
    assert!(!left.contains_key("in-system") && left.contains_key("in-other"), "{left:?}");
    assert_eq!(site.events("login").len(), 2);

    keep_session(&server, "in-system", "system", 0, i64::MAX).await;
    let mut disarmed = agent();
    disarmed.rights.capabilities.clear();
    for (agent, session, allowed) in
        [(agent(), "in-other", false), (disarmed, "in-system", false), (agent(), "in-system", true)]
    {
        let refused = site.events("agent-refused").len();
        let (request_id, host, token) = ("r".into(), String::new(), Some(session.into()));
        let request = LogoutRequest { request_id, host, session: token, remember: None, client: client() };
        assert_eq!(logout(&server, &agent, &request).await.is_ok(), allowed, "{session}");
        assert_eq!(sessions(&server).await.contains_key(session), !allowed, "{session}");
        assert_eq!(site.events("agent-refused").len() - refused, usize::from(!allowed), "{session}");
    }
}

/// What a login names, and whether it is the person's mistake, the agent's, or none.
#[tokio::test]
async fn a_wrong_entry_is_told_and_anything_else_refused() {
    let site = Site::new();
    let server = site.server().await;
    let mut both = agent();
    both.rights.entries.push("gone".into());
    let mut disarmed = agent();
    disarmed.rights.capabilities.clear();
    for (agent, domain, entry, host, expected) in [
        (agent(), "system", "http", "app.test", Ok(None)),
        (agent(), "system", "strong", "app.test", Ok(Some(code::BAD_ENTRY))),
        (agent(), "system", "", "app.test", Ok(Some(code::BAD_ENTRY))),
        // Registered for it, but the configuration does not have it.
        (both, "system", "gone", "app.test", Ok(Some(code::BAD_ENTRY))),
        (agent(), "other", "http", "app.test", Err(())),
        (agent(), "other", "strong", "app.test", Err(())),
        (agent(), "system", "strong", "other.test", Err(())),
        (agent(), "system", "http", "other.test", Err(())),
        (disarmed, "system", "strong", "app.test", Err(())),
    ] {
        let refused = site.events("agent-refused").len();
        let (domain, entry, host) = (domain.to_owned(), entry.to_owned(), host.to_owned());
        let request = LoginRequest { domain, entry, host, ..right_login("none") };
        let case = format!("{request:?}");
        let found = match login(server.clone(), agent, request).await {
            Ok(LoginResponse::Success { .. }) => Ok(None),
            Ok(LoginResponse::Failure { code, .. }) => Ok(Some(code)),
            Ok(LoginResponse::Unknown) | Err(_) => Err(()),
        };
        assert_eq!(found, expected, "{case}");
        assert_eq!(site.events("agent-refused").len() - refused, usize::from(expected != Ok(None)), "{case}");
    }
}

/// The agent's connection is reset as soon as the login has begun.
#[tokio::test]
async fn a_login_that_nobody_waits_for_is_settled() {
    let site = Site::new();
    let server = site.server().await;
    let mut request = right_login("none");
    request.callbacks.insert("password".to_owned(), "wrong".into());
    assert!(login(server.clone(), agent(), request).now_or_never().is_none());
    let settled = async {
        while site.events("login-failed").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap();
    let kept = server.store.kept_failures(None, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].count.failures, kept[0].count.pending), (1, 1, 0));
}
