//! Devices that show certificates in their handshakes, and what becomes of them.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use shared_proto::client_cert::ClientCert;
use tokio_rustls::TlsConnector;

use super::*;
use crate::testkit::client::Answer;
use crate::testkit::devices::{Device, Organisation, authority, below, issued};
use crate::testkit::events::Events;

/// `app.test` is for devices, `shop.test` is not; both have certificates of the TLS CA.
struct Devices {
    events: Events,
    ca: Ca,
    policy: PolicyServer,
    site: upstream::Site,
    agent: Agent,
    config: AgentConfig,
    _dir: TempDir,
}

impl Devices {
    async fn new(organisation: &Organisation) -> Self {
        let events = Events::new();
        events.authorities(&[organisation.told()]);
        let told = events.clone();
        Self::with(events, move |path, question| told.answer(path, question).unwrap_or_else(|| api(path, question)))
            .await
    }

    async fn with(events: Events, script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static) -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let (policy, site) = (PolicyServer::start(&ca, script).await, upstream::Site::start().await);
        let mut config = config(&dir, &ca, &policy, &site);
        let gate = Arc::make_mut(&mut config.gate);
        let shop = Site { name: "shop".into(), host: "shop.test".into(), ..Site::clone(&gate.sites[0]) };
        Arc::make_mut(&mut gate.sites[0]).jami = true;
        gate.sites.push(Arc::new(shop));
        let KeyFiles { certificate, key, passphrase } = ca.issue(dir.path(), "shop", "shop.test");
        config.certificates.push(TlsIdentity { host: "shop.test".into(), certificate, key, passphrase });
        let agent = Agent::start(config.clone(), Limits::default()).unwrap();
        let setting = Self { events, ca, policy, site, agent, config, _dir: dir };
        setting.asks("app.test", true).await;
        setting
    }

    /// Waits until who connects for this name is asked for a certificate, or not.
    async fn asks(&self, name: &str, asked: bool) {
        let (probe, limit) = (self.client(None), std::time::Instant::now() + Duration::from_secs(10));
        loop {
            let resolver = Arc::new(Asked::default());
            let mut tls = ClientConfig::clone(&probe);
            tls.client_auth_cert_resolver = resolver.clone();
            self.connect(Arc::new(tls), name).await.unwrap();
            if resolver.0.load(std::sync::atomic::Ordering::SeqCst) == asked {
                return;
            }
            assert!(std::time::Instant::now() < limit, "{name} {asked}");
            tokio::task::yield_now().await;
        }
    }

    fn client(&self, device: Option<&Device>) -> Arc<ClientConfig> {
        self.client_of(device, &[&TLS13, &TLS12])
    }

    fn client_of(
        &self,
        device: Option<&Device>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let tls = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(self.ca.roots());
        Arc::new(match device {
            None => tls.with_no_client_auth(),
            // Whatever is asked for, this is shown, as by the client of Jami.
            Some(device) => {
                let key = rustls::crypto::ring::sign::any_supported_type(&device.key).unwrap();
                let shown = CertifiedKey::new(device.chain.clone(), key);
                tls.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
        })
    }

    async fn connect(&self, tls: Arc<ClientConfig>, name: &str) -> Option<(Client, rustls::HandshakeKind)> {
        let tcp = tokio::net::TcpStream::connect(self.agent.addresses()[1]).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(tls).connect(name, tcp).await.ok()?;
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        Some((Client::over(stream), kind))
    }

    /// `None` where the connection is refused.
    async fn ask(&self, device: Option<&Device>, name: &str, request: &str) -> Option<Answer> {
        let (mut client, _) = self.connect(self.client(device), name).await?;
        client.send(request).await;
        client.answer().await
    }

    /// The certificates that came with requests of devices so far.
    fn certificates(&self) -> Vec<Option<String>> {
        self.policy.passed_on().iter().map(|seen| seen.header("x-client-cert").map(str::to_owned)).collect()
    }
}

