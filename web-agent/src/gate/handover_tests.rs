//! A session goes from one site to another only where both say so, with a code and what the browser keeps together.

use shared_proto::login::LoginResponse;

use super::tests::check;
use super::*;
use crate::pages::Page;
use crate::testing::{COOKIE, NAVIGATION, alice, gate_config, start};

const LOGIN: &str = "https://portal.test/cams/login";
/// 43 characters.
const NONCE: &str = "nonce-456789_123456789-123456789_123456789-";
/// Of NONCE, by `printf %s … | openssl dgst -sha256 -binary | basenc --base64url`.
const BINDING: &str = "UjOGZC27a_GfWAqEyUYSTBCxEhm_MdsDTYTmFlwQUBw";
const CODE: &str = "code_3456789_123456789_123456789_123456789_";
const REMEMBERED: &str = "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=kept";

fn kept(nonce: &str) -> String {
    format!("Cookie: __Host-CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM={nonce}")
}

fn expects_back(nonce: &str) -> String {
    format!("__Host-CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM={nonce}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600")
}

fn login_required(login_url: &str, domain: &str, standing: SessionStanding) -> Answer {
    let (domain, entry, login_url) = (domain.to_owned(), "http".to_owned(), login_url.to_owned());
    let identity = (standing == SessionStanding::Live).then(alice);
    check(Decision::LoginRequired { domain, entry, login_url }, standing, identity)
}

/// What is asked, by name; a reply by its status.
fn shown(step: &Step) -> String {
    match step {
        Step::Ask(Question::HandOver(_)) => "hand-over".to_owned(),
        Step::Ask(Question::AutoLogin(_)) => "auto-login".to_owned(),
        Step::Ask(Question::Redeem(_)) => "redeem".to_owned(),
        other => other.status().to_string(),
    }
}

#[test]
fn a_browser_that_leaves_is_tied_to_its_way_back() {
    use SessionStanding::{Ended, Live, None as Nobody};
    let kept = kept(NONCE);
    for (line, lines, login_url, domain, standing, expected) in [
        ("GET /x", &[NAVIGATION][..], LOGIN, "system", Nobody, Some("")),
        ("GET /x", &[NAVIGATION, &kept], LOGIN, "system", Nobody, Some("")),
        ("GET /x", &[NAVIGATION, COOKIE], LOGIN, "system", Ended, Some("")),
        ("GET /x", &[NAVIGATION, COOKIE], LOGIN, "system", Live, Some("&cams_fresh=true")),
        ("POST /x", &[NAVIGATION, "Content-Length: 0"], LOGIN, "system", Nobody, Some("")),
        ("GET /x", &[NAVIGATION], "https://app.test/cams/login", "system", Nobody, Some("")),
        ("GET /x", &[NAVIGATION], "https://app.test:8443/cams/login", "system", Nobody, None),
        ("GET /x", &[NAVIGATION], "/cams/login", "system", Nobody, None),
        ("GET /x", &[NAVIGATION, COOKIE], "/cams/login", "system", Live, None),
        ("GET /x", &[NAVIGATION], LOGIN, "other", Nobody, None),
        ("GET /x", &["Accept: */*"], LOGIN, "system", Nobody, None),
    ] {
        let (mut gate, _) = start(line, lines);
        let mut step = gate.answer(login_required(login_url, domain, standing));
        if let Step::Ask(Question::Nonce) = step {
            assert!(!lines.contains(&kept.as_str()), "what is kept goes on");
            step = gate.answer(Answer::Nonce(NONCE.into()));
        }
        let reply = step.reply();
        let location = reply.values("Location").concat();
        let end = expected.map(|fresh| format!("&cams_handover={BINDING}{fresh}"));
        assert_eq!(location.contains("cams_handover"), expected.is_some(), "{line} {lines:?} {login_url}: {location}");
        assert!(end.is_none_or(|end| location.ends_with(&end)), "{line} {lines:?} {login_url}: {location}");
        let is_tied = reply.values("Set-Cookie").contains(&expects_back(NONCE).as_str());
        assert_eq!(is_tied, expected.is_some(), "{line} {lines:?} {login_url}");
    }
}

