//! A device is revoked: from then on its certificate is worth nothing, on connections that are open, resumed or new, here
//! and wherever it is asked about.

use std::fs;
use std::path::Path;
use std::process::Command;

use http::StatusCode;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tests::jami_client::Device;
use tests::{Client, within, within_async};

use super::connection::{Connection, Opener};
use super::{AT_ONCE, shown};
use crate::jami_attacks::{SOON, World};

/// A device with connections of one kind.
struct Held {
    opener: Opener,
    open: Connection,
    what: &'static str,
}

impl Held {
    async fn new(
        world: &World,
        device: &Device,
        version: &'static SupportedProtocolVersion,
        what: &'static str,
    ) -> Self {
        let opener = Connection::of(&world.origin(), Some(device), &[version]);
        let mut open = opener.open().await.expect("a handshake");
        assert!(shown(&mut open).await.is_some(), "{what}: at first");
        let mut again = opener.open().await.expect("a handshake");
        assert!(shown(&mut again).await.is_some(), "{what}: again, resumed: {}", again.is_resumed);
        Self { opener, open, what }
    }

    /// The certificate is shown to no site any more, and opens nothing.
    async fn is_worth_nothing(&mut self) {
        let what = self.what;
        let gone = async || shown(&mut self.open).await.is_none();
        within_async(AT_ONCE, &format!("{what}: the open connection shows no certificate"), gone).await;
        for _ in 0..3 {
            if let Some(mut next) = self.opener.open().await {
                assert_eq!(shown(&mut next).await, None, "{what}: a next connection, resumed: {}", next.is_resumed);
            }
        }
        // A connection that was cut says nothing; what is answered is that the device is revoked.
        for _ in 0..2 {
            if let Some(mut next) = self.opener.open().await
                && let Some(reply) = next.post("/api/login", "{}").await
            {
                assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}: resumed: {}: {reply:?}", next.is_resumed);
            }
        }
        if let Some(reply) = self.open.post("/api/login", "{}").await {
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}: open: {reply:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_nobody_on_every_connection() {
    let world = World::start().await;
    let (device, other) = (world.device("ivan").await, world.device("ivan").await);
    let token = world.jami.token(&device).await;
    let mut held =
        [Held::new(&world, &device, &TLS12, "TLS 1.2").await, Held::new(&world, &device, &TLS13, "TLS 1.3").await];
    let others = Connection::of(&world.origin(), Some(&other), &[&TLS13]);
    assert!(shown(&mut others.open().await.unwrap()).await.is_some());

    world.command(&["device", "revoke", &device.id(), "--reason", "lost"]).success();
    assert_eq!(world.get("/api/auth/devices", &token).await.status, StatusCode::UNAUTHORIZED);
    for held in &mut held {
        held.is_worth_nothing().await;
    }
    assert_eq!(world.login_status(&device).await, 401, "a new handshake");
    assert!(shown(&mut others.open().await.unwrap()).await.is_some(), "the other device goes on");
    assert_eq!(world.events("device-revoked").len(), 1);

    // Tickets that an agent gave are nothing to the next one; what they stood for is not let in for it.
    let before = world.cams.facts().web_agent_pid;
    world.cams.kill9(before);
    within(SOON, "another agent", || world.cams.facts().web_agent_pid != before).await;
    let client = Client::of(world.origin());
    let port = world.origin().url.port().unwrap();
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    within_async(SOON, "it listens", listens).await;
    within_async(SOON, "it answers", async || client.get("/api/info").await.status == StatusCode::OK).await;
    for held in &mut held {
        held.is_worth_nothing().await;
    }
    let back = async || match others.open().await {
        Some(mut connection) => shown(&mut connection).await.is_some(),
        None => false,
    };
    within_async(SOON, "the other device's certificate is shown again", back).await;
    assert_eq!(world.login_status(&other).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_the_responder_say_so() {
    let world = World::shared().await;
    let (revoked, good) = (world.device("carl").await, world.device("carl").await);
    let dir = tempfile::tempdir().unwrap();
    let names = ["device.pem", "account.pem", "ca.pem"];
    for (device, folder) in [(&revoked, "revoked"), (&good, "good")] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        let chain = device.answer["certificateChain"].as_str().unwrap();
        for (certificate, name) in chain.split_inclusive("-----END CERTIFICATE-----\n").zip(names) {
            fs::write(dir.path().join(folder).join(name), certificate).unwrap();
        }
    }
    for folder in ["revoked", "good"] {
        let (ocsp, chain) = says(&world, dir.path(), folder).await;
        assert!(ocsp.contains("device.pem: good") && chain.contains("device.pem: OK"), "{folder}: {ocsp}{chain}");
    }
    world.command(&["device", "revoke", &revoked.id(), "--reason", "lost"]).success();
    let is_told = async || says(&world, dir.path(), "revoked").await.0.contains("device.pem: revoked");
    within_async(AT_ONCE, "the responder knows", is_told).await;
    let (_, chain) = says(&world, dir.path(), "revoked").await;
    assert!(chain.contains("certificate revoked"), "{chain}");
    let (ocsp, chain) = says(&world, dir.path(), "good").await;
    assert!(ocsp.contains("device.pem: good") && chain.contains("device.pem: OK"), "{ocsp}{chain}");
}

/// What the responder says of a device, and what its chain is worth with the lists of both its issuers.
async fn says(world: &World, dir: &Path, folder: &str) -> (String, String) {
    let folder = dir.join(folder);
    let url = openssl(&folder, &["x509", "-noout", "-ocsp_uri", "-in", "device.pem"]);
    let (base, account) = url.trim().split_once("/api/ocsp/").expect("a responder");
    let ca = openssl(&folder, &["x509", "-noout", "-ocsp_uri", "-in", "account.pem"]);
    let ca = ca.trim().rsplit_once('/').expect("a responder").1;
    assert!(base.starts_with("http://"), "{base}");
    let mut lists = String::new();
    for issuer in [account, ca] {
        let list = Client::of(world.origin()).get(&format!("/api/crl/{issuer}.crl")).await;
        assert_eq!(list.status, StatusCode::OK, "{list:?}");
        fs::write(folder.join("list.der"), &list.body).unwrap();
        lists += &openssl(&folder, &["crl", "-inform", "DER", "-in", "list.der"]);
    }
    fs::write(folder.join("lists.pem"), lists).unwrap();
    let ocsp = ["ocsp", "-issuer", "account.pem", "-cert", "device.pem", "-CAfile", "ca.pem", "-url", url.trim()];
    let ocsp = openssl(&folder, &ocsp);
    assert!(ocsp.contains("Response verify OK"), "{ocsp}");
    let verify = ["verify", "-x509_strict", "-crl_check_all", "-CRLfile", "lists.pem", "-untrusted", "account.pem"];
    (ocsp, openssl(&folder, &[&verify[..], &["-CAfile", "ca.pem", "device.pem"]].concat()))
}

/// What it prints, whatever its exit code.
fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}
