//! `cams.conf`: the policy server itself. Java-properties syntax; relative paths are relative to the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared_proto::names::is_name;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use crate::token::hex;

/// The port the original's agents connected to over TLS.
const DEFAULT_LISTEN: &str = "127.0.0.1:9393";
const DEFAULT_CONNECTIONS: usize = 200;
const DAY: Duration = Duration::from_secs(86_400);
const TEN_YEARS: Duration = Duration::from_secs(3_650 * 86_400);
const SPARE_KEYS: usize = 2;
const DEVICES_PER_USER: u32 = 200;
const KEY_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// A checked `cams.conf`.
#[derive(Debug, Clone)]
pub struct CamsConf {
    pub file: PathBuf,
    pub server: String,
    pub cluster: String,
    /// Where agents connect.
    pub listen: SocketAddr,
    pub max_connections: usize,
    /// `security-domain-registry.xml`.
    pub registry: PathBuf,
    /// The store's URL, which may hold a password.
    pub store: SecretRef,
    /// Where it stands, for problems with it.
    pub store_line: usize,
    pub audit_file: PathBuf,
    /// The key-encryption key, 32 bytes in base64, outside the store.
    pub key: SecretRef,
    /// For how long an agent's assertion key is used before the next one.
    pub assertion_key_lifetime: Duration,
    pub jami: JamiConf,
    /// SHA-256 of the file, in hexadecimal.
    pub hash: String,
    /// Where the reference to the key stands, for problems with it.
    pub key_line: usize,
}

/// Jami devices: lifetimes and settings as JAMS calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JamiConf {
    /// "Device Lifetime": how long a device's certificate is valid, after which it must be enrolled again.
    pub device_lifetime: Duration,
    /// "User Account Lifetime": the same of an account's certificate, renewed when one of its devices is enrolled.
    pub account_lifetime: Duration,
    /// "Certificate Revocation List Lifetime": from one list to its next update.
    pub crl_lifetime: Duration,
    /// "CORS Domain Name": the origin of a web page that may call the API.
    pub cors_origin: Option<String>,
    /// Whether clients ask the public name server of Jami in place of ours.
    pub public_name_server: bool,
    /// What the addresses of CRL and OCSP responder in certificates begin with; without it there are none.
    pub revocation_url: Option<String>,
    /// Account keys that are made ahead.
    pub spare_keys: usize,
    /// Devices of one person that are not revoked.
    pub devices_per_user: u32,
}

impl CamsConf {
    /// The directory that relative names in this file are relative to.
    pub fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }
}

/// Reads the file's text; `None` where something that has no default is missing or wrong.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<CamsConf> {
    let mut options = Options::from_properties(file, text, problems);
    let base = file.parent().unwrap_or(Path::new("."));
    let server = name(&mut options, "cams.server.name", problems);
    let cluster = name(&mut options, "cams.cluster.name", problems);
    let (listen, line) = options.take("cams.policy.server.listen").unwrap_or((DEFAULT_LISTEN.to_owned(), 0));
    let listen = listen.trim().parse().map_err(|_| {
        problems.add(
            file,
            line,
            format!("`cams.policy.server.listen`: `{listen}` is not an address such as {DEFAULT_LISTEN}"),
        );
    });
    let max_connections =
        options.take_parsed("cams.policy.server.connections", DEFAULT_CONNECTIONS, "a number", problems);
    let path = |text: String| base.join(text.trim());
    let registry = options.require("security.domain.registry", problems).map(path);
    let store = options.take("cams.store.url");
    if store.is_none() {
        problems.add(file, 0, "property `cams.store.url` is missing");
    }
    let audit_file = options.require("cams.audit.file", problems).map(path);
    let line = options.line_of("cams.assertion.key.lifetime");
    let assertion_key_lifetime = options.take_duration("cams.assertion.key.lifetime", KEY_LIFETIME, problems);
    if !(DAY..=366 * DAY).contains(&assertion_key_lifetime) {
        problems.add(file, line, "`cams.assertion.key.lifetime`: write a time from 1d to 366d");
    }
    let jami = jami(&mut options, problems);
    let key = options.take("cams.key.encryption.key");
    if key.is_none() {
        problems.add(file, 0, "property `cams.key.encryption.key` is missing: write file:PATH or env:NAME");
    }
    options.finish(problems);
    let (key, key_line) = key?;
    let (store, store_line) = store?;
    Some(CamsConf {
        file: file.to_owned(),
        server: server?,
        cluster: cluster?,
        listen: listen.ok()?,
        max_connections,
        registry: registry?,
        store: SecretRef::parse(store.trim()),
        store_line,
        audit_file: audit_file?,
        key: SecretRef::parse(key.trim()),
        assertion_key_lifetime,
        jami,
        hash: hex(&Sha256::digest(text)),
        key_line,
    })
}

