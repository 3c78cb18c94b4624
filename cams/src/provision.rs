//! Writes configurations: the server's files for `init` and `quickstart`, an agent's for `agent add`.
//!
//! What exists is never overwritten: an admin's edits stay.

use std::path::{Path, PathBuf};

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::Rights;
use policy_server::config::cams_conf::CamsConf;
use zeroize::Zeroizing;

use crate::files::{create_dir, replace, write_new};

/// The sample configuration, as it lies in `conf/` of the source.
const CONF_FILES: &[(&str, &str)] = &[
    ("cams.conf", include_str!("../../conf/cams.conf")),
    ("domains/security-domain-registry.xml", include_str!("../../conf/domains/security-domain-registry.xml")),
    ("domains/system/security-domain.xml", include_str!("../../conf/domains/system/security-domain.xml")),
    ("domains/system/login-config.xml", include_str!("../../conf/domains/system/login-config.xml")),
    ("domains/system/access-control-policy.xml", include_str!("../../conf/domains/system/access-control-policy.xml")),
    ("domains/system/cams-users.xml", include_str!("../../conf/domains/system/cams-users.xml")),
    ("domains/system/login-exception.properties", include_str!("../../conf/domains/system/login-exception.properties")),
];

const SAMPLE_AGENT_CONF: &str = include_str!("../../cams-webagent.conf");

/// What an agent's configuration is called.
pub const AGENT_CONF: &str = "cams-webagent.conf";

/// Where things lie below the directory of `init` and `quickstart`.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes the directory, open to its owner only, if it is not there.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))?;
        create_dir(&dir)?;
        Ok(Self { dir })
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    pub fn cams_conf(&self) -> PathBuf {
        self.path("conf/cams.conf")
    }

    /// Writes the server's configuration and its key-encryption key. Later starts find them as they were left.
    /// `replaced` holds other texts for some of the sample's files.
    pub fn write_server(&self, replaced: &[(&str, &str)]) -> anyhow::Result<()> {
        for (name, text) in CONF_FILES {
            let text = replaced.iter().find(|(other, _)| other == name).map_or(*text, |(_, text)| text);
            write_new(&self.path("conf").join(name), text)?;
        }
        self.write_key("keys/key-encryption.key")?;
        // For the store and the audit log, which the server makes.
        create_dir(&self.path("data"))
    }

    /// Writes a new key, unless there is one.
    pub fn write_key(&self, relative: &str) -> anyhow::Result<()> {
        let key = policy_server::token::Key::generate()?;
        let key = Zeroizing::new(format!("{}\n", key.to_base64().as_str()));
        write_new(&self.path(relative), &key).map(drop)
    }
}

/// The text of a file of the sample configuration.
pub fn sample(name: &str) -> &'static str {
    CONF_FILES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
}

/// An agent to be: its name, what it may do, and what its configuration says beyond the sample and those rights.
pub struct NewAgent<'a> {
    pub name: &'a str,
    pub rights: Rights,
    /// Properties, such as those of [`sites`].
    pub properties: Vec<(String, String)>,
}

/// Properties of sites with these hosts (a port where only that one is meant) and upstreams.
pub fn sites(sites: &[(String, String)]) -> Vec<(String, String)> {
    let numbered = sites.iter().enumerate().flat_map(|(n, (host, upstream))| {
        let site = format!("cams.site.site{}", n + 1);
        [(format!("{site}.host"), host.clone()), (format!("{site}.upstream"), upstream.clone())]
    });
    numbered.collect()
}

/// Properties that say of as many sites, as [`sites`] numbers them, whether Jami devices enrol there.
pub fn jami(sites: usize, enrol: bool) -> Vec<(String, String)> {
    (1..=sites).map(|n| (format!("cams.site.site{n}.jami"), enrol.to_string())).collect()
}

/// Properties by which these hosts show the certificate that [`crate::certificates`] made.
pub fn temporary_certificates(hosts: &[String]) -> Vec<(String, String)> {
    let both = |host: &String| {
        let tls = format!("cams.tls.{host}");
        [("certificate", "pem"), ("key", "key")]
            .map(|(property, file)| (format!("{tls}.{property}"), format!("../tls/server.{file}")))
    };
    hosts.iter().flat_map(both).collect()
}

