//! One login for sites that cannot have one cookie, each behind an agent of its own: by a hand-over through the login host.

use std::time::Duration;

use futures_util::future::join_all;
use policy_server::session::{Home, SessionStore, TokenHash};
use policy_server::store::Handover;
use serde_json::Value;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Browser, Client, PolicyServer, within_async};
use url::Url;

use crate::browser::accessible;
use crate::remember_me::{remember, valve};
use crate::store::{session, stores};

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const HANDOVER: &str = "CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM";
const SOON: Duration = Duration::from_secs(20);
const USER: &str = "input[name=cams_cb_username]";
const TYPED: &str = "input[name=cams_cb_password]";
const TICK: &str = "input[name=cams_cb_autologin_flag]";
const DOMAIN: &str = "conf/domains/system";

const SUB_DOMAINS: [&str; 3] = ["app.example.test", "shop.example.test", "login.example.test"];
const UNRELATED: [&str; 3] = ["app.test", "shop.another.test", "login.third.test"];

/// Two sites and the host where people log in to them, each at an agent, and one policy server.
struct World {
    agents: [Agent; 3],
    origins: [String; 3],
    files: Files,
    server: PolicyServer,
}

impl World {
    async fn start(hosts: [&str; 3]) -> Self {
        let files = Files::new("One", None);
        remember(&files, &valve());
        let server = files.start().await;
        let site = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", site.local_addr().unwrap());
        tokio::spawn(::cams::sample_site::serve(site));
        let address = server.address.to_string();
        let run = async |host: &str, upstream: &str, sites: &str| {
            let properties = [
                ("cams.policy.server.1", &*address),
                ("cams.autologin.enabled", "true"),
                ("cams.cluster.sites", sites),
            ];
            let agent = Agent::of(&files.conf(), &host.replace('.', "_"), &[(host, upstream)], &properties).await;
            let origin = format!("http://{host}:{}", agent.address.port());
            (agent, origin)
        };
        let (one, two) = (run(hosts[0], &upstream, "").await, run(hosts[1], &upstream, "").await);
        let three = run(hosts[2], "none", &format!("{}, {}", one.1, two.1)).await;
        let login_url = format!("\"{}/cams/login\"", three.1);
        replace(&files.path(DOMAIN).join("login-config.xml"), |text| {
            let (before, rest) = text.split_once("\"camsLoginUrl\" value=\"").unwrap();
            format!("{before}\"camsLoginUrl\" value={login_url}{}", rest.split_once('"').unwrap().1)
        });
        let (agents, origins) = ([one.0, two.0, three.0], [one.1, two.1, three.1]);
        let world = Self { agents, origins, files, server };
        let leads_there = async || world.client(0).get("/private/").await.location().starts_with(&world.origins[2]);
        within_async(SOON, "the login page is elsewhere", leads_there).await;
        world
    }

    fn client(&self, number: usize) -> Client {
        Client::new(&self.origins[number], None)
    }

    /// The path of an address of one of the three.
    fn path(&self, number: usize, url: &str) -> String {
        let path = url.strip_prefix(&self.origins[number]);
        path.unwrap_or_else(|| panic!("{url} is not at {}", self.origins[number])).to_owned()
    }

    /// Where somebody is sent who asks for a page of the first site: the login page's path.
    async fn leave(&self, app: &Client) -> String {
        let reply = app.get("/private/?a=1&b=%C3%A9").await;
        assert_eq!(reply.status, 302, "{reply:?}");
        self.path(2, &reply.location())
    }

