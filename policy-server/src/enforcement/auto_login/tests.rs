//! Remembered browsers at a server of their own. Time passes by making what the store holds older.

use futures_util::future::join_all;
use shared_proto::check::Client;
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest};

use super::super::{login, logout};
use super::*;
use crate::auth::subject::Proof;
use crate::session::Filter;
use crate::testkit::{self, PASSWORD, Site, keep_session};

const VALVE: &str = "<auth-valve className='com.cafesoft.security.engine.auth.AutoLoginAuthValve'><param-list>
    <param name='secretKey' value='AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='/></param-list></auth-valve>
    </auth-pipeline>";
/// An entry whose directory is down.
const DOWN: &str = "<login-config-entry name='down'>
    <login-module-entry className='com.cafesoft.cams.auth.login.module.JdbcLoginModule' flag='REQUIRED'><options>
    <option name='jdbcUrl' value='jdbc:sqlite:gone.db'/><option name='passwordColumn' value='P'/>
    <option name='userPreparedStatement' value='SELECT * FROM U WHERE N = ?'/></options></login-module-entry>
    <callback-handler className='com.cafesoft.cams.auth.callback.AutoLoginNamePasswordCallbackHandler'/>
    </login-config-entry></login-config>";

fn site() -> Site {
    let site = Site::new();
    site.edit("login-config.xml", "callback.NamePassword", "callback.AutoLoginNamePassword");
    site.edit("login-config.xml", "</login-config>", DOWN);
    site.edit("security-domain.xml", "</auth-pipeline>", VALVE);
    site
}

fn agent() -> Registered {
    let mut agent = testkit::agent();
    agent.rights.entries.push("down".into());
    agent
}

fn client() -> Client {
    Client { address: [192, 0, 2, 1].into(), user_agent: String::new() }
}

/// Logs in by the form; the session and the cookie.
async fn log_in(server: &Arc<Server>, user: &str, flag: &str, previous: Option<&Secret>) -> (Secret, Option<Secret>) {
    log_in_with(server, user, flag, previous, None, false).await
}

/// The same in a browser that has a cookie, and may be told to delete it.
async fn log_in_with(
    server: &Arc<Server>,
    user: &str,
    flag: &str,
    previous: Option<&Secret>,
    remember: Option<&Secret>,
    forget: bool,
) -> (Secret, Option<Secret>) {
    let callbacks = [("username", user), ("password", PASSWORD), ("autologin_flag", flag)];
    let request = LoginRequest {
        request_id: "r".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        callbacks: callbacks.map(|(name, value)| (name.to_owned(), value.into())).into(),
        previous_session: previous.cloned(),
        remember: remember.cloned(),
        forget,
        client: client(),
    };
    match login(Arc::clone(server), agent(), request).await {
        Ok(LoginResponse::Success { session, remember, .. }) => (session, remember.map(|remember| remember.cookie)),
        other => panic!("{other:?}"),
    }
}

async fn remembered(server: &Arc<Server>) -> Secret {
    log_in(server, "alice", "true", None).await.1.unwrap()
}

async fn show_as(
    server: &Arc<Server>,
    agent: &Registered,
    cookie: &Secret,
) -> Result<AutoLoginResponse, EnforcementError> {
    let request = AutoLoginRequest {
        request_id: "r".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: agent.rights.entries[0].clone(),
        cookie: cookie.clone(),
        client: client(),
    };
    autologin(Arc::clone(server), agent.clone(), request).await
}

/// Shows a cookie. The next one after a login, if any; or what is said instead.
async fn show(server: &Arc<Server>, cookie: &Secret) -> Result<Option<Secret>, String> {
    match show_as(server, &agent(), cookie).await {
        Ok(AutoLoginResponse::Success { identity, remember, .. }) => {
            assert_eq!((identity.user.as_str(), identity.entry.as_str()), ("alice", "http"));
            Ok(remember.map(|remember| remember.cookie))
        }
        Ok(AutoLoginResponse::Refused { notice }) => Err(notice.map_or("refused", |_| "told").to_owned()),
        Ok(AutoLoginResponse::Unavailable) => Err("kept".to_owned()),
        Ok(AutoLoginResponse::NoService) => Err("later".to_owned()),
        other => panic!("{other:?}"),
    }
}

async fn families(server: &Arc<Server>) -> Vec<Family> {
    server.store.families_of(None, "alice").await.unwrap()
}

