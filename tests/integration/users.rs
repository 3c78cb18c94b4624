//! The built-in directory as people use it: `cams user` and `cams group`, and logins of the running product.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::command::{Output, at_terminal, binary, cams_with_input};
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Client, Quickstart, within_async};

/// How long a change may take on a busy machine: less than an agent would remember a grant without being told.
const SOON: Duration = Duration::from_secs(20);
const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const FIRST: &str = "first canary pass phrase";
const SECOND: &str = "second canary pass phrase";
const PRIVATE: &str = "/private/echo";

const SERVICE: &str = r#"<service id="people" className="com.cafesoft.security.engine.service.LocalDirectoryService">
  <param-list><param name="history" value="2"/></param-list></service></service-manager>"#;
const LOGIN_CONFIG: &str = r#"<login-config><login-config-entry name="http">
  <login-module-entry className="com.cafesoft.cams.auth.login.module.LocalLoginModule" flag="REQUIRED"/>
  <callback-handler className="com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler"/>
  <login-parameters><login-parameter name="camsLoginUrl" value="/cams/login"/></login-parameters>
</login-config-entry></login-config>"#;

/// Makes a domain's users those of the built-in directory.
fn switch(domain: &Path) {
    replace(&domain.join("security-domain.xml"), |text| text.replace("</service-manager>", SERVICE));
    replace(&domain.join("login-config.xml"), |_| LOGIN_CONFIG.to_owned());
}

/// The product with users of the built-in directory, which has `bob` in a group with the role `user`.
struct Product {
    cams: Quickstart,
}

impl Product {
    async fn start() -> Self {
        let product = Self { cams: Quickstart::start(&[]).await };
        switch(&product.cams.conf.with_file_name("domains").join("system"));
        product.run(&["group", "add", "staff", "--role", "user"], "").success();
        product.run(&["group", "add", "admin"], "").success();
        let add = ["user", "add", "bob", "--group", "staff", "--mail", "bob@example.org", "--given-name", "Bób"];
        product.run(&add, FIRST).success();
        let log_in = async || product.try_login("bob", FIRST).await.is_some();
        within_async(SOON, "the new login module is in force", log_in).await;
        product.run(&["session", "end", "--user", "bob"], "").success();
        product
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let conf = ["--conf", self.cams.conf.to_str().unwrap()];
        cams_with_input(arguments.iter().copied().chain(conf), input.as_bytes())
    }

    async fn try_login(&self, user: &str, password: &str) -> Option<Client> {
        let client = self.cams.client();
        (client.log_in(user, password, PRIVATE).await.status == 303).then_some(client)
    }

    /// A client whose session the agent remembers.
    async fn log_in(&self, user: &str, password: &str) -> Client {
        let client = self.try_login(user, password).await.expect("the password is right");
        let before = self.remembered();
        within_async(SOON, "the agent answers from memory", async || {
            assert_eq!(client.get(PRIVATE).await.status, 200);
            self.remembered() > before
        })
        .await;
        client
    }

