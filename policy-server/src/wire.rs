//! The composition root: the only place that names concrete adapters together. It opens what the configuration names,
//! runs the listener, and swaps in a changed configuration once all of it is good.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use shared_proto::event::PublicMap;
use shared_proto::login::EntryForm;
use shared_proto::problem::Problems;
use shared_proto::secret::{Secret, SecretRef};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::{Policy, public_map};
use crate::audit::{Audit, Detail, Kind};
use crate::auth::modules::{Services, Shared, Vault};
use crate::auth::pipeline::LoginEntry;
use crate::auth::valve::AuthPipeline;
use crate::config::cams_conf::{self, CamsConf};
use crate::config::domain::{LocalService, SECURITY_DOMAIN};
use crate::config::login_exceptions::LoginMessages;
use crate::config::security_domain::{PoolConfig, SessionLimits};
use crate::config::trial::Trial;
use crate::config::{access_policy, domain, registry};
use crate::device::Issuing;
use crate::device::blueprint::Blueprints;
use crate::digest::DigestPool;
use crate::directory::sql::{Database, Target};
use crate::directory::xml_users::XmlUserRepository;
use crate::events;
use crate::files::{self, MAX_TEXT};
use crate::http::{self, listener};
use crate::pki::{AgentCa, AssertionKeys, PkiError};
use crate::reader::Reader;
use crate::rechecks;
use crate::reports::Reports;
use crate::revocation::Revocation;
use crate::session::{Limits, SessionService};
use crate::store::{self, Position, Store, StoreError};
use crate::token::{Key, KeyRing, hex};
use crate::watch::Seen;

/// Logins waiting for a free core beyond this many are told that the server is busy.
const HASH_QUEUE: usize = 256;
const ACCESS_POLICY: &str = "access-control-policy.xml";

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("cannot open the audit log {0}: {1}")]
    Audit(PathBuf, std::io::Error),
    #[error("cannot listen on {0} (cams.policy.server.listen): {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
}

/// A security domain, ready to work.
pub struct Domain {
    pub name: String,
    entries: BTreeMap<String, LoginEntry>,
    /// The way every login takes.
    pub logins: AuthPipeline,
    pub messages: LoginMessages,
    pub policy: Policy,
    /// What the policy grants to everybody, and what the login entries ask for.
    pub public: PublicMap,
    pub limits: Limits,
    /// How often the account of a live session is looked up again.
    pub(crate) recheck_interval: Duration,
    pub(crate) users: Vec<Arc<XmlUserRepository>>,
    pub(crate) local: Option<LocalService>,
    pub blueprints: Blueprints,
}

impl Domain {
    pub fn entry(&self, name: &str) -> Option<&LoginEntry> {
        self.entries.get(name)
    }

    pub fn entries(&self) -> impl Iterator<Item = &LoginEntry> {
        self.entries.values()
    }
}

/// A whole configuration. Immutable: a reload makes a new one.
pub struct Loaded {
    pub domains: BTreeMap<String, Domain>,
    /// SHA-256 over all files, in hexadecimal.
    pub hash: String,
    /// What works, but should not stay so.
    pub warnings: Problems,
    /// What it was read from, the users aside: they follow their files themselves.
    pub(crate) files: Vec<Seen>,
}

impl Loaded {
    /// The idle limit of a domain's sessions. One that this server does not have may be another's: none of its
    /// sessions is idle here, and its end is all that counts.
    pub(crate) fn idle_limit(&self, domain: &str) -> Duration {
        self.domains.get(domain).map_or(Duration::MAX, |domain| domain.limits.idle)
    }
}

/// What the server and the administrator's commands both stand on.
pub struct Foundation {
    pub conf: CamsConf,
    pub store: Store,
    pub vault: Vault,
    pub audit: Audit,
    pub agent_ca: AgentCa,
    pub assertions: AssertionKeys,
}

/// Opens the store, the audit log and the agent CA that a `cams.conf` names.
pub async fn foundation(file: &Path) -> Result<Foundation, OpenError> {
    let (conf, vault) = open_vault(file).await?;
    let Vault { store, keys, cluster } = vault.clone();
    let audit = Audit::open(&conf.audit_file).map_err(|error| OpenError::Audit(conf.audit_file.clone(), error))?;
    let agent_ca = AgentCa::open(&store, &keys, &cluster, Timestamp::now()).await?;
    let assertions = AssertionKeys::new(store.clone(), keys, &cluster, conf.assertion_key_lifetime);
    Ok(Foundation { conf, store, vault, audit, agent_ca, assertions })
}

