//! The tools of the `cams` command: exit codes, JSON, and that what one prints another takes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::command::{cams, cams_with_input};
use tests::{Quickstart, within_async};

#[test]
fn usage_errors_are_two() {
    let cases: [&[&str]; 5] = [&["nothing"], &["digest", "--nothing"], &["check"], &["explain", "--conf"], &["agent"]];
    for arguments in cases {
        let ended = cams(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
    assert!(cams(["--version"]).success().starts_with("cams "));
    assert!(cams(["--help"]).success().contains("quickstart"));
}

#[test]
fn a_digest_verifies_its_password_alone() {
    let schemes: [&[&str]; 5] =
        [&[], &["--scheme", "ARGON2"], &["--scheme", "SSHA"], &["--scheme", "SSHA512"], &["--scheme", "PBKDF2-SHA256"]];
    for scheme in schemes {
        let made = cams_with_input(["digest"].iter().chain(scheme), b"s\xc3\xa9cret pass").success();
        let digest = made.trim_end();
        let label = scheme.get(1).unwrap_or(&"ARGON2");
        assert!(digest.starts_with(&format!("{{{label}}}")), "{digest}");
        let passwords: [(&[u8], i32); 6] = [
            (b"s\xc3\xa9cret pass", 0),
            (b"s\xc3\xa9cret pass\n", 1),
            (b"s\xc3\xa9cret", 1),
            (b"s\xe9cret pass", 1),
            (b"s\xc3\xa9cret pass\0", 1),
            (b"", 1),
        ];
        for (password, code) in passwords {
            let verified = cams_with_input(["digest", "verify", digest], password);
            assert_eq!(verified.code, code, "{digest} {password:?}: {verified:?}");
            assert!(!format!("{verified:?}").contains("cret pass"), "a password is never printed");
        }
    }
}

/// Digests from another implementation.
#[test]
fn digests_of_openssl_verify() {
    for method in ["-1", "-5", "-6"] {
        let made = Command::new("openssl").args(["passwd", method, "-salt", "abcdefgh", "tr0ub4dor"]).output().unwrap();
        let stored = format!("{{CRYPT}}{}", String::from_utf8(made.stdout).unwrap().trim_end());
        assert_eq!(cams_with_input(["digest", "verify", &stored], b"tr0ub4dor").code, 0, "{stored}");
        assert_eq!(cams_with_input(["digest", "verify", &stored], b"tr0ub4dor3").code, 1, "{stored}");
    }
    for stored in ["", "*", "{SSHA}", "{NOTHING}x", "{ARGON2}$argon2id$v=19$m=4294967295,t=1,p=1$YWJj$YWJj"] {
        assert_eq!(cams_with_input(["digest", "verify", stored], b"").code, 1, "{stored:?}");
    }
}

#[test]
fn a_key_is_new_every_time_and_ready_to_paste() {
    let mut keys = BTreeSet::new();
    for _ in 0..3 {
        let block = cams(["keygen"]).success();
        assert!(block.contains("AES-256-GCM"), "{block}");
        let (_, rest) = block.split_once("name=\"secretKey\" value=\"").unwrap_or_else(|| panic!("{block}"));
        let (value, _) = rest.split_once('"').unwrap();
        // A key id may stand before the key itself.
        let key = STANDARD.decode(value.rsplit(':').next().unwrap()).unwrap();
        assert_eq!(key.len(), 32, "{block}");
        keys.insert(key);
    }
    assert_eq!(keys.len(), 3);
}

/// Runs a login stack with this password and returns its JSON.
fn test_login(cams: &Quickstart, user: &str, password: &str) -> (i32, Value) {
    let conf = cams.conf.to_str().unwrap();
    let arguments = ["test-login", "--conf", conf, "--domain", "system", "--entry", "http", "--user", user, "--json"];
    let ended = cams_with_input(arguments, password.as_bytes());
    (ended.code, ended.json())
}

#[tokio::test]
async fn a_login_stack_can_be_tried() {
    let cams = Quickstart::shared().await;
    let (code, done) = test_login(&cams, "alice", &cams.user("alice").password);
    assert_eq!(
        (code, &done["ok"], &done["user"], &done["exception"]),
        (0, &true.into(), &"alice".into(), &Value::Null)
    );
    assert_eq!(done["roles"], serde_json::json!(["user"]));
    let module = &done["modules"][0];
    assert_eq!(module["flag"], "REQUIRED");
    assert!(module["class"].as_str().unwrap().ends_with("XmlLoginModule"), "{module}");
    assert!(module["outcome"].is_string() && !module["detail"].is_null(), "{module}");

    // Neither throttled nor counted: as many failures as would lock anybody out.
    for (user, password) in std::iter::repeat_n(("alice", "wrong"), 12).chain([("nobody", "wrong"), ("alice", "")]) {
        let (code, failed) = test_login(&cams, user, password);
        assert_eq!((code, &failed["ok"]), (1, &false.into()), "{failed}");
        assert_eq!(failed["exception"], "javax.security.auth.login.FailedLoginException", "{failed}");
        assert!(failed["message"].as_str().unwrap().contains("invalid credentials"), "{failed}");
    }
    let long = "x".repeat(5_000);
    let cases =
        [("alice", "", "password"), ("alice", &long, "password"), ("", "x", "username"), ("a\u{1}", "x", "username")];
    for (user, password, why) in cases {
        let (_, failed) = test_login(&cams, user, password);
        assert_eq!(failed["modules"][0]["outcome"], "not-asked", "{failed}");
        assert!(failed["detail"].as_str().unwrap().contains(&format!("`{why}`")), "it says why: {failed}");
    }
    assert_eq!(test_login(&cams, "alice", &cams.user("alice").password).0, 0);
    let arguments = ["test-login", "--conf", cams.conf.to_str().unwrap(), "--domain", "other", "--entry", "http"];
    assert_ne!(cams_with_input(arguments.iter().chain(&["--user", "alice"]), b"x").code, 0);
}

#[tokio::test]
async fn a_session_can_be_listed_and_ended() {
    let cams = Quickstart::start(&[]).await;
    let (ended, other) = (cams.client_of("alice").await, cams.client_of("admin").await);
    let conf = cams.conf.to_str().unwrap();
    let list = || -> Vec<Value> {
        let listed = tests::command::cams(["session", "list", "--conf", conf, "--json"]).success();
        serde_json::from_str(&listed).unwrap()
    };
    let sessions = list();
    let users: BTreeSet<_> = sessions.iter().map(|session| session["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["admin", "alice"].into());
    let token = ended.cookie("CAMS_SID_MYCAMSCLUSTER_SYSTEM").unwrap();
    assert!(!Value::from(sessions.clone()).to_string().contains(&token), "a token is not an id");

    let alice = sessions.iter().find(|session| session["user"] == "alice").unwrap();
    let id = alice["id"].as_str().unwrap();
    tests::command::cams(["session", "end", id, "--conf", conf]).success();
    within_async(Duration::from_secs(5), "alice is asked again", async || {
        ended.get_unless_cut("/private/").await.is_some_and(|reply| reply.status == 302)
    })
    .await;
    assert_eq!(other.get("/private/").await.status, 200);
    assert!(list().iter().all(|session| session["user"] != "alice"));
    assert_eq!(tests::command::cams(["session", "end", id, "--conf", conf]).code, 1, "it has ended already");
}

#[tokio::test]
async fn an_agent_can_be_added_and_removed() {
    let cams = Quickstart::start(&[]).await;
    let conf = cams.conf.to_str().unwrap();
    let run = |arguments: &[&str]| tests::command::cams(arguments.iter().chain(&["--conf", conf]));
    let names = || -> Vec<String> {
        let listed: Vec<Value> = serde_json::from_str(&run(&["agent", "list", "--json"]).success()).unwrap();
        listed.iter().map(|agent| agent["name"].as_str().unwrap().to_owned()).collect()
    };
    let before = names();
    assert_eq!(before.len(), 1, "quickstart's own");

    let out = cams.dir().path().join("second");
    let out_dir = out.to_str().unwrap();
    let add = ["agent", "add", "second", "--domain", "system", "--host", "second.test", "--entry", "http"];
    let add: Vec<_> = add.into_iter().chain(["--capability", "enforce", "--dir", out_dir]).collect();
    run(&add).success();
    assert!(names().contains(&"second".to_owned()));
    assert_ne!(run(&add).code, 0, "the name is taken");
    let files: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    let keys = files.iter().filter(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).contains("PRIVATE KEY"));
    let modes: Vec<_> = keys.map(|file| fs::metadata(file).unwrap().permissions().mode() & 0o077).collect();
    assert_eq!(modes, [0], "one key that its owner alone reads: {files:?}");
    let agent_conf = out.join("cams-webagent.conf");
    assert!(fs::read_to_string(&agent_conf).unwrap().contains("cams.cluster.name"));

    run(&["agent", "remove", "second"]).success();
    assert_eq!(names(), before);
    assert_eq!(run(&["agent", "remove", "second"]).code, 1, "it is gone already");
}

#[tokio::test]
async fn a_decision_can_be_explained() {
    let cams = Quickstart::shared().await;
    let cases = [
        ("alice", "user", "/", "granted"),
        ("alice", "user", "/private/x", "granted"),
        ("alice", "user", "/admin/", "denied"),
        ("admin", "user,admin", "/admin/", "granted"),
        ("", "", "/private/", "login-required"),
        ("", "", "/public/x", "granted"),
    ];
    for (user, roles, path, decision) in cases {
        let url = format!("{}{path}", cams.url);
        let conf = cams.conf.to_str().unwrap();
        let mut arguments = vec!["explain", "--conf", conf, "--method", "GET", "--url", &url, "--json"];
        if !user.is_empty() {
            arguments.extend(["--user", user, "--roles", roles]);
        }
        let ended = tests::command::cams(&arguments);
        assert_eq!(ended.json()["decision"], decision, "{user} {path}: {ended:?}");
        assert_eq!(ended.code, i32::from(decision != "granted"), "{user} {path}");
    }
}
