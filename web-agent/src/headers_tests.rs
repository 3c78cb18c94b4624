//! Nothing a client, a person's attributes or a site writes becomes an identity.

use super::*;
use crate::head::Version;
use crate::testing;

fn head(headers: &[(&str, &str)]) -> Head {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Head { version: Version::H11, method: "GET".to_owned(), target: b"/".to_vec(), authority: None, headers }
}

#[test]
fn only_trusted_proxies_speak_for_others() {
    let check = |peer: &str, headers: &[(&str, &str)], expected: Result<(&str, Scheme), u16>| {
        let mut config = testing::gate_config();
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let connection =
            Connection { peer: peer.parse().unwrap(), scheme: Scheme::Http, port: 80, sni: None, client_cert: None };
        let found = origination(&config, &connection, &head(headers)).map(|o| (o.address.to_string(), o.scheme));
        let expected = expected.map(|(address, scheme)| (address.to_owned(), scheme));
        assert_eq!(found.map_err(|refusal| refusal.status), expected, "{peer} {headers:?}");
    };
    let http = |address| Ok((address, Scheme::Http));
    const FOR: &str = "X-Forwarded-For";
    for garbage in ["a", "999.1.1.1", "1.2.3.4", "", &",".repeat(10_000), "127.0.0.1"] {
        check("192.0.2.1", &[(FOR, garbage), ("X-Forwarded-Proto", "https")], http("192.0.2.1"));
    }
    check("10.1.2.3", &[], http("10.1.2.3"));
    check("::ffff:10.1.2.3", &[(FOR, "192.0.2.9")], http("192.0.2.9"));
    check("::ffff:192.0.2.1", &[(FOR, "192.0.2.9")], http("192.0.2.1"));
    check("10.1.2.3", &[(FOR, "1.1.1.1, 192.0.2.9"), (FOR, "10.9.9.9,fd00::1")], http("192.0.2.9"));
    check("10.1.2.3", &[(FOR, "a, 192.0.2.9, 10.9.9.9")], http("192.0.2.9"));
    check("10.1.2.3", &[(FOR, "::ffff:192.0.2.9")], http("192.0.2.9"));
    check("10.1.2.3", &[(FOR, "10.0.0.1, 10.0.0.2")], http("10.0.0.1"));
    check("10.1.2.3", &[("X_Forwarded_For", "192.0.2.9")], http("10.1.2.3"));
    for garbage in ["a", "", "999.1.1.1", "010.0.0.1", "192.0.2.9:80", "192.0.2.9,", ",,,", "[::1]", "1.1", "unknown"] {
        check("10.1.2.3", &[(FOR, garbage)], Err(400));
    }
    check("10.1.2.3", &[("X-Forwarded-Proto", "https")], Ok(("10.1.2.3", Scheme::Https)));
    check("10.1.2.3", &[("X-Forwarded-Proto", "http, HTTPS")], Ok(("10.1.2.3", Scheme::Https)));
    check("10.1.2.3", &[("X-Forwarded-Proto", "gopher")], Err(400));
    check("10.1.2.3", &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")], Err(400));
}

#[test]
fn headers_that_contradict_the_decision_are_dropped_in_every_spelling() {
    for name in [
        "Host",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Uri",
        "X-Forwarded-Prefix",
        "X-Forwarded-Method",
        "X-Forwarded-Email",
        "X-Forwarded",
        "X-Original-URL",
        "X-Original-Method",
        "X-Rewrite-URL",
        "X-Real-IP",
        "X-HTTP-Method-Override",
        "True-Client-IP",
        "Proxy",
        "TE",
        "Trailer",
        "CAMS-HTTP-USER",
        "X-Client-Cert",
    ] {
        for separator in ['-', '_', '.', '~'] {
            let alias = name.replace('-', &separator.to_string());
            assert!(is_dropped(&alias) && is_dropped(&alias.to_lowercase()), "{alias}");
        }
    }
    for name in ["Accept", "Authorization", "Cookie", "Content-Type", "Origin", "X-Requested-With", "Connection"] {
        assert!(!is_dropped(name), "{name}");
    }
}

fn person(roles: &[&str], attributes: &[(&str, &str, &str)]) -> Identity {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (namespace, name, value) in attributes {
        all.entry((*namespace).to_owned()).or_default().insert((*name).to_owned(), (*value).to_owned());
    }
    Identity {
        user: "alice".to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        session_id: "s1".to_owned(),
        session_created: 1_700_000_000,
        attributes: all,
        remembered: false,
    }
}

#[test]
fn a_person_as_headers() {
    let person = person(
        &["user", "a,admin", "50%"],
        &[("default:namespace", "mail", "a@b"), ("app", "full name", "Zoë\r\nX: y")],
    );
    let headers = identity(&person);
    let expected = [
        ("CAMS-HTTP-USER", "alice"),
        ("CAMS-HTTP-ROLES", "user,a%2Cadmin,50%25"),
        ("CAMS-HTTP-SECURITY-DOMAIN", "system"),
        ("CAMS-HTTP-SESSION-ID", "s1"),
        ("CAMS-HTTP-SESSION-CREATED", "1700000000"),
        ("CAMS-HTTP-ROLE", "user"),
        ("CAMS-HTTP-ROLE", "a%2Cadmin"),
        ("CAMS-HTTP-ROLE", "50%25"),
        ("CAMS-HTTP-APP-FULL-NAME", "Zo%C3%AB%0D%0AX: y"),
        ("CAMS-HTTP-DEFAULT-NAMESPACE-MAIL", "a@b"),
    ];
    assert_eq!(headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn an_attribute_never_takes_the_place_of_another_header() {
    let attributes = [
        ("session", "id", "evil"),
        ("SECURITY", "domain", "evil"),
        ("session", "created", "0"),
        ("a", "b.c", "first"),
        ("a", "b_c", "second"),
        ("a-b", "c", "third"),
    ];
    let headers = identity(&person(&[], &attributes));
    let values =
        |wanted: &str| headers.iter().filter(|(n, _)| n == wanted).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    assert_eq!(values("CAMS-HTTP-SESSION-ID"), ["s1"]);
    assert_eq!(values("CAMS-HTTP-SECURITY-DOMAIN"), ["system"]);
    assert_eq!(values("CAMS-HTTP-SESSION-CREATED"), ["1700000000"]);
    assert_eq!(values("CAMS-HTTP-A-B-C"), ["first"]);
}

/// Whatever the roles are, a site that splits the list and decodes gets exactly them back.
#[test]
fn values_survive_the_way_to_the_site() {
    let pieces: Vec<char> = "a ,%\r\n\0\u{7f}\t;=\"é中\u{2028}".chars().collect();
    let mut random = testing::Random::new(4);
    for _ in 0..5_000 {
        let mut role = || -> String { (0..random.below(6) + 1).map(|_| random.pick(&pieces)).collect() };
        let roles = [role(), role()];
        let person = person(&roles.each_ref().map(String::as_str), &[("n", "v", &roles[0])]);
        for (name, value) in identity(&person) {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
            assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{value:?}");
            assert_eq!(value.trim(), value);
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            match name.as_str() {
                "CAMS-HTTP-ROLES" => assert_eq!(value.split(',').map(decode).collect::<Vec<_>>(), roles),
                "CAMS-HTTP-N-V" => assert_eq!(decode(&value), roles[0]),
                _ => {}
            }
        }
    }
}

fn rewritten(is_personal: bool, headers: &[(&str, &str)]) -> Vec<String> {
    let received = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let headers = response(&testing::gate_config(), is_personal, received);
    headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
}

#[test]
fn a_site_cannot_touch_our_cookies_or_speak_as_us() {
    let kept = rewritten(
        false,
        &[
            ("Set-Cookie", "CAMS_SID_MYCAMSCLUSTER_SYSTEM=planted"),
            ("set-cookie", "cams_auto_login_x=; Max-Age=0"),
            ("Set-Cookie", "theirs=1; Path=/"),
            ("CAMS-HTTP-USER", "alice"),
            ("x_client_cert", "x"),
            ("Clear-Site-Data", "\"cache\", \"cookies\""),
            ("Clear-Site-Data", "\"*\""),
            ("Clear-Site-Data", "\"cache\""),
            ("Cache-Control", "public, max-age=60"),
        ],
    );
    assert_eq!(
        kept,
        ["Set-Cookie: theirs=1; Path=/", "Clear-Site-Data: \"cache\"", "Cache-Control: public, max-age=60"]
    );
}

/// Case 16: every name of ours, in every spelling that anybody could take for it.
#[test]
fn no_response_and_no_trailer_speaks_as_us() {
    for name in ["CAMS-HTTP-USER", "CAMS-HTTP-ASSERTION", "CAMS-HTTP-ANYTHING", "X-Client-Cert"] {
        for separator in "-_.~!#$%&'*+^|`".chars() {
            let alias = name.replace('-', &separator.to_string());
            for alias in [alias.to_lowercase(), alias] {
                assert_eq!(rewritten(false, &[(&alias, "x")]), [""; 0], "{alias}");
            }
        }
    }
    for cookie in [
        "CAMS_SID_MYCAMSCLUSTER_SYSTEM",
        "CAMS_SID_OTHER_X",
        "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM",
        "CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM",
    ] {
        for spelt in [cookie.to_owned(), cookie.to_lowercase(), cookie.replace('_', "."), format!(" {cookie} ")] {
            for value in [format!("{spelt}=x"), format!("={spelt}=x; Path=/"), spelt.clone(), format!("\t={spelt}")] {
                assert_eq!(rewritten(false, &[("sEt-Cookie", &value)]), [""; 0], "{value:?}");
            }
        }
    }
}

#[test]
fn what_a_person_sees_is_not_kept_for_others() {
    for (headers, expected) in [
        (
            &[("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "public, max-age=60")][..],
            "no-store, private",
        ),
        (&[("Content-Type", "APPLICATION/XHTML+XML")], "no-store, private"),
        (&[], "no-store, private"),
        (&[("Content-Type", "image/png")], "private"),
        (
            &[("Content-Type", "text/css"), ("Cache-Control", "public, max-age=60, immutable")],
            "private, max-age=60, immutable",
        ),
        (
            &[("Content-Type", "text/css"), ("Cache-Control", "s-maxage=9"), ("cache-control", "No-Store")],
            "private, no-store",
        ),
        (&[("Content-Type", "text/css"), ("Surrogate-Control", "max-age=9")], "private"),
    ] {
        let kept: Vec<String> =
            rewritten(true, headers).into_iter().filter(|line| !line.starts_with("Content")).collect();
        assert_eq!(kept, [format!("Cache-Control: {expected}")], "{headers:?}");
    }
}
