//! The fixtures themselves, against the sample site: a browser or client that sees nothing would let every test pass.

use std::sync::Arc;
use std::time::Duration;

use cams::sample_site;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tests::browser::Screen;
use tests::process::is_alive;
use tests::{Browser, Client, RawClient, within};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The sample site over plain HTTP.
async fn plain_site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(sample_site::serve(listener));
    url
}

/// The sample site behind TLS, with the certificate that a client must trust.
async fn tls_site() -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let site = plain_site().await.replace("http://", "");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, site) = (acceptor.clone(), site.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                copy_bidirectional(&mut client, &mut TcpStream::connect(site).await?).await
            });
        }
    });
    (url, made.cert.pem().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_shows_accessible_pages_on_every_screen() {
    let site = plain_site().await;
    let Some(browser) = Browser::start(None).await else { return };
    for path in ["/", "/public/", "/private/", "/admin/", "/nothing"] {
        browser.goto(&format!("{site}{path}")).await;
        for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
            for (scheme, dark) in [("light", false), ("dark", true)] {
                browser.emulate(screen, dark).await;
                let asked = "return [matchMedia('(prefers-color-scheme: dark)').matches, innerWidth < 600]";
                let seen = browser.session.execute(asked, vec![]).await.unwrap();
                assert_eq!(seen, serde_json::json!([dark, screen == Screen::Phone]));
                let Some(violations) = browser.violations().await else { return };
                assert_eq!(violations, [""; 0], "{path} {name} {scheme}");
            }
        }
    }
    browser.goto(&format!("{site}/private/")).await;
    browser.screenshot("sample-site-desktop-dark").await;
    browser.emulate(Screen::Phone, false).await;
    browser.screenshot("sample-site-phone-light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accessibility_check_finds_something() {
    let Some(browser) = Browser::start(None).await else { return };
    browser.goto("data:text/html,<title>t</title><img src=x><input>").await;
    let Some(violations) = browser.violations().await else { return };
    assert!(violations.iter().any(|line| line.contains("image-alt")), "{violations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_trusts_the_given_ca_alone_and_leaves_no_process() {
    let (site, ca) = tls_site().await;
    let Some(stranger) = Browser::start(None).await else { return };
    stranger.goto(&site).await;
    let refused = stranger.source().await;
    assert!(refused.contains("ERR_CERT_AUTHORITY_INVALID"), "{refused}");
    drop(stranger);

    let Some(browser) = Browser::start(Some(&ca)).await else { return };
    browser.goto(&format!("{site}/private/?q=1")).await;
    assert_eq!(browser.text("h1").await, "Private");
    assert_eq!(browser.text("#target").await, "/private/?q=1");
    let processes = browser.processes();
    assert!(processes.len() > 2, "{processes:?}");
    drop(browser);
    within(Duration::from_secs(5), "every process of the browser is gone", || {
        !processes.iter().any(|pid| is_alive(*pid))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_trust_the_given_ca_alone() {
    let (site, ca) = tls_site().await;
    let (_, other_ca) = tls_site().await;
    for client in [Client::new(&site, Some(&ca)), Client::new(&site, Some(&ca)).http2()] {
        client.set_cookie("a", "b");
        let echo: serde_json::Value = client.get("/private/echo?x=1").await.json();
        assert_eq!(echo["target"], "/private/echo?x=1");
        assert!(echo["headers"].to_string().contains(r#"["cookie","a=b"]"#), "{echo}");
    }
    let raw = RawClient::new(&site, &ca);
    let request = format!("BREW /public/echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", raw.authority());
    assert_eq!(raw.status(request.as_bytes()).await, 200);
    let stranger = Client::new(&site, Some(&other_ca));
    assert!(tokio::spawn(async move { stranger.get("/").await }).await.unwrap_err().is_panic());
}
