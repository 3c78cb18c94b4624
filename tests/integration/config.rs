//! `cams check` names every mistake in one run, and a running server survives them all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tests::command::{Output, cams};
use tests::quickstart::replace;
use tests::{Quickstart, within};

/// A copy of a complete configuration that a test may break.
struct Copy {
    dir: TempDir,
    conf: PathBuf,
}

impl Copy {
    async fn new() -> Self {
        let original = Quickstart::shared().await;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (original.dir().path().to_owned(), dir.path().to_owned());
        copy(&from, &to, &|text| text.replace(from.to_str().unwrap(), to.to_str().unwrap()));
        let conf = to.join(original.conf.strip_prefix(&from).unwrap());
        Self { dir, conf }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.conf.with_file_name("domains").join("system").join(name)
    }

    fn check(&self) -> Output {
        cams(["check".as_ref(), "--conf".as_ref(), self.conf.as_os_str()])
    }
}

fn copy(from: &Path, to: &Path, edit: &dyn Fn(&str) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target, edit);
        } else if source.is_file() {
            let bytes = fs::read(&source).unwrap();
            let edited = std::str::from_utf8(&bytes).map(|text| edit(text).into_bytes());
            fs::write(&target, edited.unwrap_or(bytes)).unwrap();
            fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
        }
    }
}

/// `NAME:LINE:` of the first place in the file where this text starts.
fn place(file: &Path, text: &str) -> String {
    let all = fs::read_to_string(file).unwrap();
    let (before, _) = all.split_once(text).unwrap_or_else(|| panic!("no {text} in {}", file.display()));
    format!("{}:{}:", file.file_name().unwrap().to_str().unwrap(), before.matches('\n').count() + 1)
}

/// The text of the first element of this name, from its `<` to the end of its closing tag.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(&format!("<{name} ")).unwrap();
    let closing = format!("</{name}>");
    let end = start + text[start..].find(&closing).unwrap() + closing.len();
    &text[start..end]
}

/// Changes the text once; panics when there is nothing to change.
fn change(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replacen(from, to, 1)
}

#[tokio::test]
async fn a_configuration_as_written_is_valid() {
    let copy = Copy::new().await;
    let checked = copy.check();
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
}

#[tokio::test]
async fn every_problem_is_named_with_its_file_and_line() {
    let copy = Copy::new().await;
    let login = copy.file("login-config.xml");
    replace(&login, |text| {
        let entry = element(text, "login-config-entry");
        let flag = change(entry, "flag=\"REQUIRED\"", "flag=\"REQUIERD\"");
        let twice = change(entry, "XmlLoginModule", "XmlLoginModul");
        let option = change(&change(entry, "name=\"http\"", "name=\"other\""), "\"serviceId\"", "\"servicId\"");
        change(text, entry, &format!("{flag}\n{twice}\n{option}"))
    });
    let users = copy.file("cams-users.xml");
    replace(&users, |text| change(text, "</cams-users>", "</cams-user>"));
    let policy = copy.file("access-control-policy.xml");
    replace(&policy, |text| {
        let root = text.find("<access-control-policy").unwrap();
        format!("{}<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>\n{}", &text[..root], &text[root..])
    });

    let login_text = fs::read_to_string(&login).unwrap();
    let second = login_text.match_indices("<login-config-entry name=\"http\"").nth(1).unwrap().0;
    let expected = [
        place(&login, "flag=\"REQUIERD\""),
        place(&login, "XmlLoginModul\""),
        place(&login, "\"servicId\""),
        format!("login-config.xml:{}:", login_text[..second].matches('\n').count() + 1),
        place(&users, "</cams-user>"),
        place(&policy, "<!DOCTYPE"),
    ];
    let checked = copy.check();
    assert_eq!(checked.code, 1, "{checked:?}");
    for place in expected {
        let named = checked.stderr.lines().any(|line| line.contains(&place));
        assert!(named, "{place} is not in:\n{}", checked.stderr);
    }
    assert!(checked.stderr.contains("serviceId"), "what was meant is suggested:\n{}", checked.stderr);
    assert!(!checked.stderr.contains("root:"), "no file is read for a DOCTYPE");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for name in ["cams-users.xml", "access-control-policy.xml", "login-config.xml", "security-domain.xml"] {
        let copy = Copy::new().await;
        fs::remove_file(copy.file(name)).unwrap();
        let checked = copy.check();
        assert_eq!(checked.code, 1, "{name}: {checked:?}");
        assert!(checked.stderr.contains(name), "{checked:?}");
    }
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    let copy = Copy::new().await;
    let file = copy.conf.clone();
    replace(&file, |text| change(text, "file:../keys/key-encryption.key", "env:CAMS_TEST_NOT_SET"));
    let checked = copy.check();
    assert_eq!(checked.code, 1, "{checked:?}");
    let place = place(&file, "env:CAMS_TEST_NOT_SET");
    let line = checked.stderr.lines().find(|line| line.contains(&place));
    assert!(line.is_some_and(|line| line.contains("CAMS_TEST_NOT_SET")), "{checked:?}");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_named() {
    for (conf, key) in [
        ("conf/cams.conf", "keys/key-encryption.key"),
        ("agent/cams-webagent.conf", "agent/agent.key"),
        ("agent/cams-webagent.conf", "tls/server.key"),
    ] {
        let copy = Copy::new().await;
        fs::set_permissions(copy.dir.path().join(key), fs::Permissions::from_mode(0o644)).unwrap();
        let conf = copy.dir.path().join(conf);
        let checked = tests::command::cams(["check", "--conf", conf.to_str().unwrap()]);
        assert_eq!(checked.code, 1, "{checked:?}");
        let name = Path::new(key).file_name().unwrap().to_str().unwrap();
        assert!(checked.stderr.contains(name) && checked.stderr.contains("chmod 600"), "{key}: {checked:?}");
    }
}

#[tokio::test]
async fn a_running_server_keeps_the_configuration_it_has() {
    let cams = Quickstart::start(&[]).await;
    let file = cams.domain_file("login-config.xml");
    let good = fs::read_to_string(&file).unwrap();
    replace(&file, |text| change(text, "flag=\"REQUIRED\"", "flag=\"REQUIERD\""));
    let place = place(&file, "flag=\"REQUIERD\"");
    within(Duration::from_secs(10), "the problem is logged", || cams.process.output().contains(&place)).await;
    assert_eq!(cams.client_of("alice").await.get("/private/").await.status, 200);

    // Mended and then changed: the server still looks.
    replace(&file, |_| good.clone());
    let messages = cams.domain_file("login-exception.properties");
    replace(&messages, |text| change(text, "Authentication failed, invalid credentials", "No such luck"));
    let changed = async || cams.client().log_in("nobody", "x", "/").await.text().contains("No such luck");
    tests::within_async(Duration::from_secs(10), "the new message", changed).await;
}