    /// A code for the first site, as the path with which the browser comes back to it.
    async fn code(&self, app: &Client, login: &Client) -> String {
        let reply = login.get(&self.leave(app).await).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        self.path(0, &reply.location())
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.files.path("data/audit.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == kind).collect()
    }
}

/// Sends the form that the login page of this address shows.
pub async fn log_in(login: &Client, page: &str, user: &str, password: &str) -> tests::Reply {
    let url = Url::parse("http://login.test").unwrap().join(page).unwrap();
    let fields: Vec<_> = url.query_pairs().collect();
    let fields = fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let typed = [("cams_cb_username", user), ("cams_cb_password", password)];
    login.post_form("/cams/login", &fields.chain(typed).collect::<Vec<_>>()).await
}

async fn alice(login: &Client, page: &str) -> tests::Reply {
    log_in(login, page, "alice", PASSWORD).await
}

#[tokio::test]
async fn one_login_is_one_session_everywhere() {
    let world = World::start(UNRELATED).await;
    let (app, shop, login) = (world.client(0), world.client(1), world.client(2));
    let page = world.leave(&app).await;
    assert_eq!(login.get(&page).await.status, 200, "the form");
    let done = alice(&login, &page).await;
    let back = app.get(&world.path(0, &done.location())).await;
    assert_eq!((back.status.as_u16(), back.location().as_str()), (303, "/private/?a=1&b=%C3%A9"));
    assert_eq!(app.get("/private/").await.status, 200);

    let elsewhere = shop.get("/private/").await;
    let there = login.get(&world.path(2, &elsewhere.location())).await;
    assert_eq!((there.status.as_u16(), there.cookies().len()), (303, 0), "no form");
    assert_eq!(shop.get(&world.path(1, &there.location())).await.location(), "/private/");
    assert_eq!(shop.get("/private/").await.status, 200);
    let tokens = [&app, &shop, &login].map(|client| client.cookie(SESSION).unwrap());
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2] && tokens[0] != tokens[2], "each host has its own");
    let handed = world.events("session-handed-over");
    assert_eq!((handed.len(), &handed[0]["session"]), (2, &handed[1]["session"]));

    assert_eq!(shop.get("/cams/logout").await.status, 200);
    for (number, token) in tokens.iter().enumerate() {
        let client = world.client(number);
        client.set_cookie(SESSION, token);
        let (target, status) = if number == 2 { (page.as_str(), 200) } else { ("/private/", 302) };
        let is_over = async || client.get_unless_cut(target).await.is_some_and(|reply| reply.status == status);
        within_async(SOON, "the session is over everywhere", is_over).await;
    }
}

/// Codes in the wrong hands: every one of them is refused, and used up.
#[tokio::test]
async fn a_code_is_of_no_use_to_anybody_else() {
    let world = World::start(SUB_DOMAINS).await;
    let (app, login) = (world.client(0), world.client(2));
    let page = world.leave(&app).await;
    let first = world.path(0, &alice(&login, &page).await.location());
    assert_eq!(app.get(&first).await.status, 303);
    let nonce = app.cookie(HANDOVER).unwrap();
    let mut codes = vec![first.clone()];

    let thief = |number: usize, nonce: Option<&str>| {
        let client = world.client(number);
        nonce.iter().for_each(|nonce| client.set_cookie(HANDOVER, nonce));
        client
    };
    let another = world.client(0);
    world.leave(&another).await;
    for (what, client) in [
        ("without a cookie", thief(0, None)),
        ("with another one's cookie", another),
        ("with a cookie of the thief's making", thief(0, Some("x"))),
        ("at the other site", thief(1, Some(&nonce))),
        ("at the login host", thief(2, Some(&nonce))),
    ] {
        let app = thief(0, Some(&nonce));
        let code = world.code(&app, &login).await;
        for (client, what) in [(&client, what), (&app, "afterwards")] {
            let reply = client.get(&code).await;
            assert_eq!((reply.status.as_u16(), reply.cookies().len()), (400, 0), "{what}: {reply:?}");
            assert!(reply.text().contains("not signed in here yet"), "{what}");
        }
        codes.push(code);
    }
    assert_eq!(app.get(&first).await.status, 400, "replayed");
    assert_eq!(app.get("/private/").await.status, 200, "nobody loses a session by it");
    assert_eq!(world.events("handover-refused").len(), 11);

    // Nor is the session's cookie, which opens the site that it is of.
    let token = app.cookie(SESSION).unwrap();
    for (number, status) in [(0, 200), (1, 302)] {
        let thief = world.client(number);
        thief.set_cookie(SESSION, &token);
        assert_eq!(thief.get("/private/").await.status, status, "{number}");
    }
    let (site, host) = (world.client(1), world.client(2));
    host.set_cookie(SESSION, &token);
    assert_eq!(host.get(&world.leave(&site).await).await.status, 200, "the form, and no further code");
    assert_eq!(app.get("/private/").await.status, 200);

    // Two cookies of one name are none: who has them would go round in circles.
    let doubled = thief(0, Some(&nonce));
    doubled.set_cookie("a", &format!("b; {SESSION}=x; {SESSION}=y"));
    let code = world.code(&doubled, &login).await;
    assert_eq!(doubled.get(&code).await.status, 400);
    assert_eq!(thief(0, Some(&nonce)).get(&code).await.status, 400, "it was used up");

    let app = thief(0, Some(&nonce));
    let code = world.code(&app, &login).await;
    let tabs = join_all((0..20).map(|_| app.get(&code))).await;
    assert_eq!(tabs.iter().filter(|tab| tab.status == 303).count(), 1);

    let outputs = world.agents.iter().map(|agent| agent.process.output()).chain([world.server.process.output()]);
    let said: String = outputs.collect::<Vec<_>>().concat() + &format!("{:?}", world.events("handover-refused"));
    for secret in codes.iter().map(|code| code.split_once("code=").unwrap().1).chain([nonce.as_str()]) {
        assert!(!said.contains(secret), "{secret} is written down");
    }
}

