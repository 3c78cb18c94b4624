//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use shared_proto::assertion::{AssertionKeyResponse, PublicKey};
use shared_proto::check::{CheckRequest, Client, Identity};
use shared_proto::login::EntryForm;
use shared_proto::names::CookieNames;

use crate::gate::{Answer, Gate, Question, Reply, Step};
use crate::head::{Connection, Head, Refusal, Scheme};
use crate::origin::Origin;
use crate::site::{GateConfig, JamiConfig, Site, Upstream};

/// Two sites, one with a port of its own, and a third of the cluster elsewhere; no trusted proxy.
pub fn gate_config() -> GateConfig {
    let site = |name: &str, port| {
        let upstream = Upstream { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: 8080, ca: None };
        Arc::new(Site {
            name: name.to_owned(),
            host: format!("{name}.test"),
            port,
            upstream: Some(upstream),
            jami: false,
        })
    };
    GateConfig {
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        further_entries: vec!["strong".to_owned()],
        cookies: CookieNames::new("CAMS", "MyCamsCluster", "system"),
        cookie_prefix: "CAMS".to_owned(),
        cookie_domain: None,
        auto_login: true,
        login_uri: "/cams/login".to_owned(),
        logout_uri: "/cams/logout".to_owned(),
        resume_uri: "/cams/resume".to_owned(),
        account_uri: "/cams/account".to_owned(),
        handover_uri: "/cams/handover".to_owned(),
        default_page: "/".to_owned(),
        sites: vec![site("app", None), site("shop", Some(9443))],
        cluster_sites: vec![Origin { scheme: Scheme::Https, host: "portal.test".to_owned(), port: 443 }],
        trusted_proxies: Vec::new(),
        client_cert_from_proxies: false,
        jami: JamiConfig { entry: "http".to_owned(), body_limit: 1000 },
    }
}

/// A TLS connection to `app.test`.
pub fn connection() -> Connection {
    let sni = Some("app.test".to_owned());
    Connection { peer: "192.0.2.1".parse().unwrap(), scheme: Scheme::Https, port: 8443, sni, client_cert: None }
}

/// A head for `app.test`; `lines` are more header lines.
pub fn head(request_line: &str, lines: &[&str]) -> Result<Head, Refusal> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    Head::parse_h1(format!("{request_line} HTTP/1.1\r\nHost: app.test:8443\r\n{lines}\r\n").as_bytes())
}

/// What a browser adds that wants a page.
pub const NAVIGATION: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

/// A session's cookie.
pub const COOKIE: &str = "Cookie: a=b; CAMS_SID_MYCAMSCLUSTER_SYSTEM=token";

/// Starts the gate on a head for `app.test`. What a login page would ask for is answered.
pub fn start(request_line: &str, lines: &[&str]) -> (Gate, Step) {
    let head = head(request_line, lines).unwrap();
    let (mut gate, step) = Gate::start(&Arc::new(gate_config()), &connection(), &head, "r1");
    let step = formed(&mut gate, step);
    (gate, step)
}

pub fn alice() -> Identity {
    Identity {
        user: "alice".to_owned(),
        roles: vec!["user".to_owned()],
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        session_id: "s1".to_owned(),
        session_created: 1_700_000_000,
        attributes: BTreeMap::new(),
        remembered: false,
    }
}

/// A question about a path of `app.test`.
pub fn question(path: &str, session: Option<&str>) -> CheckRequest {
    CheckRequest {
        request_id: "r1".to_owned(),
        scheme: "https".to_owned(),
        host: "app.test".to_owned(),
        port: 8443,
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: None,
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        session: session.map(Into::into),
        client_cert: None,
        client: Client { address: [192, 0, 2, 1].into(), user_agent: String::new() },
    }
}

/// The answer of a gate that asks what the form of an entry asks for: nothing more than ever.
pub fn formed(gate: &mut Gate, step: Step) -> Step {
    match step {
        Step::Ask(Question::Form { .. }) => {
            gate.answer(Answer::Form(EntryForm { fields: Vec::new(), remember_me: true }))
        }
        other => other,
    }
}

impl Reply {
    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Step {
    pub fn reply(self) -> Reply {
        match self {
            Self::Respond(reply) => reply,
            other => panic!("not a reply: {other:?}"),
        }
    }

    /// The status of a reply, 200 for a permit, 0 for a question.
    pub fn status(&self) -> u16 {
        match self {
            Self::Respond(reply) => reply.status,
            Self::Forward(_) => 200,
            Self::Ask(_) => 0,
        }
    }
}

/// A small deterministic generator (xorshift64*): a failing seed fails again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A key of an agent that serves `app.test`, as the policy server gives it.
pub fn assertion_key() -> AssertionKeyResponse {
    let key = rcgen::KeyPair::generate().unwrap();
    let point = &key.public_key_raw()[1..];
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..]));
    AssertionKeyResponse {
        issuer: "cams:Test:web".to_owned(),
        kid: "k1".to_owned(),
        private_key: STANDARD.encode(key.serialize_der()).into(),
        not_after: i64::MAX,
        public_keys: vec![PublicKey { kid: "k1".to_owned(), x, y, hosts: vec!["app.test".to_owned()] }],
    }
}
