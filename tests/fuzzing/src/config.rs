//! The readers of configuration files: whatever they refuse, they say where.

use std::io;
use std::path::Path;

use policy_server::config::{
    access_policy, cams_conf, cams_users, domain, login_config, login_exceptions, registry, security_domain, xml,
};
use shared_proto::problem::Problems;
use shared_proto::properties;
use web_agent::config::AgentConfig;

const FILE: &str = "file";

/// Every problem names the file and a line that it has, in words.
fn check(text: &str, problems: &Problems) {
    let lines = text.lines().count().max(1);
    for problem in problems.iter() {
        assert_eq!(problem.file, Path::new(FILE), "{problem}");
        assert!(problem.line <= lines, "{problem} in {lines} lines");
        assert!(!problem.message.is_empty(), "{problem}");
    }
}

/// Runs one reader; `None` must come with a reason.
fn read<T>(text: &str, reader: impl FnOnce(&Path, &str, &mut Problems) -> Option<T>) -> Option<T> {
    let mut problems = Problems::default();
    let value = reader(Path::new(FILE), text, &mut problems);
    assert!(value.is_some() || !problems.is_empty(), "refused without a reason");
    check(text, &problems);
    value.filter(|_| problems.is_empty())
}

/// Properties read back as they are written; the configurations made of them are refused with reasons.
pub fn properties(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut problems = Problems::default();
    let found = properties::parse(Path::new(FILE), text, &mut problems);
    check(text, &problems);
    let escaped = |text: &str| -> String { text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect() };
    let written: String =
        found.iter().map(|property| format!("{}={}\n", escaped(&property.key), escaped(&property.value))).collect();
    let again = properties::parse(Path::new(FILE), &written, &mut Problems::default());
    let pairs = |found: &[properties::Property]| -> Vec<_> {
        found.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
    };
    assert_eq!(pairs(&again), pairs(&found));
    read(text, cams_conf::read);
    read(text, login_exceptions::read);
    if let Err(problems) = AgentConfig::parse(Path::new(FILE), text) {
        assert!(!problems.is_empty());
        check(text, &problems);
    }
}

/// Every reader of an XML file.
pub fn xml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tree = read(text, xml::parse);
    let users = read(text, cams_users::read);
    let login = read(text, login_config::read);
    let domain = read(text, security_domain::read);
    let mut problems = Problems::default();
    let domains = registry::read(Path::new(FILE), text, &mut problems);
    check(text, &problems);
    assert!(!domains.is_empty() || !problems.is_empty(), "no domain, and no reason");
    let is_read = users.is_some() || login.is_some() || domain.is_some() || problems.is_empty();
    assert!(!is_read || tree.is_some(), "something was read from what is no XML");
    assert!(!text.contains("<!DOCTYPE") || !is_read, "a document type was read");
    whole_domain(text);
}

/// A folder in which every file is this one.
fn whole_domain(text: &str) {
    let read = |_: &Path| -> io::Result<String> { Ok(text.to_owned()) };
    let mut problems = Problems::default();
    let loaded = domain::load(Path::new(""), "system", &read, &mut problems);
    assert!(!problems.is_empty() || loaded.is_none(), "one file cannot be all of them");
}

/// An accepted policy says why it decides, and no error of its file grants anything.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(policy) = read(text, access_policy::read) else { return };
    let again = read(text, access_policy::read).expect("the same policy");
    assert_eq!(policy.hash(), again.hash());
    for path in ["/", "/private/x", "/a%2fb", "//", "/../x", "x", "", "/x;y"] {
        let request = policy_server::access::Request {
            scheme: "https",
            host: "app.test",
            port: 8443,
            method: "GET",
            path,
            query: None,
            domain: "system",
            entry: "http",
        };
        let (decision, second) = (policy.decide(&request, None), again.decide(&request, None));
        assert_eq!(decision.outcome, second.outcome);
        let is_flawed = shared_proto::pattern::path_flaw(path).is_some();
        assert!(!is_flawed || decision.outcome == policy_server::access::Outcome::Denied, "{path:?} is decided on");
    }
}