#[test]
fn a_cookie_that_both_hosts_have_needs_no_hand_over() {
    let mut config = gate_config();
    for (domain, host, expected) in [
        (None, "test", false),
        (Some("test"), "login.test", true),
        (Some("test"), "test", true),
        (Some("test"), "xtest", false),
        (Some("test"), "login.test.evil", false),
        (Some("app.test"), "portal.test", false),
    ] {
        config.cookie_domain = domain.map(str::to_owned);
        assert_eq!(config.shares_cookies(host), expected, "{domain:?} {host}");
    }
}

/// What a browser keeps that no agent of ours gave is replaced, and two values of one name are none.
#[test]
fn only_a_value_of_ours_is_kept() {
    let twice = format!("{}; __Host-CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM={NONCE}", kept(NONCE));
    for (cookie, is_kept) in
        [(kept(NONCE), true), (kept("x"), false), (kept(&NONCE.replace('-', "+")), false), (twice, false)]
    {
        let (mut gate, _) = start("GET /x", &[NAVIGATION, &cookie]);
        let step = gate.answer(login_required(LOGIN, "system", SessionStanding::None));
        assert_eq!(matches!(step, Step::Ask(Question::Nonce)), !is_kept, "{cookie}");
    }
}

fn page(original: &str, more: &str) -> String {
    format!("GET /cams/login?cams_original_url={original}&cams_handover={BINDING}{more}")
}

#[test]
fn the_login_host_hands_over_what_it_has() {
    const THERE: &str = "https://portal.test/x?a=b%26c";
    let encoded: String = form_urlencoded::byte_serialize(THERE.as_bytes()).collect();
    let there = page(&encoded, "");
    let unbound = format!("GET /cams/login?cams_original_url={encoded}");
    for (line, lines, expected) in [
        (there.as_str(), &[NAVIGATION, COOKIE][..], "hand-over"),
        (&there, &[NAVIGATION], "200"),
        (&there, &[NAVIGATION, REMEMBERED], "auto-login"),
        (&there, &["Accept: */*", COOKIE], "200"),
        (&there.replace("GET", "HEAD"), &[NAVIGATION, COOKIE], "200"),
        (&page(&encoded, "&cams_fresh=true"), &[NAVIGATION, COOKIE], "200"),
        (&page(&encoded, "&cams_fresh=true"), &[NAVIGATION, REMEMBERED], "200"),
        (&page(&encoded, "&cams_fresh=no"), &[NAVIGATION, COOKIE], "hand-over"),
        (&page(&encoded, "x"), &[NAVIGATION, COOKIE], "200"),
        (&unbound, &[NAVIGATION, COOKIE], "200"),
        (&page("https://evil.test/", ""), &[NAVIGATION, COOKIE], "200"),
        (&page("https://portal.test/cams/login", ""), &[NAVIGATION, COOKIE], "200"),
        (&page("https://app.test:8443/x", ""), &[NAVIGATION, COOKIE], "200"),
        (&page("/x", ""), &[NAVIGATION, COOKIE], "200"),
        (&page("", ""), &[NAVIGATION, COOKIE], "200"),
    ] {
        assert_eq!(shown(&start(line, lines).1), expected, "{line} {lines:?}");
    }
    let (_, step) = start(&there, &[NAVIGATION, COOKIE]);
    let Step::Ask(Question::HandOver(question)) = step else { panic!("{step:?}") };
    assert_eq!((question.audience.as_str(), question.target.as_str()), ("https://portal.test", "/x?a=b%26c"));
    assert_eq!((question.binding.as_str(), question.session.expose_str()), (BINDING, Some("token")));
    assert_eq!((question.host.as_str(), question.entry.as_str()), ("app.test", "http"));
}

