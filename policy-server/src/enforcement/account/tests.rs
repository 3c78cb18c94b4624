//! What people see of their own and may end, at a server of its own. Time passes by making what the store holds older.

use shared_proto::check::Client;
use shared_proto::login::{AutoLoginRequest, AutoLoginResponse, LoginRequest, LoginResponse};
use shared_proto::secret::Secret;

use super::super::{autologin, login};
use super::*;
use crate::agents::Rights;
use crate::testkit::{PASSWORD, Site, agent, keep_session};

const VALVE: &str = "<auth-valve className='com.cafesoft.security.engine.auth.AutoLoginAuthValve'><param-list>
    <param name='secretKey' value='AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='/></param-list></auth-valve>
    </auth-pipeline>";

struct World {
    server: Arc<Server>,
    site: Site,
}

/// A browser: what it has from its login.
struct Browser {
    session: Secret,
    cookie: Option<Secret>,
}

impl World {
    async fn start() -> Self {
        let site = Site::new();
        site.write_users(&["alice", "bob"]);
        site.edit("login-config.xml", "callback.NamePassword", "callback.AutoLoginNamePassword");
        site.edit("security-domain.xml", "</auth-pipeline>", VALVE);
        Self { server: site.server().await, site }
    }

    async fn log_in(&self, user: &str, flag: &str, user_agent: &str) -> Browser {
        let callbacks = [("username", user), ("password", PASSWORD), ("autologin_flag", flag)];
        let request = LoginRequest {
            request_id: "r".into(),
            host: "app.test".into(),
            domain: "system".into(),
            entry: "http".into(),
            callbacks: callbacks.map(|(name, value)| (name.to_owned(), value.into())).into(),
            previous_session: None,
            remember: None,
            forget: false,
            client: client(user_agent),
        };
        match login(Arc::clone(&self.server), agent(), request).await {
            Ok(LoginResponse::Success { session, remember, .. }) => {
                Browser { session, cookie: remember.map(|remember| remember.cookie) }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Comes back with the cookie alone. `None` where that is of no use.
    async fn come_back(&self, cookie: &Secret, user_agent: &str) -> Option<Browser> {
        let request = AutoLoginRequest {
            request_id: "r".into(),
            host: "app.test".into(),
            domain: "system".into(),
            entry: "http".into(),
            cookie: cookie.clone(),
            client: client(user_agent),
        };
        match autologin(Arc::clone(&self.server), agent(), request).await.unwrap() {
            AutoLoginResponse::Success { session, remember, .. } => {
                Some(Browser { session, cookie: remember.map(|remember| remember.cookie) })
            }
            _ => None,
        }
    }

    async fn account(&self, session: &Secret) -> Option<Account> {
        match account(&self.server, &agent(), &request(session)).await.unwrap() {
            AccountResponse::Account(account) => Some(account),
            AccountResponse::LoginRequired { login_url } => {
                assert_eq!(login_url, "/cams/login");
                None
            }
            AccountResponse::Unknown => panic!(),
        }
    }

    async fn end(&self, session: &Secret, end: End) -> AccountEndResponse {
        let request = AccountEndRequest { asker: request(session), end };
        end_of_account(Arc::clone(&self.server), agent(), request).await.unwrap()
    }

    async fn lives(&self, session: &Secret) -> bool {
        self.account(session).await.is_some()
    }
}

fn client(user_agent: &str) -> Client {
    Client { address: [192, 0, 2, 1].into(), user_agent: user_agent.to_owned() }
}

fn request(session: &Secret) -> AccountRequest {
    AccountRequest {
        request_id: "r1".into(),
        host: "app.test".into(),
        domain: "system".into(),
        entry: "http".into(),
        session: Some(session.clone()),
        client: client(""),
    }
}

fn names(places: &[Place]) -> Vec<(&str, bool, bool)> {
    places.iter().map(|place| (place.user_agent.as_str(), place.current, place.remembered)).collect()
}

#[tokio::test]
async fn people_see_their_own_and_nothing_else() {
    let world = World::start().await;
    let phone = world.log_in("alice", "true", "Phone/1").await;
    let desk = world.log_in("alice", "", "Desk/1").await;
    world.log_in("bob", "true", "Bob/1").await;
    keep_session(&world.server, "idle", "system", 0, i64::MAX).await;
    keep_session(&world.server, "elsewhere", "other", i64::MAX, i64::MAX).await;
    let seen = world.account(&desk.session).await.unwrap();
    assert_eq!((seen.user.as_str(), seen.more_sessions, seen.more_browsers), ("alice", 0, 0));
    assert_eq!(names(&seen.sessions), [("Desk/1", true, false), ("Phone/1", false, false)]);
    assert_eq!(names(&seen.browsers), [("Phone/1", false, true)]);

    // The browser has another version now: what is shown is what it was last.
    let back = world.come_back(phone.cookie.as_ref().unwrap(), "Phone/2").await.unwrap();
    let seen = world.account(&back.session).await.unwrap();
    assert_eq!(names(&seen.sessions)[0], ("Phone/2", true, true));
    assert_eq!(names(&seen.browsers), [("Phone/2", true, true)]);
    let [browser] = &seen.browsers[..] else { panic!() };
    assert!(browser.ends > browser.created && browser.last_used >= browser.created, "{browser:?}");
    assert_eq!(browser.address, "192.0.2.1");

    // Nothing in it opens anything: neither as a session nor as a cookie.
    for place in seen.sessions.iter().chain(&seen.browsers) {
        let id = Secret::from(place.id.as_str());
        assert!(!world.lives(&id).await && world.come_back(&id, "").await.is_none(), "{place:?}");
    }
    assert!(world.account(&"nobody".into()).await.is_none());
}

#[tokio::test]
async fn many_are_cut_off_and_counted() {
    let world = World::start().await;
    let mine = world.log_in("alice", "", "Mine/1").await;
    let later = world.server.now().as_second() + 10;
    for number in 0..MAX_PLACES + 5 {
        keep_session(&world.server, &format!("s{number}"), "system", later, i64::MAX).await;
    }
    let seen = world.account(&mine.session).await.unwrap();
    assert_eq!((seen.sessions.len(), seen.more_sessions), (MAX_PLACES, 6));
    assert!(seen.sessions[0].current);
}

#[tokio::test]
async fn what_is_ended_is_over_with_what_would_bring_it_back() {
    let world = World::start().await;
    let desk = world.log_in("alice", "", "Desk/1").await;
    for by_session in [true, false] {
        let phone = world.log_in("alice", "true", "Phone/1").await;
        let seen = world.account(&desk.session).await.unwrap();
        let id = |places: &[Place]| places.iter().find(|place| place.user_agent == "Phone/1").unwrap().id.clone();
        let end = match by_session {
            true => End::Session { id: id(&seen.sessions) },
            false => End::Browser { id: id(&seen.browsers) },
        };
        let before = world.site.events("session-ended").len();
        assert_eq!(world.end(&desk.session, end.clone()).await, AccountEndResponse::Ended { own: false });
        assert!(!world.lives(&phone.session).await && world.lives(&desk.session).await);
        assert!(world.come_back(phone.cookie.as_ref().unwrap(), "").await.is_none());
        assert_eq!(world.end(&desk.session, end).await, AccountEndResponse::NotFound);
        let ended = world.site.events("session-ended");
        assert_eq!(ended.len(), before + 1);
        let event = ended.last().unwrap();
        let told = ["user", "reason", "agent", "client", "request_id"].map(|key| event[key].as_str().unwrap());
        assert_eq!(told, ["alice", BY_OWNER, "web1", "192.0.2.1", "r1"]);
    }
    assert_eq!(world.site.events("remember-me-ended").len(), 2);
}

/// The caller's own session ends last of all that is asked for, and is told of.
#[tokio::test]
async fn everything_is_everything_of_this_person() {
    let world = World::start().await;
    let desk = world.log_in("alice", "true", "Desk/1").await;
    let phone = world.log_in("alice", "true", "Phone/1").await;
    let tablet = world.log_in("alice", "", "Tablet/1").await;
    let bob = world.log_in("bob", "true", "Bob/1").await;
    keep_session(&world.server, "elsewhere", "other", 0, i64::MAX).await;
    assert_eq!(world.end(&desk.session, End::Everything).await, AccountEndResponse::Ended { own: true });
    for browser in [&desk, &phone, &tablet] {
        assert!(!world.lives(&browser.session).await);
    }
    for browser in [&desk, &phone] {
        assert!(world.come_back(browser.cookie.as_ref().unwrap(), "").await.is_none());
    }
    assert!(world.lives(&bob.session).await && world.come_back(bob.cookie.as_ref().unwrap(), "").await.is_some());
    assert!(world.server.sessions.of_token(&"elsewhere".into(), "").await.unwrap().is_some(), "another domain's");
    assert_eq!(world.end(&desk.session, End::Everything).await, AccountEndResponse::NoSession);
}

#[tokio::test]
async fn nobody_ends_what_is_not_theirs() {
    let world = World::start().await;
    let alice = world.log_in("alice", "true", "Alice/1").await;
    let bob = world.log_in("bob", "true", "Bob/1").await;
    let mine = world.account(&alice.session).await.unwrap();
    let (session, browser) = (mine.sessions[0].id.clone(), mine.browsers[0].id.clone());
    for end in [
        End::Session { id: session.clone() },
        End::Browser { id: browser.clone() },
        End::Session { id: browser },
        End::Browser { id: session },
        End::Session { id: String::new() },
        End::Browser { id: String::new() },
        End::Unknown,
    ] {
        assert_eq!(world.end(&bob.session, end.clone()).await, AccountEndResponse::NotFound, "{end:?}");
        assert_eq!(world.end(&"nobody".into(), end).await, AccountEndResponse::NoSession);
    }
    assert!(world.lives(&alice.session).await && world.lives(&bob.session).await);
    assert!(world.come_back(alice.cookie.as_ref().unwrap(), "").await.is_some());

    // Nor does an agent beyond its rights, whoever asks.
    for change in [|rights: &mut Rights| rights.hosts.clear(), |rights: &mut Rights| rights.domains.clear()] {
        let mut stranger = agent();
        change(&mut stranger.rights);
        let asker = request(&alice.session);
        assert!(account(&world.server, &stranger, &asker).await.is_err());
        let request = AccountEndRequest { asker, end: End::Everything };
        assert!(end_of_account(Arc::clone(&world.server), stranger, request).await.is_err());
    }
    assert!(world.lives(&alice.session).await);
}
