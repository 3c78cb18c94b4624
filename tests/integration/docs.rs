//! What the pages of the login modules show can be pasted: every XML example loads in what `cams init` wrote.

use std::fs;
use std::path::{Path, PathBuf};

use tests::policy_server::Files;

const DOMAIN: &str = "conf/domains/system";

/// The XML fences of a page: the number of the line each begins on, and its text.
fn fences(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        open = match (open, line.trim()) {
            (None, "```xml") => Some((number, String::new())),
            (None, _) => None,
            (Some(fence), "```") => {
                found.push(fence);
                None
            }
            (Some((start, text)), _) => Some((start, format!("{text}{line}\n"))),
        };
    }
    assert!(open.is_none(), "a fence without an end");
    found
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("modules");
    let mut pages: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

/// Puts the services and valves of a page where they belong, the latter instead of the sample's. The entries of the page.
fn install<'a>(files: &Files, page: &Path, fences: &'a [(usize, String)]) -> Vec<(usize, &'a str)> {
    let (mut entries, mut services, mut valves) = (Vec::new(), String::new(), String::new());
    for (line, fence) in fences {
        provide(files, fence);
        match fence.trim_start() {
            text if text.starts_with("<login-config-entry") => entries.push((*line, text)),
            text if text.starts_with("<service ") => services.push_str(text),
            text if text.starts_with("<auth-valve") => valves.push_str(text),
            _ => panic!("{}:{line}: the example is no entry, service or valve", page.display()),
        }
    }
    let file = files.path(DOMAIN).join("security-domain.xml");
    let mut text = fs::read_to_string(&file).unwrap();
    if !valves.is_empty() {
        let (before, rest) = text.split_once("<auth-valve").unwrap();
        text = format!("{before}{valves}{}", rest.rsplit_once("</auth-valve>").unwrap().1);
    }
    let end = "</service-manager>";
    fs::write(file, text.replace(end, &format!("{services}{end}"))).unwrap();
    entries
}

/// Makes the files that an example names: secrets (`file:PATH`) and certificates (`caFile`).
fn provide(files: &Files, fence: &str) {
    for (place, _) in fence.match_indices("value=\"file:") {
        let path = fence[place..].split('"').nth(1).unwrap().trim_start_matches("file:");
        files.write_private(&format!("{DOMAIN}/{path}"), "a secret");
    }
    for (place, _) in fence.match_indices("\"caFile\" value=\"") {
        let path = fence[place..].split('"').nth(3).unwrap();
        let made = rcgen::generate_simple_self_signed(["directory.example.org".to_owned()]).unwrap();
        files.write_private(&format!("{DOMAIN}/{path}"), &made.cert.pem());
    }
}

#[test]
fn every_example_of_a_module_loads() {
    let mut seen = 0;
    for page in pages() {
        let fences = fences(&fs::read_to_string(&page).unwrap());
        assert!(!fences.is_empty(), "{} has no example", page.display());
        seen += fences.len();
        let files = Files::new("docs", None);
        let entries = install(&files, &page, &fences);
        let check = |line: usize| {
            let checked = files.cams(&["check"]);
            assert_eq!(checked.code, 0, "{}:{line}:\n{}", page.display(), checked.stderr);
        };
        check(0);
        for (line, entry) in entries {
            let file = files.path(DOMAIN).join("login-config.xml");
            fs::write(file, format!("<login-config>\n{entry}</login-config>\n")).unwrap();
            check(line);
        }
    }
    assert!(seen >= 2, "{seen} examples");
}
