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

/// Puts the elements of a page where they belong. The services and the valves of a page are there for its entries.
fn install(files: &Files, page: &Path, fences: &[(usize, String)]) {
    let (mut entries, mut services, mut valves) = (String::new(), String::new(), String::new());
    for (line, fence) in fences {
        let into = match fence.trim_start() {
            text if text.starts_with("<login-config-entry") => &mut entries,
            text if text.starts_with("<service ") => &mut services,
            text if text.starts_with("<auth-valve") => &mut valves,
            _ => panic!("{}:{line}: the example is no entry, service or valve", page.display()),
        };
        into.push_str(fence);
        provide(files, fence);
    }
    let domain = files.path(DOMAIN);
    fs::write(domain.join("login-config.xml"), format!("<login-config>\n{entries}</login-config>\n")).unwrap();
    let file = domain.join("security-domain.xml");
    let mut text = fs::read_to_string(&file).unwrap();
    if !text.contains("</auth-pipeline>") {
        let end = "</security-domain>";
        text = text.replace(end, &format!("<auth-service><auth-pipeline></auth-pipeline></auth-service>{end}"));
    }
    for (end, what) in [("</service-manager>", services), ("</auth-pipeline>", valves)] {
        text = text.replace(end, &format!("{what}{end}"));
    }
    fs::write(file, text).unwrap();
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
        install(&files, &page, &fences);
        let checked = files.cams(&["check"]);
        let lines: Vec<usize> = fences.iter().map(|(line, _)| *line).collect();
        assert_eq!(checked.code, 0, "{} (examples at lines {lines:?}):\n{}", page.display(), checked.stderr);
    }
    assert!(seen >= 2, "{seen} examples");
}
