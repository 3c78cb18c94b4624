//! Our place around the proxy engine, where its hooks do not reach: a deadline for the whole head of a request, the end
//! of requests whose grant is over and of every connection when the process stops, a record of what the engine refused, and the wait for the last connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::access_log::Record;
use crate::incoming;
use crate::open::{KILL, Kill};
use crate::proxy::{self, AgentProxy};
use crate::report::Reports;
use crate::watched::Watched;

/// From the moment a connection is ready for a request to the end of that request's head. It bounds a client that sends
/// a byte now and then, and is also how long an idle connection is kept.
pub const HEAD_LIMIT: Duration = Duration::from_secs(15);
const IDLE_H2_LIMIT: Duration = Duration::from_secs(60);
/// For the cut connections to close in good order.
const CUT_LIMIT: Duration = Duration::from_millis(250);
/// A connection's buffers grow with what passed through them, so that none lives for ever.
const REQUESTS_PER_CONNECTION: u32 = 10_000;

/// The engine's proxy with our limits around it.
pub struct AgentApp {
    proxy: Arc<HttpProxy<AgentProxy>>,
    reports: Reports,
    options: HttpServerOptions,
    head_limit: Duration,
    cut: watch::Receiver<bool>,
    /// The engine drops the app with its last connection.
    _running: oneshot::Sender<Infallible>,
}

/// The other ends of what an [`AgentApp`] listens to.
#[derive(Debug)]
pub struct Control {
    cut: watch::Sender<bool>,
    running: oneshot::Receiver<Infallible>,
}

impl AgentApp {
    pub fn new(proxy: HttpProxy<AgentProxy>, reports: Reports, head_limit: Duration) -> (Self, Control) {
        let (cut, seen) = watch::channel(false);
        let (running, ended) = oneshot::channel();
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(IDLE_H2_LIMIT);
        options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
        let app = Self { proxy: Arc::new(proxy), reports, options, head_limit, cut: seen, _running: running };
        (app, Control { cut, running: ended })
    }

    async fn serve(&self, session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        if !session.is_http2() {
            return self.serve_h1(session, shutdown).await;
        }
        // The engine has the head already; its HTTP/2 limits watched over it. All it refuses now are tunnels.
        let (peer, tunnel) = (peer(&session), session.req_header().method == Method::CONNECT);
        let reusable = self.proxy.process_new_http(session, shutdown).await;
        if tunnel {
            self.refused(peer, Some(405), None);
        }
        reusable
    }

    async fn serve_h1(&self, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let (peer, seen) = (peer(&session), session.stream().and_then(Watched::seen).unwrap_or_default());
        seen.begin();
        // The engine hands `unread` on to a hook as soon as the head is read, and drops it where it refuses the head.
        let (unread, mut head_read) = oneshot::channel::<()>();
        session.set_connection_user_context(Some(Box::new(unread)));
        let mut served = std::pin::pin!(self.proxy.process_new_http(session, shutdown));
        let in_time = tokio::select! {
            biased;
            reusable = &mut served => Some(reusable),
            read = timeout(self.head_limit, &mut head_read) => match read {
                Ok(Ok(())) => return served.await,
                Ok(Err(_)) => Some(served.await),
                Err(_) => None,
            }
        };
        // A client that sent nothing has only let its connection go.
        if head_read.try_recv().is_err() && seen.read() {
            self.refused(peer, seen.status(), in_time.is_none().then_some(408));
        }
        in_time.flatten()
    }

    /// Writes down a request that none of the engine's hooks saw. Without a status the client went away on its own;
    /// one that was too slow gets no answer, since it may not be at the end of its question.
    fn refused(&self, peer: Option<IpAddr>, answered: Option<u16>, otherwise: Option<u16>) {
        let mut record = Record::default();
        // An id that cannot be had is no reason to be silent.
        record.id = incoming::request_id().unwrap_or_default();
        (record.peer, record.status) = (peer, answered);
        if let Some(status) = answered.or(otherwise) {
            proxy::refused_unseen(&self.reports, &record, status);
        }
    }
}

fn peer(session: &ServerSession) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip())
}

#[async_trait]
impl HttpServerApp for AgentApp {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let mut cut = self.cut.clone();
        let kill = Kill::default();
        // What is left of the request is dropped with its future: the connection, or of HTTP/2 the one stream.
        tokio::select! {
            biased;
            reusable = KILL.scope(kill.clone(), self.serve(session, shutdown)) => reusable,
            () = kill.killed() => None,
            _ = cut.wait_for(|cut| *cut) => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(default_h2_options())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl Control {
    /// Waits for the connections to end, for at most `grace`, then cuts the rest: tunnels, streams and slow clients.
    /// The engine must have been told to stop before.
    pub async fn drain(mut self, grace: Duration) {
        if timeout(grace, &mut self.running).await.is_err() {
            tracing::info!("cutting the connections that are left");
            self.cut.send_replace(true);
            // What does not notice ends with the runtime.
            drop(timeout(CUT_LIMIT, self.running).await);
        }
    }
}
