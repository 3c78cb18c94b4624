//! Writes configurations: the server's files for `init` and `quickstart`, an agent's for `agent add`.
//!
//! What exists is never overwritten: an admin's edits stay.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::Rights;
use policy_server::config::cams_conf::CamsConf;

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
        let key = policy_server::token::Key::generate()?;
        write_new(&self.path("keys/key-encryption.key"), &format!("{}\n", key.to_base64().as_str()))?;
        Ok(())
    }
}

/// The text of a file of the sample configuration.
pub fn sample(name: &str) -> &'static str {
    CONF_FILES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
}

/// Registers an agent and writes its certificate, key and configuration into `dir`. `sites` are hosts with upstreams.
pub async fn register_agent(
    admin: &Admin,
    dir: &Path,
    name: &str,
    rights: Rights,
    sites: &[(String, String)],
) -> anyhow::Result<PathBuf> {
    let conf = dir.join(AGENT_CONF);
    anyhow::ensure!(!conf.exists(), "{} exists already: choose another directory with --dir", conf.display());
    let text = agent_conf(admin.conf(), &rights, sites);
    let issued = admin.add_agent(name, rights).await?;
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
        admin.remove_agent(name).await?;
        return Err(error);
    }
    Ok(conf)
}

/// The sample's text for this agent: the first domain and entry are the ones its sites demand.
fn agent_conf(server: &CamsConf, rights: &Rights, sites: &[(String, String)]) -> String {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let mut policy_server = server.listen;
    if policy_server.ip().is_unspecified() {
        policy_server.set_ip([127, 0, 0, 1].into());
    }
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
    for (n, (host, upstream)) in sites.iter().enumerate() {
        set(&format!("cams.site.site{}.host", n + 1), host);
        set(&format!("cams.site.site{}.upstream", n + 1), upstream);
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

/// Sets properties in a file, atomically and only where they differ.
pub fn set_in_file(file: &Path, properties: &[(&str, &str)]) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let new = properties.iter().fold(old.clone(), |text, (key, value)| set_property(&text, key, value));
    if new != old {
        replace(file, &new)?;
    }
    Ok(())
}

/// The text without the properties that start with one of these prefixes (comments stay).
fn without_numbered(text: &str, prefixes: &[&str]) -> String {
    let keep = |line: &&str| !prefixes.iter().any(|prefix| line.starts_with(prefix));
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

/// Writes a file for its owner only, by renaming a complete one over it.
pub fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let context = || format!("cannot write {}", file.display());
    let mut new = tempfile::NamedTempFile::new_in(dir).with_context(context)?;
    new.write_all(text.as_bytes()).with_context(context)?;
    new.persist(file).with_context(context)?;
    Ok(())
}

/// Writes a file for its owner only unless there is one; false where there is.
pub fn write_new(file: &Path, text: &str) -> anyhow::Result<bool> {
    let context = || format!("cannot write {}", file.display());
    if let Some(parent) = file.parent() {
        create_dir(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut new) => new.write_all(text.as_bytes()).with_context(context).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(context),
    }
}

fn create_dir(dir: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create the directory {}", dir.display()))
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

    #[test]
    fn what_exists_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b");
        assert!(write_new(&file, "first").unwrap());
        assert!(!write_new(&file, "second").unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
    }
}
