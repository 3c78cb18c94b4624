//! Accepts connections from agents: TLS with a client certificate of the agent CA, then HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::fingerprint;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests in flight may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);
const STREAMS_PER_CONNECTION: u32 = 1_000;

/// SHA-256 of the certificate the peer proved to hold.
#[derive(Debug, Clone)]
pub struct PeerFingerprint(pub String);

/// Turns true when the server stops: for answers that would go on for ever.
#[derive(Debug, Clone)]
pub struct Stop(pub watch::Receiver<bool>);

/// Serves until `stop` turns true; then lets requests in flight end.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    app: Router,
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(max_connections, "too many agent connections: one is refused");
            continue;
        };
        let (acceptor, app, stop) = (acceptor.clone(), app.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, acceptor, app, stop).await;
            drop(slot);
        });
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

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, app: Router, mut stop: watch::Receiver<bool>) {
    let peer = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::warn!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::warn!(%peer, "a TLS handshake took too long"),
    };
    let Some(leaf) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else { return };
    let app = app.layer(Extension(PeerFingerprint(fingerprint(leaf)))).layer(Extension(Stop(stop.clone())));
    let mut http = Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(STREAMS_PER_CONNECTION);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    let ended = tokio::select! {
        result = serving.as_mut() => Some(result),
        () = stopped(&mut stop) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "an agent's connection ended");
    }
}
