//! The gate lets through what was granted, and nothing else.

use shared_proto::check::CertificateStanding;
use shared_proto::login::Remember;
use shared_proto::secret::Secret;

use super::*;
use crate::head::{Scheme, Version};
use crate::pages::Page;
use crate::testing::{COOKIE, NAVIGATION, Random, alice, connection, formed, gate_config, head, start};

pub(super) fn granted(standing: SessionStanding, identity: Option<Identity>) -> Answer {
    check(Decision::Granted, standing, identity)
}

pub(super) fn check(decision: Decision, session: SessionStanding, identity: Option<Identity>) -> Answer {
    Answer::Check(CheckResponse {
        decision,
        session,
        identity,
        client_cert: CertificateStanding::None,
        policy_hash: "h".to_owned(),
        epoch: String::new(),
        seq: 0,
        remember_ms: 0,
    })
}

pub(super) fn login_at(login_url: &str) -> Answer {
    let (domain, entry) = ("system".to_owned(), "http".to_owned());
    let decision = Decision::LoginRequired { domain, entry, login_url: login_url.to_owned() };
    check(decision, SessionStanding::None, None)
}

#[test]
fn the_question_says_what_will_be_forwarded() {
    let lines = [
        COOKIE,
        "User-Agent: curl",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Original-URL: /public/",
    ];
    let (_, step) = start("GET //%61dmin/x?a=b", &lines);
    let Step::Ask(Question::Check(question)) = step else { panic!("{step:?}") };
    assert_eq!((question.scheme.as_str(), question.host.as_str(), question.port), ("https", "app.test", 8443));
    assert_eq!((question.method.as_str(), question.path.as_str()), ("GET", "/admin/x"));
    assert_eq!(question.query.as_deref(), Some("a=b"));
    assert_eq!((question.domain.as_str(), question.entry.as_str()), ("system", "http"));
    assert_eq!(question.session.as_ref().and_then(Secret::expose_str), Some("token"));
    assert_eq!(question.client.address.to_string(), "192.0.2.1");
    assert_eq!(question.client.user_agent, "curl");
}

#[test]
fn a_host_without_a_site_serves_the_login_and_nothing_else() {
    let mut config = gate_config();
    for site in &mut config.sites {
        Arc::make_mut(site).upstream = None;
    }
    for (request_line, status) in
        [("GET /cams/login", 200), ("GET /cams/logout/forget", 204), ("GET /", 404), ("GET /private/", 404)]
    {
        let head = head(request_line, &[COOKIE]).unwrap();
        let (mut gate, step) = Gate::start(&Arc::new(config.clone()), &connection(), &head, "r1");
        let step = formed(&mut gate, step);
        assert_eq!(step.status(), status, "{request_line}");
    }
}

