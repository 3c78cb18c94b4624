//! Login modules through the whole product when their directories are down, hang, lie or die, and when people type what
//! nobody should: what a person gets, what others notice, and what the log says.

mod hostile;
mod stacks;

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tests::link_proxy::Network;
use tests::policy_server::{Files, PASSWORD};
use tests::slapd::PASSWORD as LDAP_PASSWORD;
use tests::{Agent, Client, LinkProxy, PolicyServer, Postgres, Recorder, Reply, Slapd, within, within_async};
use tokio::task::JoinSet;

use tests::databases::{Database, certificate, element};

const SOON: Duration = Duration::from_secs(30);
const LOCAL: &str = r#"<service id="people" className="com.cafesoft.security.engine.service.LocalDirectoryService"/>"#;

type Options = Vec<(String, String)>;

fn module(class: &str, flag: &str, options: impl IntoIterator<Item = (String, String)>) -> String {
    let options: String = options.into_iter().map(|(name, value)| element("option", &name, &value)).collect();
    format!(
        "<login-module-entry className='com.cafesoft.cams.auth.login.module.{class}LoginModule' flag='{flag}'>\
         <options>{options}</options></login-module-entry>"
    )
}

fn entry(name: &str, modules: &str) -> String {
    let handler = if modules.contains("TotpLoginModule") {
        "<callback-handler className='com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler'>\
         <callback name='totp' label='Code' required='false'/></callback-handler>"
    } else {
        "<callback-handler className='com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler'/>"
    };
    format!(
        "<login-config-entry name='{name}'>{modules}{handler}<login-parameters>\
         <login-parameter name='camsLoginUrl' value='/cams/login'/></login-parameters></login-config-entry>\n"
    )
}

/// An entry of one module.
fn single(name: &str, class: &str, options: Options) -> String {
    entry(name, &module(class, "REQUIRED", options))
}

/// The users file of `cams init`.
fn xml() -> Options {
    vec![("serviceId".to_owned(), "cams-user-repository".to_owned())]
}

/// The people of the test directory at this address, found by a search unless `more` has a pattern.
fn ldap(host: &str, more: &[(&str, &str)]) -> Options {
    let base = ("userBaseDn", "ou=people,dc=example,dc=test");
    let search = (!more.iter().any(|(name, _)| *name == "userDnPattern")).then_some(base);
    let options = [("host", host)].into_iter().chain(search).chain(more.iter().copied());
    options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

const PATTERN: (&str, &str) = ("userDnPattern", "uid={0},ou=people,dc=example,dc=test");
const SEARCH_ACCOUNT: [(&str, &str); 2] =
    [("bindDn", "cn=search,dc=example,dc=test"), ("bindPassword", "canary-of-search")];

/// A site behind an agent at a policy server with the entry `http`, over the users file, and others.
struct World {
    agent: Agent,
    server: PolicyServer,
    files: Files,
    site: Recorder,
}

impl World {
    async fn start(names: &[&str], entries: &str) -> Self {
        Self::with(names, entries, |domain| domain.to_owned()).await
    }

    /// With changes of `security-domain.xml`.
    async fn with(names: &[&str], entries: &str, change: impl Fn(&str) -> String) -> Self {
        let files = Files::new("One", None);
        let domain = |name: &str| files.path("conf/domains/system").join(name);
        let text = fs::read_to_string(domain("security-domain.xml")).unwrap();
        fs::write(domain("security-domain.xml"), change(&text)).unwrap();
        let http = single("http", "Xml", xml());
        fs::write(domain("login-config.xml"), format!("<login-config>{http}{entries}</login-config>")).unwrap();
        let server = files.start().await;
        let site = Recorder::start().await;
        let address = server.address.to_string();
        let names = [&["http"], names].concat();
        let properties = [("cams.policy.server.1", address.as_str())];
        let agent = Agent::run(&files.conf(), "probe", &names, &[("localhost", &site.url)], &properties).await;
        Self { agent, server, files, site }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://localhost:{}", self.agent.address.port()), None)
    }

    async fn log_in(&self, entry: &str, user: &str, password: &str) -> Reply {
        log_in(&self.client(), entry, user, password).await
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.files.path("data/audit.jsonl")).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == kind).collect()
    }

    /// Logs in, which must fail and leave one line in the log; why it failed, as that line has it.
    async fn failure(&self, entry: &str, user: &str, password: &str) -> (Reply, String) {
        let before = self.events("login-failed").len();
        let reply = self.log_in(entry, user, password).await;
        assert!(reply.cookies().is_empty() && reply.header("cams-http-roles").is_empty(), "{reply:?}");
        let events = self.events("login-failed");
        let [event] = &events[before..] else {
            panic!("{entry} {user}: one line, not {:?}: {reply:?}", &events[before..])
        };
        assert_eq!(event["entry"], entry, "{event}");
        (reply, event["reason"].as_str().unwrap().to_owned())
    }

    /// Answers that the agent gave without asking.
    fn remembered(&self) -> usize {
        self.agent.process.output().matches("decided_by=\"memory\"").count()
    }

    /// Nothing crashed, and nobody's password was written down.
    fn is_sound(&mut self) {
        assert!(!self.server.process.has_ended() && !self.agent.process.has_ended());
        let audit = fs::read_to_string(self.files.path("data/audit.jsonl")).unwrap();
        let output = self.server.process.output() + &self.agent.process.output() + &audit;
        assert!(!output.contains("panicked") && !output.contains("crashed"), "{output}");
        assert!(!output.contains("canary") && !output.contains(PASSWORD), "{output}");
    }
}

