//! Remember me, through the product: who comes back needs no form, whoever should not gets one, and no honest browser is
//! ever taken for a thief.

mod attacks;
mod endings;

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tests::client::is_deletion;
use tests::command::{cams as command, cams_with_input};
use tests::link_proxy::Network;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Browser, Client, LinkProxy, PolicyServer, Postgres, Quickstart, Reply, Slapd, slapd, within_async};

pub const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
pub const REMEMBERED: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";
const HANDLER: &str = "com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler";
const ASKING: &str = "com.cafesoft.cams.auth.callback.AutoLoginNamePasswordCallbackHandler";
const PAGE: &str = "/private/deep?link=1";
/// How long a change may take to count, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// An agent before nothing, at a policy server that remembers browsers: a page that is let through is 502.
pub struct World {
    pub agent: Agent,
    pub files: Files,
    _server: PolicyServer,
}

pub const PASSED: u16 = 502;

/// The valve with a new key; a cookie that was replaced a second ago is a thief's.
pub fn valve() -> String {
    format!(
        "<auth-valve className=\"com.cafesoft.security.engine.auth.AutoLoginAuthValve\" enabled=\"true\">\n<param-list>\n{}\n\
         <param name=\"grace\" value=\"1s\"/>\n</param-list></auth-valve>\n</auth-pipeline>",
        command(["keygen"]).success()
    )
}

pub fn remember(files: &Files, valve: &str) {
    replace(&domain_file(files, "security-domain.xml"), |text| text.replace("</auth-pipeline>", valve));
    replace(&domain_file(files, "login-config.xml"), |text| {
        text.replace(&format!("className=\"{HANDLER}\""), &format!("className=\"{ASKING}\""))
    });
}

pub fn domain_file(files: &Files, name: &str) -> std::path::PathBuf {
    files.path("conf/domains/system").join(name)
}

impl World {
    async fn start() -> Self {
        let files = Files::new("One", None);
        remember(&files, &valve());
        Self::of(files).await
    }

    pub async fn of(files: Files) -> Self {
        let server = files.start().await;
        let agent = agent(&files, &server, "probe").await;
        Self { agent, files, _server: server }
    }

    pub fn client(&self) -> Client {
        client(&self.agent)
    }

    /// Logs in and asks to be remembered; the cookie of it.
    pub async fn remembered(&self, user: &str, password: &str) -> String {
        remembered(&self.client(), user, password).await
    }

    /// Comes back to a page with nothing but this cookie.
    pub async fn visit(&self, cookie: &str) -> Visit {
        visit(&self.agent, cookie).await
    }

    pub fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.files.path("data/audit.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == kind).collect()
    }
}

async fn agent(files: &Files, server: &PolicyServer, name: &str) -> Agent {
    let address = server.address.to_string();
    let properties = [("cams.policy.server.1", address.as_str()), ("cams.autologin.enabled", "true")];
    Agent::of(&files.conf(), name, &[("app.test", "http://127.0.0.1:9")], &properties).await
}

fn client(agent: &Agent) -> Client {
    Client::new(&format!("http://app.test:{}", agent.address.port()), None)
}

async fn remembered(client: &Client, user: &str, password: &str) -> String {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", PAGE),
        ("cams_cb_username", user),
        ("cams_cb_password", password),
        ("cams_cb_autologin_flag", "true"),
    ];
    let reply = client.post_form("/cams/login", &fields).await;
    assert_eq!((reply.status.as_u16(), reply.location().as_str()), (303, PAGE), "{}", reply.text());
    client.cookie(REMEMBERED).unwrap_or_else(|| panic!("not remembered: {reply:?}"))
}

/// What comes of a request.
#[derive(Debug)]
pub struct Visit {
    pub reply: Reply,
    pub client: Client,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Without a form, and with a session.
    LoggedIn,
    /// The form, and a cookie is kept.
    Asked,
    /// 503, and the cookie is kept.
    Later,
    /// The form, and the cookie is gone.
    Forgotten,
}

