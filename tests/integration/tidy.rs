//! What the sources themselves must keep: core and rim apart (I1), crates that do not know each other, and the small
//! promises of CONTRIBUTING.md. Reads files, runs nothing but `cargo metadata`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Files and folders that do no I/O. ARCHITECTURE.md marks the same ones with `*`.
const PURE: &[&str] = &[
    "policy-server/src/access",
    "policy-server/src/agents.rs",
    "policy-server/src/auth/account.rs",
    "policy-server/src/auth/callback.rs",
    "policy-server/src/auth/error.rs",
    "policy-server/src/auth/modules/active_directory/account.rs",
    "policy-server/src/auth/modules/active_directory/identifier.rs",
    "policy-server/src/auth/modules/active_directory/name.rs",
    "policy-server/src/auth/modules/active_directory/range.rs",
    "policy-server/src/auth/modules/active_directory/srv.rs",
    "policy-server/src/auth/modules/totp/codes.rs",
    "policy-server/src/auth/password.rs",
    "policy-server/src/auth/modules/ldap/verdict.rs",
    "policy-server/src/auth/modules/sql/columns.rs",
    "policy-server/src/auth/stack.rs",
    "policy-server/src/auth/subject.rs",
    "policy-server/src/auth/valves/auto_login/family.rs",
    "policy-server/src/auth/valves/throttle/bucket.rs",
    "policy-server/src/auth/valves/throttle/rules.rs",
    "policy-server/src/auth/valves/throttle/settings.rs",
    "policy-server/src/config",
    "policy-server/src/device/identity.rs",
    "policy-server/src/device/merge.rs",
    "policy-server/src/device/receipt.rs",
    "policy-server/src/digest",
    "policy-server/src/directory/person.rs",
    "policy-server/src/directory/ldap/ber.rs",
    "policy-server/src/directory/ldap/dn.rs",
    "policy-server/src/directory/ldap/endpoint.rs",
    "policy-server/src/directory/ldap/filter.rs",
    "policy-server/src/directory/ldap/message.rs",
    "policy-server/src/directory/ldap/ppolicy.rs",
    "policy-server/src/directory/sql/statement.rs",
    "policy-server/src/directory/sql/url.rs",
    "policy-server/src/directory/sql/value.rs",
    "policy-server/src/pki/crl.rs",
    "policy-server/src/pki/csr.rs",
    "policy-server/src/pki/import",
    "policy-server/src/pki/modulus.rs",
    "policy-server/src/pki/ocsp.rs",
    "policy-server/src/revocation/limit.rs",
    "policy-server/src/session/limits.rs",
    "policy-server/src/session/rules.rs",
    "shared-proto/src",
    "web-agent/src/cookies.rs",
    "web-agent/src/gate",
    "web-agent/src/gate.rs",
    "web-agent/src/head.rs",
    "web-agent/src/headers.rs",
    "web-agent/src/jami.rs",
    "web-agent/src/lease.rs",
    "web-agent/src/login_form.rs",
    "web-agent/src/memory.rs",
    "web-agent/src/origin.rs",
    "web-agent/src/public.rs",
    "web-agent/src/redirect.rs",
    "web-agent/src/site.rs",
    "web-agent/src/target.rs",
];

/// In a pure folder, but not pure: threads that bound how many digests are computed at once.
const EXCEPTIONS: [&str; 1] = ["policy-server/src/digest/pool.rs"];

/// What reaches for the outside world.
const IMPURE: [&str; 24] = [
    "std::fs",
    "fs::",
    "File::",
    "std::env",
    "env::var",
    "std::process",
    "std::thread",
    "thread::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "tokio",
    "pingora",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "async fn",
    "async move",
    ".await",
    "tracing",
    "println!",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the project, from its root, without what is built or kept by git.
fn files() -> Vec<String> {
    let (mut folders, mut files) = (vec![PathBuf::new()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            match entry.file_type().unwrap().is_dir() {
                true if matches!(name.as_str(), "target" | ".git" | "cams-quickstart" | "node_modules") => {}
                true => folders.push(path),
                false => files.push(path.to_str().unwrap().to_owned()),
            }
        }
    }
    files.retain(|path| path != ".git");
    files.sort();
    files
}

fn sources() -> impl Iterator<Item = String> {
    files().into_iter().filter(|path| path.ends_with(".rs"))
}

/// The lines that are built into the product, without comments: not those of `mod tests { … }`.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_tests = false;
    text.lines().enumerate().map(|(number, line)| (number + 1, line)).filter(move |(_, line)| {
        in_tests = (in_tests && *line != "}") || *line == "mod tests {";
        !in_tests && !line.trim_start().starts_with("//")
    })
}

fn is_below(path: &str, folder_or_file: &str) -> bool {
    path.strip_prefix(folder_or_file).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[test]
fn pure_files_do_no_io() {
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let mut seen = 0;
    for path in sources().filter(|path| PURE.iter().any(|pure| is_below(path, pure)) && !is_test(path)) {
        if EXCEPTIONS.contains(&path.as_str()) {
            continue;
        }
        seen += 1;
        for (number, line) in product_lines(&read(&path)) {
            let found = IMPURE.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "{path}:{number}: {line}");
        }
    }
    assert!(seen > 40, "{seen} files");
    for path in PURE.iter().chain(&EXCEPTIONS) {
        assert!(root().join(path).exists(), "{path} is gone");
    }
}

