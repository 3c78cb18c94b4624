//! What the pages of the login modules show can be pasted: every XML example loads in what `cams init` wrote.

use std::fs;
use std::path::{Path, PathBuf};

use tests::policy_server::Files;
use web_agent::config::AgentConfig;

const DOMAIN: &str = "conf/domains/system";

/// The fences of a page in this language: the number of the line each begins on, and its text.
fn fences(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        open = match (open, line.trim()) {
            (None, line) if line.strip_prefix("```") == Some(language) => Some((number, String::new())),
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
        // 32 bytes in base64, where it is a key.
        let secret = if path.ends_with(".key") { "A".repeat(43) + "=" } else { "a secret".to_owned() };
        files.write_private(&format!("{DOMAIN}/{path}"), &secret);
    }
    for (place, _) in fence.match_indices("\"caFile\" value=\"") {
        let path = fence[place..].split('"').nth(3).unwrap();
        let made = rcgen::generate_simple_self_signed(["directory.example.org".to_owned()]).unwrap();
        files.write_private(&format!("{DOMAIN}/{path}"), &made.cert.pem());
    }
}

/// What `cams test-login --xml` prints of an entry; without a user name it asks no module.
fn print(files: &Files, entry: &str) -> String {
    let name = entry.split_once("name=\"").unwrap().1.split('"').next().unwrap();
    let printed =
        files.cams_with_input(&["test-login", "--domain", "system", "--entry", name, "--user", "", "--xml"], b"x");
    assert_eq!(printed.code, 1, "{printed:?}");
    provide(files, &printed.stdout);
    printed.stdout
}

/// The elements with something to say, in their order. The page of the login is added where it is not said, and where
/// a secret is to be found in place of itself.
fn elements(entry: &str) -> Vec<String> {
    let starts = entry.split("<!--").map(|part| part.split_once("-->").map_or(part, |(_, rest)| rest));
    let starts =
        starts.flat_map(|part| part.split('<')).map(|start| start.split('>').next().unwrap().trim_end_matches('/'));
    let said = starts.filter(|start| ["login-m", "option ", "callback"].iter().any(|name| start.starts_with(name)));
    said.map(|start| match start.split_once("Password\" value=") {
        Some((name, _)) => format!("{name}Password"),
        None => start.replace("&gt;", ">"),
    })
    .collect()
}

#[test]
fn every_example_of_a_module_loads() {
    let mut seen = 0;
    for page in pages() {
        let fences = fences(&fs::read_to_string(&page).unwrap(), "xml");
        assert!(!fences.is_empty(), "{} has no example", page.display());
        seen += fences.len();
        let files = Files::new("docs", None);
        let mut entries = install(&files, &page, &fences);
        let check = |line: usize| {
            let checked = files.cams(&["check"]);
            assert_eq!(checked.code, 0, "{}:{line}:\n{}", page.display(), checked.stderr);
        };
        check(0);
        let sample = fs::read_to_string(files.path(DOMAIN).join("login-config.xml")).unwrap();
        let (_, sample) = sample.split_once("<login-config>").unwrap();
        entries.push((0, sample.trim_end().trim_end_matches("</login-config>")));
        for (line, entry) in entries {
            let file = files.path(DOMAIN).join("login-config.xml");
            fs::write(&file, format!("<login-config>\n{entry}</login-config>\n")).unwrap();
            check(line);
            let printed = print(&files, entry);
            assert_eq!(elements(&printed), elements(entry), "{}:{line}", page.display());
            fs::write(&file, format!("<login-config>\n{printed}</login-config>\n")).unwrap();
            check(line);
            let again = print(&files, &printed);
            let comment = |line: &&str| line.trim_start().starts_with("<!--");
            assert!(again.lines().eq(printed.lines().filter(|line| !comment(line))), "{again}");
        }
    }
    assert!(seen >= 2, "{seen} examples");
}

/// What every agent's file has besides.
const AGENT: &str = "cams.cluster.name=MyCamsCluster\ncams.security.domain=system\ncams.policy.server.1=127.0.0.1:9393\n\
                     cams.policy.server.ca=ca.pem\ncams.agent.certificate=agent.pem\ncams.agent.key=agent.key\n\
                     cams.listen.1=http://127.0.0.1:8080\n";

#[test]
fn the_example_of_single_sign_on_loads() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("single-sign-on.md");
    let text = fs::read_to_string(page).unwrap();
    let agents = fences(&text, "properties");
    assert_eq!(agents.len(), 3);
    for (line, agent) in agents {
        let read = AgentConfig::parse(Path::new("cams-webagent.conf"), &format!("{AGENT}{agent}"));
        assert!(read.is_ok_and(|read| !read.gate.sites.is_empty()), "line {line}");
    }
    let files = Files::new("docs", None);
    let [(_, login)] = fences(&text, "xml").try_into().unwrap();
    let file = files.path(DOMAIN).join("login-config.xml");
    let config = fs::read_to_string(&file).unwrap();
    let (before, rest) = config.split_once("<login-parameters>").unwrap();
    fs::write(&file, format!("{before}{login}{}", rest.split_once("</login-parameters>").unwrap().1)).unwrap();
    assert_eq!(files.cams(&["check"]).code, 0);
}