impl Visit {
    pub fn outcome(&self) -> Outcome {
        let (status, cookies) = (self.reply.status.as_u16(), self.reply.cookies());
        let has_session = cookies.iter().any(|cookie| cookie.name() == SESSION && !is_deletion(cookie));
        let is_deleted = cookies.iter().any(|cookie| cookie.name() == REMEMBERED && is_deletion(cookie));
        match status {
            PASSED | 200 if has_session && !is_deleted => Outcome::LoggedIn,
            302 if is_deleted => Outcome::Forgotten,
            302 if !has_session => Outcome::Asked,
            503 if !has_session && cookies.is_empty() && self.reply.header("retry-after") == "5" => Outcome::Later,
            _ => panic!("neither a page nor a form: {:?}", self.reply),
        }
    }

    /// The cookie that the browser has now.
    pub fn cookie(&self) -> String {
        self.client.cookie(REMEMBERED).unwrap()
    }
}

async fn visit(agent: &Agent, cookie: &str) -> Visit {
    let client = client(agent);
    client.set_cookie(REMEMBERED, cookie);
    // It was sent to the login host before, so that answers differ in nothing that is random.
    client.set_cookie("CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM", &"k".repeat(43));
    // Cut where the session ends at that very moment: then once more.
    let (mut reply, mut tries) = (None, 0);
    while reply.is_none() && tries < 10 {
        reply = client.get_unless_cut(PAGE).await;
        tries += 1;
    }
    let reply = reply.expect("an answer");
    Visit { reply, client }
}

#[tokio::test]
async fn who_comes_back_is_let_in_and_has_another_cookie() {
    let world = World::start().await;
    let mut cookie = world.remembered("alice", PASSWORD).await;
    for _ in 0..3 {
        let back = world.visit(&cookie).await;
        assert_eq!(back.outcome(), Outcome::LoggedIn);
        assert_ne!(std::mem::replace(&mut cookie, back.cookie()), back.cookie());
        let again = back.client.get("/private/other").await;
        assert_eq!((again.status.as_u16(), again.cookies().len()), (PASSED, 0), "the session goes on by itself");
        let post = Request::post("/private/post").body(Full::from("hello")).unwrap();
        assert_eq!(client_with(&world, &cookie).request(post).await.status.as_u16(), PASSED);
        cookie = world.visit(&cookie).await.cookie();
    }
    let unasked = world.client();
    assert_eq!(unasked.log_in("alice", PASSWORD, PAGE).await.status, 303);
    assert_eq!(unasked.cookie(REMEMBERED), None, "nobody asked");
    assert_eq!(world.events("remember-me-theft"), [] as [Value; 0]);
    assert!(world.agent.process.output().contains("auto-login=\"success\""), "{}", world.agent.process.output());
    let output = world.agent.process.output();
    assert!(!output.contains(&cookie) && !output.contains(PASSWORD), "{output}");
}

fn client_with(world: &World, cookie: &str) -> Client {
    let client = world.client();
    client.set_cookie(REMEMBERED, cookie);
    client
}

#[tokio::test]
async fn twenty_tabs_are_one_login() {
    let world = World::start().await;
    let cookie = world.remembered("alice", PASSWORD).await;
    let logins = world.events("login").len();
    let tabs = join_all((0..20).map(|_| world.visit(&cookie))).await;
    assert!(tabs.iter().all(|tab| tab.outcome() == Outcome::LoggedIn), "{tabs:?}");
    assert!(tabs.iter().all(|tab| tab.cookie() == tabs[0].cookie()), "{tabs:?}");
    assert_eq!(world.events("login").len(), logins + 1);
    assert_eq!(world.visit(&tabs[0].cookie()).await.outcome(), Outcome::LoggedIn);
}