#[test]
fn what_comes_of_the_question_for_a_code() {
    let line = page("https%3A%2F%2Fportal.test%2Fx", "");
    let ready = || HandoverResponse::Ready { code: CODE.into() };
    for (response, lines, expected) in [
        (ready(), &[NAVIGATION, COOKIE][..], "303"),
        (HandoverResponse::NoSession, &[NAVIGATION, COOKIE], "200"),
        (HandoverResponse::NoSession, &[NAVIGATION, COOKIE, REMEMBERED], "auto-login"),
        (HandoverResponse::OtherEntry, &[NAVIGATION, COOKIE], "200"),
        // Nobody who has a session of another entry loses it without being asked.
        (HandoverResponse::OtherEntry, &[NAVIGATION, COOKIE, REMEMBERED], "200"),
        (HandoverResponse::Unknown, &[NAVIGATION, COOKIE], "503"),
    ] {
        let (mut gate, _) = start(&line, lines);
        let step = gate.answer(Answer::HandOver(response.clone()));
        let step = crate::testing::formed(&mut gate, step);
        assert_eq!(shown(&step), expected, "{response:?} {lines:?}");
    }
    let (mut gate, _) = start(&line, &[NAVIGATION, COOKIE]);
    let reply = gate.answer(Answer::HandOver(ready())).reply();
    assert_eq!(reply.values("Location"), [format!("https://portal.test/cams/handover?code={CODE}")]);
    assert_eq!((reply.audit.event, format!("{reply:?}").contains(CODE)), (Event::HandedOver, false));
    let (mut gate, _) = start(&line, &[NAVIGATION, COOKIE]);
    assert_eq!(gate.answer(Answer::LinkDown).status(), 503);
}

const FORM: [&str; 3] =
    ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 9", "Origin: https://app.test:8443"];

#[test]
fn a_login_goes_on_to_the_site_that_waits() {
    let body = |original: &str| {
        format!(
            "cams_security_domain=system&cams_login_config=http&cams_original_url={original}&cams_handover={BINDING}\
             &cams_cb_username=alice&cams_cb_password=x"
        )
    };
    let posted = |original: &str| {
        let (mut gate, _) = start("POST /cams/login", &FORM);
        gate.answer(Answer::Body(body(original).into_bytes()));
        gate
    };
    let success = || Answer::Login(LoginResponse::Success { session: "new".into(), identity: alice(), remember: None });
    let mut gate = posted("https://portal.test/x");
    let step = gate.answer(success());
    let Step::Ask(Question::HandOver(question)) = step else { panic!("{step:?}") };
    assert_eq!(question.session.expose_str(), Some("new"));
    let reply = gate.answer(Answer::HandOver(HandoverResponse::Ready { code: CODE.into() })).reply();
    assert_eq!(reply.values("Location"), [format!("https://portal.test/cams/handover?code={CODE}")]);
    assert!(reply.values("Set-Cookie")[0].starts_with("CAMS_SID_MYCAMSCLUSTER_SYSTEM=new; "));
    assert_eq!((reply.audit.event, reply.audit.user.as_deref()), (Event::LoggedIn, Some("alice")));

    // Who has just typed is not asked again, and keeps the session.
    for answer in [Answer::HandOver(HandoverResponse::NoSession), Answer::LinkDown] {
        let mut gate = posted("https://portal.test/x");
        gate.answer(success());
        let reply = gate.answer(answer).reply();
        assert_eq!((reply.status, reply.values("Set-Cookie").len()), (503, 1));
    }
    for (original, expected) in [("https://evil.test/", "/"), ("/x", "/x")] {
        assert_eq!(posted(original).answer(success()).reply().values("Location"), [expected], "{original}");
    }
    // The form that is shown again still knows.
    let mut gate = posted("https://portal.test/x");
    let (code, exception, message) = (5000, String::new(), String::new());
    let failure = LoginResponse::Failure { code, exception, message, login_url: None, retry_after_seconds: None };
    let step = gate.answer(Answer::Login(failure));
    let ReplyBody::Page(Page::Login(page)) = crate::testing::formed(&mut gate, step).reply().body else { panic!() };
    assert_eq!((page.handover.as_deref(), page.site.as_str()), (Some(BINDING), "portal.test"));
}