/// Whether a client was asked for a certificate; it has none.
#[derive(Debug, Default)]
struct Asked(std::sync::atomic::AtomicBool);

impl rustls::client::ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// As [`policy`], and what goes to the API is answered; certificates are vouched for.
fn api(path: &str, question: &Value) -> Act {
    if path.starts_with("/api/") {
        return Act::Answer(200, json!({}));
    }
    match policy(path, question) {
        Act::Answer(200, mut answer) if path == "/agent/v1/check" && !question["client_cert"].is_null() => {
            answer["client_cert"] = json!("live");
            Act::Answer(200, answer)
        }
        act => act,
    }
}

const LOGIN: &str = "POST /api/login HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\n{}";

fn escaped(device: &Device) -> Option<String> {
    Some(ClientCert::from_der(&device.chain[0]).unwrap().escaped().to_owned())
}

#[tokio::test]
async fn a_device_is_known_by_its_certificate_and_nobody_has_to_have_one() {
    let organisation = Organisation::new();
    let setting = Devices::new(&organisation).await;
    let device = organisation.device();
    for versions in [&TLS12, &TLS13] {
        let tls = setting.client_of(Some(&device), &[versions]);
        let (mut client, _) = setting.connect(tls, "app.test").await.unwrap();
        client.send(LOGIN).await;
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(200));
    }
    assert_eq!(setting.ask(None, "app.test", LOGIN).await.map(|answer| answer.status), Some(200));
    assert_eq!(setting.certificates(), [escaped(&device), escaped(&device), None]);
}

