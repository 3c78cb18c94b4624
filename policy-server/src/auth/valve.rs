//! The way every login takes: valves before the login stack, the stack, the valves again.
//!
//! Forms, and whatever else may carry credentials, call [`AuthPipeline::login`] and nothing else, so that no path goes
//! around a valve. `cams test-login` alone runs a stack by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;
use tokio::time::Instant;

use super::callback::USERNAME;
use super::error::LoginError;
use super::modules::{Remembered, Services};
use super::pipeline::{LOGIN_LIMIT, LoginEntry, LoginRun};
use super::valves::auto_login::AutoLogin;
use super::valves::{self, ValveKind};
use crate::audit::{self, Detail};

/// Somebody wants to log in.
#[derive(Debug)]
pub struct LoginAttempt<'a> {
    /// Callback values by name, without the `cams_cb_` prefix.
    pub answers: &'a BTreeMap<String, Secret>,
    /// Of the client, as the agent found it out.
    pub client: IpAddr,
    pub now: Timestamp,
    /// Of a browser that logs in with a cookie.
    pub remembered: Option<&'a Remembered>,
}

impl LoginAttempt<'_> {
    /// The user name as typed.
    pub fn typed_name(&self) -> Option<&str> {
        self.answers.get(USERNAME).and_then(Secret::expose_str)
    }
}

/// Two visible hooks around the login stack.
#[async_trait]
pub trait AuthValve: Send + Sync {
    /// # Errors
    /// The login ends here: the stack is not run.
    async fn before(&self, attempt: &LoginAttempt<'_>) -> Result<(), LoginError>;

    /// What came of an attempt that this valve let through; also where a later valve did not.
    async fn after(&self, attempt: &LoginAttempt<'_>, run: &LoginRun) -> Option<Note>;

    /// For the valve that remembers browsers.
    fn auto_login(&self) -> Option<&AutoLogin> {
        None
    }
}

/// What a valve did, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub event: audit::Kind,
    /// The client's network, as the valve sees networks.
    pub network: String,
    /// Failures that led to it.
    pub failures: i64,
    pub reason: String,
}

impl Note {
    /// The login's own details, and what the valve adds to them.
    pub fn add_to<'a>(&'a self, login: Detail<'a>) -> Detail<'a> {
        Detail {
            network: Some(self.network.clone()),
            failures: Some(self.failures),
            reason: Some(&self.reason),
            ..login
        }
    }
}

/// A valve as `security-domain.xml` describes it.
#[derive(Debug)]
pub struct ValveConfig {
    pub kind: &'static ValveKind,
    pub enabled: bool,
    pub params: Options,
}

/// The valves of a security domain, the outermost first.
pub struct AuthPipeline {
    valves: Vec<Box<dyn AuthValve>>,
}

impl AuthPipeline {
    /// The enabled valves. One that is not is built all the same, for what may be wrong with it.
    pub fn build(config: Vec<ValveConfig>, services: &Services, problems: &mut Problems) -> Self {
        let built = config.into_iter().filter_map(|valve| {
            let built = valve.kind.build(valve.params, services, problems);
            valve.enabled.then_some(built)
        });
        Self { valves: built.collect() }
    }

    /// What remembers browsers, where the domain does.
    pub fn auto_login(&self) -> Option<&AutoLogin> {
        self.valves.iter().find_map(|valve| valve.auto_login())
    }

    /// Logs in through this entry, and what is to be written down of it. Belongs into a task of its own: a login that is
    /// dropped half-way is never settled.
    pub async fn login(&self, entry: &LoginEntry, attempt: &LoginAttempt<'_>) -> (LoginRun, Vec<Note>) {
        let end = Instant::now() + LOGIN_LIMIT;
        let mut passed = Vec::new();
        let mut refused = None;
        for valve in &self.valves {
            match valve.before(attempt).await {
                Ok(()) => passed.push(valve),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let run = match refused {
            Some(error) => entry.not_run(error),
            None => entry.login(attempt.answers, attempt.now, attempt.remembered, end).await,
        };
        let mut notes = Vec::new();
        for valve in passed.into_iter().rev() {
            notes.extend(valve.after(attempt, &run).await);
        }
        (run, notes)
    }
}

/// The valves that are in force without being named, beside those that are named.
pub fn defaults(named: &[ValveConfig], file: &Path, line: usize) -> Vec<ValveConfig> {
    let is_named = |kind: &ValveKind| named.iter().any(|valve| valve.kind.class == kind.class);
    let missing = valves::all().filter(|kind| kind.by_default && !is_named(kind));
    missing.map(|kind| ValveConfig { kind, enabled: true, params: Options::new(file, line, "parameter") }).collect()
}
