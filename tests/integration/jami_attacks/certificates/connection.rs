//! Connections of one client that keeps its TLS sessions, so that it can resume them; each lasts for several requests.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tests::Reply;
use tests::jami_client::Device;
use tests::tls::Origin;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Opens connections.
pub struct Opener {
    tls: TlsConnector,
    origin: Origin,
}

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    /// Without a new proof of who is there.
    pub is_resumed: bool,
}

impl Connection {
    pub fn of(origin: &Origin, device: Option<&Device>, versions: &[&'static SupportedProtocolVersion]) -> Opener {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has them")
            .with_root_certificates(origin.roots());
        let mut config = match device {
            None => config.with_no_client_auth(),
            Some(device) => config
                .with_client_auth_cert(device.chain.clone(), device.key.private())
                .expect("a certificate and its key"),
        };
        config.alpn_protocols = vec!["http/1.1".into()];
        Opener { tls: TlsConnector::from(Arc::new(config)), origin: origin.clone() }
    }

    pub async fn get(&mut self, path: &str) -> Option<Reply> {
        self.send(Request::get(path).body(Full::default()).expect("a request")).await
    }

    pub async fn post(&mut self, path: &str, json: &str) -> Option<Reply> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::from(json.to_owned())).expect("a request")).await
    }

    /// `None` where the connection ends.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Option<Reply> {
        request.headers_mut().entry(HOST).or_insert(self.authority.parse().expect("a host and a port"));
        self.sender.ready().await.ok()?;
        let (head, body) = self.sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Reply { status: head.status, headers: head.headers, body })
    }
}

impl Opener {
    /// `None` where the server ends the handshake. Over TLS 1.3 it may do so only when something is sent.
    pub async fn open(&self) -> Option<Connection> {
        let url = &self.origin.url;
        let port = url.port_or_known_default().expect("https");
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        let name = ServerName::try_from(url.host_str().expect("a host").to_owned()).expect("a name");
        let stream = self.tls.connect(name, stream).await.ok()?;
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Connection { sender, authority: self.origin.authority(), is_resumed })
    }
}