/// Lets time pass for the rotation of every family of alice.
async fn pass(server: &Arc<Server>, seconds: i64) {
    for family in families(server).await {
        let older = |found: Option<Family>| {
            let mut family = found.unwrap();
            family.rotation.current.since -= seconds;
            if let Some(pending) = &mut family.rotation.pending {
                pending.since -= seconds;
            }
            (Fate::Changes(family.into()), ())
        };
        server.store.change_family(&family.series, older).await.unwrap();
    }
}

async fn sessions(server: &Arc<Server>) -> Vec<Session> {
    server.sessions.list(&Filter::default()).await.unwrap()
}

#[tokio::test]
async fn only_who_asks_is_remembered_and_then_logs_in_alone() {
    let site = site();
    let server = site.server().await;
    for flag in ["", "false", "TRUE"] {
        assert!(log_in(&server, "alice", flag, None).await.1.is_none(), "{flag}");
    }
    let first = remembered(&server).await;
    let second = show(&server, &first).await.unwrap().unwrap();
    let third = show(&server, &second).await.unwrap().unwrap();
    assert!(first.expose() != second.expose() && second.expose() != third.expose());
    let [family] = &families(&server).await[..] else { panic!() };
    let of_family = sessions(&server).await.into_iter().filter(|found| found.series.as_ref() == Some(&family.series));
    let mut typed: Vec<bool> = of_family.map(|session| session.remembered).collect();
    typed.sort_unstable();
    assert_eq!(typed, [false, true, true]);
    assert_eq!(site.events("login").iter().filter(|event| event["reason"] == BY_COOKIE).count(), 2);
    // Nothing that was typed is in what the store wrote.
    for file in ["data/cams.db", "data/cams.db-wal", "data/audit.jsonl"] {
        let bytes = std::fs::read(site.path(file)).unwrap();
        assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "{file}");
    }
}

#[tokio::test]
async fn twenty_tabs_and_a_lost_answer_cost_nothing() {
    let site = site();
    let server = site.server().await;
    let first = remembered(&server).await;
    let answers = join_all((0..20).map(|_| show(&server, &first))).await;
    // A busy machine may have no capacity for some of them.
    assert!(answers.iter().all(|answer| answer.as_ref().err().is_none_or(|said| said == "later")), "{answers:?}");
    let given: Vec<_> = answers.into_iter().filter_map(|answer| answer.ok().flatten()).collect();
    assert_eq!(given.len(), 1);
    // That answer got lost.
    assert!(show(&server, &first).await.unwrap().is_none());
    pass(&server, 30).await;
    let second = show(&server, &first).await.unwrap().unwrap();
    assert!(show(&server, &second).await.unwrap().is_some());
    assert_eq!(show(&server, &first).await.unwrap_err(), "kept", "it was under way");
    // Somebody received the lost one.
    assert_eq!(show(&server, &given[0]).await.unwrap_err(), "refused");
    assert_eq!((families(&server).await.len(), sessions(&server).await.len()), (0, 0));
}

#[tokio::test]
async fn a_copy_that_is_used_ends_everything_and_is_told() {
    let site = site();
    let server = site.server().await;
    let (other, _) = log_in(&server, "alice", "", None).await;
    let first = remembered(&server).await;
    let second = show(&server, &first).await.unwrap().unwrap();
    let third = show(&server, &second).await.unwrap().unwrap();
    pass(&server, 30).await;
    let before = server.store.position().await.unwrap().seq;
    for cookie in [&first, &third, &second, &first] {
        assert_eq!(show(&server, cookie).await.unwrap_err(), "told");
    }
    let [theft] = &site.events("remember-me-theft")[..] else { panic!() };
    assert_eq!(
        (&theft["user"], &theft["agent"], &theft["client"]),
        (&"alice".into(), &"web1".into(), &"192.0.2.1".into())
    );
    assert_eq!(site.events("session-ended").len(), 3);
    assert_eq!(server.store.events_after(before, 10).await.unwrap().len(), 3, "agents are told of each");
    let other = server.sessions.of_token(&other, "app.test").await.unwrap().unwrap();
    assert_eq!(sessions(&server).await.into_iter().map(|session| session.id).collect::<Vec<_>>(), [other.id]);
    let [family] = &families(&server).await[..] else { panic!() };
    assert!(family.stolen && family.rotation.current.sealed.is_empty() && family.rotation.pending.is_none());
}

