//! What of the API passes, and what of everything else it does not touch.

use shared_proto::check::CertificateStanding;
use shared_proto::client_cert::ClientCert;
use shared_proto::names::header;

use super::*;
use crate::head::Scheme;
use crate::testing::{COOKIE, NAVIGATION, connection, gate_config, head};

/// `app.test` is a site where devices enrol.
fn config() -> Arc<GateConfig> {
    let mut config = gate_config();
    Arc::make_mut(&mut config.sites[0]).jami = true;
    Arc::new(config)
}

fn certificate() -> ClientCert {
    ClientCert::from_der(&[0x30, 0x03, 0x02, 0x01, 0x07]).unwrap()
}

fn with_certificate() -> Connection {
    Connection { client_cert: Some(certificate()), ..connection() }
}

fn start(request_line: &str, lines: &[&str]) -> Step {
    Gate::start(&config(), &with_certificate(), &head(request_line, lines).unwrap(), "r1").1
}

fn permit(step: Step) -> Permit {
    match step {
        Step::Forward(permit) => permit,
        other => panic!("{other:?}"),
    }
}

/// The names of the headers that go on.
fn names(permit: &Permit, received: &[(&str, &[u8])]) -> Vec<String> {
    permit.request_headers(received.iter().copied()).into_iter().map(|(name, _)| name).collect()
}

/// By target: what the policy server is to see, where the request goes there.
#[test]
fn these_paths_go_to_the_policy_server_and_no_others() {
    let mine = [
        ("/api/login", "/api/login"),
        ("//api//login", "/api/login"),
        ("/api/auth/device", "/api/auth/device"),
        ("/%61pi/auth/device", "/api/auth/device"),
        ("/api/auth/directory/search?queryString=bo b", "/api/auth/directory/search?queryString=bo%20b"),
        ("/api/nameserver/name/alice", "/api/nameserver/name/alice"),
        ("/api/nameserver/addr/00", "/api/nameserver/addr/00"),
        ("/api/info", "/api/info"),
        ("/api/crl/0a.crl", "/api/crl/0a.crl"),
        ("/api/ocsp/0a", "/api/ocsp/0a"),
        ("/api/ocsp/0a/MEo/a+b=", "/api/ocsp/0a/MEo%2Fa+b="),
        ("//api/ocsp//0a//MEo//a%2Bb%2f%3D", "/api/ocsp/0a/MEo%2F%2Fa+b%2F="),
    ];
    for (target, expected) in mine {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
            let permit = permit(start(&format!("{method} {target}"), &[COOKIE, NAVIGATION]));
            assert_eq!(permit.target().as_str(), expected, "{method} {target}");
            assert_eq!(permit.to_policy_server(), Some(1000), "{target}");
            assert!(permit.identity().is_none() && permit.set_cookies().is_empty(), "{target}");
        }
    }
    let others = [
        "/",
        "/api",
        "/api/",
        "/api/login/x",
        "/api/logins",
        "/api/info/x",
        "/api/nameserver",
        "/api/crl/",
        "/api/crl",
        "/api/ocsp/",
        "/api/x",
        "/apis/login",
        "/api/auths/device",
    ];
    for target in others {
        let step = start(&format!("GET {target}"), &[]);
        assert!(matches!(step, Step::Ask(Question::Check(_))), "{target}: {step:?}");
    }
    // A slash of an OCSP question is one nowhere else.
    for target in
        ["/api/ocsp/0a/M%2F.", "/api/ocsp/0a/M%2Fb;c", "/api/crl/a%2Fb", "/api/ocsp%2F0a/M", "/api/auth/a%2fb"]
    {
        assert_eq!(start(&format!("GET {target}"), &[]).status(), 400, "{target}");
    }
}

/// A client that asks a little beside the API is told that there is none, and never to log in: it would delete its keys.
#[test]
fn no_device_is_led_to_a_login() {
    let nearly = [
        "/api/auth",
        "/api/auth/",
        "/API/auth/device",
        "/jams/api/auth/device",
        "/x/Api/Auth/devices?a=b",
        "/api/login/",
        "//API/login",
        "/api/%6cogin/",
        "/jams/api/login",
        "/jams/API/LOGIN/",
    ];
    for target in nearly {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(start(&format!("{method} {target}"), &[]).status(), 404, "{method} {target}");
        }
    }
    // At sites that are not for them it is the site's to say, but for the demand.
    let refused = |method: &str, target: &str| {
        let head = head(&format!("{method} {target}"), &[]).unwrap();
        let (mut gate, step) = Gate::start(&Arc::new(gate_config()), &connection(), &head, "r1");
        let Step::Ask(Question::Check(_)) = step else { panic!("{target}: {step:?}") };
        gate.answer(super::tests::login_at("/cams/login")).status()
    };
    for target in ["/api/login", "/API/Login", "/api/login/", "/jams/api/login"] {
        assert_eq!(refused("POST", target), 403, "{target}");
        assert_eq!(refused("GET", target), 401, "{target}");
    }
    assert_eq!(refused("POST", "/api/logins"), 401);
}

