//! The policy servers as upstreams: for the requests of Jami devices, which they answer themselves. The same servers, key
//! and authorities as those of the link, on connections of the engine's own, which stream bodies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::CertKey;
use shared_proto::names::POLICY_SERVER_NAME;
use tokio::sync::watch;

use super::{Route, Security, authorities, next};
use crate::client::LinkConfig;
use crate::connection::Standing;
use crate::origin::Authority;
use crate::pem::PemError;
use crate::tls::{Stamp, stamps};

/// A server that does not answer costs no more than this: TCP and TLS together, as on the link.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// For a part of a body that the server does not take.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// A server that stopped is noticed by this and the engine's five seconds for an answer.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Requests that share a connection.
const STREAMS: usize = 100;
/// A connection that was kept can have ended meanwhile: then the same address gets another chance.
const ROUNDS: usize = 2;
/// Bytes of an answer that wait for a slow reader. Smaller than the window of the connection by far, or one who reads nothing
/// would hold up all that share it.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Where they are, what they are shown, and how it stands with each.
#[derive(Debug)]
pub struct PolicyServers {
    config: LinkConfig,
    standing: Vec<watch::Receiver<Standing>>,
    /// In the order of the configuration.
    routes: ArcSwap<Vec<Route>>,
    seen: Mutex<Vec<Stamp>>,
}

impl PolicyServers {
    /// `standing` is that of the link, in the same order.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn load(config: LinkConfig, standing: &[watch::Receiver<Standing>]) -> Result<Arc<Self>, PemError> {
        // The stamps first: what changes between the two reads is then seen by the next look.
        let seen = stamps(files(&config));
        let routes = ArcSwap::from_pointee(routes(&config)?);
        Ok(Arc::new(Self { config, standing: standing.to_vec(), routes, seen: Mutex::new(seen) }))
    }

    /// Looks at the files once and takes over what was replaced since the last look; new connections are made with it.
    pub fn refresh(&self) {
        let now = stamps(files(&self.config));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now == *seen {
            return;
        }
        *seen = now;
        match routes(&self.config) {
            Ok(routes) => self.routes.store(Arc::new(routes)),
            Err(error) => tracing::error!("keeping the old certificate of the agent: {error}"),
        }
    }

    /// The next peer after those that were `tried` in vain: those first to which the link is up. `None` when all were.
    pub(super) async fn peer(&self, tried: &[SocketAddr]) -> Option<HttpPeer> {
        let routes = self.routes.load_full();
        let is_up = |number: usize| self.standing.get(number).is_some_and(|server| server.borrow().sender().is_some());
        let (up, others): (Vec<_>, Vec<_>) = routes.iter().enumerate().partition(|(number, _)| is_up(*number));
        let mut known = Vec::new();
        for (_, route) in up.into_iter().chain(others) {
            match route.find().await {
                Ok(found) => known.extend(found.peers.iter().cloned()),
                Err(error) => tracing::warn!("{error}"),
            }
            if let Some((_, peer)) = next(&known, tried, 1) {
                return Some(peer.clone());
            }
        }
        next(&known, tried, ROUNDS).map(|(_, peer)| peer.clone())
    }
}

fn files(config: &LinkConfig) -> impl Iterator<Item = &Path> {
    config.identity.paths().chain([config.authorities.as_path()])
}

fn routes(config: &LinkConfig) -> Result<Vec<Route>, PemError> {
    let (authorities, identity) = (authorities(&config.authorities)?, Arc::new(config.identity.load_for_engine()?));
    let route = |server: &String| {
        let Authority { host, port } = Authority::parse(server)?;
        Some(Route::new(&host, port?, Security::Link { authorities: authorities.clone(), identity: identity.clone() }))
    };
    Ok(config.servers.iter().filter_map(route).collect())
}