/// Case 61. Every one of these is refused in the handshake, so that no status can be taken for a verdict.
#[tokio::test]
async fn what_nobody_vouches_for_ends_the_handshake() {
    let organisation = Organisation::new();
    let setting = Devices::new(&organisation).await;
    let Organisation { ca, account } = &organisation;
    let other = Organisation::new();
    let leaf_as_issuer = {
        let mut params = authority("leaf");
        params.is_ca = IsCa::ExplicitNoCa;
        rcgen::CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), account).unwrap()
    };
    let deep = below(account, "below");
    let client_auth = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let good = [
        ("by way of its account", organisation.device()),
        ("without the CA, as it is known", issued(account, &[account], |_| ())),
        ("of the CA itself", issued(ca, &[ca], |_| ())),
        ("for clients", organisation.changed(client_auth)),
    ];
    for (case, device) in good {
        assert!(setting.ask(Some(&device), "app.test", LOGIN).await.is_some(), "{case}");
    }
    let own = |issuer: &rcgen::CertifiedIssuer<'static, KeyPair>| Device {
        chain: vec![issuer.der().clone()],
        key: KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap().into(),
    };
    let bad = [
        ("expired", organisation.changed(|params| params.not_after = date_time_ymd(2020, 1, 1))),
        ("not yet valid", organisation.changed(|params| params.not_before = date_time_ymd(4000, 1, 1))),
        (
            "for servers",
            organisation.changed(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        ("an authority", organisation.changed(|params| params.is_ca = authority("x").is_ca)),
        ("issued by a device", issued(&leaf_as_issuer, &[&leaf_as_issuer, account, ca], |_| ())),
        ("too far below", issued(&deep, &[&deep, account, ca], |_| ())),
        ("too far below, without the CA", issued(&deep, &[&deep, account], |_| ())),
        ("without its account", issued(account, &[ca], |_| ())),
        ("of another CA of the same name", other.device()),
        ("of another CA with this one beside it", issued(&other.account, &[&other.account, ca], |_| ())),
        ("the CA itself", own(ca)),
        ("an account", own(account)),
    ];
    let before = setting.policy.passed_on().len();
    for (case, device) in bad {
        assert!(setting.ask(Some(&device), "app.test", LOGIN).await.is_none(), "{case}");
    }
    assert_eq!(setting.policy.passed_on().len(), before);
}

/// Case 65, both ways round.
#[tokio::test]
async fn only_sites_for_devices_ask_and_no_request_changes_its_site() {
    let organisation = Organisation::new();
    let setting = Devices::new(&organisation).await;
    setting.asks("shop.test", false).await;
    let device = organisation.device();
    let request = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (name, host, status) in [
        ("app.test", "app.test", 200),
        ("app.test", "shop.test", 421),
        ("shop.test", "shop.test", 200),
        ("shop.test", "app.test", 421),
    ] {
        for path in ["/public/x", "/api/auth/devices"] {
            // There it is the site's own, which nobody may see without a session.
            let status = if (host, path) == ("shop.test", "/api/auth/devices") && status == 200 { 401 } else { status };
            let answer = setting.ask(Some(&device), name, &request(host, path)).await.unwrap();
            assert_eq!(answer.status, status, "{name} {host} {path}: {answer:?}");
        }
    }
    let shown: Vec<bool> =
        setting.site.received().split("\r\n\r\n").map(|head| head.contains("X-Client-Cert")).collect();
    assert_eq!(shown, [true, false, false], "app.test, shop.test, and what follows the last");
    let checks = setting.policy.asked("/agent/v1/check");
    assert_eq!(checks.iter().filter(|check| !check["client_cert"].is_null()).count(), 1);
}

/// Without a restart: a first CA, another one, none. Sessions from before are not resumed into the new trust.
#[tokio::test]
async fn authorities_are_taken_over_at_once() {
    let (first, second) = (Organisation::new(), Organisation::new());
    let setting = Devices::new(&first).await;
    let (old, new) = (first.device(), second.device());
    for versions in [&TLS12, &TLS13] {
        setting.events.authorities(&[first.told()]);
        setting.asks("app.test", true).await;
        let tls = setting.client_of(Some(&old), &[versions]);
        let kinds = [handshake(&setting, &tls).await, handshake(&setting, &tls).await];
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
        // One that cannot be used changes nothing about the others.
        setting.events.authorities(&[second.told(), "bm9uZQ==".into(), "%".into()]);
        within(|| async { setting.ask(Some(&new), "app.test", LOGIN).await.is_some() }).await;
        assert_eq!(handshake(&setting, &tls).await, None, "the old CA is not believed any more");
        setting.events.authorities(&[]);
        setting.asks("app.test", false).await;
        assert!(handshake(&setting, &tls).await.is_some(), "nobody is asked, so nobody is refused");
    }
    assert_eq!(setting.certificates().last(), Some(&None));
}

/// Whether a session is resumed, and that its certificate comes with it.
async fn handshake(setting: &Devices, tls: &Arc<ClientConfig>) -> Option<rustls::HandshakeKind> {
    let (mut client, kind) = setting.connect(tls.clone(), "app.test").await?;
    client.send(LOGIN).await;
    client.answer().await.map(|_| kind)
}

async fn within<F: Future<Output = bool>>(done: impl Fn() -> F) {
    let limit = std::time::Instant::now() + Duration::from_secs(10);
    while !done().await {
        assert!(std::time::Instant::now() < limit);
    }
}

/// Case 63: what a resumed session brings along is asked about like anything else.
#[tokio::test]
async fn a_revoked_device_is_not_shown_on_resumed_and_open_connections() {
    let organisation = Organisation::new();
    let events = Events::new();
    events.authorities(&[organisation.told()]);
    let (told, revoked) = (events.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let is_revoked = revoked.clone();
    let script = move |path: &str, question: &Value| {
        let mut act = told.answer(path, question).unwrap_or_else(|| api(path, question));
        if let (Act::Answer(200, answer), "/agent/v1/check") = (&mut act, path) {
            told.stamp(answer);
            if is_revoked.load(std::sync::atomic::Ordering::SeqCst) {
                answer["client_cert"] = json!("none");
            }
        }
        act
    };
    let setting = Devices::with(events, script).await;
    let device = organisation.device();
    let page = "GET /public/page HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for versions in [&TLS12, &TLS13] {
        revoked.store(false, std::sync::atomic::Ordering::SeqCst);
        setting.events.domain_changed();
        let tls = setting.client_of(Some(&device), &[versions]);
        let (mut open, _) = setting.connect(tls.clone(), "app.test").await.unwrap();
        let (mut stream, _) = setting.connect(tls.clone(), "app.test").await.unwrap();
        let is_shown = |answer: Option<Answer>| answer.unwrap().body.contains("X-Client-Cert");
        // Until the change is known here, the old answer may be remembered.
        loop {
            open.send(page).await;
            if is_shown(open.answer().await) {
                break;
            }
        }
        stream.send("GET /public/sse HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert!(stream.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 200"));
        revoked.store(true, std::sync::atomic::Ordering::SeqCst);
        setting.events.domain_changed();
        assert_eq!(stream.rest().await, "", "what was shown as live is cut");
        open.send(page).await;
        assert!(!is_shown(open.answer().await));
        let (mut resumed, kind) = setting.connect(tls, "app.test").await.unwrap();
        assert_eq!(kind, rustls::HandshakeKind::Resumed);
        resumed.send(page).await;
        assert!(!is_shown(resumed.answer().await));
        // The policy server itself is told, to answer 401.
        resumed.send(LOGIN).await;
        assert_eq!(resumed.answer().await.map(|answer| answer.status), Some(200));
        assert_eq!(setting.certificates().last(), Some(&escaped(&device)));
    }
}