async fn open_vault(file: &Path) -> Result<(CamsConf, Vault), OpenError> {
    let mut problems = Problems::default();
    let conf = read_conf(file, &mut problems);
    let secrets = conf.as_ref().and_then(|conf| secrets(conf, &mut problems));
    let (conf, secrets) = problems.into_result(conf.zip(secrets))?;
    let store = Store::open(&secrets.store_url, conf.base()).await?;
    let vault = Vault { store, keys: KeyRing::new(secrets.key, Vec::new()), cluster: conf.cluster.clone() };
    Ok((conf, vault))
}

/// As [`check`], with the options of a trial in place of those in the file. The store is opened, and created where it is
/// missing, only for an entry that cannot be asked without it.
pub async fn check_trial(file: &Path, trial: &Trial) -> Result<Loaded, OpenError> {
    let (_, loaded) = check_through(file, &Reader::trying(trial))?;
    let entry = loaded.domains.get(&trial.domain).and_then(|domain| domain.entry(&trial.entry));
    if !entry.is_some_and(LoginEntry::needs_store) {
        return Ok(loaded);
    }
    let (conf, vault) = open_vault(file).await?;
    load_through(&conf, vault, &Reader::trying(trial))
}

/// The configuration for a command that runs beside the server.
pub(crate) fn load_with(conf: &CamsConf, vault: Vault) -> Result<Loaded, OpenError> {
    load_through(conf, vault, &Reader::default())
}

fn load_through(conf: &CamsConf, vault: Vault, reader: &Reader) -> Result<Loaded, OpenError> {
    let shared = Shared { vault: Some(vault), ..Shared::offline() };
    let mut problems = Problems::default();
    let loaded = load(conf, &shared, reader, &mut problems);
    Ok(problems.into_result(loaded)?)
}

/// Reads every file reachable from a `cams.conf` and changes nothing.
pub fn check(file: &Path) -> Result<(CamsConf, Loaded), Problems> {
    check_through(file, &Reader::default())
}

fn check_through(file: &Path, reader: &Reader) -> Result<(CamsConf, Loaded), Problems> {
    let mut problems = Problems::default();
    let conf = read_conf(file, &mut problems);
    let mut loaded = None;
    if let Some(conf) = &conf {
        secrets(conf, &mut problems);
        if let Err(error) = files::may_hold_file(&conf.audit_file) {
            let file = conf.audit_file.display();
            problems.add(&conf.file, 0, format!("`cams.audit.file`: {file} cannot be the audit log: {error}"));
        }
        loaded = load(conf, &Shared::offline(), reader, &mut problems);
    }
    problems.into_result(conf.zip(loaded))
}

pub(crate) fn read_conf(file: &Path, problems: &mut Problems) -> Option<CamsConf> {
    match files::read(file, MAX_TEXT) {
        Ok(text) => cams_conf::read(file, &text, problems),
        Err(error) => {
            problems.add(file, 0, format!("cannot be read: {error}"));
            None
        }
    }
}

/// What `cams.conf` refers to instead of holding it.
struct Secrets {
    key: Key,
    store_url: Secret,
}

fn secrets(conf: &CamsConf, problems: &mut Problems) -> Option<Secrets> {
    let key = key_encryption_key(conf);
    let store_url = files::resolve_secret(&conf.store, conf.base())
        .and_then(|url| store::check_url(&url, conf.base()).map(|()| url).map_err(|error| error.to_string()));
    let mut problem = |line, name: &str, message: String| {
        problems.add(&conf.file, line, format!("`{name}`: {message}"));
    };
    let key = key.map_err(|message| problem(conf.key_line, "cams.key.encryption.key", message)).ok();
    let store_url = store_url.map_err(|message| problem(conf.store_line, "cams.store.url", message)).ok();
    Some(Secrets { key: key?, store_url: store_url? })
}

fn key_encryption_key(conf: &CamsConf) -> Result<Key, String> {
    if let SecretRef::Literal(_) = conf.key {
        return Err("write file:PATH or env:NAME: a key in this file is one backup away from everybody".to_owned());
    }
    Key::from_base64(files::resolve_secret(&conf.key, conf.base())?.expose()).map_err(|error| error.to_string())
}

