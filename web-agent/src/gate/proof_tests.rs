//! What goes to a site as proof, and what a proxy may hand on.

use super::tests::granted;
use super::*;
use crate::testing::{COOKIE, alice, connection, gate_config, head, start};

#[test]
fn without_an_assertion_a_person_is_not_forwarded() {
    for (answer, status) in [(Answer::NoKey, 503), (Answer::LinkDown, 503), (Answer::Logout, 503)] {
        let (mut gate, _) = start("GET /x", &[COOKIE]);
        gate.answer(granted(SessionStanding::Live, Some(alice())));
        let reply = gate.answer(answer).reply();
        assert_eq!((reply.status, reply.values("Retry-After")), (status, vec!["5"]));
    }
}

/// The port an assertion is made out to is never one that the client only claims.
#[test]
fn an_assertion_is_for_the_site_that_was_asked() {
    for (host, sni, expected) in [
        ("app.test:8443", "app.test", "https://app.test:8443"),
        ("APP.test:1", "app.test", "https://app.test:8443"),
        ("shop.test:9443", "shop.test", "https://shop.test:9443"),
    ] {
        let head = Head::parse_h1(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{COOKIE}\r\n\r\n").as_bytes()).unwrap();
        let connection = Connection { sni: Some(sni.to_owned()), ..connection() };
        let (mut gate, _) = Gate::start(&Arc::new(gate_config()), &connection, &head, "r1");
        let step = gate.answer(granted(SessionStanding::Live, Some(alice())));
        let Step::Ask(Question::Assertion(claims)) = step else { panic!("{step:?}") };
        assert_eq!(claims.audience, expected);
    }
}

#[test]
fn every_site_shows_its_keys_to_everybody() {
    for line in ["GET /cams/jwks.json", "HEAD /cams/jwks.json?x"] {
        let (mut gate, step) = start(line, &["Origin: https://evil.test", "Sec-Fetch-Site: cross-site"]);
        assert!(matches!(step, Step::Ask(Question::Keys { host }) if host == "app.test"));
        let reply = gate.answer(Answer::Keys(Value::Null)).reply();
        assert_eq!((reply.status, matches!(reply.body, ReplyBody::Keys(_))), (200, true));
        let (mut gate, _) = start(line, &[]);
        assert_eq!(gate.answer(Answer::NoKey).status(), 503);
    }
    let reply = start("POST /cams/jwks.json", &["Content-Length: 0"]).1.reply();
    assert_eq!((reply.status, reply.values("Allow")), (405, vec!["GET, HEAD"]));
}

/// Case 18, and what a trusted proxy may do that others may not.
#[test]
fn a_client_certificate_counts_from_trusted_proxies_only() {
    let pem = std::fs::read(crate::testkit::data("tls").join("certificate.pem")).unwrap();
    const RESERVED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let escaped = percent_encoding::percent_encode(&pem, &RESERVED).to_string();
    let good = format!("X-Client-Cert: {escaped}");
    let check = |trusted: &str, believed: bool, lines: &[&str], expected: u16| {
        let mut config = gate_config();
        config.trusted_proxies = vec![trusted.parse().unwrap()];
        config.client_cert_from_proxies = believed;
        let step = match head("GET /x", lines) {
            Ok(head) => Gate::start(&Arc::new(config), &connection(), &head, "r1"),
            Err(refusal) => return assert_eq!(refusal.status, expected, "{lines:?}"),
        };
        let (mut gate, step) = step;
        assert_eq!(step.status(), expected, "{trusted} {believed} {lines:?}");
        if expected == 0 {
            let Step::Forward(permit) = gate.answer(granted(SessionStanding::None, None)) else { panic!() };
            let received = head("GET /x", lines).unwrap().headers;
            let headers = permit.request_headers(received.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
            let sent: Vec<_> = headers.iter().filter(|(name, _)| name == "X-Client-Cert").collect();
            assert_eq!(sent.len(), 1);
            assert_eq!(sent[0].1, escaped.as_bytes());
        }
    };
    let (us, others) = ("192.0.2.0/24", "10.0.0.0/8");
    check(us, true, &[&good], 0);
    check(us, true, &[&good.replace("X-Client-Cert", "x-CLIENT-cert")], 0);
    check(us, false, &[&good], 400);
    check(others, true, &[&good], 400);
    check(others, false, &[&good], 400);
    check(us, true, &[&good, &good], 400);
    check(us, true, &[&format!("{good}, {escaped}")], 400);
    for bad in ["X-Client-Cert:", "X-Client-Cert: forged", "X-Client-Cert: -----BEGIN CERTIFICATE-----"] {
        check(us, true, &[bad], 400);
        check(others, true, &[bad], 400);
    }
    for separator in "_.~!#$%&'*+^|`".chars() {
        let alias = "X-Client-Cert".replace('-', &separator.to_string());
        check(us, true, &[&format!("{alias}: {escaped}")], 400);
        check(us, true, &[&good, &format!("{alias}: {escaped}")], 400);
    }
}
