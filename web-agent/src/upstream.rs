//! Where a permitted request goes. [`Upstreams::peer`] is the only way to the engine's `HttpPeer`, and it
//! cannot be called without a [`Permit`]; how one to a policy server is secured is in `policy_servers`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::head::Scheme;
use crate::pem::{self, PemError};
use crate::permit::Permit;
use crate::site::{Site, Upstream};
use crate::tunnel;

mod policy_servers;

pub use policy_servers::PolicyServers;

/// How long the addresses of a host name are used.
const ADDRESSES_LIVE: Duration = Duration::from_secs(30);
const LOOK_UP_LIMIT: Duration = Duration::from_secs(3);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// TCP and TLS together.
const TOTAL_CONNECT_LIMIT: Duration = Duration::from_secs(10);
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// The upstreams of all sites.
#[derive(Debug)]
pub struct Upstreams {
    by_site: HashMap<String, Route>,
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("no such site: {0}")]
    UnknownSite(String),
    #[error("cannot look up {host}: {reason}")]
    LookUp { host: String, reason: String },
}

#[derive(Debug)]
struct Route {
    host: String,
    port: u16,
    security: Security,
    /// Keeps connections apart that other authorities vouch for: the engine's pool does not look at them.
    group: u64,
    found: ArcSwapOption<Found>,
    looking: Mutex<()>,
}

#[derive(Debug)]
enum Security {
    Cleartext,
    /// `None` stands for the authorities of the system.
    Tls(Option<Arc<CaType>>),
    Link {
        authorities: Arc<CaType>,
        identity: Arc<CertKey>,
    },
}

#[derive(Debug)]
struct Found {
    /// One for each address of the host, never empty.
    peers: Vec<(SocketAddr, HttpPeer)>,
    until: Instant,
}

impl Upstreams {
    /// # Errors
    /// A file of certificate authorities that cannot be used.
    pub fn new<'a>(sites: impl IntoIterator<Item = &'a Arc<Site>>) -> Result<Self, PemError> {
        let route = |site: &'a Arc<Site>| {
            let upstream = site.upstream.as_ref()?;
            Some(Route::to_site(upstream).map(|route| (site.name.clone(), route)))
        };
        Ok(Self { by_site: sites.into_iter().filter_map(route).collect::<Result<_, _>>()? })
    }

    /// The next peer after those that were `tried` in vain: another address of the site, or another policy server where the
    /// permit is for those. `None` when all were.
    ///
    /// # Errors
    /// The name of the upstream leads nowhere.
    pub async fn peer(
        &self,
        permit: &Permit,
        policy_servers: &PolicyServers,
        tried: &[SocketAddr],
    ) -> Result<Option<Box<HttpPeer>>, UpstreamError> {
        if permit.to_policy_server().is_some() {
            return Ok(policy_servers.peer(tried).await.map(Box::new));
        }
        let site = &permit.site().name;
        let route = self.by_site.get(site).ok_or_else(|| UpstreamError::UnknownSite(site.clone()))?;
        let mut peer = next(&route.find().await?.peers, tried, 1).map(|(_, peer)| peer.clone());
        if let Some(peer) = peer.as_mut().filter(|_| permit.is_upgrade()) {
            tunnel::prepare(peer);
        }
        Ok(peer.map(Box::new))
    }
}

impl Route {
    fn new(host: &str, port: u16, security: Security) -> Self {
        // Never the same again: after a reload another authority may vouch for the same address.
        static GROUPS: AtomicU64 = AtomicU64::new(1);
        let group = GROUPS.fetch_add(1, Ordering::Relaxed);
        Self { host: host.to_owned(), port, security, group, found: ArcSwapOption::empty(), looking: Mutex::new(()) }
    }

    fn to_site(upstream: &Upstream) -> Result<Self, PemError> {
        let security = match upstream.scheme {
            Scheme::Http => Security::Cleartext,
            Scheme::Https => Security::Tls(upstream.ca.as_deref().map(authorities).transpose()?),
        };
        Ok(Self::new(&upstream.host, upstream.port, security))
    }

    /// The known addresses; an expired answer still serves those who meet a look-up that is under way or fails.
    async fn find(&self) -> Result<Arc<Found>, UpstreamError> {
        let known = self.found.load_full();
        let _looking = match known {
            Some(known) if Instant::now() < known.until => return Ok(known),
            Some(known) => match self.looking.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(known),
            },
            None => self.looking.lock().await,
        };
        let known = self.found.load_full();
        if let Some(known) = known.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(known.clone());
        }
        let found = match (self.look_up().await, known) {
            (Ok(addresses), _) => addresses.into_iter().map(|address| (address, self.peer(address))).collect(),
            (Err(reason), Some(known)) => {
                tracing::warn!(host = self.host, "using the old addresses: {reason}");
                known.peers.clone()
            }
            (Err(reason), None) => return Err(UpstreamError::LookUp { host: self.host.clone(), reason }),
        };
        let found = Arc::new(Found { peers: found, until: Instant::now() + ADDRESSES_LIVE });
        self.found.store(Some(found.clone()));
        Ok(found)
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        let address = (self.bare_host(), self.port);
        let found = timeout(LOOK_UP_LIMIT, tokio::net::lookup_host(address)).await.map_err(|_| "no answer in time")?;
        let found: Vec<_> = found.map_err(|error| error.to_string())?.collect();
        if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) }
    }

    /// An IPv6 address without its brackets.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        // The engine skips all verification where the server name is empty.
        let mut peer = match &self.security {
            Security::Cleartext => HttpPeer::new(address, false, self.bare_host().to_owned()),
            Security::Tls(authorities) => {
                let mut peer = HttpPeer::new(address, true, self.bare_host().to_owned());
                peer.options.ca.clone_from(authorities);
                peer
            }
            Security::Link { authorities, identity } => policy_servers::peer(address, authorities, identity),
        };
        peer.group_key = self.group;
        peer.options.connection_timeout.get_or_insert(CONNECT_LIMIT);
        peer.options.total_connection_timeout.get_or_insert(TOTAL_CONNECT_LIMIT);
        peer.options.idle_timeout = Some(IDLE_LIMIT);
        peer
    }
}

/// The first address that was tried least, less often than `rounds`; what was tried is told by the address, as the order
/// can be another one each time.
fn next<'a, T>(addresses: &'a [(SocketAddr, T)], tried: &[SocketAddr], rounds: usize) -> Option<&'a (SocketAddr, T)> {
    let times = |address: &SocketAddr| tried.iter().filter(|tried| *tried == address).count();
    addresses.iter().filter(|(address, _)| times(address) < rounds).min_by_key(|(address, _)| times(address))
}

/// The authorities in a PEM file.
fn authorities(path: &Path) -> Result<Arc<CaType>, PemError> {
    // What is a trust anchor to the verifier is also readable by the engine.
    pem::authorities(path)?;
    let certificates = pem::certificates(path)?;
    Ok(certificates.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect())
}
