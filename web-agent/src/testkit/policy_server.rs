//! A server that speaks the link's protocol over real mutual TLS and answers what a test tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use shared_proto::names::POLICY_SERVER_NAME;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Ca, install_provider};

/// What the server does about one question.
#[derive(Debug, Clone)]
pub enum Act {
    Answer(u16, Value),
    /// 401, with the scheme in which the server wants to be told who asks.
    Challenge(&'static str),
    Raw(Vec<u8>),
    /// Has nothing to do with the request, and says so.
    Refuse,
    /// Says nothing, for ever.
    Hang,
    /// Sends a body that has no end.
    Endless,
    /// Sends what comes out of here, for as long as there is something.
    Stream(Arc<Mutex<UnboundedReceiver<Bytes>>>),
    /// Closes the connection without a word.
    Close,
}

type Script = dyn Fn(&str, &Value) -> Act + Send + Sync;

/// What comes with every answer to a Jami device.
const API_HEADERS: [(&str, &str); 5] = [
    ("Cache-Control", "no-store"),
    ("Content-Type", "application/json"),
    ("Set-Cookie", "any=1"),
    ("Clear-Site-Data", "\"storage\""),
    ("CAMS-HTTP-USER", "leak"),
];

/// Stops when dropped.
pub struct PolicyServer {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: AbortHandle,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    questions: Mutex<Vec<(String, Value)>>,
    passed_on: Mutex<Vec<PassedOn>>,
}

/// A request of a Jami device as it came here.
#[derive(Debug, Clone)]
pub struct PassedOn {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// With the authority as `:authority`, sorted.
    pub headers: Vec<(String, String)>,
    /// Bytes that came of the body.
    pub body: usize,
    /// Whether it came to its end.
    pub whole: bool,
}

impl PassedOn {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The answer to `hello` that every test but those about `hello` wants.
pub fn welcome() -> Value {
    json!({"protocol": 1, "version": "1", "server": "one", "cluster": "Test", "agent": "web"})
}

impl PolicyServer {
    pub async fn start(ca: &Ca, script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static) -> Self {
        Self::named(ca, POLICY_SERVER_NAME, "127.0.0.1:0".parse().unwrap(), script).await
    }

    /// At a given address, with a certificate for a given name.
    pub async fn named(
        ca: &Ca,
        name: &str,
        address: SocketAddr,
        script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static,
    ) -> Self {
        install_provider();
        let dir = tempfile::tempdir().unwrap();
        let identity = ca.issue(dir.path(), "server", name).load().unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(ca.roots())).build().unwrap();
        let mut tls = rustls::ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), seen.clone(), Arc::new(script)));
        Self { address, seen, task: task.abort_handle() }
    }

    /// How many TLS handshakes succeeded.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The questions asked at a path, the oldest first.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let questions = self.seen.questions.lock().unwrap();
        questions.iter().filter(|(at, _)| at == path).map(|(_, question)| question.clone()).collect()
    }

    /// The requests of Jami devices, the oldest first.
    pub fn passed_on(&self) -> Vec<PassedOn> {
        self.seen.passed_on.lock().unwrap().clone()
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Seen>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, seen, script) = (tls.clone(), seen.clone(), script.clone());
        connections.spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            seen.connections.fetch_add(1, Ordering::SeqCst);
            let (close, mut closed) = tokio::sync::watch::channel(false);
            let close = Arc::new(close);
            let service = service_fn(move |request| answer(request, seen.clone(), script.clone(), close.clone()));
            let mut http = http2::Builder::new(TokioExecutor::new());
            // As the real one.
            http.initial_stream_window_size(64 * 1024).initial_connection_window_size(8 * 1024 * 1024);
            let serve = http.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = serve => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    script: Arc<Script>,
    close: Arc<tokio::sync::watch::Sender<bool>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, h2::Error> {
    let path = request.uri().path().to_owned();
    let is_api = path.starts_with("/api/");
    let question = if is_api {
        if path.ends_with("/unread") {
            return std::future::pending().await;
        }
        match path.ends_with("/early") {
            // Answered before it was read, and still open.
            true => drop(tokio::spawn(async move {
                let _request = request;
                std::future::pending::<()>().await;
            })),
            false => pass_on(request, &seen).await,
        }
        Value::Null
    } else {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
    };
    let act = match script(&path, &question) {
        // A script that knows nothing of `hello` is welcome to it.
        Act::Close if path.ends_with("/hello") => Act::Answer(200, welcome()),
        act => act,
    };
    seen.questions.lock().unwrap().push((path, question));
    let mut response = Response::builder();
    let (status, body) = match act {
        Act::Challenge(scheme) => {
            response = response.header("WWW-Authenticate", scheme);
            (401, Full::from("{}").boxed())
        }
        Act::Answer(status, value) => (status, Full::from(value.to_string()).boxed()),
        Act::Raw(bytes) => (200, Full::from(bytes).boxed()),
        Act::Refuse => return Err(h2::Reason::REFUSED_STREAM.into()),
        Act::Hang => std::future::pending().await,
        Act::Endless => {
            let part = || Ok(Frame::data(Bytes::from(vec![b' '; 16 * 1024])));
            (200, BodyExt::boxed(StreamBody::new(futures_util::stream::repeat_with(part))))
        }
        Act::Stream(parts) => {
            let next = move |cx: &mut Context<'_>| {
                parts.lock().unwrap().poll_recv(cx).map(|part| part.map(Frame::data).map(Ok))
            };
            (200, BodyExt::boxed(StreamBody::new(futures_util::stream::poll_fn(next))))
        }
        Act::Close => {
            close.send_replace(true);
            std::future::pending().await
        }
    };
    response = response.status(status);
    if is_api {
        for (name, value) in API_HEADERS {
            response = response.header(name, value);
        }
    }
    Ok(response.body(body).unwrap())
}

/// Reads a body to its end, without keeping it.
async fn pass_on(request: Request<Incoming>, seen: &Seen) {
    let (head, mut body) = request.into_parts();
    let mut headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.push((":authority".to_owned(), head.uri.authority().map(ToString::to_string).unwrap_or_default()));
    headers.sort();
    let (mut length, mut whole) = (0, true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.into_data().map_or(0, |data| data.len()),
            Err(_) => whole = false,
        }
        if !whole {
            break;
        }
    }
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let passed_on = PassedOn { method: head.method.to_string(), target, headers, body: length, whole };
    seen.passed_on.lock().unwrap().push(passed_on);
}
