//! Asks the protected site for its front page, as a browser would: agent, policy server and site must all answer.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Empty;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Probe {
    tls: TlsConnector,
    address: SocketAddr,
}

impl Probe {
    pub fn new(ca: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).with_context(|| format!("cannot read {}", ca.display()))?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), address })
    }

    /// Whether the public front page came back as it should.
    pub async fn answers(&self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(TIMEOUT, self.get("/")).await.context("no answer in time")??;
        anyhow::ensure!(status == StatusCode::OK, "the front page answers {status}");
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<StatusCode> {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        let stream = TcpStream::connect(address).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = format!("localhost:{}", self.address.port());
        let request = Request::get(path).header(HOST, host).body(Empty::<bytes::Bytes>::new())?;
        Ok(sender.send_request(request).await?.status())
    }
}