fn jami(options: &mut Options, problems: &mut Problems) -> JamiConf {
    let file = options.file().to_owned();
    let mut lifetime = |name: &str, default: Duration, longest: Duration| {
        let line = options.line_of(name);
        let time = options.take_duration(name, default, problems);
        if !(Duration::from_secs(60)..=longest).contains(&time) {
            problems.add(&file, line, format!("`{name}`: write a time from 1m to {}d", longest.as_secs() / 86_400));
        }
        time
    };
    let device_lifetime = lifetime("cams.jami.device.lifetime", TEN_YEARS, 2 * TEN_YEARS);
    let account_lifetime = lifetime("cams.jami.user.account.lifetime", TEN_YEARS, 2 * TEN_YEARS);
    let crl_lifetime = lifetime("cams.jami.certificate.revocation.list.lifetime", DAY, 366 * DAY);
    let mut url = |name: &str, is_good: fn(&str) -> bool, example: &str| {
        let (text, line) = options.take(name)?;
        let text = text.trim().trim_end_matches('/').to_owned();
        if !is_good(&text) {
            problems.add(&file, line, format!("`{name}`: `{text}` is not a URL such as {example}"));
        }
        Some(text)
    };
    let cors_origin = url("cams.jami.cors.domain.name", is_origin, "https://jami.example.org");
    let revocation_url = url("cams.jami.revocation.url", is_origin, "http://pki.example.org:8080");
    let devices = "cams.jami.devices.per.user";
    let line = options.line_of(devices);
    let devices_per_user = options.take_parsed(devices, DEVICES_PER_USER, "a number", problems);
    if devices_per_user == 0 {
        problems.add(&file, line, format!("`{devices}`: with 0 nobody could enrol a device; 1 is the least"));
    }
    JamiConf {
        device_lifetime,
        account_lifetime,
        crl_lifetime,
        cors_origin,
        revocation_url,
        public_name_server: options.take_bool("cams.jami.public.name.server", false, problems),
        spare_keys: options.take_parsed("cams.jami.spare.keys", SPARE_KEYS, "a number", problems),
        devices_per_user,
    }
}

/// Scheme, host and perhaps a port.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_host))
}

fn name(options: &mut Options, key: &str, problems: &mut Problems) -> Option<String> {
    let (value, line) = match options.take(key) {
        Some((value, line)) => (value.trim().to_owned(), line),
        None => {
            problems.add(options.file(), 0, format!("property `{key}` is missing"));
            return None;
        }
    };
    if !is_name(&value) {
        problems.add(
            options.file(),
            line,
            format!("`{key}`: `{value}` may hold only letters, digits and _ (at most 64)"),
        );
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "cams.server.name=S\ncams.cluster.name=C\nsecurity.domain.registry=domains/r.xml\n\
        cams.store.url=sqlite:cams.db\ncams.audit.file=audit.jsonl\ncams.key.encryption.key=file:kek\n";

    #[test]
    fn a_complete_file_is_read_with_its_defaults() {
        let mut problems = Problems::default();
        let conf = read(Path::new("/etc/cams/cams.conf"), GOOD, &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(conf.registry, Path::new("/etc/cams/domains/r.xml"));
        assert_eq!(conf.listen, "127.0.0.1:9393".parse().unwrap());
        assert_eq!(conf.max_connections, 200);
        assert_eq!(conf.assertion_key_lifetime, 30 * DAY);
    }

    #[test]
    fn every_problem_is_reported() {
        let mut problems = Problems::default();
        let text = "cams.server.name=a b\ncams.policy.server.listen=nowhere\ncams.stor.url=x\n\
            cams.assertion.key.lifetime=1h\ncams.jami.devices.per.user=0\n";
        assert!(read(Path::new("c"), text, &mut problems).is_none());
        let text = problems.to_string();
        for expected in [
            "c:1: `cams.server.name`",
            "`cams.cluster.name` is missing",
            "c:2: `cams.policy.server.listen`: `nowhere`",
            "`security.domain.registry` is missing",
            "`cams.store.url` is missing",
            "`cams.key.encryption.key` is missing",
            "c:4: `cams.assertion.key.lifetime`: write a time from 1d",
            "c:5: `cams.jami.devices.per.user`: with 0",
            "c:3: unknown property `cams.stor.url`, did you mean `cams.store.url`?",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