/// Registers an agent and writes its certificate, key and, last of all, its configuration into `dir`.
pub async fn register_agent(admin: &Admin, dir: &Path, agent: NewAgent<'_>) -> anyhow::Result<PathBuf> {
    let conf = dir.join(AGENT_CONF);
    anyhow::ensure!(!conf.exists(), "{} exists already: choose another directory with --dir", conf.display());
    let text = agent_conf(admin.conf(), &agent);
    let issued = admin.add_agent(agent.name, agent.rights).await?;
    let written = [
        ("agent.pem", issued.certificate.as_str()),
        ("agent.key", issued.key.as_str()),
        ("policy-server-ca.pem", admin.agent_ca()),
        (AGENT_CONF, text.as_str()),
    ]
    .into_iter()
    .try_for_each(|(file, text)| replace(&dir.join(file), text));
    if let Err(error) = written {
        // An agent whose key nobody has is of no use.
        admin.remove_agent(agent.name).await?;
        return Err(error);
    }
    Ok(conf)
}

/// Registers the agent of a new installation and writes its files into `agent/`, unless its configuration, the last of
/// them, is there.
pub async fn first_agent(layout: &Layout, agent: NewAgent<'_>) -> anyhow::Result<PathBuf> {
    let dir = layout.path("agent");
    let conf = dir.join(AGENT_CONF);
    if conf.exists() {
        return Ok(conf);
    }
    let admin = Admin::open(&layout.cams_conf()).await?;
    // A start that was cut short may have left it in the register without its files.
    admin.remove_agent(agent.name).await?;
    register_agent(&admin, &dir, agent).await
}

/// The sample's text for this agent: the first domain and entry are the ones its sites demand.
fn agent_conf(server: &CamsConf, agent: &NewAgent<'_>) -> String {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let mut policy_server = server.listen;
    if policy_server.ip().is_unspecified() {
        policy_server.set_ip([127, 0, 0, 1].into());
    }
    let rights = &agent.rights;
    let mut text = without_numbered(SAMPLE_AGENT_CONF, &["cams.site.", "cams.tls."]);
    let mut set = |key: &str, value: &str| text = set_property(&text, key, value);
    set("cams.cluster.name", &server.cluster);
    set("cams.security.domain", &first(&rights.domains));
    set("cams.loginconfig.entry", &first(&rights.entries));
    if let Some((_, further)) = rights.entries.split_first().filter(|(_, further)| !further.is_empty()) {
        set("cams.loginconfig.entries", &further.join(", "));
    }
    set("cams.policy.server.1", &policy_server.to_string());
    set("cams.policy.server.ca", "policy-server-ca.pem");
    set("cams.agent.certificate", "agent.pem");
    set("cams.agent.key", "agent.key");
    for (key, value) in &agent.properties {
        set(key, value);
    }
    text
}

/// The text with the property's line replaced, or added at the end. Comments and everything else stay as they are.
pub fn set_property(text: &str, key: &str, value: &str) -> String {
    let mut done = false;
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some((name, _)) if name.trim() == key && !done => {
                done = true;
                format!("{key}={value}")
            }
            _ => line.to_owned(),
        })
        .collect();
    if !done {
        lines.push(format!("{key}={value}"));
    }
    lines.join("\n") + "\n"
}

/// The text without the properties that start with one of these prefixes (comments stay).
fn without_numbered(text: &str, prefixes: &[&str]) -> String {
    let keep = |line: &&str| !prefixes.iter().any(|prefix| line.starts_with(prefix));
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_replaced_in_place_or_added() {
        let text = "# a=comment\na = 1\nb=2\n";
        assert_eq!(set_property(text, "a", "9"), "# a=comment\na=9\nb=2\n");
        assert_eq!(set_property(text, "c", "3"), "# a=comment\na = 1\nb=2\nc=3\n");
    }
}