#[test]
fn a_code_is_shown_with_what_the_browser_keeps() {
    let line = format!("GET /cams/handover?code={CODE}");
    let longer = format!("{line}A");
    let twice = format!("{line}&code={CODE}");
    for (line, lines, expected) in [
        (line.as_str(), &[NAVIGATION][..], "redeem"),
        ("GET /cams/handover", &[NAVIGATION], "400"),
        ("GET /cams/handover?code=", &[NAVIGATION], "400"),
        (&longer, &[NAVIGATION], "400"),
        (&twice, &[NAVIGATION], "400"),
        (&line.replace("GET", "HEAD"), &[NAVIGATION], "405"),
        (&line.replace("GET", "POST"), &[NAVIGATION, "Content-Length: 0"], "405"),
    ] {
        assert_eq!(shown(&start(line, lines).1), expected, "{line}");
    }
    // Where the session's cookie would be of no use, the code is taken away and nothing given for it.
    let unusable = format!("{}; CAMS_SID_MYCAMSCLUSTER_SYSTEM=other", kept(NONCE));
    let (_, step) = start(&line, &[NAVIGATION, COOKIE, &unusable]);
    let Step::Ask(Question::Redeem(question)) = step else { panic!("{step:?}") };
    assert_eq!((question.binding.as_str(), question.code.expose_str()), ("", Some(CODE)));
    for (cookie, binding) in [(kept(NONCE), BINDING), (kept("x"), ""), ("Cookie: a=b".to_owned(), "")] {
        let (_, step) = start(&line, &[NAVIGATION, COOKIE, &cookie]);
        let Step::Ask(Question::Redeem(question)) = step else { panic!("{step:?}") };
        assert_eq!((question.binding.as_str(), question.code.expose_str()), (binding, Some(CODE)), "{cookie}");
        assert_eq!((question.audience.as_str(), question.host.as_str()), ("https://app.test:8443", "app.test"));
        assert_eq!(question.previous_session.and_then(|s| s.expose_str().map(str::to_owned)).as_deref(), Some("token"));
    }
}

fn success(target: &str, forget: bool) -> Answer {
    let (session, identity, target) = ("new".into(), alice().into(), target.to_owned());
    Answer::Redeem(RedeemResponse::Success { session, identity, target, forget })
}

#[test]
fn a_code_opens_the_page_that_was_wanted_or_nothing() {
    let line = format!("GET /cams/handover?code={CODE}");
    for (target, expected) in [
        ("/x?a=b", "/x?a=b"),
        ("//evil.test", "/"),
        ("https://evil.test/", "/"),
        ("https://portal.test/", "/"),
        ("/cams/logout", "/"),
        ("/cams/handover?code=x", "/"),
        ("", "/"),
    ] {
        let (mut gate, _) = start(&line, &[NAVIGATION, &kept(NONCE)]);
        let reply = gate.answer(success(target, false)).reply();
        assert_eq!((reply.status, reply.values("Location")), (303, vec![expected]));
        assert!(reply.values("Set-Cookie")[0].starts_with("CAMS_SID_MYCAMSCLUSTER_SYSTEM=new; "));
    }
    // The policy server is shown what the browser is remembered by, and says whether that is another person.
    for forget in [false, true] {
        let (mut gate, step) =
            start(&line, &[NAVIGATION, &kept(NONCE), "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=r"]);
        let Step::Ask(Question::Redeem(question)) = step else { panic!("{step:?}") };
        assert_eq!(question.remember.and_then(|cookie| cookie.expose_str().map(str::to_owned)).as_deref(), Some("r"));
        let reply = gate.answer(success("/", forget)).reply();
        let deleted =
            reply.values("Set-Cookie").iter().any(|set| set.starts_with("CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=; "));
        assert_eq!(deleted, forget, "{reply:?}");
    }
    for (answer, expected) in [
        (Answer::Redeem(RedeemResponse::Refused), 400),
        (Answer::Redeem(RedeemResponse::Unknown), 400),
        (Answer::LinkDown, 503),
        (Answer::Logout, 503),
    ] {
        let (mut gate, _) = start(&line, &[NAVIGATION, &kept(NONCE)]);
        let reply = gate.answer(answer).reply();
        assert_eq!((reply.status, reply.values("Set-Cookie").len(), reply.values("Location").len()), (expected, 0, 0));
    }
}
