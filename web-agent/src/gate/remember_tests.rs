//! A browser that is remembered gets a session before anybody is asked for a password; what cannot be used is deleted.

use std::sync::Arc;

use shared_proto::login::{AutoLoginResponse, LoginResponse, Remember};
use shared_proto::secret::Secret;

use super::tests::{check, granted, login_at};
use super::*;
use crate::pages::Page;
use crate::testing::{COOKIE, NAVIGATION, alice, connection, formed, gate_config, head, start};

const REMEMBERED: &str = "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=kept";
const OTHER: &str = "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=other";
const BODY: &str = "Content-Length: 5";
const WEBSOCKET: [&str; 4] =
    ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"];
const ATTRIBUTES: &str = "HttpOnly; SameSite=Lax; Secure; Path=/";

fn names(name: &str) -> String {
    format!("CAMS_{name}_MYCAMSCLUSTER_SYSTEM")
}

fn deleted(name: &str) -> String {
    format!("{}=; {ATTRIBUTES}; Max-Age=0", names(name))
}

/// The session and the cookie that takes the old one's place.
fn given() -> Vec<String> {
    let (session, remembered) = (names("SID"), names("AUTO_LOGIN"));
    vec![format!("{session}=fresh; {ATTRIBUTES}"), format!("{remembered}=next; {ATTRIBUTES}; Max-Age=600")]
}

fn next() -> Option<Remember> {
    Some(Remember { cookie: "next".into(), max_age_seconds: 600 })
}

fn success(remember: Option<Remember>) -> Answer {
    Answer::AutoLogin(AutoLoginResponse::Success { session: "fresh".into(), identity: alice(), remember })
}

fn refused(notice: Option<&str>) -> Answer {
    Answer::AutoLogin(AutoLoginResponse::Refused { notice: notice.map(str::to_owned) })
}

fn is_attempt(step: &Step) -> bool {
    matches!(step, Step::Ask(Question::AutoLogin(_)))
}

/// A gate that has asked for an automatic login.
fn attempted(line: &str, lines: &[&str]) -> Gate {
    let (mut gate, _) = start(line, &[lines, &[REMEMBERED]].concat());
    let step = gate.answer(login_at("/cams/login"));
    assert!(is_attempt(&step), "{line} {lines:?}: {step:?}");
    gate
}

#[test]
fn who_is_remembered_needs_no_form() {
    use SessionStanding::{Ended, Live, None as Nobody, Unknown};
    const OWN: &str = "Origin: https://app.test:8443";
    const EVIL: &str = "Origin: https://evil.test";
    let [w, x, y, z] = WEBSOCKET;
    for (line, lines, standing, expected) in [
        ("GET /x", &[REMEMBERED, NAVIGATION][..], Nobody, true),
        ("GET /x", &[REMEMBERED], Nobody, true),
        ("HEAD /x", &[REMEMBERED], Nobody, true),
        ("GET /x", &[REMEMBERED, "X-Requested-With: XMLHttpRequest"], Nobody, true),
        ("GET /x", &[REMEMBERED, NAVIGATION, "Sec-Fetch-Site: cross-site"], Nobody, true),
        ("POST /x", &[REMEMBERED, BODY], Nobody, true),
        ("POST /x", &[REMEMBERED, BODY, OWN, "Sec-Fetch-Site: same-origin"], Nobody, true),
        ("PUT /x", &[REMEMBERED, BODY, OWN], Nobody, true),
        ("DELETE /x", &[REMEMBERED, "Sec-Fetch-Site: same-origin"], Nobody, true),
        ("GET /x", &[REMEMBERED, OWN, w, x, y, z], Nobody, true),
        ("GET /x", &[REMEMBERED, COOKIE], Ended, true),
        // There is a session, only not of that entry.
        ("GET /x", &[REMEMBERED, COOKIE], Live, false),
        ("GET /x", &[REMEMBERED, COOKIE], Unknown, false),
        ("POST /x", &[REMEMBERED, BODY, EVIL], Nobody, false),
        ("POST /x", &[REMEMBERED, BODY, "Origin: null"], Nobody, false),
        ("POST /x", &[REMEMBERED, BODY, "Sec-Fetch-Site: cross-site"], Nobody, false),
        ("POST /x", &[REMEMBERED, BODY, "Sec-Fetch-Site: same-site"], Nobody, false),
        ("POST /x", &[REMEMBERED, BODY, "Sec-Fetch-Site: none", "Sec-Fetch-Site: none"], Nobody, false),
        ("GET /x", &[REMEMBERED, EVIL, w, x, y, z], Nobody, false),
        ("GET /x", &[NAVIGATION], Nobody, false),
        ("GET /x", &["Cookie: CAMS_AUTO_LOGIN_OTHER_SYSTEM=kept"], Nobody, false),
    ] {
        let (mut gate, _) = start(line, lines);
        let Answer::Check(mut response) = login_at("/cams/login") else { panic!() };
        response.session = standing;
        let step = gate.answer(Answer::Check(response));
        assert_eq!(is_attempt(&step), expected, "{line} {lines:?}: {step:?}");
    }
}