#[test]
fn a_request_names_one_site_of_ours() {
    let check = |raw: &str, sni: Option<&str>, expected: u16| {
        let mut connection = connection();
        connection.sni = sni.map(str::to_owned);
        let head = Head::parse_h1(raw.replace('\n', "\r\n").as_bytes()).unwrap();
        let (_, step) = Gate::start(&Arc::new(gate_config()), &connection, &head, "r1");
        assert_eq!(step.status(), expected, "{raw} with {sni:?}");
    };
    for (target, host, expected) in [
        ("/", "Host: app.test\n", 0),
        ("/", "Host: APP.test:8443\n", 0),
        ("/", "Host: app.test:1\n", 0),
        ("http://app.test/x", "Host: app.test\n", 0),
        ("/", "", 400),
        ("/", "Host:\n", 400),
        ("/", "Host: app.test\nHost: app.test\n", 400),
        ("/", "Host: app.test\nHost: evil.test\n", 400),
        ("/", "Host: app.test, evil.test\n", 400),
        ("/", "Host: app.test:99999\n", 400),
        ("/", "Host: app.test:0443\n", 400),
        ("/", "Host: app.test:\n", 400),
        ("/", "Host: app.test:x\n", 400),
        ("/", "Host: app.test\tevil\n", 400),
        ("/", "Host: user@app.test\n", 400),
        ("/", "Host: app.test/x\n", 400),
        ("/", "Host: http://app.test\n", 400),
        ("/", "Host: app..test\n", 400),
        ("/", "Host: APP.TEST.\n", 400),
        ("/", "Host: evil.test\n", 421),
        ("/", "Host: app.test.evil.test\n", 421),
        ("/", "Host: xapp.test\n", 421),
        ("/", "Host: 127.0.0.1\n", 421),
        ("/", "Host: [::1]:8443\n", 421),
        ("http://other.test/public/", "Host: app.test\n", 400),
        ("http://app.test:8443/", "Host: app.test\n", 400),
        ("http://app.test@evil/", "Host: app.test\n", 400),
        ("*", "Host: app.test\n", 400),
        ("admin", "Host: app.test\n", 400),
        ("/public/#/../admin/", "Host: app.test\n", 400),
    ] {
        check(&format!("GET {target} HTTP/1.1\n{host}\n"), Some("app.test"), expected);
    }
    for (host, sni, expected) in [
        ("app.test", None, 0),
        ("app.test", Some("APP.TEST"), 0),
        ("app.test", Some("shop.test"), 421),
        ("shop.test:9443", Some("shop.test"), 0),
        ("shop.test:9443", Some("app.test"), 421),
        ("shop.test", Some("shop.test"), 421),
        ("shop.test:8443", Some("shop.test"), 421),
    ] {
        check(&format!("GET / HTTP/1.1\nHost: {host}\n\n"), sni, expected);
    }
}

#[test]
fn http2_names_one_site_too() {
    for (authority, host, target, expected) in [
        (Some("app.test"), None, "/", 0),
        (Some("app.test"), Some("APP.test"), "/", 0),
        (None, Some("app.test"), "/", 0),
        (Some("app.test"), Some("evil.test"), "/", 400),
        (Some("evil.test"), Some("app.test"), "/", 400),
        (Some("app.test"), Some("app.test:8443"), "/", 400),
        (Some("user@app.test"), None, "/", 400),
        (None, None, "/", 400),
        (Some("app.test"), None, "http://app.test/", 400),
        (Some("app.test"), None, "", 400),
        (Some("app.test"), None, "/a\r\nb", 400),
        (Some("evil.test"), None, "/", 421),
    ] {
        let head = Head {
            version: Version::H2,
            method: "GET".to_owned(),
            target: target.as_bytes().to_vec(),
            authority: authority.map(str::to_owned),
            headers: host.map(|host| ("host".to_owned(), host.as_bytes().to_vec())).into_iter().collect(),
        };
        let (_, step) = Gate::start(&Arc::new(gate_config()), &connection(), &head, "r1");
        assert_eq!(step.status(), expected, "{authority:?} {host:?} {target:?}");
    }
}

#[test]
fn a_grant_counts_only_when_it_says_for_whom() {
    use SessionStanding::{Ended, Live, None as Nobody, Unknown};
    for cookie in [false, true] {
        for standing in [Nobody, Live, Ended, Unknown] {
            for identity in [None, Some(alice())] {
                for decision in [Decision::Granted, Decision::Denied, Decision::Unknown] {
                    let is_granted = decision == Decision::Granted
                        && match standing {
                            Live => cookie && identity.is_some(),
                            Nobody | Ended => identity.is_none(),
                            Unknown => false,
                        };
                    let (mut gate, _) = start("GET /x", if cookie { &[COOKIE] } else { &[] });
                    let mut step = gate.answer(check(decision, standing, identity.clone()));
                    let asks = matches!(step, Step::Ask(Question::Assertion(_)));
                    assert_eq!(asks, is_granted && standing == Live, "{cookie} {standing:?} {identity:?}");
                    if asks {
                        step = gate.answer(Answer::Assertion(Assertion::new("t")));
                    }
                    assert_eq!(step.status(), if is_granted { 200 } else { 403 }, "{cookie} {standing:?} {identity:?}");
                }
            }
        }
    }
}