/// At any other site the API is the site's own, and subject to its rules.
#[test]
fn other_sites_keep_their_api() {
    for target in ["/api/login", "/api/auth/device", "/api/info", "/api/crl/a.crl", "/api/ocsp/a"] {
        let head = head(&format!("GET {target}"), &[]).unwrap();
        let step = Gate::start(&Arc::new(gate_config()), &with_certificate(), &head, "r1").1;
        let Step::Ask(Question::Check(question)) = step else { panic!("{target}: {step:?}") };
        assert_eq!(question.client_cert, None);
    }
    let head = head("GET /api/ocsp/0a/MEo%2Fa", &[]).unwrap();
    assert_eq!(Gate::start(&Arc::new(gate_config()), &connection(), &head, "r1").1.status(), 400);
}

#[test]
fn a_host_for_logging_in_alone_can_have_it_too() {
    let mut config = GateConfig::clone(&config());
    Arc::make_mut(&mut config.sites[0]).upstream = None;
    let ask = |target: &str| {
        Gate::start(&Arc::new(config.clone()), &connection(), &head(&format!("GET {target}"), &[]).unwrap(), "r1").1
    };
    assert_eq!(ask("/api/info").status(), 200);
    assert_eq!(ask("/api/other").status(), 404);
}

/// Who asks is said where it is asked, and nowhere else.
#[test]
fn credentials_go_where_they_are_asked_for() {
    let received: [(&str, &[u8]); 5] = [
        ("authorization", b"Bearer x"),
        ("cookie", b"a=b"),
        ("accept", b"*/*"),
        ("origin", b"https://ui.test"),
        ("x-forwarded-for", b"10.0.0.1"),
    ];
    for (target, personal) in [
        ("/api/login", true),
        ("/api/auth/devices", true),
        ("/api/info", false),
        ("/api/nameserver/name/a", false),
        ("/api/crl/a.crl", false),
        ("/api/ocsp/a", false),
    ] {
        let names = names(&permit(start(&format!("GET {target}"), &[])), &received);
        for name in ["authorization", header::CLIENT_CERT] {
            assert_eq!(names.iter().any(|n| n == name), personal, "{target}: {names:?}");
        }
        assert!(names.iter().any(|name| name == "origin") && !names.iter().any(|name| name == "cookie"), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("x-")), "{names:?}");
    }
}

/// A password is not sent in cleartext twice: the answer says why, and is no verdict on it.
#[test]
fn nobody_says_who_they_are_without_tls() {
    let mut behind = GateConfig::clone(&config());
    behind.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let behind = Arc::new(behind);
    let cleartext = Connection { sni: None, scheme: Scheme::Http, ..connection() };
    for (target, exposed) in [
        ("/api/login", 403),
        ("/api/auth/device", 403),
        ("/api/auth/devices", 403),
        ("/api/info", 200),
        ("/api/nameserver/name/a", 200),
        ("/api/crl/a.crl", 200),
    ] {
        for (config, connection, expected) in
            [(config(), &cleartext, exposed), (config(), &connection(), 200), (behind.clone(), &cleartext, 200)]
        {
            let head = head(&format!("POST {target}"), &[]).unwrap();
            let step = Gate::start(&config, connection, &head, "r1").1;
            assert_eq!(step.status(), expected, "{target}: {step:?}");
        }
    }
}

/// Anybody's questions are short, whatever devices may send.
#[test]
fn only_devices_send_much() {
    let mut config = GateConfig::clone(&config());
    config.jami.body_limit = 1 << 20;
    let config = Arc::new(config);
    for (target, longest) in [("/api/auth/contacts", 1 << 20), ("/api/login", 1 << 20), ("/api/ocsp/a", 64 << 10)] {
        for (length, status) in [(longest, 200), (longest + 1, 413)] {
            let head = head(&format!("POST {target}"), &[&format!("Content-Length: {length}")]).unwrap();
            let step = Gate::start(&config, &connection(), &head, "r1").1;
            assert_eq!(step.status(), status, "{target} {length}: {step:?}");
            if let Step::Forward(permit) = step {
                assert_eq!(permit.to_policy_server(), Some(longest), "{target}");
            }
        }
    }
}

#[test]
fn what_could_be_misread_does_not_pass() {
    let cases: [(&[&str], u16); 8] = [
        (&["Authorization: Basic YTpi", "Authorization: Basic YTpj"], 400),
        (&["Content-Type: application/json", "Content-Type: text/plain"], 400),
        (&["Connection: Upgrade", "Upgrade: websocket"], 400),
        (&["Upgrade: h2c"], 400),
        (&["Content-Length: 1000"], 200),
        (&["Content-Length: 1001"], 413),
        (&["Content-Length: 9999999999999999999"], 413),
        (&["Transfer-Encoding: chunked"], 200),
    ];
    for (lines, status) in cases {
        assert_eq!(start("POST /api/auth/device", lines).status(), status, "{lines:?}");
    }
}

