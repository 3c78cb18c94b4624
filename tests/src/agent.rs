//! A further web agent of a running policy server, in front of sites of the test's own and reached without TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Quickstart;
use crate::command::{binary, cams};
use crate::process::Process;

const READY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Agent {
    pub address: SocketAddr,
    pub process: Process,
    /// With its configuration, certificate and key.
    pub folder: PathBuf,
    _dir: TempDir,
}

impl Agent {
    /// Registers an agent for these hosts, each with its upstream, and runs it with further properties.
    pub async fn start(cams: &Quickstart, name: &str, sites: &[(&str, &str)], properties: &[(&str, &str)]) -> Self {
        Self::of(&cams.conf, name, sites, properties).await
    }

    /// The same for these login entries, of which the first is the one that its sites demand.
    pub async fn for_entries(cams: &Quickstart, name: &str, entries: &[&str], sites: &[(&str, &str)]) -> Self {
        Self::run(&cams.conf, name, entries, sites, &[]).await
    }

    /// The same for a policy server by itself, whose address must be among the properties.
    pub async fn of(conf: &Path, name: &str, sites: &[(&str, &str)], properties: &[(&str, &str)]) -> Self {
        Self::run(conf, name, &["http"], sites, properties).await
    }

    /// As [`Agent::of`], with the right to pass on what Jami devices ask.
    pub async fn of_devices(conf: &Path, name: &str, sites: &[(&str, &str)], properties: &[(&str, &str)]) -> Self {
        Self::start_registered(conf, name, &["http"], &["enforce", "jami"], sites, properties).await
    }

    /// The most general way: a policy server by itself, and several login entries.
    pub async fn run(
        conf: &Path,
        name: &str,
        entries: &[&str],
        sites: &[(&str, &str)],
        properties: &[(&str, &str)],
    ) -> Self {
        Self::start_registered(conf, name, entries, &[], sites, properties).await
    }

    async fn start_registered(
        conf: &Path,
        name: &str,
        entries: &[&str],
        capabilities: &[&str],
        sites: &[(&str, &str)],
        properties: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let hosts: Vec<&str> = sites.iter().map(|(host, _)| *host).collect();
        let conf = register_for(conf, name, &hosts, entries, capabilities, dir.path());
        let mut ours = vec![("cams.listen.1".to_owned(), "http://127.0.0.1:0".to_owned())];
        for (number, (_, upstream)) in (1..).zip(sites) {
            ours.push((format!("cams.site.site{number}.upstream"), (*upstream).to_owned()));
        }
        ours.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        set(&conf, &ours);
        let mut process = Process::spawn(Command::new(binary()).args(["web-agent", "--conf"]).arg(&conf));
        let address = process.line(READY, |line| listening(line, false)).await;
        Self { address, process, folder: dir.path().join(name), _dir: dir }
    }
}

/// Registers an agent for these hosts; its configuration, below `dir`.
pub fn register(conf: &Path, name: &str, hosts: &[&str], dir: &Path) -> PathBuf {
    register_for(conf, name, hosts, &["http"], &[], dir)
}

fn register_for(
    conf: &Path,
    name: &str,
    hosts: &[&str],
    entries: &[&str],
    capabilities: &[&str],
    dir: &Path,
) -> PathBuf {
    let folder = dir.join(name);
    let mut arguments = vec!["agent".into(), "add".into(), name.into(), "--conf".into(), conf.as_os_str().to_owned()];
    arguments.extend(["--dir".into(), folder.as_os_str().to_owned()]);
    arguments.extend(hosts.iter().flat_map(|host| ["--host".into(), (*host).into()]));
    arguments.extend(entries.iter().flat_map(|entry| ["--entry".into(), (*entry).into()]));
    arguments.extend(capabilities.iter().flat_map(|capability| ["--capability".into(), (*capability).into()]));
    cams(arguments).success();
    folder.join("cams-webagent.conf")
}

fn set(conf: &Path, properties: &[(String, String)]) {
    let text = fs::read_to_string(conf).expect("it was just written");
    let is_ours =
        |line: &str| line.split_once('=').is_some_and(|(key, _)| properties.iter().any(|(ours, _)| ours == key));
    let kept = text.lines().filter(|line| !is_ours(line)).map(str::to_owned);
    let lines: Vec<String> = kept.chain(properties.iter().map(|(name, value)| format!("{name}={value}"))).collect();
    fs::write(conf, lines.join("\n")).expect("our own file");
}

/// Where the agent says it listens, with or without TLS.
pub fn listening(line: &str, tls: bool) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening address=")?;
    let (address, rest) = rest.split_once(' ')?;
    rest.contains(&format!("tls={tls}")).then(|| address.parse().ok())?
}
