//! The whole agent on real sockets: a client that sends raw bytes, a policy server over mutual TLS, a raw site.

mod assertions;
mod auto_login;
mod devices;
mod http2;
mod jami;
mod logs;
mod memory;
mod requests;
mod streams;
mod targets;
mod upstreams;

use serde_json::{Value, json};
use shared_proto::names::CookieNames;
use tempfile::TempDir;

use super::*;
use crate::config::{LinkTls, Listener, TlsIdentity};
use crate::site::{GateConfig, JamiConfig, Site, Upstream};
use crate::testkit::client::{Client, ask};
use crate::testkit::policy_server::{Act, PolicyServer, welcome};
use crate::testkit::{Ca, upstream};

/// An agent with all it needs. `http://app.test` and `https://app.test` are its site.
struct Setting {
    ca: Ca,
    policy: PolicyServer,
    site: upstream::Site,
    agent: Agent,
    http: SocketAddr,
    https: SocketAddr,
    _dir: TempDir,
}

impl Setting {
    async fn new() -> Self {
        Self::with(policy, Limits::default()).await
    }

    async fn with(script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static, limits: Limits) -> Self {
        Self::changed(script, limits, |_| ()).await
    }

    /// With another configuration of the gate.
    async fn changed(
        script: impl Fn(&str, &Value) -> Act + Send + Sync + 'static,
        limits: Limits,
        change: impl FnOnce(&mut GateConfig),
    ) -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let policy = PolicyServer::start(&ca, script).await;
        let site = upstream::Site::start().await;
        let mut config = config(&dir, &ca, &policy, &site);
        change(Arc::make_mut(&mut config.gate));
        let agent = Agent::start(config, limits).unwrap();
        let (http, https) = (agent.addresses()[0], agent.addresses()[1]);
        Self { ca, policy, site, agent, http, https, _dir: dir }
    }
}

fn config(dir: &TempDir, ca: &Ca, policy: &PolicyServer, site: &upstream::Site) -> AgentConfig {
    let (shown, agent) = (ca.issue(dir.path(), "app", "app.test"), ca.issue(dir.path(), "agent", "agent.test"));
    let listener = |tls| Listener { address: "127.0.0.1:0".parse().unwrap(), tls };
    let (host, port) = (site.address.ip().to_string(), site.address.port());
    let upstream = Upstream { scheme: Scheme::Http, host, port, ca: None };
    AgentConfig {
        cluster: "Test".into(),
        gate: Arc::new(GateConfig {
            domain: "system".into(),
            entry: "http".into(),
            further_entries: Vec::new(),
            cookies: CookieNames::new("CAMS", "Test", "system"),
            cookie_prefix: "CAMS".into(),
            cookie_domain: None,
            auto_login: false,
            login_uri: "/cams/login".into(),
            logout_uri: "/cams/logout".into(),
            resume_uri: "/cams/resume".into(),
            account_uri: "/cams/account".into(),
            handover_uri: "/cams/handover".into(),
            default_page: "/".into(),
            sites: vec![Arc::new(Site {
                name: "app".into(),
                host: "app.test".into(),
                port: None,
                upstream: Some(upstream),
                jami: false,
            })],
            cluster_sites: Vec::new(),
            trusted_proxies: Vec::new(),
            client_cert_from_proxies: false,
            jami: JamiConfig { entry: "http".into(), body_limit: 1000 },
        }),
        listeners: vec![listener(false), listener(true)],
        certificates: vec![TlsIdentity {
            host: "app.test".into(),
            certificate: shown.certificate,
            key: shown.key,
            passphrase: None,
        }],
        policy_servers: vec![Authority::parse(&policy.address.to_string()).unwrap()],
        link: LinkTls { certificate: agent.certificate, key: agent.key, ca: ca.write(dir.path()) },
        revocation_listeners: Vec::new(),
        caps: crate::listen::Caps::default(),
        pages: None,
    }
}

/// `/public/…` is for all, `/denied/…` for nobody, the rest for the session `alive`, which is alice's.
fn policy(path: &str, question: &Value) -> Act {
    let alive = question["session"] == "alive";
    let session = if alive { "live" } else { "none" };
    let identity = json!({
        "user": "alice", "roles": ["user", "a,b"], "domain": "system", "entry": "http", "session_id": "s1",
        "session_created": 1
    });
    let decision = |decision: Value| {
        let identity = if alive { identity.clone() } else { Value::Null };
        Act::Answer(200, json!({"decision": decision, "session": session, "identity": identity, "policy_hash": "h"}))
    };
    let wanted = question["path"].as_str().unwrap_or_default();
    match path {
        "/agent/v1/assertion-key" => Act::Answer(200, serde_json::to_value(crate::testing::assertion_key()).unwrap()),
        "/agent/v1/audit" => Act::Answer(200, json!({})),
        "/agent/v1/hello" => Act::Answer(200, welcome()),
        "/agent/v1/login" if question["callbacks"]["password"] == "right" => {
            Act::Answer(200, json!({"is": "success", "session": "alive", "identity": identity}))
        }
        "/agent/v1/login" => {
            let exception = "javax.security.auth.login.FailedLoginException";
            Act::Answer(200, json!({"is": "failure", "code": 5000, "exception": exception, "message": "No."}))
        }
        "/agent/v1/check" if wanted.starts_with("/denied") => decision(json!({"is": "denied"})),
        "/agent/v1/check" if alive || wanted.starts_with("/public") => decision(json!({"is": "granted"})),
        "/agent/v1/check" => {
            decision(json!({"is": "login-required", "domain": "system", "entry": "http", "login_url": "/cams/login"}))
        }
        _ => Act::Answer(500, json!({"error": "unexpected"})),
    }
}

const ALICE: &str = "Cookie: CAMS_SID_TEST_SYSTEM=alive\r\n";

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let (policy, site) = (PolicyServer::start(&ca, policy).await, upstream::Site::start().await);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&dir, &ca, &policy, &site);
    config.listeners[0].address = taken.local_addr().unwrap();
    let error = Agent::start(config, Limits::default()).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", taken.local_addr().unwrap())), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[tokio::test]
async fn stopping_lets_go_of_the_port_and_of_open_tunnels() {
    let setting = Setting::new().await;
    let mut tunnel = Client::connect(setting.http).await;
    tunnel.send(get("/public/ws", WEBSOCKET)).await;
    assert!(tunnel.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 101"));
    setting.agent.stop(Duration::from_millis(100)).await;
    assert_eq!(tunnel.rest().await, "");
    drop(TcpListener::bind(setting.http).unwrap());
}
