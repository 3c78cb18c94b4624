//! One HTTP/2 connection to one policy server, kept open: mutual TLS, `hello`, and again when it is lost.
//!
//! It carries questions and answers as bytes; what they mean is the business of [`crate::client`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::version::TLS13;
use rustls_pki_types::ServerName;
use shared_proto::hello::{HelloResponse, LinkError as Refusal};
use shared_proto::{PROTOCOL_VERSION, names};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::client::{LinkConfig, LinkError};
use crate::pem::{self, PemError};

/// TCP, TLS and HTTP/2 together.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// A server that stopped answering is noticed after these two together, before the lease from it is over: from then on
/// no question waits for it.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_LIMIT: Duration = Duration::from_secs(4);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// After a connection that lived this long the next attempt comes at once.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_CAP: usize = 1024 * 1024;
/// The host is what every policy server's certificate names, wherever it listens.
const HELLO: &str = "https://cams-policy-server/agent/v1/hello";

/// Sends questions on an open connection; clones share it.
#[derive(Debug, Clone)]
pub struct Sender {
    requests: http2::SendRequest<Full<Bytes>>,
    /// Tells connections apart.
    id: u64,
}

/// How it stands with one server.
#[derive(Debug, Clone)]
pub enum Standing {
    /// The first attempt after the start or after a loss: worth waiting for.
    Connecting,
    Up(Sender),
    /// The last attempt failed; more follow.
    Down,
}

impl Standing {
    /// What an open connection is asked over.
    pub fn sender(&self) -> Option<&Sender> {
        match self {
            Self::Up(sender) if !sender.is_closed() => Some(sender),
            _ => None,
        }
    }
}

