//! The decisions of `tests/data/access_policy.txt`, the shipped sample and the examples of the manual.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shared_proto::problem::Problems;

use super::*;
use crate::config::access_policy;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn policy(name: &str, text: &str) -> Policy {
    let mut problems = Problems::default();
    let policy = access_policy::read(Path::new(name), text, &mut problems);
    problems.into_result(policy).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A person as the table writes one: `bob(user,admin)@entry/domain~age`.
struct Person {
    user: String,
    roles: BTreeSet<String>,
    domain: String,
    entry: String,
    typed: Option<u64>,
}

impl Person {
    fn parse(text: &str) -> Option<Self> {
        let (text, typed) = match text.split_once('~') {
            None => (text, Some(0)),
            Some((text, age)) => (text, (age != "remembered").then(|| age.parse().unwrap())),
        };
        let (user, rest) = text.split_once('(')?;
        let (roles, session) = rest.split_once(')').unwrap();
        let session = session.strip_prefix('@').unwrap_or("http");
        let (entry, domain) = session.split_once('/').unwrap_or((session, "system"));
        Some(Self {
            user: user.to_owned(),
            roles: roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
            domain: domain.to_owned(),
            entry: entry.to_owned(),
            typed,
        })
    }

    fn who(&self) -> Who<'_> {
        Who { user: &self.user, roles: &self.roles, domain: &self.domain, entry: &self.entry, typed: self.typed }
    }
}

fn request<'a>(method: &'a str, url: &'a str) -> Request<'a> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, target) = rest.split_at(rest.find(['/', '*']).unwrap());
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap()),
        _ => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    Request { scheme, host, port, method, path, query, domain: "system", entry: "http" }
}

fn outcome(decision: &Decision<'_>) -> String {
    match decision.outcome {
        Outcome::Granted => "granted".to_owned(),
        Outcome::Denied => "denied".to_owned(),
        Outcome::LoginRequired { entry } => format!("login:{entry}"),
    }
}

/// One row of the table; `Err` says how it turned out.
fn check(policy: &Policy, row: &str) -> Result<(), String> {
    let (row, expected_name) = row.split_once(" # ").unwrap_or((row, ""));
    let [method, url, who, expected] = row.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("no row: {row}"));
    };
    let person = Person::parse(who);
    let who = person.as_ref().map(Person::who);
    let request = request(method, url);
    let decision = policy.decide(&request, who.as_ref());
    let name = decision.permission.and_then(|permission| permission.name.as_deref()).unwrap_or_default();
    let explanation = explain(policy, &request, who.as_ref());
    let explained = explanation.decision.strip_suffix("-required").unwrap_or(explanation.decision);
    match outcome(&decision) {
        found if found != expected => Err(format!("{row}: {found}\n{explanation}")),
        _ if !expected_name.is_empty() && name != expected_name.trim() => Err(format!("{row}: by `{name}`")),
        found if !found.starts_with(explained) => Err(format!("{row}: explained as {explanation}")),
        _ => Ok(()),
    }
}

#[test]
fn the_table_of_decisions() {
    let table = file("tests/data/access_policy.txt");
    let mut failures = Vec::new();
    let mut rows = 0;
    for case in table.split("\n== ").skip(1) {
        let (title, body) = case.split_once('\n').unwrap();
        let is_row = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphabetic()) && !line.starts_with("file: ");
        let xml: String = body.lines().filter(|line| line.starts_with([' ', '<'])).collect::<Vec<_>>().join("\n");
        let sample = body.lines().find_map(|line| line.strip_prefix("file: "));
        let policy = policy(title, &sample.map_or(xml, file));
        for row in body.lines().filter(is_row) {
            rows += 1;
            failures.extend(check(&policy, row).err().map(|failure| format!("{title}: {failure}")));
        }
    }
    assert!(rows > 140, "only {rows} rows were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The blocks of one language in a manual page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_manual_shows_policies_that_load() {
    let page = file("docs/access-control.md");
    let examples = blocks(&page, "xml");
    assert!(examples.len() >= 4, "{}", examples.len());
    for example in examples {
        let policy = policy("example.xml", &example);
        assert!(!policy.permissions().is_empty(), "{example}");
    }
}

#[test]
fn the_manual_shows_what_explain_says() {
    let page = file("docs/access-control.md");
    let path = "conf/domains/system/access-control-policy.xml";
    let policy = policy("access-control-policy.xml", &file(path));
    let person = Person::parse("bob(user)").unwrap();
    let request = request("GET", "https://app.example.org/admin/users");
    let explanations = [None, Some(person.who())].map(|who| explain(&policy, &request, who.as_ref()));
    let shown = blocks(&page, "text");
    for explanation in &explanations {
        assert!(shown.iter().any(|block| *block == format!("{explanation}\n")), "the manual lacks:\n{explanation}");
    }
    let json = serde_json::to_value(&explanations[1]).unwrap();
    assert_eq!((&json["decision"], &json["entry"]), (&"denied".into(), &serde_json::Value::Null));
    assert_eq!(json["policy_hash"].as_str().unwrap(), policy.hash());
}

#[test]
fn the_hash_is_that_of_the_file() {
    // Of the 24 bytes, by sha256sum.
    let policy = policy("p.xml", "<access-control-policy/>");
    assert_eq!(policy.hash(), "9fa2076f5a37abff68e2590e7112b287183217f6f44ddd81580066f5d8895aba");
}

#[test]
fn an_explanation_stays_on_its_lines() {
    let policy = policy("p.xml", "<access-control-policy/>");
    let roles = BTreeSet::from(["r\nr".to_owned()]);
    let who = Who { user: "eve\ngranted: eve", roles: &roles, domain: "system", entry: "http", typed: None };
    let request = Request { path: "/a\nb", ..request("GET", "https://a.test/") };
    let text = explain(&policy, &request, Some(&who)).to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("denied: "), "{text}");
}

#[test]
fn entries_in_use_are_listed() {
    let policy = policy(
        "p.xml",
        "<access-control-policy><permission-collection><permission><resource-pattern path='/'/><acr-ref id='a'/>\
         </permission></permission-collection><acr-lib><acr id='a'><not><acr-ref id='b'/></not></acr>\
         <acr id='b'><auth entries='x,y'/></acr><acr id='c'><auth entries='unused'/></acr></acr-lib>\
         </access-control-policy>",
    );
    assert_eq!(policy.entries(), BTreeSet::from(["x", "y"]));
}