#[test]
fn the_question_names_the_entry_that_is_demanded() {
    let (mut gate, _) = start("GET /x", &[REMEMBERED, "User-Agent: browser"]);
    let demand = |domain: &str| Decision::LoginRequired {
        domain: domain.to_owned(),
        entry: "strong".to_owned(),
        login_url: "/cams/login".to_owned(),
    };
    let step = gate.answer(check(demand("system"), SessionStanding::None, None));
    assert!(!format!("{gate:?}{step:?}").contains("kept"), "the cookie must not be shown");
    let Step::Ask(Question::AutoLogin(question)) = step else { panic!("{step:?}") };
    assert_eq!((question.host.as_str(), question.domain.as_str()), ("app.test", "system"));
    assert_eq!((question.entry.as_str(), question.request_id.as_str()), ("strong", "r1"));
    assert_eq!((question.cookie.expose_str(), question.client.user_agent.as_str()), (Some("kept"), "browser"));
    let (mut gate, _) = start("GET /x", &[REMEMBERED]);
    let reply = gate.answer(check(demand("other"), SessionStanding::None, None)).reply();
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (401, 0), "the cookie is for another domain");
}

#[test]
fn the_request_goes_on_with_the_session_and_the_answer_brings_the_cookies() {
    let requests: [(&str, &[&str]); 4] =
        [("GET /x", &[NAVIGATION]), ("POST /x", &[BODY]), ("GET /x", &[COOKIE]), ("GET /x", &WEBSOCKET)];
    for (line, lines) in requests {
        for (remember, cookies) in [(None, 1), (next(), 2)] {
            let mut gate = attempted(line, lines);
            let step = gate.answer(success(remember));
            let Step::Ask(Question::Check(question)) = &step else { panic!("{step:?}") };
            assert_eq!(question.session.as_ref().and_then(Secret::expose_str), Some("fresh"));
            assert!(!format!("{gate:?}{step:?}").contains("fresh"), "a token must not be shown");
            gate.answer(granted(SessionStanding::Live, Some(alice())));
            let Step::Forward(permit) = gate.answer(Answer::Assertion(Assertion::new("t"))) else { panic!() };
            assert_eq!(permit.identity(), Some(&alice()));
            let sent: [(&str, &[u8]); 2] = [("Content-Type", b"image/png"), ("Cache-Control", b"max-age=9")];
            let headers = permit.response_headers(sent);
            let values = |wanted: &str| {
                let of_name = headers.iter().filter(|(name, _)| name == wanted);
                of_name.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(values("Set-Cookie"), given()[..cookies], "{line} {lines:?}");
            assert_eq!(values("Cache-Control"), ["no-store, private"]);
            let received = head(line, &[lines, &[REMEMBERED]].concat()).unwrap().headers;
            let to_site = permit.request_headers(received.iter().map(|(n, v)| (n.as_str(), v.as_slice())));
            let text: Vec<u8> =
                to_site.into_iter().flat_map(|(name, value)| [name.into_bytes(), value].concat()).collect();
            let text = String::from_utf8(text).unwrap();
            assert!(!["kept", "fresh", "next", "AUTO_LOGIN"].iter().any(|secret| text.contains(secret)), "{text}");
        }
    }
}

/// The session lives whatever becomes of the request, so the browser must get it.
#[test]
fn every_other_end_brings_the_cookies_too() {
    let demanded = |session| {
        let Answer::Check(response) = login_at("/cams/login") else { panic!() };
        Answer::Check(CheckResponse { session, ..response })
    };
    let ended = vec![deleted("SID"), given()[1].clone()];
    for (answer, status, cookies) in [
        (check(Decision::Denied, SessionStanding::Live, Some(alice())), 403, given()),
        (check(Decision::Unknown, SessionStanding::Live, Some(alice())), 403, given()),
        (demanded(SessionStanding::Live), 302, given()),
        // It ended meanwhile; nobody tries again for the same request.
        (demanded(SessionStanding::Ended), 302, ended),
        (demanded(SessionStanding::None), 302, given()),
        (Answer::LinkDown, 503, given()),
        (success(next()), 503, given()),
    ] {
        let mut gate = attempted("GET /x", &[NAVIGATION]);
        gate.answer(success(next()));
        let shown = format!("{answer:?}");
        let reply = gate.answer(answer).reply();
        assert_eq!(
            (reply.status, reply.values("Set-Cookie")),
            (status, cookies.iter().map(String::as_str).collect()),
            "{shown}"
        );
    }
    let mut gate = attempted("GET /x", &[]);
    gate.answer(success(next()));
    gate.answer(granted(SessionStanding::Live, Some(alice())));
    let reply = gate.answer(Answer::NoKey).reply();
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (503, 2));
}