/// What came back is the very cookie that was logged out, changed, taken away: the form, and nothing left to try with.
#[tokio::test]
async fn what_ends_it_ends_it() {
    let world = World::start().await;
    let users = domain_file(&world.files, "cams-users.xml");
    let digest = cams_with_input(["digest", "--scheme", "SSHA256"], b"another").success();
    let ends = async |cookie: &str, why: &str| {
        let is_over = async || world.visit(cookie).await.outcome() == Outcome::Forgotten;
        within_async(SOON, why, is_over).await;
    };

    let client = world.client();
    let cookie = remembered(&client, "alice", PASSWORD).await;
    let reply = client.get("/cams/logout").await;
    assert_eq!((reply.status.as_u16(), client.cookie(REMEMBERED), client.cookie(SESSION)), (200, None, None));
    assert_eq!(world.visit(&cookie).await.outcome(), Outcome::Forgotten, "logged out");

    // A browser that has the cookie alone can log out too.
    let cookie = world.remembered("alice", PASSWORD).await;
    client_with(&world, &cookie).get("/cams/logout").await;
    assert_eq!(world.visit(&cookie).await.outcome(), Outcome::Forgotten, "logged out without a session");

    let cookie = world.remembered("bob", PASSWORD).await;
    replace(&users, |text| text.replace("<user name='bob'", "<user name='bob' enabled='false'"));
    ends(&cookie, "bob is disabled").await;

    let cookie = world.remembered("alice", PASSWORD).await;
    replace(&users, |text| {
        let (before, after) = text.split_once("<user name='alice' password='").unwrap();
        format!("{before}<user name='alice' password='{}{}", digest.trim(), &after[after.find('\'').unwrap()..])
    });
    ends(&cookie, "the password is another").await;

    let cookie = world.remembered("alice", "another").await;
    let key = command(["keygen"]).success();
    let key = key.lines().find(|line| line.contains("secretKey")).unwrap().to_owned();
    replace(&domain_file(&world.files, "security-domain.xml"), |text| {
        let lines = text.lines().map(|line| if line.contains("secretKey") { key.as_str() } else { line });
        lines.collect::<Vec<_>>().join("\n")
    });
    ends(&cookie, "the key is another").await;

    let cookie = world.remembered("alice", "another").await;
    replace(&domain_file(&world.files, "security-domain.xml"), |text| {
        text.replace("AutoLoginAuthValve\" enabled=\"true\"", "AutoLoginAuthValve\" enabled=\"false\"")
    });
    ends(&cookie, "the server remembers nobody").await;
}

#[tokio::test]
async fn an_agent_that_is_told_not_to_remember_deletes_the_cookie() {
    let world = World::start().await;
    let cookie = world.remembered("alice", PASSWORD).await;
    replace(&world.agent.folder.join("cams-webagent.conf"), |text| {
        text.replace("cams.autologin.enabled=true", "cams.autologin.enabled=false")
    });
    let is_over = async || world.visit(&cookie).await.outcome() == Outcome::Forgotten;
    within_async(SOON, "the agent remembers nobody", is_over).await;
}

/// The thief is shown the door, and so is whoever came in with what the thief got.
#[tokio::test]
async fn a_copy_that_is_used_after_its_time_ends_the_whole_family() {
    let world = World::start().await;
    let stolen = world.remembered("alice", PASSWORD).await;
    let first = world.visit(&stolen).await;
    let second = world.visit(&first.cookie()).await;
    assert_eq!((first.outcome(), second.outcome()), (Outcome::LoggedIn, Outcome::LoggedIn));
    let newest = second.cookie();
    let mut thief = None;
    within_async(SOON, "the grace is over", async || {
        thief = Some(world.visit(&stolen).await);
        thief.as_ref().is_some_and(|thief| thief.outcome() == Outcome::Forgotten)
    })
    .await;
    let location = thief.unwrap().reply.location();
    assert!(location.contains("cams_notice=remember-me-stolen"), "{location}");
    let target = &location[location.find("/cams/login").unwrap()..];
    assert!(world.client().get(target).await.text().contains("used a copy of what it kept"));
    let is_over = async || second.client.get_unless_cut(PAGE).await.is_some_and(|reply| reply.status == 302);
    within_async(SOON, "the sessions of the family end", is_over).await;
    let owner = world.visit(&newest).await;
    assert_eq!(owner.outcome(), Outcome::Forgotten);
    assert!(owner.reply.location().contains("cams_notice=remember-me-stolen"), "{owner:?}");
    assert_eq!(world.events("remember-me-theft").len(), 1);
}

