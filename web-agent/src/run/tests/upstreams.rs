//! Ways to the site: TLS with an authority of its own, host names, answers that are no HTTP.

use std::path::PathBuf;

use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What comes of a request to a site with this upstream.
async fn status(change: impl FnOnce(&mut Upstream)) -> u16 {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let (policy, site) = (PolicyServer::start(&ca, policy).await, upstream::Site::start().await);
    let mut config = config(&dir, &ca, &policy, &site);
    let mut gate = GateConfig::clone(&config.gate);
    let mut changed = Site::clone(&gate.sites[0]);
    change(changed.upstream.as_mut().unwrap());
    gate.sites = vec![Arc::new(changed)];
    config.gate = Arc::new(gate);
    let agent = Agent::start(config, Limits::default()).unwrap();
    ask(agent.addresses()[0], get("/public/", "")).await.unwrap().status
}

/// A site that answers every connection with `answer`, over TLS as `localhost`.
async fn tls_site(ca: &Ca, answer: &'static str) -> u16 {
    let dir = tempfile::tempdir().unwrap();
    let identity = ca.issue(dir.path(), "site", "localhost").load().unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let tls = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = tls.accept(tcp).await {
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        }
    });
    port
}

#[tokio::test]
async fn only_the_configured_authority_vouches_for_a_site() {
    crate::testkit::install_provider();
    let (dir, ours, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let port = tls_site(&ours, "HTTP/1.1 204 No Content\r\n\r\n").await;
    let (ours, others) = (ours.write(dir.path()), dir.path().join("others"));
    std::fs::create_dir(&others).unwrap();
    let other = other.write(&others);
    let cases: [(&str, Option<PathBuf>, u16); 4] = [
        ("localhost", Some(ours.clone()), 204),
        // The certificate is not for this name.
        ("127.0.0.1", Some(ours), 502),
        ("localhost", Some(other), 502),
        // The authorities of the system do not know it.
        ("localhost", None, 502),
    ];
    for (host, ca, expected) in cases {
        let case = format!("{host} {ca:?}");
        let change = |upstream: &mut Upstream| {
            *upstream = Upstream { scheme: Scheme::Https, host: host.to_owned(), port, ca };
        };
        assert_eq!(status(change).await, expected, "{case}");
    }
}

/// `localhost` may be `::1` first, where nothing listens: the next address is tried.
#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    assert_eq!(status(|upstream| upstream.host = "localhost".to_owned()).await, 200);
    assert_eq!(status(|upstream| upstream.host = "no-such-host.invalid".to_owned()).await, 502);
}

#[tokio::test]
async fn a_site_that_speaks_no_http_is_502() {
    crate::testkit::install_provider();
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let authorities = ca.write(dir.path());
    for answer in ["", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"] {
        let port = tls_site(&ca, answer).await;
        let ca = Some(authorities.clone());
        let change = |upstream: &mut Upstream| {
            *upstream = Upstream { scheme: Scheme::Https, host: "localhost".to_owned(), port, ca };
        };
        assert_eq!(status(change).await, 502, "{answer:?}");
    }
}