/// The map's entries that are marked: `name*`, `name.rs*` or `folder/*`, below the folders that its lines begin with.
fn marked(map: &str) -> BTreeSet<String> {
    let (mut marked, mut crate_folder) = (BTreeSet::new(), "");
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace().peekable();
        if !line.starts_with(' ') {
            crate_folder = words.next().unwrap();
        }
        let folder = match words.next_if(|word| word.ends_with('/')) {
            Some(folder) => format!("{crate_folder}{folder}"),
            None => crate_folder.to_owned(),
        };
        for name in words.filter_map(|word| word.trim_end_matches([',', ';', ')']).strip_suffix('*')) {
            let path = format!("{folder}{name}");
            let is_folder = path.ends_with('/') || path.ends_with(".rs");
            marked.insert(if is_folder { path.trim_end_matches('/').to_owned() } else { format!("{path}.rs") });
        }
    }
    marked
}

#[test]
fn the_map_marks_the_pure_files() {
    let architecture = read("ARCHITECTURE.md");
    let (_, rest) = architecture.split_once("## Map\n").unwrap();
    let map = rest.split("```").nth(1).unwrap();
    assert_eq!(marked(map), PURE.iter().map(|path| (*path).to_owned()).collect());
}

/// The crates that each of ours names, those for its tests left out.
fn dependencies(of: &str) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version=1", "--locked", "--offline", "--no-deps"]).current_dir(root());
    let metadata: Value = serde_json::from_slice(&metadata.output().unwrap().stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == of).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
    dependencies.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let check = |name: &str, banned: &[&str]| {
        let found = dependencies(name);
        assert!(!found.is_empty());
        for other in banned {
            assert!(!found.contains(*other), "{name} depends on {other}");
        }
    };
    check("web-agent", &["policy-server", "cams", "tests", "axum", "sqlx"]);
    check("policy-server", &["web-agent", "cams", "tests", "pingora"]);
    check("cams", &["tests", "fuzzing"]);
    let shared = dependencies("shared-proto");
    assert_eq!(shared, ["base64", "serde", "serde_json", "thiserror", "zeroize"].map(str::to_owned).into());
}

/// A stack is run by the pipeline, which has the valves, and by the command that says it has none.
#[test]
fn no_login_goes_around_the_valves() {
    let runs = sources().filter(|path| !path.ends_with("tests.rs") && !path.contains("tests/"));
    let runs = runs.filter(|path| product_lines(&read(path)).any(|(_, line)| line.contains("entry.login(")));
    assert_eq!(runs.collect::<Vec<_>>(), ["cams/src/commands/test_login.rs", "policy-server/src/auth/valve.rs"]);
}

/// Whose session it was stays known for a while, whichever way it ended.
#[test]
fn sessions_end_in_one_place() {
    let ends = |path: &String| read(path).matches("DELETE FROM sessions ").count();
    let found = sources().filter(|path| !path.starts_with("tests/")).map(|path| (ends(&path), path));
    let found: Vec<_> = found.filter(|(ends, _)| *ends > 0).collect();
    assert_eq!(found, [(1, "policy-server/src/store/sessions.rs".to_owned())]);
}

#[test]
fn no_file_is_too_long() {
    for path in sources() {
        let lines = read(&path).lines().count();
        assert!(lines <= 450, "{path} has {lines} lines");
    }
}

#[test]
fn nothing_is_left_undone() {
    // In two parts, as this file is read too.
    let words = [("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("#[ign", "ore"), ("unimplem", "ented!"), ("to", "do!(")];
    let words: Vec<String> = words.iter().map(|(start, end)| format!("{start}{end}")).collect();
    for path in sources() {
        for (number, line) in read(&path).lines().enumerate() {
            let found = words.iter().find(|word| line.contains(word.as_str()));
            assert_eq!(found, None, "{path}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn no_file_names_somebodys_home() {
    let homes = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/"), ("/wo", "rk/"), ("/tmp", "/wt")];
    let homes: Vec<String> = homes.iter().map(|(start, end)| format!("{start}{end}")).collect();
    // What was found by chance may hold anything.
    for path in files().iter().filter(|path| !path.starts_with("fuzz/corpus/")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for home in &homes {
            assert!(!text.contains(home.as_str()), "{path} names {home}");
        }
    }
}

/// As GitHub makes the name of a heading: lower case, blanks to hyphens, everything but letters, digits, `-` and `_` gone.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let mut code = false;
    let headings = page.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code && line.starts_with('#')
    });
    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|name| name == wanted)
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut links = 0;
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        let page = read(path);
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => root().join(path),
                file => root().join(path).parent().unwrap().join(file),
            };
            assert!(linked.exists(), "{path}: {target} leads nowhere");
            if !heading.is_empty() {
                let page = fs::read_to_string(&linked).unwrap();
                assert!(has_anchor(&page, heading), "{path}: {target} is no heading");
            }
            links += 1;
        }
    }
    assert!(links > 20, "{links} links");
}

#[test]
fn every_named_test_exists() {
    let architecture = read("ARCHITECTURE.md");
    let (_, invariants) = architecture.split_once("## Invariants\n").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    let sources: Vec<String> = sources().map(|path| read(&path)).collect();
    let is_test = |word: &&str| {
        word.matches('_').count() >= 2
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut named = 0;
    for name in invariants.split('`').skip(1).step_by(2).filter(is_test) {
        let definition = format!("fn {name}(");
        assert!(sources.iter().any(|text| text.contains(&definition)), "there is no test {name}");
        named += 1;
    }
    assert!(named > 20, "{named} tests");
}

#[test]
fn every_invariant_has_a_number_of_its_own() {
    let architecture = read("ARCHITECTURE.md");
    let starts = architecture.lines().filter_map(|line| line.strip_prefix("**I")?.split('.').next()?.parse().ok());
    assert_eq!(starts.collect::<Vec<usize>>(), (1..=12).collect::<Vec<_>>());
}
