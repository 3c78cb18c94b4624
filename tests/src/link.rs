//! The link as an agent uses it: mutual TLS with the files of `cams agent add`, HTTP/2, JSON.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Builder;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Serialize;
use serde_json::{Value, json};
use shared_proto::event::{LeaseResponse, Line};
use shared_proto::names::{POLICY_SERVER_NAME, header};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer or a line of the stream may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug, Clone)]
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
}

/// The address of a path, for [`Link::pass_on`].
pub fn address(path: &str) -> String {
    format!("https://{POLICY_SERVER_NAME}{path}")
}

/// The event stream, line by line.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    rest: BytesMut,
}

impl Link {
    pub async fn connect(address: SocketAddr, agent: &Path) -> Self {
        let read = |name: &str| fs::read(agent.join(name)).expect("`agent add` wrote it");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&read("policy-server-ca.pem")).expect("PEM")).expect("a CA");
        let certificate = CertificateDer::from_pem_slice(&read("agent.pem")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(&read("agent.key")).expect("PEM");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every version")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let name = ServerName::try_from(POLICY_SERVER_NAME).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("mutual TLS");
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { sender }
    }

    /// Asks an operation of the link; status and answer.
    pub async fn ask(&self, operation: &str, message: &impl Serialize) -> (StatusCode, Value) {
        let body = serde_json::to_vec(message).expect("JSON");
        let request = Request::post(uri(operation)).header("content-type", "application/json");
        let request = request.body(Full::from(body)).expect("a request");
        let answer = async {
            let (head, body) = self.sender.clone().send_request(request).await.expect("an answer").into_parts();
            (head.status, body.collect().await.expect("a whole answer").to_bytes())
        };
        let (status, body) = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// A request of a client of `https://app.test`, as an agent passes it on; the answer with its whole body.
    pub async fn pass_on(&self, client: &str, request: Builder, body: impl Into<Bytes>) -> Response<Bytes> {
        let headers = [
            (header::SECURITY_DOMAIN, "system"),
            (header::LOGIN_ENTRY, "http"),
            (header::REQUEST_ID, "test"),
            (header::CLIENT_ADDRESS, client),
            (header::ORIGIN, "https://app.test"),
        ];
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Full::from(body.into())).expect("a request");
        let answer = async {
            let (head, body) = self.sender.clone().send_request(request).await.expect("an answer").into_parts();
            Response::from_parts(head, body.collect().await.expect("a whole answer").to_bytes())
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time")
    }

    /// May this session (or nobody) open this path of `app.test`?
    pub async fn check(&self, session: Option<&str>, path: &str) -> (StatusCode, Value) {
        let message = json!({
            "request_id": "r", "scheme": "https", "host": "app.test", "port": 443, "method": "GET", "path": path,
            "domain": "system", "entry": "http", "session": session, "client": {"address": "192.0.2.1"},
        });
        self.ask("check", &message).await
    }

    /// Logs in; the session's token and its public id. A busy machine may have no capacity for a moment: then once more.
    pub async fn log_in(&self, user: &str, password: &str) -> (String, String) {
        let message = json!({
            "request_id": "r", "host": "app.test", "domain": "system", "entry": "http",
            "callbacks": {"username": user, "password": password}, "client": {"address": "192.0.2.1"},
        });
        let mut tries = 0;
        let (status, answer) = loop {
            let (status, answer) = self.ask("login", &message).await;
            tries += 1;
            if answer["code"] != 5001 || tries == 5 {
                break (status, answer);
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{status}: {answer}")).to_owned();
        (text(&answer["session"]), text(&answer["identity"]["session_id"]))
    }

    pub async fn log_out(&self, token: &str) -> StatusCode {
        let message = json!({"request_id": "r", "session": token, "client": {"address": "192.0.2.1"}});
        self.ask("logout", &message).await.0
    }

    pub async fn lease(&self, nonce: &str) -> Result<LeaseResponse, StatusCode> {
        let (status, answer) = self.ask("lease", &json!({"nonce": nonce})).await;
        if status == StatusCode::OK { Ok(serde_json::from_value(answer).expect("a lease")) } else { Err(status) }
    }

    pub async fn events(&self, epoch: &str, after: i64) -> Result<Events, StatusCode> {
        let request = Request::get(uri(&format!("events?epoch={epoch}&after={after}")));
        let request = request.body(Full::default()).expect("a request");
        let answer = tokio::time::timeout(PATIENCE, self.sender.clone().send_request(request)).await;
        let answer = answer.expect("an answer in time").expect("an answer");
        match answer.status() {
            StatusCode::OK => Ok(Events { body: answer.into_body(), rest: BytesMut::new() }),
            status => Err(status),
        }
    }
}

impl Events {
    /// The next line; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Some(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a line in time");
            // A connection that is cut is the end, too.
            let frame = frame.and_then(Result::ok)?;
            self.rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    }

    /// The next line that `wanted` makes something of. Panics where the stream ends before.
    pub async fn find<T>(&mut self, mut wanted: impl FnMut(&Line) -> Option<T>) -> T {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let line = self.next().await.expect("the stream goes on");
            if let Some(found) = wanted(&line) {
                return found;
            }
            assert!(tokio::time::Instant::now() < end, "not in the stream within {PATIENCE:?}");
        }
    }
}

fn uri(operation: &str) -> String {
    address(&format!("/agent/v1/{operation}"))
}
