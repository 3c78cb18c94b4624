//! A form whose session had ended is kept, where it can be, and given back on a page that sends it again.

use shared_proto::names::field;
use shared_proto::parked::{ParkResponse, TakeResponse};
use shared_proto::secret::Secret;

use super::tests::login_at;
use super::*;
use crate::pages::Page;
use crate::testing::{COOKIE, NAVIGATION, alice, start};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const OWN: &str = "Origin: https://app.test:8443";
const BODY: &str = "Content-Length: 5";
const POST: [&str; 5] = [COOKIE, NAVIGATION, FORM, OWN, BODY];
const KEPT: &str = "Cookie: CAMS_SID_MYCAMSCLUSTER_SYSTEM=token; __Host-CAMS_FORM_MYCAMSCLUSTER_SYSTEM=browser";

fn login_required(session: SessionStanding) -> Answer {
    let Answer::Check(response) = login_at("/cams/login") else { panic!() };
    Answer::Check(CheckResponse { session, ..response })
}

/// What follows when a login is required.
fn demanded(line: &str, lines: &[&str], session: SessionStanding) -> (Gate, Step) {
    let (mut gate, _) = start(line, lines);
    let step = gate.answer(login_required(session));
    (gate, step)
}

fn kept() -> Answer {
    Answer::Parked(ParkResponse::Kept { id: "a1".to_owned(), browser: "browser".into(), max_age_seconds: 900 })
}

/// The parameters that the login page is told.
fn told(reply: &Reply) -> Vec<(String, String)> {
    let url = reply.values("Location").concat();
    let (page, query) = url.split_once('?').unwrap();
    assert_eq!((reply.status, page), (303, "/cams/login"));
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Where the login leads back to, and what its page says.
fn way_back(reply: &Reply) -> (String, String) {
    let told = told(reply);
    let value = |wanted: &str| told.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    (value(field::ORIGINAL_URL).unwrap_or_default(), value(field::NOTICE).unwrap_or_default())
}

#[test]
fn forms_of_the_sites_own_pages_are_kept_and_no_others() {
    use SessionStanding::{Ended, Live, None as Nobody, Unknown};
    const SAME: &str = "Sec-Fetch-Site: same-origin";
    const NULL: &str = "Origin: null";
    const UTF16: &str = "Content-Type: application/x-www-form-urlencoded; charset=utf-16";
    for (line, lines, standing, expected) in [
        ("POST /x", &POST[..], Ended, true),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, SAME], Ended, true),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, SAME], Ended, true),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, NULL, SAME], Ended, true),
        // There was no session, it is another entry's, or nobody knows.
        ("POST /x", &[NAVIGATION, FORM, BODY, OWN], Nobody, false),
        ("POST /x", &[NAVIGATION, FORM, BODY, OWN], Ended, false),
        ("POST /x", &POST, Live, false),
        ("POST /x", &POST, Unknown, false),
        // Not known to be a page of this very site.
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, NULL], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, "Origin: https://evil.test"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, "Origin: https://portal.test"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, "Origin: http://app.test:8443"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, "Sec-Fetch-Site: cross-site"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, "Sec-Fetch-Site: same-site"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, SAME, "Origin: https://evil.test"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, OWN], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, SAME, SAME], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, BODY, OWN, "Sec-Purpose: prefetch"], Ended, false),
        // Not a plain form that a person sends.
        ("POST /x", &[COOKIE, FORM, OWN, BODY], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, OWN, BODY, "X-Requested-With: XMLHttpRequest"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, OWN, BODY], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, OWN, BODY, "Content-Type: application/json"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, OWN, BODY, "Content-Type: multipart/form-data; boundary=x"], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, OWN, BODY, UTF16], Ended, false),
        ("POST /x", &[COOKIE, NAVIGATION, FORM, OWN, BODY, "Content-Encoding: gzip"], Ended, false),
        ("PUT /x", &POST, Ended, false),
        ("GET /x", &[COOKIE, NAVIGATION, FORM, OWN], Ended, false),
    ] {
        let (_, step) = demanded(line, lines, standing);
        let is_read = matches!(step, Step::Ask(Question::Body { max: 65_536 }));
        assert_eq!(is_read, expected, "{line} {lines:?} {standing:?}: {step:?}");
    }
}

