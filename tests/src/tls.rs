//! Connections of the test clients: TLS that trusts one CA alone, or none for a plain site.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

pub trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for T {}

/// Where a client connects: the name is checked and sent, the connection always goes to this machine.
#[derive(Debug, Clone)]
pub struct Origin {
    pub url: Url,
    roots: Arc<RootCertStore>,
    identity: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
}

impl Origin {
    /// `ca_pem` is needed for https alone.
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.unwrap_or_default()) {
            roots.add(certificate.expect("a certificate in PEM")).expect("a CA certificate");
        }
        Self { url: Url::parse(url).expect("a URL"), roots: Arc::new(roots), identity: None }
    }

    /// The same, shown a client certificate (the leaf first) whenever it asks for one, whoever it says it trusts.
    pub fn with_identity(self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { identity: Some(Arc::new((chain, key))), ..self }
    }

    /// The CA that is trusted.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// `localhost:8443`, as it belongs in a Host header.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// `https://localhost:8443`, as it belongs in an Origin header.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// A new connection that offers this protocol (`http/1.1`, `h2`).
    pub async fn connect(&self, protocol: &str) -> Box<dyn Stream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        if self.url.scheme() == "http" {
            return Box::new(stream);
        }
        let name = ServerName::try_from(self.host().to_owned()).expect("a host name");
        Box::new(self.connector(protocol).connect(name, stream).await.expect("TLS with a certificate of our CA"))
    }

    fn connector(&self, protocol: &str) -> TlsConnector {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every version");
        let config = config.with_root_certificates(Arc::clone(&self.roots));
        let mut config = match self.identity.as_deref() {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key()).expect("a certificate and its key")
            }
        };
        config.alpn_protocols = vec![protocol.into()];
        TlsConnector::from(Arc::new(config))
    }

    fn host(&self) -> &str {
        self.url.host_str().expect("a URL with a host")
    }

    fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("http or https")
    }
}
