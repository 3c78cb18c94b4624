//! What the README tells people to type works, line by line.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::command::binary;
use tests::process::Process;
use tests::quickstart::replace;
use tests::{Client, within_async};

const README: &str = include_str!("../../README.md");

/// The lines of the fenced blocks below a heading.
fn commands(heading: &str) -> Vec<&'static str> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    section.split("\n```").skip(1).step_by(2).flat_map(str::lines).filter(|line| !line.is_empty()).collect()
}

/// The line as typed in a shell that finds the built command.
fn shell(line: &str, dir: &Path) -> Command {
    let folder = binary().parent().unwrap().to_owned();
    let path =
        std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("set -e; {line}")).current_dir(dir).env("PATH", path.unwrap());
    shell
}

/// The free ports are taken instead of those that may be in use here.
fn adapt(dir: &Path) -> u16 {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (front, link) = (free(), free());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let link = format!("127.0.0.1:{}", port(&link));
    replace(&dir.join("conf/cams.conf"), |text| text.replace("127.0.0.1:9393", &link));
    replace(&dir.join("agent/cams-webagent.conf"), |text| {
        text.replace("127.0.0.1:9393", &link)
            .replace("https://0.0.0.0:443", &format!("https://127.0.0.1:{}", port(&front)))
    });
    port(&front)
}

#[tokio::test]
async fn a_site_of_ones_own_is_protected_by_what_the_readme_says() {
    let dir = tempfile::tempdir().unwrap();
    let (mut servers, mut port) = (Vec::new(), 0);
    let lines: Vec<&str> =
        commands("Protect your own site").into_iter().filter(|line| !line.starts_with("make ")).collect();
    assert!(lines.len() >= 7, "{lines:?}");
    for line in lines {
        if ["cams policy-server ", "cams web-agent "].iter().any(|start| line.starts_with(start)) {
            servers.push(Process::spawn(&mut shell(&format!("exec {line}"), dir.path())));
            continue;
        }
        let ended = shell(line, dir.path()).output().unwrap();
        assert!(ended.status.success(), "{line}: {ended:?}");
        if line.starts_with("cams init ") {
            port = adapt(&dir.path().join("cams"));
        }
    }
    assert_eq!(servers.len(), 2);
    assert!(dir.path().join("cams/conf/agents/web2/cams-webagent.conf").exists());

    let ca = fs::read(dir.path().join("cams/tls/ca.pem")).unwrap();
    let app = Client::new(&format!("https://app.example.org:{port}"), Some(&ca));
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    within_async(Duration::from_secs(10), "the agent listens", listens).await;
    let asked = async || app.get("/private/").await.location().starts_with("https://login.example.org/cams/login?");
    within_async(Duration::from_secs(10), "a protected page asks for a login", asked).await;
}