/// The registry and all enabled domains.
pub(crate) fn load(conf: &CamsConf, shared: &Shared, reader: &Reader, problems: &mut Problems) -> Option<Loaded> {
    let before = problems.len();
    let text = reader.text(&conf.registry, problems)?;
    let mut domains = BTreeMap::new();
    let mut warnings = Problems::default();
    for entry in registry::read(&conf.registry, &text, problems) {
        let loaded = load_domain(&entry, reader, shared, problems, &mut warnings);
        domains.extend(loaded.map(|domain| (entry.name, domain)));
    }
    // User repositories follow their files themselves.
    let users = |path: &Path| domains.values().flat_map(|d: &Domain| &d.users).any(|users| users.path() == path);
    let seen = reader.seen();
    let (files, digests): (Vec<Seen>, Vec<[u8; 32]>) =
        seen.iter().filter(|(seen, _)| !users(seen.path())).cloned().unzip();
    let hash = hex(&Sha256::digest(digests.concat()));
    (problems.len() == before).then_some(Loaded { domains, hash, warnings, files })
}

fn load_domain(
    entry: &registry::RegisteredDomain,
    reader: &Reader,
    shared: &Shared,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Option<Domain> {
    let config = domain::load(&entry.folder, &entry.name, &|path| reader.read(path), problems);
    let policy_file = entry.folder.join(ACCESS_POLICY);
    let text = reader.text(&policy_file, problems);
    let policy = text.and_then(|text| access_policy::read(&policy_file, &text, problems));
    let mut config = config?;
    reader.put_on_trial(&entry.name, &mut config.login);
    let SessionLimits { idle_timeout: idle, maximum_lifetime: lifetime, crowd, network, .. } = config.sessions;
    let limits = Limits { idle, lifetime, crowd, network };
    for warning in config.users.values().flat_map(|file| file.users.warnings.iter()) {
        warnings.push(warning.clone());
    }
    let blueprints = Blueprints::open(config.blueprints, &entry.folder, problems);
    let pools = open_pools(config.pools, &entry.name, &entry.folder, shared, problems, warnings);
    let services = Services { local: config.local, pools, ..Services::new(shared.clone(), &entry.name, config.users) };
    for repository in services.users.values() {
        repository.warn_of_exposure(warnings);
    }
    for off in config.valves.iter().filter(|valve| valve.kind.by_default && !valve.enabled) {
        let message = format!("the auth valve {} is turned off: nothing slows guessing passwords down", off.kind.class);
        warnings.add(off.params.file(), off.params.line(), message);
    }
    let logins = AuthPipeline::build(config.valves, &services, problems);
    let entries = LoginEntry::build_all(config.login, &services, problems, warnings);
    services.warnings.take().iter().for_each(|warning| warnings.push(warning.clone()));
    let entries = entries?;
    let policy = policy?;
    for name in entries.values().filter(|entry| entry.handler.form().remember_me).map(|entry| &entry.name) {
        if logins.auto_login().is_none() {
            let message = format!("entry `{name}` asks whether to be remembered, but no AutoLoginAuthValve is enabled");
            warnings.add(&entry.folder.join(SECURITY_DOMAIN), 0, message);
        }
    }
    for unknown in policy.entries().into_iter().filter(|name| !entries.contains_key(*name)) {
        let message = format!("a rule demands the login entry `{unknown}`, which login-config.xml lacks");
        problems.add(policy.file(), 0, message);
    }
    let (users, local) = (services.users.into_values().collect(), services.local);
    let name = entry.name.clone();
    let mut public = public_map(&name, &policy);
    public.forms = entries.iter().map(|(name, entry)| (name.clone(), form(entry, &logins))).collect();
    let (messages, recheck_interval) = (config.messages, config.sessions.recheck_interval);
    let domain =
        Domain { name, entries, logins, messages, policy, public, limits, recheck_interval, users, local, blueprints };
    Some(domain)
}

/// What an entry asks for: nobody is asked whether to be remembered where nothing remembers.
fn form(entry: &LoginEntry, logins: &AuthPipeline) -> EntryForm {
    let form = entry.handler.form().clone();
    EntryForm { remember_me: form.remember_me && logins.auto_login().is_some(), ..form }
}

/// The pools of a domain, connected to nothing yet; those that are in use already where nothing about them changed.
fn open_pools(
    pools: BTreeMap<String, PoolConfig>,
    domain: &str,
    folder: &Path,
    shared: &Shared,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> BTreeMap<String, Database> {
    let mut opened = BTreeMap::new();
    for (id, config) in pools {
        for warning in &config.warnings {
            warnings.add(&config.file, config.line, format!("pool `{id}`: parameter `jdbcUrl`: {warning}"));
        }
        let password = config.password.map(|password| files::resolve_secret(&password, folder)).transpose();
        match password {
            Ok(password) => {
                let (location, username, base) = (config.location, config.username, folder.to_owned());
                let target = Target { location, username, password, base };
                opened.insert(id.clone(), shared.pools.open(domain, &id, target, config.settings));
            }
            Err(why) => problems.add(&config.file, config.line, format!("parameter `jdbcPassword`: {why}")),
        }
    }
    opened
}

/// The running policy server.
pub struct Server {
    pub conf: CamsConf,
    pub store: Store,
    pub sessions: SessionService,
    pub audit: Audit,
    agent_ca: AgentCa,
    pub assertions: AssertionKeys,
    pub reports: Reports,
    pub revocation: Revocation,
    pub(crate) issuing: Issuing,
    pub(crate) shared: Shared,
    pub(crate) loaded: ArcSwap<Loaded>,
    /// How far the event log was seen to go, for streams that wait; it may be behind.
    pub(crate) head: watch::Sender<Position>,
    /// Security domains that changed here and whose event is not in the log yet.
    pub(crate) owed: Mutex<BTreeSet<String>>,
}

impl Server {
    /// Opens everything; nothing is served yet.
    pub async fn open(file: &Path) -> Result<Arc<Self>, OpenError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Problems of all files first, so that nothing is created beside a configuration that cannot work.
        check(file)?;
        let Foundation { conf, store, vault, audit, agent_ca, assertions } = foundation(file).await?;
        let issuing = Issuing::new(vault.keys.clone(), &conf.jami);
        let revocation = Revocation::new(store.clone(), vault.keys.clone(), issuing.opened(), &conf.jami);
        let shared = Shared::new(DigestPool::new(cores, HASH_QUEUE), Some(vault));
        let mut problems = Problems::default();
        let loaded = load(&conf, &shared, &Reader::default(), &mut problems);
        let loaded = problems.into_result(loaded)?;
        warn(&loaded.warnings);
        audit.record(Kind::ConfigurationLoaded, Detail { new_hash: Some(&loaded.hash), ..Detail::default() });
        let sessions = SessionService::new(Arc::new(store.clone()));
        store.renew_epoch().await?;
        let head = watch::Sender::new(store.position().await?);
        // The files may have changed while no server ran.
        let owed = Mutex::new(loaded.domains.keys().cloned().collect());
        let loaded = ArcSwap::from_pointee(loaded);
        let reports = Reports::default();
        let server = Self {
            conf,
            store,
            sessions,
            audit,
            agent_ca,
            assertions,
            reports,
            issuing,
            revocation,
            shared,
            loaded,
            head,
            owed,
        };
        // Keys for accounts are made from now on, where there will be accounts.
        server.issuing.authority(&server.store).await?;
        Ok(Arc::new(server))
    }

    /// The configuration in force. A request keeps the one it began with.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Serves agents until `stop` turns true.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> Result<(), OpenError> {
        let tls = Arc::new(self.agent_ca.listener_tls(self.now())?);
        let address = self.conf.listen;
        let socket = TcpListener::bind(address).await.map_err(|error| OpenError::Listen(address, error))?;
        let address = socket.local_addr().map_err(|error| OpenError::Listen(address, error))?;
        tracing::info!(server = %self.conf.server, cluster = %self.conf.cluster, %address, "the policy server is ready");
        let mut chores = JoinSet::new();
        chores.spawn(Arc::clone(&self).chores());
        chores.spawn(events::follow(Arc::clone(&self)));
        chores.spawn(rechecks::follow(Arc::clone(&self)));
        let connections = self.conf.max_connections;
        listener::serve(socket, tls, http::router(self), connections, stop).await;
        chores.abort_all();
        tracing::info!("the policy server has stopped");
        Ok(())
    }
}

/// Says on the log what should not stay so.
pub(crate) fn warn(warnings: &Problems) {
    for warning in warnings.iter() {
        tracing::warn!("{warning}");
    }
}

#[cfg(test)]
mod tests;