/// Whatever is answered, in whatever order: only a grant for the request's check makes a permit, and one for a person
/// only together with an assertion.
#[test]
fn no_other_answer_makes_a_permit() {
    const REMEMBERED: &str = "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=kept";
    let requests: [(&str, &[&str]); 11] = [
        ("GET /x", &[]),
        ("GET /x", &[COOKIE]),
        ("GET /cams/jwks.json", &[]),
        ("POST /cams/login", &["Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"]),
        ("POST /cams/logout", &[COOKIE, "Content-Length: 0"]),
        ("GET /cams/login", &[]),
        ("GET /x", &[REMEMBERED]),
        ("GET /cams/login?cams_original_url=%2Fx", &[REMEMBERED, NAVIGATION]),
        ("GET /cams/account", &[COOKIE]),
        ("GET /cams/account", &[REMEMBERED]),
        ("POST /cams/account", &[COOKIE, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"]),
    ];
    let form = b"cams_end=everything&cams_security_domain=system&cams_login_config=http&cams_cb_username=a";
    let mut random = Random::new(5);
    for n in 0..4_000 {
        let (line, lines) = requests[n % requests.len()];
        let (mut gate, first) = start(line, lines);
        let mut is_checking = matches!(first, Step::Ask(Question::Check(_)));
        let (mut is_vouching, mut is_remembering, mut has_session) = (false, false, lines.contains(&COOKIE));
        for _ in 0..6 {
            let answer = match random.below(16) {
                0 => granted(SessionStanding::None, None),
                1 => Answer::LinkDown,
                2 => Answer::Body(form.to_vec()),
                3 => Answer::BodyTooLarge,
                4 => Answer::Logout,
                5 => login_at("/cams/login"),
                6 => Answer::Login(LoginResponse::Unknown),
                7 => Answer::Login(LoginResponse::Success { session: "t".into(), identity: alice(), remember: None }),
                8 => granted(SessionStanding::Live, Some(alice())),
                9 => Answer::Assertion(Assertion::new("t")),
                10 => Answer::NoKey,
                11 => {
                    let remember = Some(Remember { cookie: "r".into(), max_age_seconds: 1 });
                    Answer::AutoLogin(AutoLoginResponse::Success { session: "t".into(), identity: alice(), remember })
                }
                12 => Answer::AutoLogin(AutoLoginResponse::Refused { notice: None }),
                13 => Answer::Account(AccountResponse::LoginRequired { login_url: "/cams/login".to_owned() }),
                14 => Answer::AccountEnd(AccountEndResponse::Ended { own: false }),
                _ => Answer::Keys(Value::Null),
            };
            let is_grant = matches!(&answer, Answer::Check(CheckResponse { decision: Decision::Granted, .. }));
            let is_personal = is_grant && matches!(&answer, Answer::Check(response) if response.identity.is_some());
            let is_public = is_checking && is_grant && !is_personal;
            let is_permitted = is_public || (is_vouching && matches!(answer, Answer::Assertion(_)));
            is_vouching = is_checking && is_personal && has_session;
            let is_logged_in = is_remembering && matches!(answer, Answer::AutoLogin(AutoLoginResponse::Success { .. }));
            has_session |= is_logged_in;
            let step = gate.answer(answer);
            assert_eq!(matches!(step, Step::Forward(_)), is_permitted, "{line}: {step:?}");
            assert_eq!(matches!(step, Step::Ask(Question::Assertion(_))), is_vouching, "{line}: {step:?}");
            is_remembering = matches!(step, Step::Ask(Question::AutoLogin(_)));
            is_checking = matches!(step, Step::Ask(Question::Check(_)));
            assert!(!is_checking || is_logged_in, "{line}: {step:?}");
        }
    }
}

#[test]
fn people_are_led_to_the_login_and_programs_are_told() {
    const NAVIGATE: &str = "Sec-Fetch-Mode: navigate";
    for (line, lines, expected) in [
        ("GET /x", &[NAVIGATION][..], 302),
        ("HEAD /x", &[NAVIGATION], 302),
        ("POST /x", &[NAVIGATION, "Content-Length: 0"], 303),
        ("GET /x", &[NAVIGATE], 302),
        ("GET /x", &[NAVIGATE, "Sec-Fetch-Dest: document"], 302),
        ("GET /x", &[NAVIGATE, "Sec-Fetch-Dest: iframe", NAVIGATION], 401),
        ("GET /x", &["Sec-Fetch-Mode: cors", NAVIGATION], 401),
        ("GET /x", &["Sec-Fetch-Mode: no-cors", NAVIGATION], 401),
        ("GET /x", &[NAVIGATION, "X-Requested-With: XMLHttpRequest"], 401),
        ("GET /x", &[NAVIGATION, "Upgrade: websocket"], 401),
        ("PUT /x", &[NAVIGATION, "Content-Length: 0"], 401),
        ("OPTIONS /x", &[NAVIGATION], 401),
        ("GET /x", &["Accept: */*"], 401),
        ("GET /x", &["Accept: application/json, text/htmlx"], 401),
        ("GET /x", &["User-Agent: kube-probe/1.29"], 401),
        ("GET /x", &[], 401),
    ] {
        let (mut gate, _) = start(line, lines);
        let reply = gate.answer(login_at("/cams/login")).reply();
        assert_eq!(reply.status, expected, "{line} {lines:?}");
        assert_eq!(reply.values("Location").is_empty(), expected == 401, "{line} {lines:?}");
        assert_eq!(reply.values("WWW-Authenticate").is_empty(), expected != 401, "{line} {lines:?}");
        assert_eq!(matches!(reply.body, ReplyBody::Json(_)), expected == 401, "{line} {lines:?}");
    }
}

#[test]
fn the_way_back_is_the_canonical_address() {
    const QUERY: &str =
        "cams_security_domain=system&cams_login_config=http&cams_original_url=https%3A%2F%2Fapp.test%3A8443";
    for (line, login_url, expected) in [
        ("GET /%61?x=%2F&y", "/cams/login", Some(format!("/cams/login?{QUERY}%2Fa%3Fx%3D%252F%26y"))),
        ("POST /x", "/cams/login", Some(format!("/cams/login?{QUERY}%2F&cams_notice=form-lost"))),
        ("GET /x", "/my/page.jsp?lang=en", Some(format!("/my/page.jsp?lang=en&{QUERY}%2Fx"))),
        ("GET /x", "https://app.test:8443/in", Some(format!("https://app.test:8443/in?{QUERY}%2Fx"))),
        ("GET /x", "javascript:alert(1)", None),
        ("GET /x", "//evil.test", None),
        ("GET /x", "/x\r\nSet-Cookie: a=b", None),
        ("GET /x", "", None),
    ] {
        let (mut gate, _) = start(line, &[NAVIGATION, "X-Forwarded-Host: evil.test", "Content-Length: 0"]);
        let reply = gate.answer(login_at(login_url)).reply();
        let location = reply.values("Location");
        assert_eq!(location.first().copied(), expected.as_deref(), "{line} {login_url:?}");
        assert_eq!(reply.status == 503, expected.is_none(), "{line} {login_url:?}");
    }
}

#[test]
fn an_ended_session_loses_its_cookie() {
    let (mut gate, _) = start("GET /x", &[COOKIE, NAVIGATION]);
    let (domain, entry, login_url) = ("system".to_owned(), "http".to_owned(), "/cams/login".to_owned());
    let decision = Decision::LoginRequired { domain, entry, login_url };
    let reply = gate.answer(check(decision, SessionStanding::Ended, None)).reply();
    assert!(reply.values("Set-Cookie")[0].starts_with("CAMS_SID_MYCAMSCLUSTER_SYSTEM=; "));

    let (mut gate, _) = start("GET /public", &[COOKIE]);
    let Step::Forward(permit) = gate.answer(granted(SessionStanding::Ended, None)) else { panic!() };
    let headers = permit.response_headers([("Content-Type", b"text/html".as_slice())]);
    assert_eq!(
        headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["Content-Type", "Cache-Control", "Set-Cookie"]
    );
}

#[test]
fn denials_and_outages_speak_the_language_of_the_asker() {
    for (lines, is_page) in [(&[NAVIGATION][..], true), (&[], false)] {
        let (mut gate, _) = start("GET /x", lines);
        let reply = gate.answer(Answer::LinkDown).reply();
        assert_eq!((reply.status, reply.values("Retry-After")), (503, vec!["5"]));
        assert_eq!(matches!(reply.body, ReplyBody::Page(Page::Unavailable { .. })), is_page);

        let (mut gate, _) = start("GET /x", lines);
        let reply = gate.answer(check(Decision::Denied, SessionStanding::None, None)).reply();
        assert_eq!((reply.status, reply.audit.event), (403, Event::Denied));
        assert_eq!(matches!(reply.body, ReplyBody::Page(Page::Denied { .. })), is_page);
    }
}

#[test]
fn the_site_is_told_only_what_we_know() {
    let spoofed = [
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "X_Real_IP: 10.0.0.1",
        "x.forwarded.host: evil",
        "X-Original-URL: /",
        "TE: trailers",
        "Accept: a",
        COOKIE,
        "Cookie: c=d",
    ];
    let (mut gate, _) = start("GET //x/%61", &spoofed);
    let Step::Ask(Question::Assertion(claims)) = gate.answer(granted(SessionStanding::Live, Some(alice()))) else {
        panic!()
    };
    assert_eq!(claims, Claims::new("https://app.test:8443".to_owned(), &alice()));
    let Step::Forward(permit) = gate.answer(Answer::Assertion(Assertion::new("a.b.c"))) else { panic!() };
    assert!(!format!("{permit:?}").contains("a.b.c"));
    assert_eq!(permit.target().as_str(), "/x/a");
    let mut received = head("GET /", &spoofed).unwrap().headers;
    // The gate refuses these; should they come another way, they are dropped all the same.
    for alias in ["CAMS-HTTP-USER", "cams_http_roles", "Cams.Http.Attribute.X", "X~Client~Cert", "CAMS-HTTP-ASSERTION"]
    {
        received.push((alias.to_owned(), b"adm".to_vec()));
    }
    let headers = permit.request_headers(received.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    let headers: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
    assert_eq!(
        headers,
        [
            "Host: app.test:8443",
            "Accept: a",
            "Cookie: a=b; c=d",
            "X-Real-IP: 192.0.2.1",
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: app.test:8443",
            "CAMS-HTTP-USER: alice",
            "CAMS-HTTP-ROLES: user",
            "CAMS-HTTP-SECURITY-DOMAIN: system",
            "CAMS-HTTP-SESSION-ID: s1",
            "CAMS-HTTP-SESSION-CREATED: 1700000000",
            "CAMS-HTTP-ROLE: user",
            "CAMS-HTTP-ASSERTION: a.b.c",
        ]
    );
}

#[test]
fn websockets() {
    const UPGRADE: [&str; 3] = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"];
    for (lines, expected) in [
        (&[][..], 0),
        (&["Origin: https://evil.test"], 0),
        (&[COOKIE], 0),
        (&[COOKIE, "Origin: https://app.test:8443"], 0),
        (&[COOKIE, "Origin: https://portal.test"], 0),
        (&[COOKIE, "Origin: https://evil.test"], 403),
        (&[COOKIE, "Origin: null"], 403),
        (&[COOKIE, "Origin: http://app.test:8443"], 403),
        (&[COOKIE, "Origin: https://app.test:8443", "Sec-Fetch-Site: cross-site"], 403),
    ] {
        let (_, step) = start("GET /ws", &[&UPGRADE, lines].concat());
        assert_eq!(step.status(), expected, "{lines:?}");
    }
    assert_eq!(start("GET /ws", &UPGRADE[..2]).1.status(), 400);
    let (mut gate, _) = start("GET /ws", &UPGRADE);
    assert_eq!(gate.answer(login_at("/cams/login")).status(), 401);
    let (mut gate, _) = start("GET /ws", &UPGRADE);
    let Step::Forward(permit) = gate.answer(granted(SessionStanding::None, None)) else { panic!() };
    assert!(permit.is_upgrade());
}

#[test]
fn a_listener_without_tls_has_no_secure_cookies() {
    let mut connection = connection();
    (connection.scheme, connection.sni) = (Scheme::Http, None);
    let head = head("GET /cams/logout", &[]).unwrap();
    let (_, step) = Gate::start(&Arc::new(gate_config()), &connection, &head, "r1");
    assert!(step.reply().values("Set-Cookie").iter().all(|cookie| !cookie.contains("Secure")));
}
