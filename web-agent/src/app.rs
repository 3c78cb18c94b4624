//! Our place around the proxy engine, where its hooks do not reach: a deadline for the whole head of a request, the end
//! of requests whose grant is over and of every connection when the process stops, the answers to what the engine refused,
//! and the wait for the last connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
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
use crate::gate::Reply;
use crate::head::{Head, Refusal};
use crate::incoming;
use crate::open::{KILL, Kill};
use crate::proxy::{self, AgentProxy, Live};
use crate::report::Reports;
use crate::watched::{Seen, Watched};

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
    live: Arc<ArcSwap<Live>>,
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
    pub fn new(
        proxy: HttpProxy<AgentProxy>,
        live: Arc<ArcSwap<Live>>,
        reports: Reports,
        head_limit: Duration,
    ) -> (Self, Control) {
        let (cut, seen) = watch::channel(false);
        let (running, ended) = oneshot::channel();
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(IDLE_H2_LIMIT);
        options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
        let app = Self { proxy: Arc::new(proxy), live, reports, options, head_limit, cut: seen, _running: running };
        (app, Control { cut, running: ended })
    }

    async fn serve(&self, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        if !session.is_http2() {
            return self.serve_h1(session, shutdown).await;
        }
        // The engine has the head already; its HTTP/2 limits watched over it. All it refuses now are tunnels.
        if session.req_header().method != Method::CONNECT {
            return self.proxy.process_new_http(session, shutdown).await;
        }
        let head = incoming::head_h2(&session);
        let refusal = head.check().err().unwrap_or(Refusal::new(405, "the method is not served here"));
        let (mut record, reply) = self.refused(peer(&session), refusal, &head);
        let sent = self.live.load_full().replies.send_h2(&mut session, reply).await;
        record.status = sent.is_ok().then_some(refusal.status);
        None
    }

    async fn serve_h1(&self, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let (peer, seen) = (peer(&session), session.stream().and_then(Watched::seen).unwrap_or_default());
        let (awaited, mut head_read) = seen.begin();
        session.set_connection_user_context(Some(Box::new(awaited)));
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
        if head_read.try_recv().is_err() {
            self.unread(peer, &seen, in_time.is_none()).await;
        }
        in_time.flatten()
    }

    /// Answers and writes down a request that none of the engine's hooks saw. There is no answer for a client that went
    /// away on its own, nor for one that was too slow, since it may not be at the end of its question.
    async fn unread(&self, peer: Option<IpAddr>, seen: &Seen, late: bool) {
        let (head, connection) = (seen.head(), seen.refused());
        if head.is_empty() {
            // It has only let its connection go.
            return;
        }
        let refusal = match connection {
            Some(_) => Head::refusal(&head),
            None if late => Refusal::new(408, "the head of the request did not come in time"),
            None => return drop(record(peer)),
        };
        let glimpse = Head::glimpse(&head);
        let (mut record, reply) = self.refused(peer, refusal, &glimpse);
        if let Some(connection) = connection {
            let (live, head_only) = (self.live.load_full(), glimpse.method == Method::HEAD.as_str());
            let sent = live.replies.send_last(connection, reply, head_only).await;
            record.status = sent.is_ok().then_some(refusal.status);
        }
    }

    fn refused(&self, peer: Option<IpAddr>, refusal: Refusal, glimpse: &Head) -> (Record, Reply) {
        let (mut record, reply) = (record(peer), Reply::unread(refusal, glimpse));
        proxy::refused_unseen(&self.reports, &mut record, glimpse, &reply);
        (record, reply)
    }
}

fn record(peer: Option<IpAddr>) -> Record {
    let mut record = Record::default();
    // An id that cannot be had is no reason to be silent.
    record.id = incoming::request_id().unwrap_or_default();
    record.peer = peer;
    record
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