/// Neither a session nor a login is taken to what is no site of the cluster.
#[tokio::test]
async fn no_code_goes_to_another_place() {
    let world = World::start(UNRELATED).await;
    let (app, login) = (world.client(0), world.client(2));
    let page = world.leave(&app).await;
    assert_eq!(alice(&login, &page).await.status, 303);
    let binding = page.split_once("cams_handover=").unwrap().1;
    let (host, origin) = (world.origins[0].strip_prefix("http://").unwrap(), &world.origins[0]);
    for outside in [
        "https://evil.test/".to_owned(),
        format!("https://{host}/"),
        "http://app.test/".to_owned(),
        "http://app.test:1/".to_owned(),
        format!("{origin}.evil.test/"),
        format!("{origin}@evil.test/"),
        format!("http://x.{host}/"),
        format!("//{host}/"),
        format!("{origin}\\@evil.test/"),
        format!("{origin}/cams/logout"),
        format!("{origin}/cams/handover?code=x"),
        "/private/".to_owned(),
        String::new(),
    ] {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("cams_original_url", outside.as_str()), ("cams_handover", binding)])
            .finish();
        let there = format!("/cams/login?cams_security_domain=system&cams_login_config=http&{query}");
        let reply = login.get(&there).await;
        assert_eq!((reply.status.as_u16(), reply.location().as_str()), (200, ""), "{outside}");
        let location = alice(&world.client(2), &there).await.location();
        assert!(location.starts_with('/') && !location.contains("code="), "{outside}: {location}");
    }
    // Who says that the session does not do is asked, whoever that is.
    let reply = login.get(&format!("{page}&cams_fresh=true")).await;
    assert!(reply.status == 200 && reply.text().contains(&format!("value=\"{binding}\"")), "{reply:?}");
}