#[test]
fn what_cannot_be_used_is_deleted_and_the_rest_is_kept() {
    let unusable = |session: &str| {
        let (session, identity) = (Secret::from(session), alice());
        Answer::AutoLogin(AutoLoginResponse::Success { session, identity, remember: next() })
    };
    type Make = fn() -> Answer;
    let answers: [(Make, bool, bool); 4] = [
        (|| refused(None), true, false),
        (|| refused(Some("remember-me-stolen")), true, true),
        (|| refused(Some("of a newer server")), true, false),
        (|| Answer::AutoLogin(AutoLoginResponse::Unavailable), false, false),
    ];
    for (answer, is_deleted, is_told) in answers {
        let expected = if is_deleted { vec![deleted("AUTO_LOGIN")] } else { vec![] };
        let page = attempted("GET /x", &[NAVIGATION]).answer(answer()).reply();
        assert_eq!((page.status, page.values("Set-Cookie")), (302, expected.iter().map(String::as_str).collect()));
        let location = page.values("Location").concat();
        assert!(location.starts_with("/cams/login?cams_security_domain=system&"), "{location}");
        assert_eq!(location.ends_with("%2Fx&cams_notice=remember-me-stolen"), is_told, "{location}");
        assert_eq!(location.contains("cams_notice"), is_told, "{location}");
        let program = attempted("POST /x", &[BODY]).answer(answer()).reply();
        assert_eq!((program.status, program.values("Set-Cookie").len()), (401, expected.len()));
    }
    for (answer, status) in [
        (Answer::AutoLogin(AutoLoginResponse::Unknown), 302),
        (unusable(""), 302),
        (unusable("a b"), 302),
        (unusable("a;b"), 302),
        (Answer::AutoLogin(AutoLoginResponse::NoService), 503),
        (Answer::LinkDown, 503),
        (Answer::Logout, 503),
        (Answer::Login(LoginResponse::Success { session: "t".into(), identity: alice(), remember: None }), 503),
        (granted(SessionStanding::Live, Some(alice())), 503),
    ] {
        let shown = format!("{answer:?}");
        let reply = attempted("GET /x", &[NAVIGATION]).answer(answer).reply();
        assert_eq!((reply.status, reply.values("Set-Cookie").len()), (status, 0), "{shown}");
    }
}

