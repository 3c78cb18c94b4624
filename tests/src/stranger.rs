//! The link as an agent speaks it, for callers that the agent itself would never be.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What every policy server's certificate says.
const SERVER: &str = "cams-policy-server";

/// Connects with one certificate, or with none.
pub struct LinkClient {
    address: String,
    tls: TlsConnector,
    cookie: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

impl LinkClient {
    /// `identity` is the PEM files of a certificate and its key.
    pub fn new(address: &str, ca: &Path, identity: Option<(&Path, &Path)>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("the CA's file") {
            roots.add(certificate.expect("a certificate in PEM")).expect("a CA certificate");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every version")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).expect("the certificate's file");
                let chain = chain.collect::<Result<_, _>>().expect("certificates in PEM");
                let key = PrivateKeyDer::from_pem_file(key).expect("a key in PEM");
                config.with_client_auth_cert(chain, key).expect("a certificate and its key")
            }
        };
        config.alpn_protocols = vec!["h2".into()];
        Self {
            address: address.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            cookie: None,
            headers: Vec::new(),
        }
    }

    /// The same client with a browser's cookies.
    pub fn with_cookie(self, cookie: Option<String>) -> Self {
        Self { cookie, ..self }
    }

    /// The same client with these headers, as an agent adds them to what it passes on.
    pub fn with_headers(self, headers: &[(&'static str, &'static str)]) -> Self {
        Self { headers: headers.to_vec(), ..self }
    }

    /// The status of the answer on a new connection; `None` where the server does not speak with this client at all.
    pub async fn status(&self, verb: &Method, target: &str, json: String) -> Option<StatusCode> {
        self.answer(verb, target, json).await.map(|(status, _)| status)
    }

    /// The same with the headers of the answer.
    pub async fn answer(&self, verb: &Method, target: &str, json: String) -> Option<(StatusCode, HeaderMap)> {
        let stream = TcpStream::connect(&self.address).await.expect("the policy server listens");
        let name = ServerName::try_from(SERVER).expect("a host name");
        let stream = TokioIo::new(self.tls.connect(name, stream).await.ok()?);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.ok()?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(verb)
            .uri(format!("https://{SERVER}{target}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(json))).expect("a request");
        sender.send_request(request).await.ok().map(|response| (response.status(), response.headers().clone()))
    }
}