/// Cases 6 and 64: nobody names a certificate, however it is written, and none is no empty one.
#[test]
fn no_client_names_a_certificate() {
    for target in ["/api/login", "/api/info", "/api/crl/a.crl", "/"] {
        for name in
            ["X-Client-Cert", "x-client-cert", "X_Client_Cert", "X.Client.Cert", "X-Client_Cert", "CAMS-HTTP-USER"]
        {
            for value in ["", certificate().escaped()] {
                let Ok(head) = head(&format!("GET {target}"), &[&format!("{name}: {value}")]) else { continue };
                for start in [Gate::start, Gate::start_for_revocation] {
                    assert_eq!(start(&config(), &connection(), &head, "r1").1.status(), 400, "{target} {name}");
                }
            }
        }
    }
    let head = head("POST /api/login", &[]).unwrap();
    let permit = permit(Gate::start(&config(), &connection(), &head, "r1").1);
    assert!(!names(&permit, &[]).iter().any(|name| name == header::CLIENT_CERT));
}

/// What is asked about a certificate, and who is shown it then.
#[test]
fn a_site_is_shown_what_the_server_vouches_for() {
    let cases = [(CertificateStanding::Live, true), (CertificateStanding::None, false)];
    for (standing, shown) in cases {
        let (mut gate, step) = Gate::start(&config(), &with_certificate(), &head("GET /", &[]).unwrap(), "r1");
        let Step::Ask(Question::Check(question)) = step else { panic!("{step:?}") };
        // `printf '\x30\x03\x02\x01\x07' | sha256sum`
        assert_eq!(
            question.client_cert.as_deref(),
            Some("eceda61045db145d209debf0d245e44b5b1cc52e3c04266aa2a486fdb6a2b285")
        );
        let mut answer = super::tests::granted(SessionStanding::None, None);
        if let Answer::Check(response) = &mut answer {
            response.client_cert = standing;
        }
        let permit = permit(gate.answer(answer));
        assert_eq!(names(&permit, &[]).iter().any(|name| name == header::CLIENT_CERT), shown, "{standing:?}");
    }
}

/// The certificate of the connection is the client's own where nobody stands between.
#[test]
fn a_proxy_speaks_for_others_and_not_for_itself() {
    let mut config = GateConfig::clone(&config());
    config.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    config.client_cert_from_proxies = true;
    let config = Arc::new(config);
    let line = format!("X-Client-Cert: {}", certificate().escaped());
    for (lines, shown) in [(vec![], false), (vec![line.as_str()], true)] {
        let head = head("POST /api/login", &lines).unwrap();
        let permit = permit(Gate::start(&config, &with_certificate(), &head, "r1").1);
        assert_eq!(names(&permit, &[]).iter().any(|name| name == header::CLIENT_CERT), shown, "{lines:?}");
        let head = self::head("GET /", &lines).unwrap();
        let Step::Ask(Question::Check(question)) = Gate::start(&config, &with_certificate(), &head, "r1").1 else {
            panic!("not asked")
        };
        assert_eq!(question.client_cert.is_some(), shown);
    }
}

#[test]
fn in_cleartext_there_is_nothing_but_revocation() {
    let cases = [
        ("GET", "/api/crl/a.crl", 200),
        ("POST", "/api/ocsp/a", 200),
        ("GET", "/api/ocsp/a/MEo%2Fa", 200),
        ("GET", "//api/crl/a.crl", 200),
        ("HEAD", "/api/crl/a.crl", 404),
        ("DELETE", "/api/crl/a.crl", 404),
        ("GET", "/api/info", 404),
        ("POST", "/api/login", 404),
        ("POST", "/api/auth/device", 404),
        ("GET", "/api/nameserver/name/a", 404),
        ("GET", "/cams/login", 404),
        ("GET", "/cams/jwks.json", 404),
        ("GET", "/", 404),
        ("GET", "/api/crl/a%2Fb", 400),
    ];
    let (bare, connection) = (Arc::new(gate_config()), Connection { sni: None, scheme: Scheme::Http, ..connection() });
    for (method, target, status) in cases {
        let head = head(&format!("{method} {target}"), &[NAVIGATION, COOKIE, "Authorization: x"]).unwrap();
        let step = Gate::start_for_revocation(&config(), &connection, &head, "r1").1;
        assert_eq!(step.status(), status, "{method} {target}");
        if let Step::Forward(permit) = step {
            assert_eq!(permit.to_policy_server(), Some(1000));
            let headers = permit.request_headers([]);
            let origin = headers.iter().find(|(name, _)| name == header::ORIGIN);
            assert_eq!(origin.map(|(_, value)| value.as_slice()), Some(b"https://app.test".as_slice()));
        }
        let without = Gate::start_for_revocation(&bare, &connection, &head, "r1").1;
        assert!(matches!(without.status(), 400 | 404), "{method} {target}");
    }
}