/// Remembers alice for this entry since this moment, as if she had logged in then.
async fn plant(server: &Arc<Server>, entry: &str, since: i64) -> Secret {
    let loaded = server.loaded();
    let auto = loaded.domains["system"].logins.auto_login().unwrap();
    let class = "class".to_owned();
    let (user, roles, attributes) = ("alice".to_owned(), Default::default(), Default::default());
    let subject = Subject::from_proofs(vec![Proof {
        module: 0,
        class,
        user,
        source_id: None,
        credential: None,
        absent: false,
        roles,
        attributes,
        settings: String::new(),
    }])
    .unwrap();
    let answers = [("username", "alice"), ("password", PASSWORD)];
    let answers = answers.map(|(name, value)| (name.to_owned(), value.into())).into();
    let login = Login { entry, subject: &subject, answers: &answers, client: &client() };
    let (family, remember) = auto.begin(&AutoLogin::new_series().unwrap(), &login, since).unwrap();
    let now = server.now().as_second();
    keep_session(server, "planter", "system", now, now).await;
    assert!(server.store.add_family(&family, "planter").await.unwrap());
    server.sessions.end("planter").await.unwrap();
    remember.cookie
}

async fn fail_often(server: &Arc<Server>) {
    let wrong = ["username", "password"].map(|name| (name.to_owned(), "alice".into())).into();
    let attempt = LoginAttempt { answers: &wrong, client: client().address, now: server.now(), remembered: None };
    let loaded = server.loaded();
    let domain = &loaded.domains["system"];
    for _ in 0..5 {
        assert!(domain.logins.login(domain.entry("http").unwrap(), &attempt).await.0.result.is_err());
    }
}

