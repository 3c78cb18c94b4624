//! Puts a process together from a checked configuration, and ends it.
//!
//! The engine's own server object is not used: it starts to listen on threads of its own, where a port that is taken
//! is only a panic. Here the sockets are bound first, and everything runs on one runtime, beside the link.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::apps::HttpServerApp;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use shared_proto::PROTOCOL_VERSION;
use shared_proto::hello::HelloRequest;
use shared_proto::problem::Problems;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::app::{self, AgentApp, Control};
use crate::auto_login::AutoLogins;
use crate::cache::Memory;
use crate::client::{Link, LinkConfig};
use crate::client_auth::Handshakes;
use crate::config::AgentConfig;
use crate::decisions::Decisions;
use crate::feed::{Following, Timing};
use crate::head::Scheme;
use crate::listen::{self, Connections};
use crate::open::OpenRequests;
use crate::origin::{Authority, Origin};
use crate::pages::{PageError, Pages};
use crate::passing::{self, Passing, Room};
use crate::pem::{KeyFiles, PemError};
use crate::proxy::{AgentProxy, Live, Serves};
use crate::reload::{self, Follower};
use crate::reply::Replies;
use crate::report;
use crate::tls::{Certificate, Certificates};
use crate::upload;
use crate::upstream::{PolicyServers, Upstreams};
use crate::voucher::Voucher;

/// What requests in flight are given when the process is told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// For what did not notice.
const RUNTIME_LIMIT: Duration = Duration::from_millis(500);

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("{folder}: {error}")]
    Pages { folder: PathBuf, error: PageError },
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("cannot set up TLS: {0}")]
    Tls(Box<pingora::Error>),
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the agent until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start; once it runs it does not fail.
pub fn run(file: &Path) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("agent").build()?;
    let result = runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (config, hash) = reload::read(file)?;
        listen::raise_file_limit(config.caps);
        let mut agent = Agent::start(config.clone(), Limits::default())?;
        agent.follow(file, config, hash);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        agent.stop(GRACE).await;
        Ok(())
    });
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    result
}

/// Reads the configuration and opens every file it names; binds nothing.
///
/// # Errors
/// All problems.
pub fn check(file: &Path) -> Result<(), Problems> {
    pingora::tls::install_default_crypto_provider();
    let config = AgentConfig::load(file)?;
    let mut problems = Problems::default();
    let mut note = |error: StartError| problems.add(file, 0, error.to_string());
    for certificate in certificates(&config) {
        let loaded = Certificates::load(&[certificate]);
        loaded.map(drop).unwrap_or_else(|error| note(error.into()));
    }
    PolicyServers::load(link(&config), &[]).map(drop).unwrap_or_else(|error| note(error.into()));
    live(&config).map(drop).unwrap_or_else(&mut note);
    problems.into_result(Some(()))
}

/// The time limits that tests shorten.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub head: Duration,
    pub upload: Duration,
    /// For the answer of a policy server to what a device asks.
    pub answer: Duration,
    pub room: Room,
    pub timing: Timing,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: app::HEAD_LIMIT,
            upload: upload::UPLOAD_LIMIT,
            answer: passing::ANSWER_LIMIT,
            room: Room::default(),
            timing: Timing::default(),
        }
    }
}

/// A running agent.
pub struct Agent {
    addresses: Vec<SocketAddr>,
    shutdown: watch::Sender<bool>,
    service: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    controls: Vec<Control>,
    follower: Option<Follower>,
}

