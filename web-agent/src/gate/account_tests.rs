//! The account page at the gate: a session's own, and nothing ended by a page of another site.

use shared_proto::account::{Account, AccountEndResponse, AccountResponse, End};
use shared_proto::login::{AutoLoginResponse, Remember};

use super::{Answer, Event, Gate, Question, ReplyBody, Step};
use crate::pages::Page;
use crate::testing::{COOKIE, NAVIGATION, alice, start};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const OWN: &str = "Origin: https://app.test:8443";
const REMEMBERED: &str = "Cookie: CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=kept";

fn account() -> AccountResponse {
    AccountResponse::Account(Account {
        user: "alice".to_owned(),
        sessions: Vec::new(),
        more_sessions: 0,
        browsers: Vec::new(),
        more_browsers: 0,
    })
}

fn login_required() -> AccountResponse {
    AccountResponse::LoginRequired { login_url: "/cams/login".to_owned() }
}

fn post(lines: &[&str]) -> (Gate, Step) {
    start("POST /cams/account", &[&[COOKIE, NAVIGATION, FORM, "Content-Length: 9"], lines].concat())
}

/// Posts this body; what the policy server is asked to end, or the status of the answer.
fn end(body: &str) -> Result<End, u16> {
    let (mut gate, _) = post(&[OWN]);
    match gate.answer(Answer::Body(body.as_bytes().to_vec())) {
        Step::Ask(Question::AccountEnd(question)) => {
            assert_eq!(question.asker.session.unwrap().expose(), b"token");
            Ok(question.end)
        }
        step => Err(step.status()),
    }
}

#[test]
fn the_page_is_for_who_has_a_session() {
    let (mut gate, step) = start("GET /cams/account", &[COOKIE, NAVIGATION]);
    let Step::Ask(Question::Account(question)) = step else { panic!("{step:?}") };
    assert_eq!(
        (question.domain.as_str(), question.entry.as_str(), question.host.as_str()),
        ("system", "http", "app.test")
    );
    let reply = gate.answer(Answer::Account(account())).reply();
    assert_eq!((reply.status, reply.audit.user.as_deref()), (200, Some("alice")));
    assert!(matches!(reply.body, ReplyBody::Page(Page::Account(_))), "{reply:?}");

    for (lines, deletes) in [(&[NAVIGATION][..], false), (&[COOKIE, NAVIGATION], true)] {
        let (mut gate, _) = start("GET /cams/account", lines);
        let reply = gate.answer(Answer::Account(login_required())).reply();
        let back = "cams_original_url=https%3A%2F%2Fapp.test%3A8443%2Fcams%2Faccount";
        assert_eq!((reply.status, reply.values("Set-Cookie").len()), (302, usize::from(deletes)));
        assert!(reply.values("Location")[0].starts_with("/cams/login?"), "{reply:?}");
        assert!(reply.values("Location")[0].ends_with(back), "{reply:?}");
    }
}

/// Whatever else is answered, nothing is shown.
#[test]
fn no_other_answer_shows_it() {
    for (lines, answer) in [
        (&[NAVIGATION][..], Answer::Account(account())),
        (&[COOKIE, NAVIGATION], Answer::Account(AccountResponse::Unknown)),
        (&[COOKIE, NAVIGATION], Answer::AccountEnd(AccountEndResponse::Ended { own: true })),
        (&[COOKIE, NAVIGATION], Answer::Logout),
        (&[COOKIE, NAVIGATION], Answer::LinkDown),
    ] {
        let (mut gate, _) = start("GET /cams/account", lines);
        let reply = gate.answer(answer).reply();
        assert_eq!((reply.status, reply.audit.event), (503, Event::Unavailable));
    }
}

