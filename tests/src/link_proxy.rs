//! A network between agent and policy server that can be made as bad as networks are: silent, slow, or gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::within;

/// What becomes of the bytes, on the connections there are and on new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Forwards,
    /// Whatever is sent waits until the network forwards again; connections are accepted and stay open.
    Silent,
    /// What the server sends arrives this much later.
    SlowFromServer(Duration),
    /// What either side sends arrives this much later.
    Slow(Duration),
    /// Every connection ends, a new one at once.
    Cut,
}

/// A TCP proxy in front of a policy server. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct LinkProxy {
    pub address: SocketAddr,
    network: watch::Sender<Network>,
    accepted: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl LinkProxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (network, seen) = watch::channel(Network::Forwards);
        let mut connections = JoinSet::new();
        let accepted = Arc::<AtomicUsize>::default();
        connections.spawn(accept(listener, server, seen, accepted.clone()));
        Self { address, network, accepted, _connections: connections }
    }

    /// How many connections there were while it was not [`Network::Cut`].
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Ends every connection, and new ones until this is set otherwise. Returns when they have ended.
    pub async fn cut(&self) {
        self.set(Network::Cut);
        // The one that is left is for connections to come.
        within(Duration::from_secs(5), "every connection ends", || self.network.receiver_count() == 1).await;
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    network: watch::Receiver<Network>,
    accepted: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (agent, _) = listener.accept().await.expect("a listening socket");
        accepted.fetch_add(usize::from(*network.borrow() != Network::Cut), Ordering::Relaxed);
        let (mut cut, network) = (network.clone(), network.clone());
        connections.spawn(async move {
            tokio::select! {
                biased;
                _ = cut.wait_for(|network| *network == Network::Cut) => {}
                () = connect(agent, server, &network) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Carries bytes both ways until one side ends.
async fn connect(agent: TcpStream, server: SocketAddr, network: &watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for socket in [&agent, &server] {
        socket.set_nodelay(true).expect("a TCP socket");
    }
    let (from_agent, to_agent) = agent.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_agent, to_server, network.clone(), false) => {}
        () = carry(from_server, to_agent, network.clone(), true) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    is_from_server: bool,
) {
    let (sent, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let seen = network.clone();
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(64 * 1024);
            if !from.read_buf(&mut chunk).await.is_ok_and(|length| length > 0) {
                return;
            }
            let delay = match *seen.borrow() {
                Network::Slow(delay) => delay,
                Network::SlowFromServer(delay) if is_from_server => delay,
                _ => Duration::ZERO,
            };
            if sent.send((Instant::now() + delay, chunk)).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            sleep_until(due).await;
            let forwards = network.wait_for(|network| *network != Network::Silent).await.is_ok();
            if !forwards || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    // The writer ends after the reader, with the last of its chunks.
    tokio::join!(read, write);
}
