//! What the tools do with arguments and outputs that are not as they should be.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tests::command::{binary, cams, cams_with_input};

/// A configuration as `cams init` writes it, in a new folder.
fn init() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    cams(["init", "--dir", dir.path().to_str().unwrap()]).success();
    dir
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let dir = init();
    let conf = dir.path().join("conf/cams.conf");
    let conf = conf.to_str().unwrap();
    let commands: [&[&str]; 5] = [
        &["keygen"],
        &["digest", "--scheme", "SSHA512"],
        &["check", "--conf", conf],
        &["agent", "list", "--conf", conf],
        &["session", "list", "--json", "--conf", conf],
    ];
    for arguments in commands {
        let run = |stdout: Stdio| {
            let (password, mut typed) = std::io::pipe().unwrap();
            typed.write_all(b"secret").unwrap();
            drop(typed);
            let mut command = Command::new(binary());
            command.args(arguments).stdin(password).stdout(stdout).stderr(Stdio::piped());
            command.spawn().unwrap().wait_with_output().unwrap()
        };
        let full = run(File::options().write(true).open("/dev/full").unwrap().into());
        assert_eq!(full.status.code(), Some(1), "{arguments:?}");
        assert!(
            String::from_utf8(full.stderr).unwrap().starts_with("cams: cannot write the output: "),
            "{arguments:?}"
        );
        // A reader that has seen enough is none.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()).status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn what_no_agent_could_use_is_not_registered() {
    let dir = init();
    let conf = dir.path().join("conf/cams.conf");
    let run = |arguments: &[&str]| cams(arguments.iter().copied().chain(["--conf", conf.to_str().unwrap()]));
    let before = run(&["agent", "list", "--json"]).success();
    let cases: [&[&str]; 16] = [
        &["--host", "a\ncams.trusted.proxies=0.0.0.0/0"],
        &["--host", ""],
        &["--host", "a b/../;"],
        &["--host", "*.example.org"],
        &["--host", "münchen.example"],
        &["--host", "shop.example.org:0"],
        &["--host", "shop.example.org", "--host", "shop.example.org"],
        &["--host", "shop.example.org", "--host", "SHOP.example.org:8443"],
        &["--host", "shop.example.org", "--domain", "nope"],
        &["--host", "shop.example.org", "--domain", "system", "--domain", "\u{1b}[31m"],
        &["--host", "shop.example.org", "--entry", "nah"],
        &["--host", "shop.example.org", "--entry", "http", "--entry", "http\ncams.x=y"],
        &["--host", "shop.example.org", "--upstream", "javascript:alert(1)"],
        &["--host", "shop.example.org", "--upstream", "http://10.0.0.6:8080/path"],
        &["--host", "shop.example.org", "--upstream", "http://10.0.0.6\ncams.trusted.proxies=0.0.0.0/0"],
        &["--host", "shop.example.org", "--capability", "everything"],
    ];
    for arguments in cases {
        let ended = run(&[&["agent", "add", "web2"], arguments].concat());
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    }
    assert_eq!(run(&["agent", "list", "--json"]).success(), before);
    assert!(!dir.path().join("conf/agents").exists());

    // A port is the site's, not the host's.
    run(&["agent", "add", "web2", "--host", "Shop.example.org:8443", "--host", "shop.example.org:9443"]).success();
    let listed: serde_json::Value = serde_json::from_str(&run(&["agent", "list", "--json"]).success()).unwrap();
    let web2 = listed.as_array().unwrap().iter().find(|agent| agent["name"] == "web2").unwrap();
    assert_eq!(web2["hosts"], serde_json::json!(["shop.example.org"]));
    let written = fs::read_to_string(dir.path().join("conf/agents/web2/cams-webagent.conf")).unwrap();
    assert!(written.contains(".host=shop.example.org:8443\n") && written.contains(".host=shop.example.org:9443\n"));
}

#[test]
fn init_writes_all_or_refuses() {
    let refused: [&[&str]; 7] = [
        &["--login", "x\"/><evil.example.org"],
        &["--login", "login.example.org:8443"],
        &["--login", "app.example.org"],
        &["--login", "10.0.0.1"],
        &["--site", "localhost"],
        &["--site", "a\nb.example.org"],
        &["--upstream", "http://10.0.0.5/x"],
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cams");
    let init = |arguments: &[&str]| cams(["init", "--dir", path.to_str().unwrap()].iter().chain(arguments));
    for arguments in refused {
        let ended = init(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(!path.exists(), "{arguments:?}");
    }
    init(&[]).success();
    for folder in ["", "conf", "data", "keys", "tls", "agent"] {
        let mode = fs::metadata(path.join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
    assert_eq!(init(&[]).code, 1, "it is there already");

    // Cut short before the last file, it goes on.
    let conf = path.join("agent/cams-webagent.conf");
    let complete = fs::read_to_string(&conf).unwrap();
    fs::remove_file(&conf).unwrap();
    init(&[]).success();
    assert_eq!(fs::read_to_string(&conf).unwrap(), complete);
    cams(["check", "--conf", conf.to_str().unwrap()]).success();
}

#[test]
fn names_are_shown_not_obeyed() {
    let dir = init();
    let conf = dir.path().join("conf/cams.conf");
    let conf = conf.to_str().unwrap();
    let nasty = "x\u{1b}[31m\ny\rz";
    let cases: [&[&str]; 7] = [
        &["agent", "add", nasty, "--host", "a.example.org", "--conf", conf],
        &["agent", "remove", nasty, "--conf", conf],
        &["test-login", "--user", "u", "--domain", nasty, "--entry", "http", "--conf", conf],
        &["test-login", "--user", "u", "--domain", "system", "--entry", nasty, "--conf", conf],
        &["explain", "--url", "https://a.example.org/", "--domain", nasty, "--conf", conf],
        &["check", "--conf", nasty],
        &["digest", "--scheme", nasty],
    ];
    for arguments in cases {
        let ended = cams_with_input(arguments, b"");
        assert_ne!(ended.code, 0, "{arguments:?}");
        assert!(!ended.stderr.contains(['\u{1b}', '\r']), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_property() {
    let dir = init();
    for name in ["conf/cams.conf", "conf/domains/system/login-exception.properties", "agent/cams-webagent.conf"] {
        let file = dir.path().join(name);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("\u{feff}{text}")).unwrap();
    }
    for conf in ["conf/cams.conf", "agent/cams-webagent.conf"] {
        cams(["check", "--conf", dir.path().join(conf).to_str().unwrap()]).success();
    }
}

#[test]
fn an_agents_file_is_told_without_its_listeners() {
    let dir = init();
    let conf = dir.path().join("agent/cams-webagent.conf");
    let text = fs::read_to_string(&conf).unwrap().replace("cams.listen.1=", "#cams.listen.1=");
    fs::write(&conf, text).unwrap();
    let ended = cams(["check", "--conf", conf.to_str().unwrap()]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.trim().ends_with("`cams.listen.1` is missing: nobody could reach a site"), "{ended:?}");
}