impl Agent {
    /// Starts everything on the current runtime.
    ///
    /// # Errors
    /// A file or an address that cannot be used.
    pub fn start(config: AgentConfig, limits: Limits) -> Result<Self, StartError> {
        pingora::tls::install_default_crypto_provider();
        let (certificates, watch) = Certificates::load(&certificates(&config))?;
        let live = Arc::new(ArcSwap::from_pointee(live(&config)?));
        let link = link(&config);
        link.load()?;
        let sockets = bind(&config)?;

        let (servers, voucher) = (link.clone(), Arc::new(Voucher::default()));
        let link = Arc::new(Link::start(link));
        let policy_servers = PolicyServers::load(servers, link.servers())?;
        let (reports, courier) = report::channel();
        let tasks = vec![tokio::spawn(voucher.clone().follow(link.clone())), tokio::spawn(courier.run(link.clone()))];
        let follower = Some(Follower {
            live: live.clone(),
            watch,
            policy_servers: policy_servers.clone(),
            reports: reports.clone(),
        });
        let decisions = Arc::new(Decisions {
            link,
            memory: Arc::new(Memory::new(&config.gate.domain, limits.timing.lease)),
            open: Arc::new(OpenRequests::default()),
            auto_logins: Arc::new(AutoLogins::default()),
            lease: limits.timing.lease,
        });
        let (certificates, wants) = (&certificates, live.clone());
        let handshakes = Handshakes::new(certificates, move |name| wants.load().gate.wants_client_certs(name));
        let handshakes = handshakes.map_err(StartError::Tls)?;
        let following = Arc::new(Following::start(&decisions, &handshakes, limits.timing));
        let trusted = live.clone();
        let connections = Connections::new(config.caps, move |peer| trusted.load().gate.trusts(peer));
        let passing = Arc::new(Passing::new(limits.room));
        let (engine, mut controls) = (Arc::new(engine()), Vec::new());
        let app = |serves| {
            let proxy = AgentProxy {
                serves,
                live: live.clone(),
                decisions: decisions.clone(),
                policy_servers: policy_servers.clone(),
                following: following.clone(),
                voucher: voucher.clone(),
                reports: reports.clone(),
                upload_limit: limits.upload,
                passing: passing.clone(),
                answer_limit: limits.answer,
            };
            let (app, control) = AgentApp::new(http_proxy(&engine, proxy), live.clone(), reports.clone(), limits.head);
            controls.push(control);
            Arc::new(app)
        };
        let (shutdown, told) = watch::channel(false);
        let (service, addresses) = listen(sockets, app, &handshakes, &connections, &told)?;
        Ok(Self { addresses, shutdown, service, tasks, controls, follower })
    }

    /// Takes over what changes in the configuration from now on, which `config` was read from and `hash` tells apart.
    pub fn follow(&mut self, file: &Path, config: AgentConfig, hash: String) {
        if let Some(follower) = self.follower.take() {
            self.tasks.push(tokio::spawn(follower.run(file.to_owned(), config, hash)));
        }
    }

    /// Where it listens, in the order of the configuration, listeners for revocation last.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, lets requests finish for `grace`, cuts the rest.
    pub async fn stop(self, grace: Duration) {
        self.shutdown.send_replace(true);
        self.tasks.iter().for_each(JoinHandle::abort);
        self.controls.into_iter().map(|control| control.drain(grace)).collect::<JoinSet<()>>().join_all().await;
        self.service.abort();
    }
}

/// The parts of the engine's configuration that matter without its server.
fn engine() -> ServerConf {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ServerConf { threads, upstream_keepalive_pool_size: 512, ..ServerConf::default() }
}

/// Opens what a configuration names and new requests need.
pub(crate) fn live(config: &AgentConfig) -> Result<Live, StartError> {
    let replies = Replies { pages: pages(config)? };
    Ok(Live { gate: config.gate.clone(), replies, upstreams: Upstreams::new(&config.gate.sites)? })
}

/// A socket, whether it speaks TLS, and what is served there.
type Socket = (TcpListener, bool, Serves);

fn bind(config: &AgentConfig) -> Result<Vec<Socket>, StartError> {
    let sites = config.listeners.iter().map(|listener| (listener.address, listener.tls, Serves::Sites));
    let revocation = config.revocation_listeners.iter().map(|address| (*address, false, Serves::Revocation));
    let bound = |(address, tls, serves)| {
        let failed = |error| StartError::Listen { address, error };
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok((socket, tls, serves))
    };
    sites.chain(revocation).map(bound).collect()
}