#[test]
fn what_is_kept_goes_to_the_server_as_it_came_and_the_login_leads_to_it() {
    for (cookies, browser) in [(COOKIE, None), (KEPT, Some("browser"))] {
        let (mut gate, _) = demanded("POST /a%20b?c=d", &[&[cookies], &POST[1..]].concat(), SessionStanding::Ended);
        let step = gate.answer(Answer::Body(b"secret=%C3%A9+1&secret=".to_vec()));
        assert!(!format!("{gate:?}{step:?}").contains("C3"), "a form must not be shown");
        let Step::Ask(Question::Park(question)) = step else { panic!("{step:?}") };
        assert_eq!((question.host.as_str(), question.origin.as_str()), ("app.test", "https://app.test:8443"));
        assert_eq!((question.domain.as_str(), question.target.as_str()), ("system", "/a%20b?c=d"));
        assert_eq!(question.session.expose_str(), Some("token"));
        assert_eq!(question.browser.as_ref().and_then(Secret::expose_str), browser);
        assert_eq!(question.body.expose(), b"secret=%C3%A9+1&secret=");
        let reply = gate.answer(kept()).reply();
        let back = "https://app.test:8443/cams/resume?id=a1".to_owned();
        assert_eq!(way_back(&reply), (back, "form-kept".to_owned()));
        let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age";
        let cookies = [
            format!("CAMS_SID_MYCAMSCLUSTER_SYSTEM=; {attributes}=0"),
            format!("__Host-CAMS_FORM_MYCAMSCLUSTER_SYSTEM=browser; {attributes}=900"),
        ];
        assert_eq!(reply.values("Set-Cookie"), cookies);
    }
}

#[test]
fn what_cannot_be_kept_is_said_to_be_lost() {
    let lost = ("https://app.test:8443/".to_owned(), "form-lost".to_owned());
    let body = || Answer::Body(b"a=b".to_vec());
    let bad = ParkResponse::Kept { id: "a1".to_owned(), browser: "a b".into(), max_age_seconds: 900 };
    for answers in [
        vec![Answer::BodyTooLarge],
        vec![Answer::LinkDown],
        vec![Answer::Body(b"a=\xff".to_vec())],
        vec![Answer::Body(b"a=%00".to_vec())],
        vec![body(), Answer::Parked(ParkResponse::Unknown)],
        vec![body(), Answer::LinkDown],
        vec![body(), Answer::Logout],
        vec![body(), Answer::Parked(bad)],
    ] {
        let shown = format!("{answers:?}");
        let (mut gate, mut step) = demanded("POST /x", &POST, SessionStanding::Ended);
        for answer in answers {
            step = gate.answer(answer);
        }
        let reply = step.reply();
        assert_eq!((way_back(&reply), reply.values("Set-Cookie").len()), (lost.clone(), 1), "{shown}");
    }
    for (lines, notice) in [(&[COOKIE, NAVIGATION, BODY][..], "form-lost"), (&[NAVIGATION, BODY], "form-lost")] {
        let (_, step) = demanded("POST /x", lines, SessionStanding::None);
        assert_eq!(way_back(&step.reply()).1, notice, "{lines:?}");
    }
    let (_, step) = demanded("GET /x", &[NAVIGATION], SessionStanding::None);
    assert!(!step.reply().values("Location").concat().contains("notice"));
}

/// The remember-me cookie comes first, and where it helps, the request goes on as it is.
#[test]
fn who_is_remembered_needs_no_detour() {
    const REMEMBERED: &str = "Cookie: CAMS_SID_MYCAMSCLUSTER_SYSTEM=token; CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=kept";
    for is_good in [true, false] {
        let (mut gate, step) = demanded("POST /x", &[&[REMEMBERED], &POST[1..]].concat(), SessionStanding::Ended);
        assert!(matches!(step, Step::Ask(Question::AutoLogin(_))), "{step:?}");
        let step = gate.answer(Answer::AutoLogin(match is_good {
            true => AutoLoginResponse::Success { session: "new".into(), identity: alice(), remember: None },
            false => AutoLoginResponse::Refused { notice: None },
        }));
        match is_good {
            true => assert!(matches!(step, Step::Ask(Question::Check(_))), "{step:?}"),
            false => assert!(matches!(step, Step::Ask(Question::Body { .. })), "{step:?}"),
        }
    }
}

/// No browser would be led there again: the person is told at once that the form is lost.
#[test]
fn a_form_that_could_not_be_sent_again_is_not_promised() {
    for (line, is_kept) in [("POST /x?a=b", true), ("POST /x?a=\\b", false), ("POST /x?\\", false)] {
        let (mut gate, _) = demanded(line, &POST, SessionStanding::Ended);
        match gate.answer(Answer::Body(b"a=b".to_vec())) {
            Step::Ask(Question::Park(_)) => assert!(is_kept, "{line}"),
            step => assert_eq!((is_kept, way_back(&step.reply()).1.as_str()), (false, "form-lost"), "{line}"),
        }
    }
}