/// Over mutual TLS with HTTP/2, and nothing less; the name is checked, whatever the address.
pub(super) fn peer(address: SocketAddr, authorities: &Arc<CaType>, identity: &Arc<CertKey>) -> HttpPeer {
    let mut peer = HttpPeer::new_mtls(address, POLICY_SERVER_NAME.to_owned(), identity.clone());
    peer.options.ca = Some(authorities.clone());
    peer.options.alpn = ALPN::H2;
    peer.options.max_h2_streams = STREAMS;
    peer.options.h2_stream_window_size = Some(STREAM_WINDOW);
    peer.options.h2_ping_interval = Some(PING_EVERY);
    peer.options.connection_timeout = Some(CONNECT_LIMIT);
    peer.options.total_connection_timeout = Some(CONNECT_LIMIT);
    peer.options.write_timeout = Some(WRITE_LIMIT);
    peer
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::Peer;
    use shared_proto::hello::HelloRequest;

    use super::*;
    use crate::pem::KeyFiles;
    use crate::testkit::Ca;

    fn config(identity: KeyFiles, authorities: &Path) -> LinkConfig {
        let none = String::new;
        let hello = HelloRequest {
            protocol: 1,
            version: none(),
            cluster: none(),
            domain: none(),
            entry: none(),
            hosts: Vec::new(),
            jami_hosts: Vec::new(),
            jami_entry: none(),
        };
        let servers = ["127.0.0.1:1", "127.0.0.1:2"].map(str::to_owned).to_vec();
        LinkConfig { servers, authorities: authorities.to_owned(), identity, hello }
    }

    async fn serial(servers: &PolicyServers) -> String {
        servers.peer(&[]).await.unwrap().client_cert_key.unwrap().serial()
    }

    #[tokio::test]
    async fn a_replaced_key_is_taken_over_and_a_broken_one_is_not() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let (files, next) = (ca.issue(dir.path(), "agent", "agent"), ca.issue(dir.path(), "next", "agent"));
        let servers = PolicyServers::load(config(files.clone(), &ca.write(dir.path())), &[]).unwrap();
        let (first, group) = (serial(&servers).await, servers.peer(&[]).await.unwrap().group_key);
        std::fs::rename(&next.certificate, &files.certificate).unwrap();
        servers.refresh();
        assert_eq!(serial(&servers).await, first, "the key is still the old one");
        std::fs::rename(&next.key, &files.key).unwrap();
        servers.refresh();
        assert_ne!(serial(&servers).await, first);
        assert_ne!(servers.peer(&[]).await.unwrap().group_key, group, "a connection of the old one serves nobody new");
    }

    /// Each twice, and always with everything that makes it safe.
    #[tokio::test]
    async fn every_server_has_its_turn() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let config = config(ca.issue(dir.path(), "agent", "agent"), &ca.write(dir.path()));
        let servers = PolicyServers::load(config, &[]).unwrap();
        let (mut seen, mut tried) = (Vec::new(), Vec::new());
        while let Some(peer) = servers.peer(&tried).await {
            assert_eq!((peer.sni(), peer.verify_cert(), peer.verify_hostname()), (POLICY_SERVER_NAME, true, true));
            assert_eq!(peer.get_alpn(), Some(&ALPN::H2));
            assert_eq!(peer.get_ca().map(|ca| ca.len()), Some(1));
            assert_eq!(peer.options.h2_stream_window_size, Some(STREAM_WINDOW));
            seen.push(peer.address().to_string());
            tried.push(*peer.address().as_inet().unwrap());
        }
        assert_eq!(seen, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1", "127.0.0.1:2"]);
    }

    /// Whatever order they come in.
    #[test]
    fn each_address_has_its_turns() {
        let mut addresses = [1, 2, 3].map(|port| (SocketAddr::from(([127, 0, 0, 1], port)), ()));
        let mut tried = Vec::new();
        while let Some((address, ())) = next(&addresses, &tried, 2) {
            tried.push(*address);
            addresses.rotate_left(1);
        }
        let ports: Vec<u16> = tried.iter().map(SocketAddr::port).collect();
        let mut halves: Vec<Vec<u16>> = ports.chunks(3).map(<[u16]>::to_vec).collect();
        halves.iter_mut().for_each(|half| half.sort_unstable());
        assert_eq!(halves, [[1, 2, 3], [1, 2, 3]], "{ports:?}");
    }
}