/// What people see: a form once, at the login host, and never again until they log out.
async fn story(hosts: [&str; 3]) {
    let world = World::start(hosts).await;
    let Some(mut browser) = Browser::start(None).await else { return };
    let page = |number: usize, rest: &str| format!("{}/private/{rest}", world.origins[number]);
    let is_asked = async |browser: &Browser| {
        assert!(browser.url().await.starts_with(&world.origins[2]), "{}", browser.url().await);
        browser.has(TYPED).await
    };

    browser.goto(&page(0, "?a=1")).await;
    assert!(is_asked(&browser).await);
    assert_eq!(browser.text("strong").await, hosts[0], "to whom one logs in");
    browser.fill(USER, "alice").await;
    browser.submit(TYPED, "wrong").await;
    assert!(is_asked(&browser).await);
    browser.click(TICK).await;
    browser.submit(TYPED, PASSWORD).await;
    for (number, rest) in [(0, "?a=1"), (1, "?b=%C3%A9"), (0, "")] {
        if browser.url().await != page(number, rest) {
            browser.goto(&page(number, rest)).await;
        }
        assert_eq!((browser.url().await, browser.text("#user").await), (page(number, rest), "alice".to_owned()));
    }

    // The sessions' cookies are gone, and the login host remembers the browser for both.
    browser.reopen().await;
    for number in [1, 0] {
        browser.goto(&page(number, "")).await;
        assert_eq!((browser.url().await, browser.text("#user").await), (page(number, ""), "alice".to_owned()));
    }

    browser.goto(&format!("{}/cams/handover?code=x", world.origins[0])).await;
    accessible(&browser, "handover-refused").await;
    browser.goto(&page(0, "")).await;
    browser.follow("#logout").await;
    within_async(SOON, "logged out everywhere, and forgotten", async || {
        browser.goto(&page(1, "")).await;
        browser.has(TYPED).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_domains_and_unrelated_domains_have_one_login() {
    tokio::join!(story(SUB_DOMAINS), story(UNRELATED));
}

/// On every database, with two servers: one of all who come with a code is told, and nobody for an ended session.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_taken_once() {
    for fixture in stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        let (token, session) = session("one", "alice", 100);
        servers[0].insert(&token, &session).await.unwrap();
        let hash = |text: &str| TokenHash::of(&text.into());
        let handover = |session: &str, expires| Handover {
            session: session.to_owned(),
            domain: "system".to_owned(),
            entry: "http".to_owned(),
            audience: "https://app.test".to_owned(),
            target: "/x?a=é".to_owned(),
            binding: "bound".to_owned(),
            expires,
        };
        assert!(
            !servers[0].add_handover(&hash("other"), &handover("other", 9)).await.unwrap(),
            "there is no such session"
        );
        for (code, expires) in [("first", 10), ("late", 9), ("last", 10)] {
            assert!(servers[0].add_handover(&hash(code), &handover("one", expires)).await.unwrap());
        }
        let takers = (0..20).map(|number| {
            let server = servers[number % 2].clone();
            tokio::spawn(async move { server.take_handover(&TokenHash::of(&"first".into())).await.unwrap() })
        });
        let taken: Vec<_> = join_all(takers).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(taken, [handover("one", 10)]);
        servers[1].purge_handovers(9).await.unwrap();
        assert_eq!(servers[0].take_handover(&hash("late")).await.unwrap(), None);

        let home = Home { host: "app.test", address: "192.0.2.7" };
        assert!(servers[1].add_token(&hash("further"), "one", &home, 1).await.unwrap());
        assert!(servers[1].add_token(&hash("further"), "one", &home, 1).await.is_err(), "a token is nobody else's");
        for (host, is_good) in [("app.test", true), ("", false), ("login.test", false)] {
            let shown = servers[0].find(&hash("further"), host).await.unwrap();
            let expected = is_good.then(|| ("one".to_owned(), "192.0.2.7".to_owned()));
            assert_eq!(shown.map(|shown| (shown.session.id, shown.address)), expected, "{host}");
        }
        for number in 0..100 {
            let (token, host) = (hash(&number.to_string()), (number / 10).to_string());
            assert!(servers[1].add_token(&token, "one", &Home { host: &host, ..home }, 2).await.unwrap());
            assert!(servers[1].find(&token, &host).await.unwrap().is_some());
        }
        assert!(servers[0].find(&token, "any.test").await.unwrap().is_some(), "that of the login stays");
        servers[0].delete("one").await.unwrap();
        assert!(servers[1].find(&hash("further"), "app.test").await.unwrap().is_none());
        assert_eq!(servers[1].take_handover(&hash("last")).await.unwrap(), None);
        assert!(!servers[1].add_token(&hash("more"), "one", &home, 1).await.unwrap());
    }
}
