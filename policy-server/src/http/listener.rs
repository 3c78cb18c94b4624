//! Accepts connections from agents: TLS with a client certificate of the agent CA, then HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshakes::{Handshakes, Place, Quietly};
use crate::pki::fingerprint;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once.
const HANDSHAKES: usize = 128;
/// The pause after each connection while these are not enough: it leaves an honest handshake among them, from the same
/// address even, an eighth of a second before it is the oldest.
const CROWDED: Duration = Duration::from_millis(1);
/// How long requests in flight may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);
const STREAMS_PER_CONNECTION: u32 = 1_000;
/// Bytes of a request that are taken before it is read. An agent passes on a hundred requests of Jami devices over one
/// connection: even if none of them is read, there is room for the next.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// SHA-256 of the certificate the peer proved to hold.
#[derive(Debug, Clone)]
pub struct PeerFingerprint(pub String);

/// Turns true when the server stops: for answers that would go on for ever.
#[derive(Debug, Clone)]
pub struct Stop(pub watch::Receiver<bool>);

/// What all connections share.
struct Listening {
    acceptor: TlsAcceptor,
    app: Router,
    stop: watch::Receiver<bool>,
    /// For those who proved to hold a certificate of the agent CA.
    connections: Semaphore,
    refused: Quietly,
}

/// Serves until `stop` turns true; then lets requests in flight end.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    app: Router,
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let listening = Arc::new(Listening {
        acceptor: TlsAcceptor::from(tls),
        app,
        stop: stop.clone(),
        connections: Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)),
        refused: Quietly::default(),
    });
    let handshakes = Handshakes::new(HANDSHAKES);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (place, full) = handshakes.enter(peer.ip());
        connections.spawn(Arc::clone(&listening).connection(stream, peer, place));
        if full {
            listening.refuse(peer, "too many handshakes at once");
            tokio::time::sleep(CROWDED).await;
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some requests were cut off by the stop");
    }
}

/// Ends when the server is told to stop, or nobody is left to tell it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Listening {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let Some(stream) = self.handshake(stream, peer, place).await else { return };
        let Ok(_slot) = self.connections.try_acquire() else {
            return self.refuse(peer, "there are as many agent connections as cams.policy.server.connections allows");
        };
        let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else { return };
        let app = self.app.clone().layer(Extension(PeerFingerprint(fingerprint(leaf))));
        let app = app.layer(Extension(Stop(self.stop.clone())));
        if let Err(error) = http(stream, app, self.stop.clone()).await {
            tracing::debug!(%peer, %error, "an agent's connection ended");
        }
    }

    async fn handshake(&self, stream: TcpStream, peer: SocketAddr, mut place: Place) -> Option<TlsStream<TcpStream>> {
        let _ = stream.set_nodelay(true);
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)) => accepted,
            // Whoever took the place said so.
            () = place.lost() => return None,
        };
        match accepted {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => self.refuse(peer, &format!("the TLS handshake failed: {error}")),
            Err(_) => self.refuse(peer, "the TLS handshake took too long"),
        }
        None
    }

    /// Whoever reaches the port can cause this, so it must not fill the disk.
    fn refuse(&self, peer: SocketAddr, reason: &str) {
        if let Some(refused) = self.refused.may_say(Instant::now()) {
            tracing::warn!(%peer, reason, refused, "a connection was refused");
        }
    }
}

async fn http(
    stream: TlsStream<TcpStream>,
    app: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut http = Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(10))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_PER_CONNECTION);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    let ended = tokio::select! {
        result = serving.as_mut() => Some(result),
        () = stopped(&mut stop) => None,
    };
    match ended {
        Some(result) => result,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}