/// What happens before a cookie is shown, what is said, and whether the browser is still remembered.
#[tokio::test]
async fn what_a_cookie_is_worth() {
    for (what, expected, stays) in [
        ("nothing", "in", true),
        ("another password", "refused", false),
        ("alice is gone", "refused", false),
        ("the entry is gone", "refused", false),
        ("the entry remembers nobody", "refused", false),
        ("the valve is off", "refused", true),
        ("another key", "refused", true),
        ("a former key", "in", true),
        ("locked", "kept", true),
        ("directory down", "later", true),
        ("too old", "refused", true),
        ("no entry of this agent", "kept", true),
        ("the store is mixed up", "refused", false),
    ] {
        let site = site();
        let mut server = site.server().await;
        let (entry, since) = match what {
            "directory down" => ("down", 0),
            "the entry is gone" => ("gone", 0),
            "too old" => ("http", 30 * 24 * 3600),
            _ => ("http", 0),
        };
        let cookie = plant(&server, entry, server.now().as_second() - since).await;
        let edited = match what {
            "another password" => Some(("cams-users.xml", "{SSHA256}", "{SSHA256}AAAA")),
            "alice is gone" => Some(("cams-users.xml", "name='alice'", "name='bob'")),
            "the entry remembers nobody" => {
                Some(("login-config.xml", "callback.AutoLoginNamePassword", "callback.NamePassword"))
            }
            "the valve is off" => {
                Some(("security-domain.xml", "AutoLoginAuthValve'", "AutoLoginAuthValve' enabled='false'"))
            }
            "another key" => Some(("security-domain.xml", "'AAAA", "'BAAA")),
            "a former key" => Some((
                "security-domain.xml",
                "<param name='secretKey' value='A",
                "<param name='secretKey' value='BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='/>
                <param name='secretKeyPrevious' value='A",
            )),
            _ => None,
        };
        if let Some((file, from, to)) = edited {
            site.edit(file, from, to);
            server = site.server().await;
        }
        let mut agent = agent();
        match what {
            "locked" => fail_often(&server).await,
            "no entry of this agent" => agent.rights.entries = vec!["down".into()],
            "the store is mixed up" => {
                let mix = |found: Option<Family>| {
                    let mut family = found.unwrap();
                    family.rotation.current.sealed.reverse();
                    (Fate::Changes(family.into()), ())
                };
                server.store.change_family(&families(&server).await[0].series, mix).await.unwrap();
            }
            _ => {}
        }
        let found = match show_as(&server, &agent, &cookie).await.unwrap() {
            AutoLoginResponse::Success { .. } => "in",
            AutoLoginResponse::Refused { notice: None } => "refused",
            AutoLoginResponse::Unavailable => "kept",
            AutoLoginResponse::NoService => "later",
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!((found, families(&server).await.len()), (expected, usize::from(stays)), "{what}");
        assert_eq!(sessions(&server).await.len(), usize::from(expected == "in"), "{what}");
    }
}

#[tokio::test]
async fn an_agent_shows_cookies_of_its_own_domains_alone() {
    let site = site();
    let server = site.server().await;
    let cookie = remembered(&server).await;
    let (mut disarmed, mut elsewhere) = (agent(), agent());
    disarmed.rights.capabilities.clear();
    elsewhere.rights.domains = vec!["other".into()];
    for agent in [&disarmed, &elsewhere] {
        let refused = show_as(&server, agent, &cookie).await;
        assert!(matches!(refused, Err(EnforcementError::NotAllowed(_))), "{refused:?}");
        forget_browser(&server, agent, &cookie).await.unwrap();
    }
    assert!(show(&server, &cookie).await.is_ok(), "nobody has forgotten it");
}

#[tokio::test]
async fn who_logs_out_or_in_anew_is_forgotten() {
    let site = site();
    site.write_users(&["alice", "bob"]);
    let server = site.server().await;
    let with_session: [(&str, bool, bool); 3] =
        [("both", true, true), ("session", true, false), ("cookie", false, true)];
    for (what, session, cookie) in with_session {
        let (token, remember) = log_in(&server, "alice", "true", None).await;
        let remember = remember.unwrap();
        let request = LogoutRequest {
            request_id: "r".into(),
            host: "app.test".into(),
            session: session.then_some(token),
            remember: cookie.then(|| remember.clone()),
            client: client(),
        };
        logout(&server, &agent(), &request).await.unwrap();
        assert_eq!(show(&server, &remember).await.unwrap_err(), "refused", "{what}");
        assert_eq!(sessions(&server).await.len(), 0, "{what}");
    }
    // What the browser had, who logs in now, and whether the former cookie still counts.
    for (session, cookie) in [(true, false), (false, true), (true, true)] {
        for (user, flag, forget, stays) in [
            ("alice", "", false, true),
            ("alice", "", true, false),
            ("alice", "true", false, false),
            ("alice", "true", true, false),
            ("bob", "", false, false),
        ] {
            let (token, remember) = log_in(&server, "alice", "true", None).await;
            let remember = remember.unwrap();
            let (token, shown) = (session.then_some(&token), cookie.then_some(&remember));
            let (stepped, fresh) = log_in_with(&server, user, flag, token, shown, forget).await;
            let case = format!("{session} {cookie} {user} {flag} {forget}");
            assert_eq!((show(&server, &remember).await.is_ok(), fresh.is_some()), (stays, flag == "true"), "{case}");
            // Whatever the browser is remembered by now, a logout that shows the new session alone ends.
            log_out(&server, &stepped).await;
            assert!(show(&server, &fresh.unwrap_or(remember)).await.is_err(), "{case}");
        }
    }
}

async fn log_out(server: &Arc<Server>, token: &Secret) {
    let session = Some(token.clone());
    let request =
        LogoutRequest { request_id: "r".into(), host: String::new(), session, remember: None, client: client() };
    logout(server, &agent(), &request).await.unwrap();
}

/// Whoever ends a family meanwhile, also at another server, ends the login.
#[tokio::test]
async fn a_family_that_ends_during_a_login_opens_nothing() {
    let site = site();
    let server = site.server().await;
    let cookie = remembered(&server).await;
    let loaded = server.loaded();
    let domain = &loaded.domains["system"];
    let auto = domain.logins.auto_login().unwrap();
    let ticket = auto.open(&cookie, server.now().as_second()).unwrap();
    let [family] = &families(&server).await[..] else { panic!() };
    let answers = auto.answers(&ticket, &family.rotation.current.sealed).unwrap();
    let request = AutoLoginRequest {
        request_id: "r".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        cookie,
        client: client(),
    };
    let agent = agent();
    let visit = Visit { server: &server, agent: &agent, request: &request, domain, auto, ticket };
    let entry = domain.entry("http").unwrap();
    let subject = visit.run(entry, family, &answers).await.result.unwrap();
    end_family(&server, &family.series, "test").await.unwrap();
    let answer = visit.welcome(entry, family, subject, &answers).await.unwrap();
    assert!(matches!(answer, AutoLoginResponse::Refused { notice: None }), "{answer:?}");
    assert_eq!(sessions(&server).await.len(), 0);
}

mod ends;