#[test]
fn what_nobody_can_try_is_deleted_where_it_would_have_been_tried() {
    let mut off = gate_config();
    off.auto_login = false;
    for (config, lines) in [
        (gate_config(), &[REMEMBERED, OTHER][..]),
        (gate_config(), &[REMEMBERED, REMEMBERED]),
        (gate_config(), &["Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM="]),
        (gate_config(), &["Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=a b"]),
        (off, &[REMEMBERED]),
    ] {
        let config = Arc::new(config);
        let ask = |line: &str| {
            let head = head(line, &[lines, &[NAVIGATION]].concat()).unwrap();
            Gate::start(&config, &connection(), &head, "r1")
        };
        let reply = ask("GET /x").0.answer(login_at("/cams/login")).reply();
        assert_eq!(
            (reply.status, reply.values("Set-Cookie")),
            (302, vec![deleted("AUTO_LOGIN").as_str()]),
            "{lines:?}"
        );
        let (mut gate, step) = ask("GET /cams/login?cams_original_url=%2Fx");
        let reply = formed(&mut gate, step).reply();
        assert_eq!(
            (reply.status, reply.values("Set-Cookie")),
            (200, vec![deleted("AUTO_LOGIN").as_str()]),
            "{lines:?}"
        );
        let Step::Forward(permit) = ask("GET /public").0.answer(granted(SessionStanding::None, None)) else { panic!() };
        assert_eq!(permit.response_headers([]), [], "{lines:?}");
    }
}

#[test]
fn a_public_page_needs_no_attempt() {
    let (mut gate, _) = start("GET /public", &[REMEMBERED]);
    let Step::Forward(permit) = gate.answer(granted(SessionStanding::None, None)) else { panic!() };
    assert_eq!(permit.response_headers([]), []);
}

#[test]
fn the_login_page_leads_on_who_is_remembered() {
    const ON_THE_WAY: &str = "GET /cams/login?cams_login_config=strong&cams_original_url=%2Fx";
    for (line, lines, expected) in [
        (ON_THE_WAY, &[REMEMBERED, NAVIGATION][..], true),
        (ON_THE_WAY, &[REMEMBERED], false),
        (ON_THE_WAY, &[NAVIGATION], false),
        // That session did not open the page: another login is wanted.
        (ON_THE_WAY, &[REMEMBERED, NAVIGATION, COOKIE], false),
        ("HEAD /cams/login?cams_original_url=%2Fx", &[REMEMBERED, NAVIGATION], false),
        ("GET /cams/login", &[REMEMBERED, NAVIGATION], false),
        ("GET /cams/login?cams_original_url=https%3A%2F%2Fevil.test%2F", &[REMEMBERED, NAVIGATION], false),
        ("GET /cams/login?cams_original_url=%2Fcams%2Flogout", &[REMEMBERED, NAVIGATION], false),
    ] {
        let (_, step) = start(line, lines);
        assert_eq!(is_attempt(&step), expected, "{line} {lines:?}: {step:?}");
    }
    let attempt = || {
        let (gate, step) = start(ON_THE_WAY, &[REMEMBERED, NAVIGATION]);
        let Step::Ask(Question::AutoLogin(question)) = step else { panic!("{step:?}") };
        assert_eq!(question.entry, "strong");
        gate
    };
    let reply = attempt().answer(success(next())).reply();
    assert_eq!((reply.status, reply.values("Location")), (303, vec!["/x"]));
    assert_eq!(reply.values("Set-Cookie"), given());
    assert_eq!((reply.audit.event, reply.audit.user.as_deref()), (Event::LoggedIn, Some("alice")));
    for (answer, status, cookies, is_told) in [
        (refused(Some("remember-me-stolen")), 200, 1, true),
        (refused(None), 200, 1, false),
        (Answer::AutoLogin(AutoLoginResponse::Unavailable), 200, 0, false),
        (Answer::AutoLogin(AutoLoginResponse::NoService), 503, 0, true),
        (Answer::LinkDown, 503, 0, true),
    ] {
        let mut gate = attempt();
        let step = gate.answer(answer);
        let reply = formed(&mut gate, step).reply();
        let ReplyBody::Page(Page::Login(page)) = &reply.body else { panic!("{reply:?}") };
        assert_eq!((page.entry.as_str(), page.original_url.as_str()), ("strong", "/x"));
        assert_eq!((reply.status, reply.values("Set-Cookie").len(), page.notice.is_some()), (status, cookies, is_told));
    }
}