/// Begins to accept connections, and says where. What is served alike is served by one app.
fn listen(
    sockets: Vec<Socket>,
    mut app: impl FnMut(Serves) -> Arc<AgentApp>,
    handshakes: &Arc<Handshakes>,
    connections: &Arc<Connections>,
    told: &watch::Receiver<bool>,
) -> Result<(JoinHandle<()>, Vec<SocketAddr>), StartError> {
    let (mut service, mut addresses) = (JoinSet::new(), Vec::new());
    let mut apps: HashMap<Serves, Arc<AgentApp>> = HashMap::new();
    for (socket, tls, serves) in sockets {
        let address = socket.local_addr()?;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let app = apps.entry(serves).or_insert_with(|| app(serves)).clone();
        let handshakes = tls.then(|| handshakes.clone());
        service.spawn(listen::accept(socket, handshakes, app, connections.clone(), told.clone()));
        tracing::info!(%address, tls, ?serves, "listening");
        addresses.push(address);
    }
    let service = tokio::spawn(async move {
        while service.join_next().await.is_some() {}
        for app in apps.into_values() {
            // Lets idle connections go.
            app.http_cleanup().await;
        }
    });
    Ok((service, addresses))
}

pub(crate) fn certificates(config: &AgentConfig) -> Vec<Certificate> {
    let certificate = |identity: &crate::config::TlsIdentity| Certificate {
        host: identity.host.clone(),
        files: KeyFiles {
            certificate: identity.certificate.clone(),
            key: identity.key.clone(),
            passphrase: identity.passphrase.clone(),
        },
    };
    config.certificates.iter().map(certificate).collect()
}

fn link(config: &AgentConfig) -> LinkConfig {
    let jami_hosts: Vec<_> = config.gate.sites.iter().filter(|site| site.jami).map(|site| site.host.clone()).collect();
    let jami_entry = if jami_hosts.is_empty() { String::new() } else { config.gate.jami.entry.clone() };
    LinkConfig {
        servers: config.policy_servers.iter().map(Authority::to_string).collect(),
        authorities: config.link.ca.clone(),
        identity: KeyFiles {
            certificate: config.link.certificate.clone(),
            key: config.link.key.clone(),
            passphrase: None,
        },
        hello: HelloRequest {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: config.cluster.clone(),
            domain: config.gate.domain.clone(),
            entry: config.gate.entry.clone(),
            hosts: config.gate.sites.iter().map(|site| site.host.clone()).collect(),
            jami_hosts,
            jami_entry,
        },
    }
}

fn pages(config: &AgentConfig) -> Result<Pages, StartError> {
    let overrides = config.pages.as_deref().map(templates).transpose()?.unwrap_or_default();
    let failed = |error| StartError::Pages { folder: config.pages.clone().unwrap_or_default(), error };
    Pages::new(&overrides, &origins(config)).map_err(failed)
}

/// The administrator's templates by file name; a misspelt one is found by [`Pages::new`].
pub(crate) fn templates(folder: &Path) -> Result<BTreeMap<String, String>, StartError> {
    let failed = |path: &Path, error| StartError::Read { path: path.to_owned(), error };
    let mut templates = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let is_template = path.extension().is_some_and(|extension| extension == "html" || extension == "css");
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| is_template) {
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            templates.insert(name.to_owned(), text);
        }
    }
    Ok(templates)
}

/// Every origin a login can lead back to: the agent's own sites at its own ports, and the cluster's other sites.
fn origins(config: &AgentConfig) -> Vec<String> {
    let own = config.gate.sites.iter().flat_map(|site| {
        config.listeners.iter().map(|listener| {
            let scheme = if listener.tls { Scheme::Https } else { Scheme::Http };
            let port = site.port.unwrap_or(listener.address.port());
            Origin { scheme, host: site.host.clone(), port }
        })
    });
    own.chain(config.gate.cluster_sites.iter().cloned()).map(|origin| origin.to_string()).collect()
}

#[cfg(test)]
mod tests;
