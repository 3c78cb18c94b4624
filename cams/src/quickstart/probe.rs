//! Asks whether what was started answers: the policy server, as the agent would, and the protected site, as a browser
//! would.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Empty;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use shared_proto::names::POLICY_SERVER_NAME;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The two questions.
pub struct Probes {
    server: Peer,
    site: Peer,
}

/// Whom to connect to, and how.
struct Peer {
    address: SocketAddr,
    name: &'static str,
    tls: TlsConnector,
}

impl Probes {
    /// `agent` is the folder of the agent's files, by which the policy server knows it; `ca` vouches for the site.
    pub fn new(agent: &Path, server: SocketAddr, ca: &Path, site: SocketAddr) -> anyhow::Result<Self> {
        let (certificate, key) = (agent.join("agent.pem"), agent.join("agent.key"));
        let chain = vec![read_certificate(&certificate)?];
        let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("cannot read {}", key.display()))?;
        let tls = trusting(&agent.join("policy-server-ca.pem"))?.with_client_auth_cert(chain, key)?;
        let server = Peer { address: server, name: POLICY_SERVER_NAME, tls: connector(tls) };
        let tls = trusting(ca)?.with_no_client_auth();
        Ok(Self { server, site: Peer { address: site, name: "localhost", tls: connector(tls) } })
    }

    /// Whether the policy server takes connections.
    pub async fn server(&self) -> anyhow::Result<()> {
        let asked = async {
            let mut stream = self.server.connect().await?;
            // Closed in good order, so that nothing is amiss for the server either.
            stream.shutdown().await?;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            anyhow::Ok(())
        };
        tokio::time::timeout(TIMEOUT, asked).await.context("no answer in time")?
    }

    /// Whether the public front page comes back as it should.
    pub async fn site(&self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(TIMEOUT, self.front_page()).await.context("no answer in time")??;
        anyhow::ensure!(status == StatusCode::OK, "the front page answers {status}");
        Ok(())
    }

    async fn front_page(&self) -> anyhow::Result<StatusCode> {
        let stream = self.site.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = format!("{}:{}", self.site.name, self.site.address.port());
        let request = Request::get("/").header(HOST, host).body(Empty::<bytes::Bytes>::new())?;
        Ok(sender.send_request(request).await?.status())
    }
}

impl Peer {
    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        let stream = TcpStream::connect(address).await?;
        Ok(self.tls.connect(ServerName::try_from(self.name)?, stream).await?)
    }
}

fn trusting(ca: &Path) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    roots.add(read_certificate(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots))
}

fn connector(config: ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}

fn read_certificate(file: &Path) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(file).with_context(|| format!("cannot read {}", file.display()))
}