#[test]
fn the_page_tells_only_what_it_knows() {
    for (code, expected) in [
        ("remember-me-stolen", true),
        ("", false),
        ("Call%20this%20number", false),
        ("%3Cb%3E", false),
        ("REMEMBER-ME-STOLEN", false),
    ] {
        let reply = start(&format!("GET /cams/login?cams_notice={code}"), &[NAVIGATION]).1.reply();
        let ReplyBody::Page(Page::Login(page)) = &reply.body else { panic!("{reply:?}") };
        assert_eq!(page.notice.is_some(), expected, "{code}");
    }
}

#[test]
fn the_form_says_anew_whether_to_remember() {
    let log_in = |entry: &str, lines: &[&str], remember| {
        let form = "Content-Type: application/x-www-form-urlencoded";
        let (mut gate, step) = start("POST /cams/login", &[&[form, "Content-Length: 9"], lines].concat());
        assert!(matches!(step, Step::Ask(Question::Body { .. })), "a form is never answered with the cookie: {step:?}");
        let fields = format!("cams_security_domain=system&cams_login_config={entry}&cams_cb_username=a");
        let step = gate.answer(Answer::Body(fields.into_bytes()));
        let Step::Ask(Question::Login(question)) = step else { panic!("{step:?}") };
        let cookie = (lines == [REMEMBERED]).then_some("kept");
        assert_eq!(question.remember.as_ref().and_then(Secret::expose_str), cookie, "{lines:?}");
        assert_eq!(question.forget, entry == "http");
        let answer = LoginResponse::Success { session: "fresh".into(), identity: alice(), remember };
        let reply = gate.answer(Answer::Login(answer)).reply();
        reply.values("Set-Cookie").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let [session, remembered] = <[String; 2]>::try_from(given()).unwrap();
    for (entry, lines, remember, expected) in [
        ("http", &[][..], None, vec![session.clone()]),
        ("http", &[], next(), vec![session.clone(), remembered.clone()]),
        ("http", &[REMEMBERED], next(), vec![session.clone(), remembered.clone()]),
        ("http", &[REMEMBERED], None, vec![session.clone(), deleted("AUTO_LOGIN")]),
        ("http", &[REMEMBERED, OTHER], None, vec![session.clone(), deleted("AUTO_LOGIN")]),
        ("strong", &[REMEMBERED], None, vec![session.clone()]),
    ] {
        assert_eq!(log_in(entry, lines, remember), expected, "{entry} {lines:?}");
    }
    let spoilt = Some(Remember { cookie: "a;b".into(), max_age_seconds: 600 });
    assert_eq!(log_in("http", &[], spoilt), [session]);
}

#[test]
fn a_logout_ends_what_is_remembered_too() {
    for (lines, session, remember) in [
        (&[REMEMBERED][..], None, Some("kept")),
        (&[REMEMBERED, COOKIE], Some("token"), Some("kept")),
        (&[COOKIE], Some("token"), None),
        (&[COOKIE, REMEMBERED, OTHER], Some("token"), None),
    ] {
        let mut off = gate_config();
        off.auto_login = false;
        for config in [gate_config(), off] {
            let head = head("POST /cams/logout", lines).unwrap();
            let (mut gate, step) = Gate::start(&Arc::new(config), &connection(), &head, "r1");
            let Step::Ask(Question::Logout(question)) = step else { panic!("{step:?}") };
            assert_eq!(question.host, "app.test");
            assert_eq!(question.session.as_ref().and_then(Secret::expose_str), session, "{lines:?}");
            assert_eq!(question.remember.as_ref().and_then(Secret::expose_str), remember, "{lines:?}");
            let reply = gate.answer(Answer::Logout).reply();
            assert_eq!(reply.values("Set-Cookie"), [deleted("SID"), deleted("AUTO_LOGIN")], "{lines:?}");
        }
    }
}