/// A directory that does not answer says nothing about a password.
#[tokio::test]
async fn a_directory_that_is_down_costs_nobody_the_cookie() {
    let Some(slapd) = Slapd::shared().await else { return };
    let network = LinkProxy::start(([127, 0, 0, 1], slapd.port).into()).await;
    let files = Files::new("One", None);
    remember(&files, &valve());
    let entry = format!(
        "<login-config><login-config-entry name=\"http\">\n<login-module-entry \
         className=\"com.cafesoft.cams.auth.login.module.LdapLoginModule\" flag=\"REQUIRED\"><options>\n\
         <option name=\"host\" value=\"{}\"/>\n\
         <option name=\"userDnPattern\" value=\"uid={{0}},ou=people,dc=example,dc=test\"/>\n\
         </options></login-module-entry>\n<callback-handler className=\"{ASKING}\"/>\n\
         </login-config-entry></login-config>",
        network.address
    );
    fs::write(domain_file(&files, "login-config.xml"), entry).unwrap();
    let world = World::of(files).await;
    let cookie = world.remembered("bob", slapd::PASSWORD).await;
    network.cut().await;
    assert_eq!(world.visit(&cookie).await.outcome(), Outcome::Later);
    network.set(Network::Forwards);
    let is_back = async || world.visit(&cookie).await.outcome() == Outcome::LoggedIn;
    within_async(SOON, "the directory is back", is_back).await;
}

/// Each tab asks another agent, each agent another server: what one was given the other does not know of yet.
#[tokio::test]
async fn two_servers_take_no_honest_browser_for_a_thief() {
    let Some(postgres) = Postgres::shared().await else { return };
    let url = postgres.database();
    let files = Files::new("One", Some(&url));
    // On a busy machine the two are further apart than the short grace.
    let (peer, valve) = (files.peer("Two", &url), valve().replace("\"1s\"", "\"30s\""));
    remember(&files, &valve);
    remember(&peer, &valve);
    let there = peer.start().await;
    let world = World::of(files).await;
    let other = agent(&peer, &there, "other").await;
    let mut cookie = world.remembered("alice", PASSWORD).await;
    for _ in 0..5 {
        let agents = (0..20).map(|tab| if tab % 2 == 0 { &world.agent } else { &other });
        let tabs = join_all(agents.map(|agent| visit(agent, &cookie))).await;
        assert!(tabs.iter().all(|tab| tab.outcome() == Outcome::LoggedIn), "{tabs:?}");
        cookie = tabs.last().unwrap().cookie();
    }
    assert_eq!(world.events("remember-me-theft"), [] as [Value; 0]);
}

const USER: &str = "input[name=cams_cb_username]";
const TYPED: &str = "input[name=cams_cb_password]";
const TICK: &str = "input[name=cams_cb_autologin_flag]";

/// The story that people know: tick, close the browser, come back to a deep link.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_browser_comes_back_to_its_page() {
    let cams = Quickstart::start(&[]).await;
    let Some(mut browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let (page, deep) = (format!("{}/private/?a=1", cams.url), format!("{}/private/?b=%C3%A9", cams.url));
    let password = &cams.user("alice").password;

    for is_ticked in [false, true] {
        browser.goto(&page).await;
        browser.fill(USER, "alice").await;
        if is_ticked {
            browser.click(TICK).await;
        }
        browser.submit(TYPED, password).await;
        assert_eq!(browser.url().await, page);
        assert_eq!(browser.cookie(REMEMBERED).await.is_some(), is_ticked);
        if !is_ticked {
            browser.reopen().await;
            browser.goto(&deep).await;
            assert!(browser.has(TYPED).await, "nobody asked to be remembered");
        }
    }
    let mut cookie = browser.cookie(REMEMBERED).await;
    for _ in 0..2 {
        browser.reopen().await;
        browser.goto(&deep).await;
        assert_eq!((browser.url().await, browser.text("#user").await), (deep.clone(), "alice".to_owned()));
        let next = browser.cookie(REMEMBERED).await;
        assert!(next.is_some() && next != cookie, "a cookie is good for one visit");
        cookie = next;
    }
    browser.follow("#logout").await;
    browser.goto(&page).await;
    assert!(browser.has(TYPED).await, "logged out");
    assert_eq!(browser.cookie(REMEMBERED).await, None);
    browser.reopen().await;
    browser.goto(&page).await;
    assert!(browser.has(TYPED).await, "logged out for good");
}
