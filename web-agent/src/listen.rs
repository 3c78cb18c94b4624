//! The connections of clients, from the moment the system accepted them: counted, capped, and brought through their TLS
//! handshake in time. What is spoken on them is the business of [`crate::app`].
//!
//! The engine's listening service knows no caps, waits a minute for a handshake and reports every failed one as an
//! error. So it accepts nothing here, it is only handed connections that are ready.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::ShutdownWatch;
use pingora::services::listening::Service;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::app::AgentApp;
use crate::client_auth::Handshakes;
use crate::watched::Watched;

/// From the accepted connection to the end of its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Refusals are reported this often at most: whoever floods us must not flood the log.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// After a failed accept, which for want of file descriptors would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Of everybody together.
    pub all: NonZeroUsize,
    /// Of one IPv4 address or one IPv6 /56, which is what one customer has. Not for trusted proxies.
    pub per_network: NonZeroUsize,
}

impl Default for Caps {
    fn default() -> Self {
        const ALL: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
        const PER_NETWORK: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
        Self { all: ALL, per_network: PER_NETWORK }
    }
}

/// The open connections.
pub struct Connections {
    caps: Caps,
    /// Whether a peer is a trusted proxy, as the configuration says now.
    trusts: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    networks: HashMap<IpAddr, usize>,
    refused: usize,
    reported: Option<Instant>,
}

/// A counted connection; it counts until it is dropped.
pub struct Admitted {
    connections: Arc<Connections>,
    network: Option<IpAddr>,
}

impl Connections {
    pub fn new(caps: Caps, trusts: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { caps, trusts: Box::new(trusts), open: Mutex::default() })
    }

    /// Counts a connection of this peer, or refuses it.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let network = (!(self.trusts)(peer)).then(|| network(peer));
        let mut open = self.open();
        let of_network = network.and_then(|network| open.networks.get(&network)).copied().unwrap_or_default();
        if open.all >= self.caps.all.get() || of_network >= self.caps.per_network.get() {
            open.refuse(peer);
            return None;
        }
        open.all += 1;
        if let Some(network) = network {
            open.networks.insert(network, of_network + 1);
        }
        drop(open);
        Some(Admitted { connections: Arc::clone(self), network })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        // Nothing in here stops half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn refuse(&mut self, peer: IpAddr) {
        self.refused += 1;
        if self.reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            let (refused, open) = (self.refused, self.all);
            tracing::warn!(%peer, refused, open, "refusing connections: there are too many");
            self.refused = 0;
            self.reported = Some(Instant::now());
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.all = open.all.saturating_sub(1);
        let Some(network) = self.network else { return };
        if let Some(count) = open.networks.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.networks.remove(&network);
            }
        }
    }
}

/// Whom one connection of somebody is likely to share with: an IPv4 address, or an IPv6 /56.
pub fn network(peer: IpAddr) -> IpAddr {
    const PREFIX: u128 = u128::MAX << (128 - 56);
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & PREFIX).into(),
        address => address,
    }
}

/// Raises this process's limit on open files as far as it may be raised, since the usual 1,024 are soon used up, and says
/// when even that is too low for the caps.
pub fn raise_file_limit(caps: Caps) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    // One for the client, one for the site; the rest is few.
    let needed = caps.all.get().saturating_mul(2) as u64;
    if files.is_some_and(|files| files < needed) {
        tracing::warn!(files, needed, "the limit on open files is too low for `cams.connections.max`");
    }
}

/// Accepts connections until the process stops, and serves each on a task of its own.
pub async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Handshakes>>,
    app: Arc<AgentApp>,
    connections: Arc<Connections>,
    mut shutdown: ShutdownWatch,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(admitted) = connections.admit(peer.ip()) else { continue };
                let (tls, app, shutdown) = (tls.clone(), Arc::clone(&app), shutdown.clone());
                tokio::spawn(async move {
                    serve(stream, tls.as_deref(), app, shutdown).await;
                    drop(admitted);
                });
            }
            Err(error) => {
                tracing::error!("cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, tls: Option<&Handshakes>, app: Arc<AgentApp>, shutdown: ShutdownWatch) {
    let mut stream = Stream::from(stream);
    stream.set_socket_digest(SocketDigest::from_raw_fd(stream.as_raw_fd()));
    if let Err(error) = stream.set_nodelay() {
        // The client is gone already.
        tracing::debug!("cannot use a connection: {error}");
        return;
    }
    let Some(tls) = tls else {
        return Service::handle_event(Box::new(Watched::new(Box::new(stream))), app, shutdown).await;
    };
    match timeout(HANDSHAKE_LIMIT, tls.make(stream)).await {
        Ok(Ok(stream)) => Service::handle_event(Box::new(Watched::new(Box::new(stream))), app, shutdown).await,
        Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