/// Case 64: after a restart there is no session to resume, and the handshake begins anew with the certificate.
#[tokio::test]
async fn after_a_restart_the_certificate_is_asked_for_again() {
    let organisation = Organisation::new();
    let mut setting = Devices::new(&organisation).await;
    let device = organisation.device();
    let mut clients = Vec::new();
    for versions in [&TLS12, &TLS13] {
        let mut tls = ClientConfig::clone(&setting.client_of(Some(&device), &[versions]));
        tls.resumption = Resumption::in_memory_sessions(8);
        let tls = Arc::new(tls);
        assert_eq!(handshake(&setting, &tls).await, Some(rustls::HandshakeKind::Full));
        clients.push(tls);
    }
    let next = Agent::start(setting.config.clone(), Limits::default()).unwrap();
    std::mem::replace(&mut setting.agent, next).stop(Duration::from_millis(100)).await;
    setting.asks("app.test", true).await;
    for tls in clients {
        assert_eq!(handshake(&setting, &tls).await, Some(rustls::HandshakeKind::Full));
    }
    assert!(setting.certificates().iter().all(|shown| *shown == escaped(&device)));
}

#[tokio::test]
async fn a_hello_in_pieces_is_read_to_its_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let organisation = Organisation::new();
    let setting = Devices::new(&organisation).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let tcp = tokio::net::TcpStream::connect(setting.agent.addresses()[1]).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (mut from_agent, mut to_agent) = tcp.into_split();
    // One byte at a time, each in a segment of its own.
    tokio::spawn(async move {
        let mut byte = [0];
        while from_client.read_exact(&mut byte).await.is_ok() {
            to_agent.write_all(&byte).await.unwrap();
            to_agent.flush().await.unwrap();
        }
    });
    tokio::spawn(async move { tokio::io::copy(&mut from_agent, &mut to_client).await });
    let device = organisation.device();
    let tls = TlsConnector::from(setting.client(Some(&device)));
    let stream = tls.connect(ServerName::try_from("app.test").unwrap(), near).await.unwrap();
    let mut client = Client::over(stream);
    client.send(LOGIN).await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(200));
    assert_eq!(setting.certificates(), [escaped(&device)]);
    // And what is no handshake at all is let go.
    let mut nonsense = Client::connect(setting.agent.addresses()[1]).await;
    nonsense.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert!(!nonsense.rest().await.contains("HTTP"));
}
