//! The options of a directory, as every module that asks one takes them.

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::{Secret, SecretRef};
use tokio::sync::Semaphore;

use super::message::{DerefAliases, Scope};
use super::{Credentials, Directory, Endpoint, MAX_CONNECTIONS, Security, Settings, tls};
use crate::files::{self, Readers};

/// Two directories that hang, one after the other, leave time for a third within the limit of a login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// In entries: as many groups as may be roles of one login.
const SIZE_LIMIT: usize = 10_000;

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "base" => Ok(Self::Base),
            "one" => Ok(Self::One),
            "sub" => Ok(Self::Sub),
            _ => Err(()),
        }
    }
}

impl FromStr for DerefAliases {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "never" => Ok(Self::Never),
            "searching" => Ok(Self::Searching),
            "finding" => Ok(Self::Finding),
            "always" => Ok(Self::Always),
            _ => Err(()),
        }
    }
}

impl Directory {
    /// Takes `host`, `port`, `ssl` (this by default), `startTls`, `caFile`, `verifyHostname`, `clientCertFile`,
    /// `clientKeyFile`, `connectTimeout`, `readTimeout`, `bindDn`, `bindPassword`, `referrals`, `derefAliases`,
    /// `sizeLimit`, `pageSize` and `poolSize`. There may be no `host`: then the caller has to find some. `None` with the
    /// reasons in `problems`.
    pub fn take(options: &mut Options, ssl: bool, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let security = security(options, ssl, problems);
        let port = take_port(options, problems);
        let endpoints = endpoints(options, security, port, problems);
        let tls = tls::take(options, problems);
        let connect_timeout = take_time(options, "connectTimeout", CONNECT_TIMEOUT, problems);
        let read_timeout = take_time(options, "readTimeout", READ_TIMEOUT, problems);
        let search_account = search_account(options, problems);
        refuse_referrals(options, problems);
        let deref = "never, searching, finding or always";
        let deref = options.take_parsed("derefAliases", DerefAliases::Never, deref, problems);
        let size_limit = take_count(options, "sizeLimit", SIZE_LIMIT, 1, problems);
        let page_size = take_count(options, "pageSize", 500, 0, problems);
        let pool_size = take_count(options, "poolSize", 0, 0, problems).min(MAX_CONNECTIONS / 2);
        let settings = Settings { tls: tls?, connect_timeout, read_timeout, deref, size_limit, page_size };
        (problems.len() == before).then(|| Self {
            endpoints: ArcSwap::from_pointee(endpoints),
            security,
            port,
            settings,
            search_account,
            idle: Mutex::default(),
            pool_size,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            prefer: Arc::new(AtomicUsize::new(0)),
        })
    }
}

fn take_port(options: &mut Options, problems: &mut Problems) -> Option<u16> {
    let (text, line) = options.take("port")?;
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        problems.add(options.file(), line, format!("option `port`: `{text}` is not a port"));
    }
    port
}

fn security(options: &mut Options, ssl: bool, problems: &mut Problems) -> Security {
    let line = options.line_of("startTls");
    let start_tls = options.take_bool("startTls", false, problems);
    match (options.take_bool("ssl", ssl && !start_tls, problems), start_tls) {
        (true, true) => {
            problems.add(options.file(), line, "options `ssl` and `startTls` are two ways to do one thing: keep one");
            Security::Tls
        }
        (true, false) => Security::Tls,
        (false, true) => Security::StartTls,
        (false, false) => Security::None,
    }
}

fn endpoints(options: &mut Options, security: Security, port: Option<u16>, problems: &mut Problems) -> Vec<Endpoint> {
    let Some((hosts, line)) = options.take("host") else { return Vec::new() };
    let mut endpoints = Vec::new();
    for word in hosts.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()) {
        match Endpoint::parse(word, security, port) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(message) => problems.add(options.file(), line, format!("option `host`: {message}")),
        }
    }
    endpoints
}

fn take_time(options: &mut Options, name: &str, default: Duration, problems: &mut Problems) -> Duration {
    const MAX: Duration = Duration::from_secs(60);
    let line = options.line_of(name);
    let time = options.take_duration(name, default, problems);
    if time.is_zero() || time > MAX {
        problems.add(options.file(), line, format!("option `{name}`: more than nothing and at most 60s"));
    }
    time
}

fn take_count(options: &mut Options, name: &str, default: usize, least: usize, problems: &mut Problems) -> usize {
    const MAX: usize = 100_000;
    let line = options.line_of(name);
    let count = options.take_parsed(name, default, "a number", problems);
    if !(least..=MAX).contains(&count) {
        problems.add(options.file(), line, format!("option `{name}`: from {least} to {MAX}"));
    }
    count
}

fn search_account(options: &mut Options, problems: &mut Problems) -> Option<Credentials> {
    let line = options.line_of("bindPassword");
    let dn = options.take("bindDn");
    let password = take_secret(options, "bindPassword", problems);
    match (dn, password) {
        (Some((dn, line)), _) if dn.trim().is_empty() => {
            problems.add(options.file(), line, "option `bindDn` is empty: leave it out to search anonymously");
            None
        }
        (Some((dn, _)), Some(password)) => Some(Credentials { dn, password }),
        (Some(_), None) => {
            problems.add(options.file(), line, "option `bindDn` needs `bindPassword`");
            None
        }
        (None, Some(_)) => {
            problems.add(options.file(), line, "option `bindPassword` needs `bindDn`");
            None
        }
        (None, None) => None,
    }
}

/// An option that is a secret: the text itself, `file:PATH` (relative to the configuration file) or `env:NAME`. `None`
/// where it is not there, or cannot be had, which is reported.
pub fn take_secret(options: &mut Options, name: &str, problems: &mut Problems) -> Option<Secret> {
    let (text, line) = options.take(name)?;
    let base = options.file().parent().unwrap_or(Path::new("")).to_owned();
    let read =
        |path: &Path| files::read_secret(&base.join(path), Readers::Owner).map(|mut bytes| std::mem::take(&mut *bytes));
    let secret = SecretRef::parse(text.trim()).resolve(read, |name| std::env::var(name).ok());
    let secret = secret.and_then(|secret| if secret.is_empty() { Err("it is empty".to_owned()) } else { Ok(secret) });
    secret.map_err(|message| problems.add(options.file(), line, format!("option `{name}`: {message}"))).ok()
}

/// A referral names a server that nobody configured, and would be shown the password.
fn refuse_referrals(options: &mut Options, problems: &mut Problems) {
    let Some((value, line)) = options.take("referrals") else { return };
    match value.trim() {
        "ignore" => {}
        "follow" => problems.add(
            options.file(),
            line,
            "option `referrals`: following them would send passwords to servers that are not configured here: \
             name those servers in `host`, or keep `ignore`",
        ),
        other => problems.add(options.file(), line, format!("option `referrals`: `{other}` is not ignore")),
    }
}