#[test]
fn only_a_person_who_follows_the_way_back_gets_a_form() {
    for (line, lines, status) in [
        ("GET /cams/resume?id=a1", &[KEPT, NAVIGATION][..], 0),
        ("GET /cams/resume?x=y&id=", &[], 0),
        ("GET /cams/resume", &[KEPT], 410),
        ("GET /cams/resume?ID=a1", &[KEPT], 410),
        ("GET /cams/resume?id=a1", &[KEPT, "Sec-Purpose: prefetch;prerender"], 405),
        ("HEAD /cams/resume?id=a1", &[KEPT], 405),
        ("POST /cams/resume?id=a1", &[KEPT, OWN, "Content-Length: 0"], 405),
        ("DELETE /cams/resume?id=a1", &[KEPT], 405),
    ] {
        assert_eq!(start(line, lines).1.status(), status, "{line} {lines:?}");
    }
    let (_, step) = start("GET /cams/resume?id=a1", &[KEPT]);
    let Step::Ask(Question::TakeParked(question)) = step else { panic!("{step:?}") };
    assert_eq!((question.id.as_str(), question.origin.as_str()), ("a1", "https://app.test:8443"));
    assert_eq!(question.session.as_ref().and_then(Secret::expose_str), Some("token"));
    assert_eq!(question.browser.as_ref().and_then(Secret::expose_str), Some("browser"));
}

#[test]
fn what_comes_back_is_a_page_that_sends_it() {
    let taken =
        |target: &str, body: &str| Answer::Taken(TakeResponse::Form { target: target.to_owned(), body: body.into() });
    let ask = |answer: Answer| {
        let (mut gate, _) = start("GET /cams/resume?id=a1", &[KEPT, NAVIGATION]);
        gate.answer(answer).reply()
    };
    let reply = ask(taken("/x?y=z", "b=1&a=%C3%A9&b="));
    let ReplyBody::Page(Page::Resend { action, fields }) = reply.body else { panic!("{reply:?}") };
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.expose_str().unwrap())).collect();
    assert_eq!((action.as_str(), fields), ("/x?y=z", vec![("b", "1"), ("a", "é"), ("b", "")]));
    // A server that were wrong must not send a form elsewhere, or to what the agent itself answers.
    for answer in [
        taken("https://evil.test/", "a=b"),
        taken("//evil.test/", "a=b"),
        taken("/cams/logout", "a=b"),
        taken("", "a=b"),
        taken("/x", "a=\u{0}"),
        Answer::Taken(TakeResponse::Gone),
    ] {
        let reply = ask(answer);
        let is_gone = matches!(reply.body, ReplyBody::Page(Page::FormGone { .. }));
        assert_eq!((reply.status, is_gone), (410, true));
    }
    assert_eq!(ask(Answer::LinkDown).status, 503);
    let (domain, entry, login_url) = ("system".to_owned(), "http".to_owned(), "/cams/login".to_owned());
    let reply = ask(Answer::Taken(TakeResponse::LoginRequired { domain, entry, login_url }));
    let location = reply.values("Location").concat();
    assert!(
        location.ends_with("cams_original_url=https%3A%2F%2Fapp.test%3A8443%2Fcams%2Fresume%3Fid%3Da1"),
        "{location}"
    );
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (302, 1));
}

#[test]
fn only_what_a_browser_sends_again_byte_for_byte_is_kept() {
    let many = |count: usize| vec!["a="; count].join("&");
    for (body, expected) in [
        ("", true),
        ("a=", true),
        ("a=b&c=d&a=b", true),
        ("a=+%2B%25%26%3D%22%3C&b=%C3%A9%F0%9F%98%80%E2%80%AE", true),
        ("a=x%0D%0Ay&b%0D%0A=", true),
        ("submit=Send&action=x&method=y", true),
        ("_charset_=UTF-8", true),
        (&many(1_000), true),
        (&many(1_001), false),
        ("_charset_=windows-1252", false),
        ("a=x%0Ay", false),
        ("a=x%0Dy", false),
        ("a=%00", false),
        ("=a", false),
        ("a", false),
        ("a=b&", false),
        ("a=b&&c=d", false),
        ("a=%c3%a9", false),
        ("a=\u{e9}", false),
        ("a=%FF", false),
        ("a=%ED%A0%80", false),
        ("a=%2", false),
        ("a=%41", false),
        ("a=b c", false),
        ("a=b%20c", false),
    ] {
        assert_eq!(posted_fields(body.as_bytes()).is_some(), expected, "{body}");
    }
    let fields = posted_fields(b"b=1&a=x%0D%0Ay+%2B&b=").unwrap();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.expose_str().unwrap())).collect();
    assert_eq!(fields, [("b", "1"), ("a", "x\r\ny +"), ("b", "")]);
}