    /// The answer to a navigation with this session. One that news meets half-way may be cut without an answer: 0.
    async fn status(&self, target: &str, cookie: &str) -> u16 {
        let raw = self.cams.raw();
        let host = raw.authority();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n\
             Cookie: {SESSION}={cookie}\r\nConnection: close\r\n\r\n"
        );
        raw.status(request.as_bytes()).await
    }

    /// Answers that the agent gave without asking.
    fn remembered(&self) -> usize {
        let log = fs::read_to_string(self.cams.dir().path().join("log/web-agent.log")).unwrap();
        log.matches("decided_by=\"memory\"").count()
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.cams.dir().path().join("data/audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Waits until the session is refused; it must stay so.
async fn is_refused(product: &Product, cookie: &str) {
    let status = async || product.status(PRIVATE, cookie).await;
    within_async(SOON, "the session is refused", async || status().await == 302).await;
    for _ in 0..3 {
        assert_eq!(status().await, 302);
    }
}

#[tokio::test]
async fn a_user_lives_and_goes() {
    let product = Product::start().await;
    let bob = product.log_in("BOB", FIRST).await;
    let seen = bob.get(PRIVATE).await.json::<Value>();
    let headers: BTreeMap<String, String> = serde_json::from_value::<Vec<(String, String)>>(seen["headers"].clone())
        .unwrap()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    for (name, value) in [("user", "bob"), ("roles", "user"), ("profile-mail", "bob@example.org")] {
        assert_eq!(headers[&format!("cams-http-{name}")], value);
    }

    // Groups count for the session that is open.
    let cookie = bob.cookie(SESSION).unwrap();
    let admin = async || product.status("/admin/echo", &cookie).await;
    assert_eq!(admin().await, 403);
    product.run(&["group", "join", "admin", "bob"], "").success();
    within_async(SOON, "the new role counts", async || admin().await == 200).await;
    product.run(&["group", "leave", "admin", "bob"], "").success();
    within_async(SOON, "the role is gone", async || admin().await == 403).await;

    // A new password ends the session, and the old password is no more.
    let said = product.run(&["user", "passwd", "bob"], SECOND).success();
    assert!(said.contains("sessions ended: 1"), "{said}");
    is_refused(&product, &cookie).await;
    assert!(product.try_login("bob", FIRST).await.is_none());

    // Who is disabled is out, and being enabled brings no session back.
    let bob = product.log_in("bob", SECOND).await;
    let cookie = bob.cookie(SESSION).unwrap();
    let said = product.run(&["user", "disable", "bob"], "").success();
    assert!(said.contains("sessions ended: 1"), "{said}");
    is_refused(&product, &cookie).await;
    let reply = bob.log_in("bob", SECOND, PRIVATE).await;
    assert!(reply.status == 401 && reply.text().to_lowercase().contains("account"), "{reply:?}");
    product.run(&["user", "enable", "bob"], "").success();
    is_refused(&product, &cookie).await;

    // Whoever has the name next is somebody else.
    let bob = product.log_in("bob", SECOND).await;
    let cookie = bob.cookie(SESSION).unwrap();
    let id = |output: Output| output.json()["id"].as_str().unwrap().to_owned();
    let first = id(product.run(&["user", "show", "bob", "--json"], ""));
    let said = product.run(&["user", "remove", "bob"], "").success();
    assert!(said.contains("sessions ended: 1"), "{said}");
    let second = id(product.run(&["user", "add", "bob", "--group", "staff", "--json"], SECOND));
    assert_ne!(first, second);
    is_refused(&product, &cookie).await;
    let bob = product.log_in("bob", SECOND).await;
    let cookie = bob.cookie(SESSION).unwrap();

    // An end in the past ends the session at its next request.
    product.run(&["user", "set", "bob", "--expires", "2020-01-01"], "").success();
    is_refused(&product, &cookie).await;

    audit_tells_all(&product);
    nothing_holds_a_password(&product);
}

fn audit_tells_all(product: &Product) {
    let audit = product.audit();
    for (event, field, value) in [
        ("user-added", "user", "bob"),
        ("user-changed", "reason", "set: expires"),
        ("user-disabled", "user", "bob"),
        ("user-enabled", "user", "bob"),
        ("user-removed", "user", "bob"),
        ("password-set", "user", "bob"),
        ("group-added", "reason", "roles: user"),
        ("group-joined", "group", "admin"),
        ("group-left", "group", "admin"),
        ("session-ended", "reason", "the user was disabled"),
        ("session-ended", "reason", "the user was removed"),
        ("session-ended", "reason", "the password was set anew"),
    ] {
        let found = audit.iter().find(|line| line["event"] == event && line[field] == value);
        let found = found.unwrap_or_else(|| panic!("{event} with {field} {value}"));
        assert!(found["actor"].as_str().unwrap().starts_with("uid "), "{found}");
        assert_eq!(found["domain"], "system", "{found}");
    }
}

fn nothing_holds_a_password(product: &Product) {
    let (mut folders, mut files) = (vec![product.cams.dir().path().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for password in [FIRST, SECOND] {
                let found = bytes.windows(password.len()).any(|window| window == password.as_bytes());
                assert!(!found, "{} holds a password", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 10, "{files}");
}

/// The files of a server that does not run: what the commands do needs none.
fn files() -> Files {
    let files = Files::new("One", None);
    switch(&files.path("conf/domains/system"));
    files
}

#[test]
fn a_password_that_breaks_the_rules_is_named_and_changes_nothing() {
    let files = files();
    let add = |password: &str| files.cams_with_input(&["user", "add", "carol.danvers"], password.as_bytes());
    for (password, why) in [
        ("", "shorter than 12 characters"),
        ("eleven char", "shorter than 12 characters"),
        ("Carol.Danvers", "the user's name"),
        ("LeaveMeAlone", "choose most often"),
        ("abcdefghijklmnop", "only counts on"),
        ("two\nlines of text", "control characters"),
    ] {
        let output = add(password);
        assert!(output.code == 1 && output.stderr.contains(why), "{password:?}: {output:?}");
        assert!(password.is_empty() || !format!("{output:?}").contains(password), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    assert_eq!(files.cams(&["user", "list", "--json"]).json(), Value::Array(vec![]));
    add(FIRST).success();
    let set = |password: &str| files.cams_with_input(&["user", "passwd", "carol.danvers"], password.as_bytes());
    for (password, code) in [(FIRST, 1), (SECOND, 0), (FIRST, 1), (SECOND, 1), ("a third pass phrase", 0), (FIRST, 0)] {
        let output = set(password);
        assert_eq!(output.code, code, "{password}: {output:?}");
        assert_eq!(output.stderr.contains("it is one of the last 2"), code == 1, "{output:?}");
    }
}

/// What is typed is not shown, so a new password is typed twice.
#[test]
fn a_terminal_shows_no_password() {
    let files = files();
    let (first, second) = (format!("{FIRST}\n"), format!("{SECOND}\n"));
    let asked = |one: &str, two: &str| vec![("Password: ", one.to_owned()), ("The same again: ", two.to_owned())];
    let stored = cams_with_input(["digest"], FIRST.as_bytes()).success();
    let verify = format!("digest verify '{}'", stored.trim());
    let conf = format!("--conf {}", files.conf().display());
    for (command, answers, expected) in [
        ("digest --scheme SSHA512", asked(&first, &first), ["{SSHA512}", "exit=0"]),
        ("digest", asked(&first, &second), ["these were two passwords", "exit=1"]),
        ("digest", vec![("Password: ", "first\u{3}".to_owned())], ["interrupted", "exit=1"]),
        (&verify, vec![("Password: ", first.clone())], ["Password: ", "exit=0"]),
        (&verify, vec![("Password: ", second.clone())], ["Password: ", "exit=1"]),
        (&format!("user add carol {conf}"), asked(&first, &first), ["user `carol` is added", "exit=0"]),
        (&format!("user passwd carol {conf}"), asked(&second, &second), ["the new password", "exit=0"]),
    ] {
        let said = at_terminal(&format!("{} {command}", binary().display()), &answers);
        for expected in expected.iter().chain(&[" echo ", "\nisig "]) {
            assert!(said.contains(expected), "{command}: no {expected} in {said}");
        }
        assert!(!said.contains("canary") && !said.contains("first"), "{command}: {said}");
    }
    let arguments = ["test-login", "--domain", "system", "--entry", "http", "--user", "carol"];
    files.cams_with_input(&arguments, SECOND.as_bytes()).success();
}

#[test]
fn a_generated_password_is_told_once_and_logs_in() {
    let files = files();
    let output = files.cams(&["user", "add", "dave", "--generate", "--json"]).json();
    let password = output["password"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 20);
    let login = |password: &str| {
        let arguments = ["test-login", "--domain", "system", "--entry", "http", "--user", "Dave", "--json"];
        files.cams_with_input(&arguments, password.as_bytes())
    };
    let report = login(&password);
    assert_eq!((report.code, &report.json()["user"]), (0, &"dave".into()), "{report:?}");
    let said = files.cams(&["user", "passwd", "dave", "--generate"]).success();
    let next = said.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    assert_ne!(next, password);
    assert_eq!((login(next).code, login(&password).code), (0, 1));
    for listing in [&["user", "list", "--json"][..], &["user", "show", "dave", "--json"], &["user", "show", "dave"]] {
        let shown = files.cams(listing).success();
        assert!(shown.contains("dave") && !shown.contains("ARGON2") && !shown.contains(next), "{shown}");
    }
}

#[test]
fn what_cannot_be_done_is_said_and_what_makes_no_sense_is_usage() {
    let files = files();
    files.cams_with_input(&["user", "add", "erin"], FIRST.as_bytes()).success();
    files.cams(&["group", "add", "staff"]).success();
    for (arguments, code, why) in [
        (&["user", "add", "ERIN"][..], 1, "there is a user `ERIN`"),
        (&["user", "add", "frank", "--group", "none"], 1, "there is no group `none`"),
        (&["user", "add", "frank", "--domain", "other"], 1, "no security domain `other`"),
        (&["user", "add", "frank", "password"], 2, "unexpected argument"),
        (&["user", "add", " frank"], 2, "blanks"),
        (&["user", "add", "fr\u{202e}ank"], 2, "invisible"),
        (&["user", "add", "frank", "--mail", "a\nb"], 2, "invisible"),
        (&["user", "add", "frank", "--expires", "tomorrow"], 2, "2027-01-31"),
        (&["user", "set", "erin"], 2, "required"),
        (&["user", "set", "erin", "--must-change", "maybe"], 2, "maybe"),
        (&["user", "set", "frank", "--mail", "x"], 1, "there is no user `frank`"),
        (&["user", "show", "frank"], 1, "there is no user `frank`"),
        (&["user", "passwd", "frank"], 1, "there is no user `frank`"),
        (&["user", "disable", "frank"], 1, "there is no user `frank`"),
        (&["user", "remove", "erin", "--domain", "other"], 1, "there is no user `erin`"),
        (&["group", "add", "Staff"], 1, "there is a group `Staff`"),
        (&["group", "join", "staff"], 2, "required"),
        (&["group", "join", "staff", "frank"], 1, "there is no user `frank`"),
        (&["group", "join", "none", "erin"], 1, "there is no group `none`"),
        (&["group", "remove", "none"], 1, "there is no group `none`"),
    ] {
        let output = files.cams_with_input(arguments, SECOND.as_bytes());
        assert_eq!(output.code, code, "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(why) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    files.cams(&["group", "join", "staff", "erin"]).success();
    let set = ["user", "set", "erin", "--family-name", "O'Brien", "--expires", "2099-12-31", "--must-change", "true"];
    files.cams(&set).success();
    let erin = files.cams(&["user", "show", "erin", "--json"]).json();
    assert_eq!((&erin["family_name"], &erin["must_change"]), (&"O'Brien".into(), &true.into()));
    assert_eq!((&erin["expires"], &erin["roles"][0]), (&"2100-01-01T00:00:00Z".into(), &"staff".into()));
    files.cams(&["user", "set", "erin", "--family-name", "", "--expires", "never"]).success();
    let erin = files.cams(&["user", "show", "erin", "--json"]).json();
    assert_eq!((&erin["family_name"], &erin["expires"]), (&"".into(), &Value::Null));
    let groups = files.cams(&["group", "list", "--json"]).json();
    assert_eq!(groups, serde_json::json!([{"name": "staff", "roles": ["staff"], "members": ["erin"]}]));
    let listed = |text: &str| files.cams(&["user", "list", "--search", text, "--json"]).json();
    assert_eq!((listed("ERI").as_array().unwrap().len(), listed("frank")), (1, Value::Array(vec![])));
}

#[test]
fn a_test_login_opens_the_store_only_for_a_module_that_needs_it() {
    let files = Files::new("One", None);
    let data = files.path("data");
    fs::remove_dir_all(&data).unwrap();
    let login = |user: &str, password: &str| {
        let arguments = ["test-login", "--domain", "system", "--entry", "http", "--user", user, "--json"];
        files.cams_with_input(&arguments, password.as_bytes())
    };
    assert_eq!(login("alice", PASSWORD).code, 0);
    assert!(!data.join("cams.db").exists(), "users of a file need no store");
    switch(&files.path("conf/domains/system"));
    let report = login("alice", PASSWORD).json();
    assert_eq!(report["exception"], "javax.security.auth.login.FailedLoginException", "{report}");
    assert!(data.join("cams.db").exists());
    let audit = fs::read_to_string(data.join("audit.jsonl")).unwrap_or_default();
    assert_eq!(audit, "", "it counts nowhere");
}