/// A question that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    pub error: LinkError,
    /// The server certainly did not act on it.
    pub unseen: bool,
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Files(#[from] PemError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot connect: {0}")]
    Io(#[from] std::io::Error),
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    Slow,
    #[error("does not speak HTTP/2: {0}")]
    Http(#[from] hyper::Error),
    #[error("hello: {0}")]
    Hello(LinkError),
    #[error("speaks version {theirs} of the link, this agent speaks {PROTOCOL_VERSION}")]
    Protocol { theirs: u32 },
    #[error("belongs to cluster {theirs}, this agent to {ours}")]
    Cluster { theirs: String, ours: String },
}

impl Sender {
    fn new(requests: http2::SendRequest<Full<Bytes>>) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        Self { requests, id: CONNECTIONS.fetch_add(1, Ordering::Relaxed) }
    }

    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Posts one question and returns the body of its answer.
    ///
    /// # Errors
    /// No answer, or a refusal in the server's own words.
    pub async fn post(&self, uri: &'static str, question: Bytes) -> Result<Bytes, Unanswered> {
        let mut request = Request::new(Full::new(question));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(uri);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        whole(self.send(request).await?).await
    }

    /// Asks for something that has no end.
    ///
    /// # Errors
    /// No answer, or a refusal in the server's own words.
    pub async fn get(&self, uri: &'static str) -> Result<Incoming, Unanswered> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = Uri::from_static(uri);
        self.send(request).await
    }

    /// The body of a good answer.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Incoming, Unanswered> {
        let response = self.requests.clone().send_request(request).await.map_err(lost)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            StatusCode::SERVICE_UNAVAILABLE => Err(Unanswered { error: LinkError::Overloaded, unseen: true }),
            status => {
                let error = refused(status, &whole(response.into_body()).await?);
                Err(Unanswered { error, unseen: false })
            }
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Unanswered> {
    let body = Limited::new(body, ANSWER_CAP).collect().await.map_err(|error| {
        let error = if error.is::<LengthLimitError>() {
            LinkError::TooLong
        } else {
            LinkError::Broken(format!("the answer cannot be read: {error}"))
        };
        Unanswered { error, unseen: false }
    })?;
    Ok(body.to_bytes())
}

fn lost(error: hyper::Error) -> Unanswered {
    Unanswered { unseen: error.is_canceled(), error: LinkError::Broken(error.to_string()) }
}

fn refused(status: StatusCode, body: &[u8]) -> LinkError {
    let error = serde_json::from_slice(body).map_or_else(|_| String::new(), |refusal: Refusal| refusal.error);
    LinkError::Refused { status: status.as_u16(), error }
}

/// Keeps a connection to `server` open until nobody looks at `standing` any more.
pub async fn maintain(server: String, config: Arc<LinkConfig>, standing: watch::Sender<Standing>) {
    let mut delay = Duration::ZERO;
    let mut complaint = String::new();
    loop {
        match open(&server, &config).await {
            Ok((sender, mut lost)) => {
                complaint.clear();
                let since = Instant::now();
                standing.send_replace(Standing::Up(sender));
                tokio::select! {
                    _ = &mut lost => tracing::warn!(server, "lost the connection to the policy server"),
                    () = standing.closed() => {
                        lost.abort();
                        return;
                    }
                }
                standing.send_replace(Standing::Connecting);
                delay = if since.elapsed() >= GOOD_LIFE { Duration::ZERO } else { longer(delay) };
            }
            Err(error) => {
                standing.send_replace(Standing::Down);
                let error = error.to_string();
                if complaint != error {
                    tracing::error!(server, "the policy server cannot be used: {error}");
                    complaint = error;
                }
                delay = longer(delay);
            }
        }
        tokio::select! {
            () = sleep(delay) => {}
            () = standing.closed() => return,
        }
    }
}

fn longer(delay: Duration) -> Duration {
    (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY)
}

async fn open(server: &str, config: &LinkConfig) -> Result<(Sender, JoinHandle<()>), OpenError> {
    let (sender, connection) = timeout(CONNECT_LIMIT, connect(server, config)).await.map_err(|_| OpenError::Slow)??;
    match hello(&sender, server, config).await {
        Ok(()) => Ok((sender, connection)),
        Err(error) => {
            connection.abort();
            Err(error)
        }
    }
}

async fn connect(server: &str, config: &LinkConfig) -> Result<(Sender, JoinHandle<()>), OpenError> {
    let tls = TlsConnector::from(Arc::new(client_tls(config)?));
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let tls = tls.connect(ServerName::DnsName(server_name()?), tcp).await?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(tls))
        .await?;
    // How a connection ends is told by the questions on it.
    let connection = tokio::spawn(async { drop(connection.await) });
    Ok((Sender::new(sender), connection))
}

fn server_name() -> Result<rustls_pki_types::DnsName<'static>, rustls::Error> {
    rustls_pki_types::DnsName::try_from(names::POLICY_SERVER_NAME)
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Reads the files for every connection, so that a renewed certificate needs no restart.
fn client_tls(config: &LinkConfig) -> Result<ClientConfig, OpenError> {
    let identity = Arc::new(rustls::sign::SingleCertAndKey::from(config.identity.load()?));
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(pem::authorities(&config.authorities)?)
        .with_client_cert_resolver(identity);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}

async fn hello(sender: &Sender, server: &str, config: &LinkConfig) -> Result<(), OpenError> {
    let question = serde_json::to_vec(&config.hello).map_err(|error| OpenError::Hello(error.into()))?;
    let answer = timeout(HELLO_LIMIT, sender.post(HELLO, question.into()))
        .await
        .map_err(|_| OpenError::Hello(LinkError::Timeout))?
        .map_err(|unanswered| OpenError::Hello(unanswered.error))?;
    let answer: HelloResponse = serde_json::from_slice(&answer).map_err(|error| OpenError::Hello(error.into()))?;
    if answer.protocol != PROTOCOL_VERSION {
        return Err(OpenError::Protocol { theirs: answer.protocol });
    }
    if answer.cluster != config.hello.cluster {
        return Err(OpenError::Cluster { theirs: answer.cluster, ours: config.hello.cluster.clone() });
    }
    tracing::info!(server, name = answer.server, version = answer.version, agent = answer.agent, "policy server is up");
    for problem in answer.problems {
        tracing::error!(server, "the policy server says: {problem}");
    }
    Ok(())
}