async fn log_in(client: &Client, entry: &str, user: &str, password: &str) -> Reply {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", entry),
        ("cams_original_url", "/private/"),
        ("cams_cb_username", user),
        ("cams_cb_password", password),
    ];
    client.post_form("/cams/login", &fields).await
}

async fn network(slapd: &Slapd) -> LinkProxy {
    LinkProxy::start(([127, 0, 0, 1], slapd.port).into()).await
}

/// Nothing here is measured in seconds: the others are served while those who ask the silent directory still wait.
#[tokio::test]
async fn a_directory_that_hangs_holds_up_nobody_else() {
    const HANGING: usize = 50;
    let Some(slapd) = Slapd::shared().await else { return };
    let network = network(&slapd).await;
    let host = network.address.to_string();
    let entries = single("hangs", "Ldap", ldap(&host, &[("connectTimeout", "60s"), ("readTimeout", "60s")]));
    let mut world = World::start(&["hangs"], &entries).await;
    assert_eq!(world.log_in("hangs", "alice", LDAP_PASSWORD).await.status, 303);
    let alice = world.client();
    assert_eq!(log_in(&alice, "http", "alice", PASSWORD).await.status, 303);
    within_async(SOON, "the agent answers from memory", async || {
        assert_eq!(alice.get("/private/").await.status, 200);
        world.remembered() > 0
    })
    .await;

    network.set(Network::Silent);
    let before = network.connections();
    let mut waiting = JoinSet::new();
    for number in 0..HANGING {
        let client = world.client();
        waiting.spawn(async move { log_in(&client, "hangs", &format!("nobody{number}"), "x").await });
    }
    within(SOON, "all ask the directory", || network.connections() >= before + HANGING).await;
    let remembered = world.remembered();
    for round in 0..5 {
        let bob = world.client();
        assert_eq!(log_in(&bob, "http", "bob", PASSWORD).await.status, 303);
        assert_eq!(log_in(&world.client(), "http", "alice", &format!("wrong{round}")).await.status, 401);
        // Of a session that the agent has not seen, so that it has to ask; and from memory.
        assert_eq!(bob.get(&format!("/private/{round}")).await.status, 200);
        let answers = join_all((0..10).map(|_| alice.get("/private/"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        // The guesses at alice are not to lock her.
        assert_eq!(log_in(&world.client(), "http", "alice", PASSWORD).await.status, 303);
    }
    assert!(world.remembered() > remembered, "from memory");
    assert!(waiting.try_join_next().is_none(), "the directory still says nothing");
    assert!(world.site.seen().len() > 50);

    // Then it speaks, and those who waited have their answer.
    network.set(Network::Forwards);
    let answers = waiting.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 401), "{answers:?}");
    world.is_sound();
}

/// The requests arrive and the answers do not; then every connection ends. OpenLDAP had said yes by then.
#[tokio::test]
async fn a_server_that_dies_in_mid_login_grants_and_refuses_nothing() {
    let Some(slapd) = Slapd::start().await else { return };
    let (certificate, key) = certificate();
    let Some(postgres) = Postgres::start_tls(&certificate, &key).await else { return };
    let (to_slapd, to_sql) = (network(&slapd).await, LinkProxy::start(([127, 0, 0, 1], postgres.port).into()).await);
    let database = Database::of_postgres(postgres);
    let host = to_slapd.address.to_string();
    let patient = [("connectTimeout", "60s"), ("readTimeout", "60s")];
    let service = [("authMethod", "compare"), ("passwordAttribute", "sn"), SEARCH_ACCOUNT[0], SEARCH_ACCOUNT[1]];
    let url = database.url();
    let (base, name) = url.rsplit_once('/').unwrap();
    let url = format!("{}:{}/{name}", base.rsplit_once(':').unwrap().0, to_sql.address.port());
    let entries = single("search", "Ldap", ldap(&host, &patient))
        + &single("bind", "Ldap", ldap(&host, &[patient.as_slice(), &[PATTERN]].concat()))
        + &single("service", "Ldap", ldap(&host, &[patient.as_slice(), &service].concat()))
        + &single("sql", "Jdbc", database.options(&[("jdbcUrl", &url), ("connectTimeout", "60s")]));
    let mut world = World::start(&["search", "bind", "service", "sql"], &entries).await;
    let slapd_says = |text: &str| slapd.log().matches(text).count();
    for (entry, network, password, last) in [
        ("search", &to_slapd, LDAP_PASSWORD, "SRCH base=\"ou=people,dc=example,dc=test\""),
        ("bind", &to_slapd, LDAP_PASSWORD, "BIND dn=\"uid=alice,ou=people,dc=example,dc=test\" mech=SIMPLE"),
        ("service", &to_slapd, "Person", "BIND dn=\"cn=search,dc=example,dc=test\" mech=SIMPLE"),
        ("sql", &to_sql, "right", ""),
    ] {
        network.set(Network::Forwards);
        assert_eq!(world.log_in(entry, "alice", password).await.status, 303, "{entry}");
        let (said, connections) = (slapd_says(last), network.connections());
        network.set(Network::SlowFromServer(SOON * 4));
        if entry == "sql" {
            // A connection that is kept would serve the login without a word on the way.
            network.cut().await;
            network.set(Network::SlowFromServer(SOON * 4));
        }
        let (failure, ()) = tokio::join!(world.failure(entry, "alice", password), async {
            let is_asked =
                || if last.is_empty() { network.connections() > connections } else { slapd_says(last) > said };
            within(SOON, "the server has the request", is_asked).await;
            network.cut().await;
        });
        assert_eq!(failure.0.status, 503, "{entry}: {failure:?}");
        assert!(failure.1.starts_with("LoginException: "), "{entry}: {failure:?}");
    }
    assert_eq!(world.events("login-locked").len(), 0);
    world.is_sound();
}

/// Neither silence nor a closed door says anything about a password; once the directory speaks, guesses count.
#[tokio::test]
async fn a_directory_that_is_down_counts_for_no_lock() {
    let Some(slapd) = Slapd::shared().await else { return };
    let network = network(&slapd).await;
    let times = [("connectTimeout", "1s"), ("readTimeout", "1s")];
    let entries = single("down", "Ldap", ldap(&network.address.to_string(), &times));
    let mut world = World::start(&["down"], &entries).await;
    for (state, expected) in [(Network::Silent, "in time"), (Network::Cut, "127.0.0.1")] {
        network.set(state);
        for attempt in 0..7 {
            let (reply, why) = world.failure("down", "alice", &format!("wrong{attempt}")).await;
            assert_eq!((reply.status.as_u16(), reply.header("retry-after").as_str()), (503, "5"), "{state:?}: {why}");
            assert!(why.starts_with("LoginException: ") && why.contains(expected), "{state:?}: {why}");
        }
    }
    network.set(Network::Forwards);
    // A busy machine may make the directory late once more.
    let is_in = async || world.log_in("down", "alice", LDAP_PASSWORD).await.status == 303;
    within_async(SOON, "she was never locked out", is_in).await;
    assert_eq!(world.events("login-locked").len(), 0);
    let is_locked = async || world.log_in("down", "alice", "wrong").await.status == 429;
    within_async(SOON, "the throttle was on all the time", is_locked).await;
    assert_eq!(world.events("login-locked").len(), 1);
    world.is_sound();
}
