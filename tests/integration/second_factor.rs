//! Login entries that ask for more than a name and a password: one-time codes, a PIN; and that the door somebody came in
//! by stays the only one that is open to them.

mod remembered;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::Value;
use tests::browser::Screen;
use tests::command::{cams as command, cams_with_input};
use tests::quickstart::replace;
use tests::services::{command as tool, missing};
use tests::{Agent, Browser, Client, Quickstart, Reply, within_async};

use crate::store::stores;

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const SOON: Duration = Duration::from_secs(20);
const HOST: &str = "localhost";
const PIN: &str = "canary-4711";

/// As an admin writes it: `strong` asks for a code as well, `pin` for a PIN from a users file of its own.
const ENTRIES: &str = r#"
<login-config-entry name="strong">
  <login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="REQUIRED">
    <options><option name="serviceId" value="cams-user-repository"/></options>
  </login-module-entry>
  <login-module-entry className="com.cafesoft.cams.auth.login.module.TotpLoginModule" flag="REQUIRED">
    <options><option name="defaultRoles" value="two-factors"/></options>
  </login-module-entry>
  <callback-handler className="com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler">
    <callback name="totp" label="Code from your authenticator app" secret="false" maxLength="10" inputMode="numeric"/>
  </callback-handler>
</login-config-entry>
<login-config-entry name="pin">
  <login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="REQUIRED">
    <options><option name="serviceId" value="cams-user-repository"/></options>
  </login-module-entry>
  <login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="REQUIRED">
    <options>
      <option name="serviceId" value="pins"/>
      <option name="passwordCallback" value="pin"/>
    </options>
  </login-module-entry>
  <callback-handler className="com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler">
    <callback name="pin" label="PIN" maxLength="12"/>
  </callback-handler>
</login-config-entry>
</login-config>"#;

const PINS: &str = r#"<service id="pins" className="com.cafesoft.security.engine.service.XmlUserRepositoryService" enabled="true">
  <param-list><param name="path" value="pins.xml"/></param-list>
</service>
</service-manager>"#;

/// `/admin/*` is for the entry `strong`, `/public/*` for `pin`, the rest for `http`.
const RULES: [(&str, &str); 2] = [
    (
        r#"<acr id="admins"><auth roles="admin"/></acr>"#,
        r#"<acr id="admins"><auth entries="strong"/></acr><acr id="pins"><auth entries="pin"/></acr>"#,
    ),
    (
        "<resource-pattern host=\"*\" path=\"/public/*\"/>\n      <acr-ref id=\"everybody\"/>",
        "<resource-pattern host=\"*\" path=\"/public/*\"/>\n      <acr-ref id=\"pins\"/>",
    ),
];

/// The sample site behind an agent that is registered for all three entries.
struct Product {
    agent: Agent,
    cams: Quickstart,
    site: String,
}

impl Product {
    async fn start() -> Self {
        let cams = Quickstart::start(&[]).await;
        let digest = cams_with_input(["digest", "--scheme", "SSHA256"], PIN.as_bytes()).success();
        let pins = format!(
            "<cams-users><user name='alice' password='{}'><role name='pin'/></user></cams-users>",
            digest.trim()
        );
        fs::write(cams.domain_file("pins.xml"), pins).unwrap();
        // Many tries from one address are what is tested here, not that they are slowed down.
        replace(&cams.domain_file("security-domain.xml"), |text| {
            let valve = "security.engine.auth.ThrottleAuthValve\" enabled=\"";
            assert!(text.contains(valve), "{text}");
            text.replace("</service-manager>", PINS).replace(&format!("{valve}true"), &format!("{valve}false"))
        });
        replace(&cams.domain_file("login-config.xml"), |text| text.replace("</login-config>", ENTRIES));
        replace(&cams.domain_file("access-control-policy.xml"), |text| {
            RULES.iter().fold(text.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{text}");
                text.replace(from, to)
            })
        });
        let conf = fs::read_to_string(cams.facts().agent_conf).unwrap();
        let upstream = conf
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| line.split_once(".upstream="))
            .unwrap()
            .1
            .to_owned();
        let agent = Agent::for_entries(&cams, "all", &["http", "strong", "pin"], &[(HOST, &upstream)]).await;
        let product = Self { agent, cams, site: upstream };
        let is_asked = async |path: &str, entry: &str| {
            product.client().get(path).await.location().contains(&format!("cams_login_config={entry}"))
        };
        within_async(SOON, "the new entries", async || {
            is_asked("/admin/", "strong").await && is_asked("/public/", "pin").await
        })
        .await;
        let is_told =
            async || product.client().get("/cams/login?cams_login_config=pin").await.text().contains("cams_cb_pin");
        within_async(SOON, "the new forms", is_told).await;
        product
    }

    fn url(&self) -> String {
        url(&self.agent)
    }

    fn client(&self) -> Client {
        Client::new(&self.url(), None)
    }

    fn run(&self, arguments: &[&str]) -> tests::command::Output {
        command(arguments.iter().copied().chain(["--conf", self.cams.conf.to_str().unwrap()]))
    }

    /// Enrols alice; her secret in base32.
    fn enrol(&self) -> String {
        let shown =
            self.run(&["user", "totp", "enrol", "alice", "--domain", "system", "--issuer", "My Site"]).success();
        let [uri, secret] = shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
        assert!(uri.starts_with("otpauth://totp/My%20Site:alice?"), "{uri}");
        assert!(uri.contains(&format!("secret={secret}")) && uri.contains("issuer=My%20Site"), "{uri}");
        secret.to_owned()
    }

    fn password(&self) -> &str {
        &self.cams.user("alice").password
    }

    /// The ids of all sessions with their entries.
    fn sessions(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sessions = self.run(&["session", "list", "--json"]).json();
        sessions.as_array().unwrap().iter().map(|session| (text(&session["id"]), text(&session["entry"]))).collect()
    }
}