#[test]
fn who_is_remembered_needs_no_form() {
    let (mut gate, _) = start("GET /cams/account", &[REMEMBERED, NAVIGATION]);
    let step = gate.answer(Answer::Account(login_required()));
    assert!(matches!(step, Step::Ask(Question::AutoLogin(_))), "{step:?}");
    let remember = Some(Remember { cookie: "next".into(), max_age_seconds: 60 });
    let response = AutoLoginResponse::Success { session: "fresh".into(), identity: alice(), remember };
    let step = gate.answer(Answer::AutoLogin(response));
    let Step::Ask(Question::Account(question)) = step else { panic!("{step:?}") };
    assert_eq!(question.session.unwrap().expose(), b"fresh");
    let reply = gate.answer(Answer::Account(account())).reply();
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (200, 2));

    let (mut gate, _) = start("GET /cams/account", &[REMEMBERED, NAVIGATION]);
    gate.answer(Answer::Account(login_required()));
    let reply = gate.answer(Answer::AutoLogin(AutoLoginResponse::Refused { notice: None })).reply();
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (302, 1), "the form, and the cookie is gone");
}

#[test]
fn a_form_says_what_is_to_end() {
    let session = |id: &str| End::Session { id: id.to_owned() };
    for (body, expected) in [
        ("cams_end=everything", End::Everything),
        ("cams_end=session%3A5a3c", session("5a3c")),
        ("x=y&cams_end=session:5a3c", session("5a3c")),
        ("cams_end=browser:5a3c", End::Browser { id: "5a3c".to_owned() }),
    ] {
        assert_eq!(end(body).unwrap(), expected, "{body}");
    }
    for body in [
        "",
        "cams_end=",
        "cams_end=all",
        "cams_end=session",
        "cams_end=session:",
        "cams_end=session:..%2F..",
        "cams_end=session:%00",
        "cams_end=token:5a3c",
        "cams_end=everything:",
        "cams_end=everything&cams_end=everything",
        "cams_end=%ff",
        &format!("cams_end=session:{}", "a".repeat(65)),
    ] {
        assert_eq!(end(body).unwrap_err(), 400, "{body}");
    }
    let (mut gate, _) = post(&[OWN]);
    assert_eq!(gate.answer(Answer::BodyTooLarge).status(), 413);
}

#[test]
fn only_our_own_pages_end_anything() {
    for (lines, expected) in [
        (&[OWN][..], 0),
        (&["Sec-Fetch-Site: same-origin"], 0),
        (&["Origin: null", "Sec-Fetch-Site: same-origin"], 0),
        (&[], 403),
        (&["Origin: https://portal.test"], 403),
        (&["Origin: https://portal.test", "Sec-Fetch-Site: same-site"], 403),
        (&["Sec-Fetch-Site: same-site"], 403),
        (&["Origin: https://evil.test"], 403),
        (&["Origin: null"], 403),
        (&["Sec-Fetch-Site: cross-site"], 403),
        (&["Referer: https://evil.test/"], 403),
    ] {
        assert_eq!(post(lines).1.status(), expected, "{lines:?}");
    }
    let json = start("POST /cams/account", &[COOKIE, OWN, "Content-Type: application/json", "Content-Length: 9"]).1;
    assert_eq!(json.status(), 415);
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let reply = start(&format!("{method} /cams/account"), &[COOKIE]).1.reply();
        assert_eq!((reply.status, reply.values("Allow")), (405, vec!["GET, HEAD, POST"]), "{method}");
    }
}

#[test]
fn what_comes_afterwards() {
    for (response, expected, deleted) in [
        (AccountEndResponse::Ended { own: false }, Some("/cams/account"), 0),
        (AccountEndResponse::NotFound, Some("/cams/account"), 0),
        (AccountEndResponse::NoSession, Some("/cams/account"), 1),
        (AccountEndResponse::Ended { own: true }, Some("/cams/logout"), 2),
        (AccountEndResponse::Unknown, None, 0),
    ] {
        let (mut gate, _) = post(&[OWN]);
        gate.answer(Answer::Body(b"cams_end=everything".to_vec()));
        let reply = gate.answer(Answer::AccountEnd(response.clone())).reply();
        assert_eq!(reply.values("Location").first().copied(), expected, "{response:?}");
        assert_eq!(reply.status, if expected.is_some() { 303 } else { 503 }, "{response:?}");
        let cookies = reply.values("Set-Cookie");
        assert_eq!(cookies.len(), deleted, "{response:?}");
        assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")), "{cookies:?}");
    }
}
