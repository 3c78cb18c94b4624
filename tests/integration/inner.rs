//! The policy server's own door: who may ask, and for what. Browsers never come here, attackers may.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tests::agent::register;
use tests::command::cams as command;
use tests::{Quickstart, within};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PATHS: [&str; 4] = ["/agent/v1/hello", "/agent/v1/check", "/agent/v1/login", "/agent/v1/logout"];

/// A certificate and its key, by the folder that `cams agent add` wrote.
struct Agent<'a>(&'a Path);

impl Agent<'_> {
    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(self.0.join("agent.pem")).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_file(self.0.join("agent.key")).unwrap())
    }

    /// The status and body of an answer; `None` where there is no connection to be had.
    async fn ask(&self, cams: &Quickstart, path: &str, question: &Value) -> Option<(u16, Value)> {
        ask(cams, Some(self.identity()), Method::POST, path, question).await
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

async fn ask(
    cams: &Quickstart,
    identity: Option<Identity>,
    method: Method,
    path: &str,
    question: &Value,
) -> Option<(u16, Value)> {
    let conf = fs::read_to_string(&cams.conf).unwrap();
    let address = conf.lines().find_map(|line| line.strip_prefix("cams.policy.server.listen=")).unwrap().to_owned();
    let mut roots = RootCertStore::empty();
    let ca = cams.facts().agent_conf.with_file_name("policy-server-ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut tls = match identity {
        Some((chain, key)) => tls.with_client_auth_cert(chain, key).unwrap(),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("cams-policy-server").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(format!("https://cams-policy-server{path}"));
    let request = request.header("content-type", "application/json");
    let response = sender.send_request(request.body(Full::<Bytes>::from(question.to_string())).unwrap()).await.ok()?;
    let status = response.status();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status.as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
}

/// What an agent in front of `host` asks about a page, in alice's session.
fn check(host: &str, domain: &str, entry: &str, session: &str) -> Value {
    json!({
        "request_id": "0123456789abcdef0123456789abcdef", "scheme": "https", "host": host, "port": 443, "method": "GET",
        "path": "/private/", "query": null, "domain": domain, "entry": entry, "session": session,
        "client": {"address": "192.0.2.1", "user_agent": "test"}
    })
}

/// The question of each path, by which any agent could ask it.
fn question(path: &str, host: &str, domain: &str, entry: &str, session: &str) -> Value {
    match path {
        "/agent/v1/hello" => json!({
            "protocol": 1, "version": "0.1.0", "cluster": "MyCamsCluster", "domain": domain, "entry": entry, "hosts": [host]
        }),
        _ => check(host, domain, entry, session),
    }
}

#[tokio::test]
async fn an_agent_may_do_what_it_is_registered_for_and_no_more() {
    let cams = Quickstart::start(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    register(&cams.conf, "other", &["other.test"], dir.path());
    let folder = dir.path().join("other");
    let other = Agent(&folder);
    let session = cams.client_of("alice").await.cookie("CAMS_SID_MYCAMSCLUSTER_SYSTEM").unwrap();
    let path = "/agent/v1/check";

    let (status, answer) = other.ask(&cams, path, &check("other.test", "system", "http", &session)).await.unwrap();
    assert_eq!((status, &answer["decision"]["is"]), (200, &"granted".into()), "{answer}");
    for (host, domain, entry) in [
        ("localhost", "system", "http"),
        ("127.0.0.1", "system", "http"),
        ("OTHER.test.evil", "system", "http"),
        ("other.test", "nothing", "http"),
        ("other.test", "system", "strong"),
        ("other.test", "system", ""),
        ("", "system", "http"),
    ] {
        let (status, answer) = other.ask(&cams, path, &check(host, domain, entry, &session)).await.unwrap();
        assert_eq!(status, 403, "{host} {domain} {entry}: {answer}");
        assert!(answer.get("identity").is_none() && answer.get("decision").is_none(), "{answer}");
    }
    let audit = fs::read_to_string(cams.dir().path().join("data/audit.jsonl")).unwrap();
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = events.filter(|event| event["event"] == "agent-refused" && event["agent"] == "other").count();
    assert_eq!(refused, 7, "{audit}");
    assert!(!audit.contains(&session), "a session's token has no place there");
}

#[tokio::test]
async fn a_stranger_learns_nothing() {
    let cams = Quickstart::start(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    register(&cams.conf, "gone", &["gone.test"], dir.path());
    let folder = dir.path().join("gone");
    let gone = Agent(&folder);
    let session = cams.client_of("alice").await.cookie("CAMS_SID_MYCAMSCLUSTER_SYSTEM").unwrap();
    let (status, _) = gone.ask(&cams, PATHS[1], &check("gone.test", "system", "http", &session)).await.unwrap();
    assert_eq!(status, 200);

    // Its certificate is as good as before, but nobody knows it any more.
    let conf = cams.conf.to_str().unwrap();
    command(["agent", "remove", "gone", "--conf", conf]).success();
    for path in PATHS {
        let question = question(path, "gone.test", "system", "http", &session);
        let (status, answer) = gone.ask(&cams, path, &question).await.unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {answer}");
        assert!(answer.get("identity").is_none() && answer.get("server").is_none(), "{answer}");
    }
    let audit = fs::read_to_string(cams.dir().path().join("data/audit.jsonl")).unwrap();
    assert_eq!(audit.matches("\"agent-refused\"").count(), PATHS.len(), "{audit}");
    // A certificate of nobody's, and none at all: there is not even a connection.
    let made = rcgen::generate_simple_self_signed(["agent".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    for identity in [Some((vec![made.cert.der().clone()], key)), None] {
        let answer =
            ask(&cams, identity, Method::POST, PATHS[1], &check("gone.test", "system", "http", &session)).await;
        assert_eq!(answer, None);
    }
}

/// Every path and verb there is not, with a certificate that is good.
#[tokio::test]
async fn there_are_no_other_doors() {
    let cams = Quickstart::shared().await;
    let folder = cams.facts().agent_conf.parent().unwrap().to_owned();
    let agent = Agent(&folder);
    let question = check("localhost", "system", "http", "x");
    for path in [
        "/",
        "/agent",
        "/agent/v1/",
        "/agent/v2/check",
        "/agent/v1/check/",
        "/agent/v1/../v1/check",
        "/metrics",
        "/healthz",
    ] {
        let (status, _) = agent.ask(&cams, path, &question).await.unwrap();
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    for path in PATHS {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE] {
            let (status, _) = ask(&cams, Some(agent.identity()), method.clone(), path, &question).await.unwrap();
            assert!((400..500).contains(&status), "{method} {path}: {status}");
        }
    }
    // Nor do they lead in from the front: to the agent they are paths of the site.
    for path in PATHS {
        let reply = cams.client().post_form(path, &[]).await;
        assert!([302, 303, 401, 403, 404].contains(&reply.status.as_u16()), "{path}: {reply:?}");
    }
    within(std::time::Duration::from_secs(5), "both live", || {
        let facts = cams.facts();
        tests::process::is_alive(facts.policy_server_pid) && tests::process::is_alive(facts.web_agent_pid)
    })
    .await;
}