fn url(agent: &Agent) -> String {
    format!("http://{HOST}:{}", agent.address.port())
}

async fn log_in(client: &Client, entry: &str, password: &str, further: &[(&str, &str)]) -> Reply {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", entry),
        ("cams_original_url", "/private/"),
        ("cams_cb_username", "alice"),
        ("cams_cb_password", password),
    ];
    client.post_form("/cams/login", &[&fields, further].concat()).await
}

/// The codes of a secret at moments around now, as somebody else computes them: `None` where oathtool is missing.
fn codes(secret: &str) -> Option<impl Fn(i64) -> String> {
    if tool(&["oathtool"]).is_none() {
        missing("oathtool");
        return None;
    }
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let secret = secret.to_owned();
    Some(move |steps: i64| {
        let mut oathtool = Command::new("oathtool");
        oathtool.args(["--totp=sha1", "--base32", "--now", &format!("@{}", now + 30 * steps), &secret]);
        let output = oathtool.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

#[tokio::test]
async fn a_code_opens_its_own_door_once() {
    let product = Product::start().await;
    let secret = product.enrol();
    let Some(code) = codes(&secret) else { return };
    let password = product.password();

    // By the first door into the house, and not through the second.
    let client = product.client();
    assert_eq!(log_in(&client, "http", password, &[]).await.status, 303);
    assert_eq!(client.get("/private/").await.status, 200);
    let former = client.cookie(SESSION).unwrap();
    let asked = client.get("/admin/").await.location();
    assert!(asked.contains("cams_login_config=strong"), "{asked}");
    let page = client.get(asked.strip_prefix(&product.url()).unwrap_or(&asked)).await;
    assert!(page.text().contains("name=\"cams_cb_totp\"") && page.text().contains("one-time-code"), "{page:?}");

    // A wrong password does not use the code up, and what is wrong is not told.
    let texts = [
        log_in(&product.client(), "strong", "wrong", &[("cams_cb_totp", &code(0))]).await,
        log_in(&product.client(), "strong", "wrong", &[("cams_cb_totp", "000000x")]).await,
        log_in(&product.client(), "strong", password, &[("cams_cb_totp", "000000x")]).await,
        log_in(&product.client(), "strong", password, &[("cams_cb_totp", &code(-9))]).await,
        log_in(&product.client(), "strong", password, &[("cams_cb_totp", "")]).await,
        log_in(&product.client(), "strong", password, &[]).await,
    ];
    for refused in &texts {
        assert_eq!((refused.status.as_u16(), refused.text()), (401, texts[0].text()));
    }

    // Through the second door, and the first is closed.
    let spaced = code(0);
    let spaced = format!("{} {}", &spaced[..3], &spaced[3..]);
    let done = log_in(&client, "strong", password, &[("cams_cb_totp", &spaced)]).await;
    assert_eq!(done.status, 303, "{}", done.text());
    assert_ne!(client.cookie(SESSION).unwrap(), former);
    let [(id, entry)] = &product.sessions()[..] else { panic!("the former session lives on") };
    let echo: Value = client.get("/admin/echo").await.json();
    let header = |name: &str| {
        let pairs = echo["headers"].as_array().unwrap().iter();
        pairs.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((header("cams-http-session-id"), entry.as_str()), (vec![id.as_str()], "strong"));
    assert!(header("cams-http-roles").concat().contains("two-factors"), "{echo}");
    assert!(client.get("/private/").await.location().contains("cams_login_config=http"));
    let old = product.client();
    old.set_cookie(SESSION, &former);
    for path in ["/private/", "/admin/"] {
        assert_eq!(old.get(path).await.status, 302, "{path}");
    }

    // The same code and the one before it are spent; the next one is not.
    for steps in [0, -1] {
        let replayed = log_in(&product.client(), "strong", password, &[("cams_cb_totp", &code(steps))]).await;
        assert_eq!((replayed.status.as_u16(), replayed.text()), (401, texts[0].text()));
    }
    assert_eq!(log_in(&product.client(), "strong", password, &[("cams_cb_totp", &code(1))]).await.status, 303);

    // Who loses the app loses what it opened.
    assert_eq!(client.get("/admin/").await.status, 200);
    product.run(&["user", "totp", "remove", "alice"]).success();
    within_async(SOON, "the end of the session", async || {
        client.get_unless_cut("/admin/").await.is_some_and(|reply| reply.status == 302)
    })
    .await;
    assert_eq!(log_in(&product.client(), "strong", password, &[("cams_cb_totp", &code(1))]).await.status, 401);
}

#[tokio::test]
async fn of_twenty_with_one_code_one_gets_in() {
    let product = Product::start().await;
    let secret = product.enrol();
    let Some(code) = codes(&secret) else { return };
    let code = code(0);
    let tries = (0..20).map(async |_: i32| {
        log_in(&product.client(), "strong", product.password(), &[("cams_cb_totp", &code)]).await.status.as_u16()
    });
    let mut statuses = join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[303].as_slice(), &[401; 19]].concat());
    assert_eq!(product.sessions().len(), 1);
}

#[tokio::test]
async fn a_pin_is_configuration_and_not_code() {
    let product = Product::start().await;
    let page = product.client().get("/cams/login?cams_login_config=pin").await.text();
    assert!(page.contains("name=\"cams_cb_pin\" type=\"password\"") && page.contains("maxlength=\"12\""), "{page}");
    let password = product.password();
    for (password, pin, expected) in [
        (password, PIN, 303),
        (password, "0000", 401),
        (password, "", 401),
        (password, password, 401),
        (PIN, PIN, 401),
        (PIN, password, 401),
    ] {
        let client = product.client();
        let done = log_in(&client, "pin", password, &[("cams_cb_pin", pin)]).await;
        assert_eq!(done.status, expected, "{done:?}");
        assert_eq!(client.get("/public/echo").await.status.as_u16(), if expected == 303 { 200 } else { 302 });
        assert!(!done.text().contains(PIN), "{done:?}");
    }
    let answers = [("cams_cb_pin", "4711-is-longer-than-it-may-be")];
    assert_eq!(log_in(&product.client(), "pin", password, &answers).await.status, 401);
    assert_eq!(log_in(&product.client(), "pin", password, &[]).await.status, 401);
}

/// Entries that the agent is not configured for, or configured for but not registered.
#[tokio::test]
async fn nobody_chooses_a_door_that_is_not_there() {
    let product = Product::start().await;
    let plain = Agent::for_entries(&product.cams, "plain", &["http"], &[(HOST, &product.site)]).await;
    let further = [("cams.loginconfig.entries", "strong")];
    let eager = Agent::start(&product.cams, "eager", &[(HOST, &product.site)], &further).await;
    let secret = product.enrol();
    let Some(code) = codes(&secret) else { return };
    let code = code(0);
    let further = [("cams_cb_totp", code.as_str()), ("cams_cb_pin", PIN)];
    let shown = Client::new(&url(&plain), None).get("/cams/login?cams_login_config=strong").await;
    assert!(shown.status == 400 && shown.text().contains("5004"), "{shown:?}");
    for agent in [&plain, &eager] {
        let client = Client::new(&url(agent), None);
        for entry in ["strong", "pin", "other", "HTTP", ""] {
            let done = log_in(&client, entry, product.password(), &further).await;
            assert!(done.status == 400 && done.text().contains("5004"), "{entry}: {done:?}");
        }
        assert!(client.cookie(SESSION).is_none());
        assert_eq!(log_in(&client, "http", product.password(), &[]).await.status, 303);
        // A rule that demands what nobody can do here is a refusal, not a circle.
        assert_eq!(client.get("/admin/").await.status, 403);
    }
    // The code was not asked for.
    let strong = log_in(&product.client(), "strong", product.password(), &further[..1]).await;
    assert_eq!(strong.status, 303);
}

#[tokio::test]
async fn secrets_are_shown_once_and_kept_sealed() {
    let product = Product::start().await;
    let secret = product.enrol();
    assert_eq!(product.run(&["user", "totp", "enrol", "alice"]).code, 1);
    let listed = product.run(&["user", "totp", "list", "--json"]).json();
    assert_eq!((&listed[0]["user"], &listed[0]["domain"]), (&"alice".into(), &"system".into()));
    let bob = product.run(&["user", "totp", "enrol", "bob", "--domain", "nowhere"]);
    assert!(bob.code == 1 && bob.stderr.contains("no login entry with a TotpLoginModule"), "{bob:?}");
    let data = product.cams.dir().path().join("data");
    for file in fs::read_dir(&data).unwrap().map(Result::unwrap) {
        let text = fs::read(file.path()).unwrap();
        let found = text.windows(secret.len()).any(|window| window.eq_ignore_ascii_case(secret.as_bytes()));
        assert!(!found, "{:?}", file.path());
    }
    product.run(&["user", "totp", "remove", "alice"]).success();
    assert_eq!(product.run(&["user", "totp", "remove", "alice"]).code, 1);
    let audit = fs::read_to_string(data.join("audit.jsonl")).unwrap();
    for event in ["totp-enrolled", "totp-removed"] {
        let lines = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let [line] = &lines.filter(|line| line["event"] == event).collect::<Vec<_>>()[..] else {
            panic!("{event}: {audit}")
        };
        assert_eq!((&line["user"], &line["domain"]), (&"alice".into(), &"system".into()));
        assert!(line["actor"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_types_a_code() {
    let product = Product::start().await;
    let secret = product.enrol();
    let Some(code) = codes(&secret) else { return };
    let Some(browser) = Browser::start(None).await else { return };
    browser.goto(&format!("{}/admin/", product.url())).await;
    assert!(browser.url().await.contains("cams_login_config=strong"), "{}", browser.url().await);
    look(&browser, "login-code").await;
    let (user, password, field) =
        ("input[name=cams_cb_username]", "input[name=cams_cb_password]", "input[name=cams_cb_totp]");
    browser.fill(user, "alice").await;
    browser.fill(password, product.password()).await;
    browser.submit(field, "000000").await;
    assert!(browser.text("[role=alert]").await.contains("Authentication failed"));
    assert_eq!(
        (browser.value(user).await, browser.value(password).await, browser.value(field).await),
        ("alice".into(), String::new(), String::new())
    );
    assert!(browser.has(&format!("{password}:focus")).await, "typing goes on where something is missing");
    look(&browser, "login-code-failed").await;
    browser.fill(password, product.password()).await;
    browser.submit(field, &code(0)).await;
    assert_eq!(browser.url().await, format!("{}/admin/", product.url()));

    // The same code again, in another tab.
    browser.new_tab().await;
    browser.goto(&format!("{}/cams/login?cams_login_config=strong", product.url())).await;
    browser.fill(user, "alice").await;
    browser.fill(password, product.password()).await;
    browser.submit(field, &code(0)).await;
    assert!(browser.text("[role=alert]").await.contains("Authentication failed"));
}

/// Takes pictures of the page on every screen, and panics when axe-core finds anything wrong with it.
async fn look(browser: &Browser, page: &str) {
    for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.emulate(screen, dark).await;
            browser.screenshot(&format!("{page}-{name}-{scheme}")).await;
            assert_eq!(browser.violations().await.unwrap_or_default(), [""; 0], "{page} {name} {scheme}");
        }
    }
}

/// Two servers on one store, and twenty who try the same code at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_code_is_used_once() {
    for fixture in stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        let store = &servers[0];
        assert!(store.add_totp_secret("system", "alice", b"one", 1).await.unwrap());
        for step in [1, 7] {
            let tries = (0..20).map(|number| {
                let server = servers[number % 2].clone();
                tokio::spawn(async move { server.use_totp_step("system", "alice", b"one", step).await.unwrap() })
            });
            let used = join_all(tries).await;
            assert_eq!(used.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
        }
        for (user, sealed, step, expected) in [
            ("alice", b"one", 6, false),
            ("alice", b"two", 8, false),
            ("bob", b"one", 8, false),
            ("alice", b"one", 8, true),
        ] {
            assert_eq!(store.use_totp_step("system", user, sealed, step).await.unwrap(), expected, "{user} {step}");
        }
        let before = store.position().await.unwrap().seq;
        for removed in [true, false] {
            assert_eq!(servers[1].remove_totp_secret("system", "alice").await.unwrap(), removed);
        }
        assert_eq!(store.events_after(before, 10).await.unwrap().len(), 1, "agents are told once");
        assert_eq!(store.totp_secret("system", "alice").await.unwrap(), None);
    }
}
