//! Logging in and out at the gate: only forms of the cluster's pages, only to the cluster's sites.

use std::sync::Arc;

use shared_proto::login::{EntryForm, FormField, InputMode, LoginResponse};
use shared_proto::names::code;
use shared_proto::secret::Secret;

use super::{Answer, Event, Gate, Question, Reply, ReplyBody, Step};
use crate::pages::{LoginPage, Page};
use crate::site::GateConfig;
use crate::testing::{COOKIE, NAVIGATION, alice, connection, formed, gate_config, head, start};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const FIELDS: &str =
    "cams_security_domain=system&cams_login_config=http&cams_cb_username=alice&cams_cb_password=canary";

fn post(lines: &[&str]) -> (Gate, Step) {
    start("POST /cams/login", &[&[FORM, "Content-Length: 9"], lines].concat())
}

/// Posts the form with further fields, and the policy server's answer to it.
fn log_in(more: &str, answer: LoginResponse) -> Reply {
    let (mut gate, _) = post(&[]);
    let asked = gate.answer(Answer::Body(format!("{FIELDS}{more}").into_bytes()));
    assert!(matches!(asked, Step::Ask(Question::Login(_))), "{asked:?}");
    let step = gate.answer(Answer::Login(answer));
    formed(&mut gate, step).reply()
}

fn success() -> LoginResponse {
    LoginResponse::Success { session: Secret::from("fresh"), identity: alice() }
}

fn failure(login_url: Option<&str>) -> LoginResponse {
    LoginResponse::Failure {
        code: code::AUTHENTICATION_FAILED,
        exception: "javax.security.auth.login.FailedLoginException".to_owned(),
        message: "Wrong & wrong".to_owned(),
        login_url: login_url.map(str::to_owned),
        retry_after_seconds: None,
    }
}

fn login_page(reply: &Reply) -> &LoginPage {
    match &reply.body {
        ReplyBody::Page(Page::Login(page)) => page,
        other => panic!("not the login page: {other:?}"),
    }
}

fn error_code(step: Step) -> (u16, u16) {
    match step.reply() {
        Reply { status, body: ReplyBody::Page(Page::LoginError { code, .. }), .. } => (status, code),
        other => panic!("not the error page: {other:?}"),
    }
}

#[test]
fn the_page_shows_what_is_served_here() {
    for (query, original_url) in [
        ("", ""),
        ("?cams_security_domain=system&cams_login_config=http&cams_original_url=%2Fx", "/x"),
        ("?cams_original_url=https%3A%2F%2Fapp.test%3A8443%2F%2561", "https://app.test:8443/a"),
        ("?cams_original_url=https%3A%2F%2Fevil.test%2F", ""),
        ("?cams_cb_username=planted&cams_message=planted", ""),
    ] {
        let reply = start(&format!("GET /cams/login{query}"), &[NAVIGATION]).1.reply();
        let page = login_page(&reply);
        assert_eq!(
            (page.domain.as_str(), page.entry.as_str(), page.action.as_str()),
            ("system", "http", "/cams/login")
        );
        assert_eq!((reply.status, page.original_url.as_str()), (200, original_url), "{query}");
        assert_eq!((page.username.as_str(), page.error.as_deref(), page.remember_me), ("", None, true));
        let fields: Vec<_> = page.fields.iter().map(|field| (field.name.as_str(), field.secret)).collect();
        assert_eq!(fields, [("cams_cb_username", false), ("cams_cb_password", true)]);
    }
    for (query, expected) in [
        ("cams_security_domain=other", 5003),
        ("cams_security_domain=", 5003),
        ("cams_security_domain=system&cams_login_config=other", 5004),
    ] {
        assert_eq!(error_code(start(&format!("GET /cams/login?{query}"), &[]).1), (400, expected), "{query}");
    }
    let step_up = start("GET /cams/login?cams_login_config=strong", &[]).1.reply();
    assert_eq!(login_page(&step_up).entry, "strong");
    let twice = start("GET /cams/login?cams_login_config=http&cams_login_config=http", &[]).1;
    assert_eq!(twice.status(), 400);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let step = start(&format!("{method} /cams/login"), &[]).1;
        assert_eq!(error_code(step), (405, 5002), "{method}");
    }
}

/// The page of an entry, at first and after a failure, by what the policy server told of its form.
#[test]
fn the_page_asks_for_what_the_entry_declares() {
    let pin = FormField {
        name: "pin".to_owned(),
        label: "<PIN>".to_owned(),
        required: false,
        secret: true,
        max_length: 12,
        input_mode: InputMode::Numeric,
    };
    for (auto_login, remember_me) in [(true, true), (true, false), (false, true), (false, false)] {
        for failed in [false, true] {
            let config = Arc::new(GateConfig { auto_login, ..gate_config() });
            let line = if failed { "POST /cams/login" } else { "GET /cams/login?cams_login_config=strong" };
            let (mut gate, mut step) = Gate::start(&config, &connection(), &head(line, &[FORM]).unwrap(), "r1");
            if failed {
                gate.answer(Answer::Body(FIELDS.replace("=http", "=strong").into_bytes()));
                step = gate.answer(Answer::Login(failure(None)));
            }
            let Step::Ask(Question::Form { entry }) = step else { panic!("{step:?}") };
            assert_eq!(entry, "strong");
            let form = EntryForm { fields: vec![pin.clone()], remember_me };
            let reply = gate.answer(Answer::Form(form)).reply();
            let page = login_page(&reply);
            let [name, password, further] = &page.fields[..] else { panic!("{page:?}") };
            assert_eq!((name.name.as_str(), password.name.as_str()), ("cams_cb_username", "cams_cb_password"));
            assert_eq!((further.name.as_str(), further.label.as_str()), ("cams_cb_pin", "<PIN>"));
            assert_eq!((further.secret, further.required, further.max_length), (true, false, Some(12)));
            assert_eq!((page.remember_me, further.input_mode), (auto_login && remember_me, InputMode::Numeric));
            assert_eq!((reply.status, page.error.is_some()), if failed { (401, true) } else { (200, false) });
        }
    }
}

#[test]
fn no_form_is_no_login() {
    let head = head("GET /cams/login", &[]).unwrap();
    let (mut gate, _) = Gate::start(&Arc::new(gate_config()), &connection(), &head, "r1");
    assert_eq!(error_code(gate.answer(Answer::LinkDown)), (503, 5001));
}

#[test]
fn only_pages_of_the_cluster_log_in() {
    for (lines, expected) in [
        (&[][..], 0),
        (&["Origin: https://app.test:8443"], 0),
        (&["Origin: https://app.test:8443", "Sec-Fetch-Site: same-origin"], 0),
        (&["Origin: https://portal.test", "Sec-Fetch-Site: same-site"], 0),
        (&["Origin: https://shop.test:9443"], 0),
        (&["Referer: https://app.test:8443/cams/login?x"], 0),
        (&["Origin: null"], 403),
        (&["Origin: https://evil.test"], 403),
        (&["Origin: https://app.test"], 403),
        (&["Origin: http://app.test:8443"], 403),
        (&["Origin: https://app.test:8443/"], 403),
        (&["Origin: https://app.test:8443.evil.test"], 403),
        (&["Origin: https://app.test:8443 https://evil.test"], 403),
        (&["Origin:"], 403),
        (&["Origin: https://app.test:8443", "Sec-Fetch-Site: cross-site"], 403),
        (&["Origin: https://app.test:8443", "Sec-Fetch-Site: elsewhere"], 403),
        (&["Sec-Fetch-Site: cross-site"], 403),
        (&["Sec-Fetch-Site: same-site"], 403),
        (&["Referer: https://evil.test/https://app.test:8443/"], 403),
        (&["Origin: https://app.test:8443", "Origin: https://evil.test"], 400),
        (&["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], 400),
        (&["Content-Encoding: gzip"], 415),
    ] {
        assert_eq!(post(lines).1.status(), expected, "{lines:?}");
    }
    assert_eq!(start("POST /cams/login", &["Content-Type: text/plain"]).1.status(), 415);
}

#[test]
fn forms_that_cannot_be_a_login() {
    for (body, expected) in [
        ("cams_cb_username=a&cams_cb_password=b", 5003),
        ("cams_security_domain=other&cams_login_config=http", 5003),
        ("cams_security_domain=system", 5004),
        ("cams_security_domain=system&cams_login_config=other", 5004),
    ] {
        let step = post(&[]).0.answer(Answer::Body(body.as_bytes().to_vec()));
        assert_eq!(error_code(step), (400, expected), "{body}");
    }
    for (answer, expected) in [
        (Answer::Body(format!("{FIELDS}&cams_cb_username=bob").into_bytes()), 400),
        (Answer::Body(format!("{FIELDS}%ff").into_bytes()), 400),
        (Answer::BodyTooLarge, 413),
    ] {
        assert_eq!(post(&[]).0.answer(answer).status(), expected);
    }
}

#[test]
fn the_question_carries_the_callbacks_and_the_old_session() {
    for auto_login in [true, false] {
        let mut config = gate_config();
        config.auto_login = auto_login;
        let head = head("POST /cams/login", &[FORM, COOKIE]).unwrap();
        let (mut gate, _) = Gate::start(&Arc::new(config), &connection(), &head, "r1");
        let body = format!("{FIELDS}&cams_cb_autologin_flag=true&cams_cb_otp=123");
        let step = gate.answer(Answer::Body(body.into_bytes()));
        assert!(!format!("{gate:?}{step:?}").contains("canary"), "a password must not be shown");
        let Step::Ask(Question::Login(question)) = step else { panic!("{step:?}") };
        assert_eq!(
            (question.host.as_str(), question.domain.as_str(), question.entry.as_str()),
            ("app.test", "system", "http")
        );
        assert_eq!(question.callbacks["password"].expose_str(), Some("canary"));
        assert_eq!(question.callbacks["otp"].expose_str(), Some("123"));
        assert_eq!(question.callbacks.contains_key("autologin_flag"), auto_login);
        assert_eq!(question.previous_session.as_ref().and_then(Secret::expose_str), Some("token"));
    }
}

#[test]
fn success_leads_only_to_sites_of_the_cluster() {
    for (url, expected) in [
        ("", "/"),
        ("/private/?a=b", "/private/?a=b"),
        ("https://app.test:8443/x", "https://app.test:8443/x"),
        ("https://portal.test/x", "https://portal.test/x"),
        ("https://evil.test/", "/"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("/%09/evil.test", "/"),
        ("https://app.test:8443@evil.test", "/"),
        ("http://app.test:8443/", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nSet-Cookie:SID=x", "/"),
    ] {
        let field: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("cams_original_url", url).finish();
        let reply = log_in(&format!("&{field}"), success());
        assert_eq!((reply.status, reply.values("Location")), (303, vec![expected]), "{url}");
        assert!(!format!("{reply:?}").contains("fresh"), "a token must not be shown");
        let cookies = reply.values("Set-Cookie");
        assert_eq!(cookies, ["CAMS_SID_MYCAMSCLUSTER_SYSTEM=fresh; HttpOnly; SameSite=Lax; Secure; Path=/"]);
        assert_eq!((reply.audit.event, reply.audit.user.as_deref()), (Event::LoggedIn, Some("alice")));
    }
    for token in ["", "a b", "a;b", "a\r\nb", "é"] {
        let reply = log_in("", LoginResponse::Success { session: Secret::from(token), identity: alice() });
        assert_eq!((reply.status, reply.values("Set-Cookie").len()), (503, 0), "{token:?}");
    }
}

#[test]
fn failure_shows_the_page_again() {
    for login_url in [None, Some("/cams/login"), Some("https://app.test:8443/cams/login"), Some("https://evil.test/in")]
    {
        let reply = log_in("&cams_original_url=%2Fx", failure(login_url));
        let page = login_page(&reply);
        assert_eq!((reply.status, page.error.as_deref()), (401, Some("Wrong & wrong")));
        assert_eq!((page.username.as_str(), page.original_url.as_str()), ("alice", "/x"));
        assert!(reply.values("Set-Cookie").is_empty() && !format!("{reply:?}").contains("canary"));
        assert_eq!((reply.audit.event, reply.audit.user.as_deref()), (Event::LoginFailed, Some("alice")));
    }
}

#[test]
fn failure_leads_back_to_a_page_of_ones_own() {
    let reply = log_in("&cams_original_url=%2Fx", failure(Some("https://portal.test/in?lang=en")));
    let expected = "https://portal.test/in?lang=en&cams_security_domain=system&cams_login_config=http&\
        cams_original_url=%2Fx&cams_error=5000&\
        cams_exception=javax.security.auth.login.FailedLoginException&cams_message=Wrong+%26+wrong";
    assert_eq!((reply.status, reply.values("Location")), (303, vec![expected]));
}

fn locked(login_url: Option<&str>, seconds: u64) -> LoginResponse {
    LoginResponse::Failure {
        code: code::AUTHENTICATION_FAILED,
        exception: "com.cafesoft.cams.auth.MultipleFailedLoginsException".to_owned(),
        message: "Too many".to_owned(),
        login_url: login_url.map(str::to_owned),
        retry_after_seconds: Some(seconds),
    }
}

#[test]
fn who_is_locked_out_is_told_for_how_long() {
    for (seconds, words) in [
        (0, "1 second"),
        (1, "1 second"),
        (90, "90 seconds"),
        (91, "2 minutes"),
        (899, "15 minutes"),
        (900, "15 minutes"),
        (7_200, "120 minutes"),
        (7_201, "3 hours"),
        (u64::MAX, "5124095576030432 hours"),
    ] {
        let reply = log_in("", locked(None, seconds));
        let expected = format!("Too many. Try again in {words}.");
        assert_eq!((reply.status, login_page(&reply).error.as_deref()), (429, Some(expected.as_str())));
        assert_eq!(reply.values("Retry-After"), [seconds.to_string()]);
        assert!(reply.values("WWW-Authenticate").is_empty() && reply.values("Set-Cookie").is_empty());
    }
    let reply = log_in("", locked(Some("https://portal.test/in"), 900));
    assert_eq!((reply.status, reply.values("Retry-After").len()), (303, 0));
    let location = reply.values("Location").concat();
    assert!(
        location.ends_with("MultipleFailedLoginsException&cams_message=Too+many&cams_retry_after=900"),
        "{location}"
    );
}

#[test]
fn what_went_wrong_at_the_server_keeps_its_code() {
    let failed = |code| LoginResponse::Failure {
        code,
        exception: String::new(),
        message: "m".to_owned(),
        login_url: None,
        retry_after_seconds: None,
    };
    for (answer, expected) in [
        (failed(5001), (503, 5001)),
        (failed(5003), (400, 5003)),
        (failed(5004), (400, 5004)),
        (LoginResponse::Unknown, (403, 5000)),
    ] {
        assert_eq!(error_code(Step::Respond(log_in("", answer))), expected);
    }
    let (mut gate, _) = post(&[]);
    gate.answer(Answer::Body(FIELDS.as_bytes().to_vec()));
    let reply = gate.answer(Answer::LinkDown).reply();
    assert_eq!((reply.status, reply.values("Retry-After")), (503, vec!["5"]));
}

#[test]
fn logout() {
    const SAME: &str = "Sec-Fetch-Site: same-origin";
    for (line, lines, expected) in [
        ("GET /cams/logout", &[][..], "ends"),
        ("GET /cams/logout?cams_security_domain=system", &[SAME], "ends"),
        ("GET /cams/logout", &["Sec-Fetch-Site: none"], "ends"),
        ("GET /cams/logout", &["Sec-Fetch-Site: same-site", "Referer: https://portal.test/x"], "ends"),
        ("GET /cams/logout", &["Referer: https://app.test:8443/x"], "ends"),
        ("GET /cams/logout", &["Sec-Fetch-Site: cross-site"], "asks"),
        ("GET /cams/logout", &["Sec-Fetch-Site: same-site"], "asks"),
        ("GET /cams/logout", &["Referer: https://evil.test/"], "asks"),
        ("GET /cams/logout", &["Origin: null"], "asks"),
        ("GET /cams/logout", &[SAME, "Sec-Fetch-Dest: document"], "ends"),
        ("GET /cams/logout", &[SAME, "Sec-Fetch-Dest: image"], "asks"),
        ("GET /cams/logout", &[SAME, "Sec-Fetch-Dest: iframe"], "asks"),
        ("GET /cams/logout", &[SAME, "Sec-Purpose: prefetch"], "asks"),
        ("GET /cams/logout", &[SAME, "Purpose: prefetch"], "asks"),
        ("HEAD /cams/logout", &[SAME], "asks"),
        ("POST /cams/logout", &["Origin: https://app.test:8443", SAME], "ends"),
        ("POST /cams/logout", &[], "ends"),
        ("POST /cams/logout", &["Origin: https://evil.test"], "refused"),
        ("POST /cams/logout", &["Origin: null"], "refused"),
        ("POST /cams/logout", &["Sec-Fetch-Site: cross-site"], "refused"),
        ("PUT /cams/logout", &[SAME], "wrong method"),
    ] {
        let (mut gate, step) = start(line, &[lines, &[COOKIE]].concat());
        let is_asked = matches!(step, Step::Ask(Question::Logout(_)));
        let reply = if is_asked { gate.answer(Answer::Logout).reply() } else { step.reply() };
        let outcome = match (&reply.body, reply.status) {
            (ReplyBody::Page(Page::LoggedOut { .. }), 200) => "ends",
            (ReplyBody::Page(Page::ConfirmLogout { .. }), 200) => "asks",
            (ReplyBody::Page(Page::CrossSite), 403) => "refused",
            (_, 405) => "wrong method",
            _ => "something else",
        };
        assert_eq!(outcome, expected, "{line} {lines:?}");
        assert_eq!(is_asked, expected == "ends", "{line} {lines:?}");
        assert_eq!(reply.values("Set-Cookie").len(), if is_asked { 2 } else { 0 }, "{line} {lines:?}");
    }
}

#[test]
fn the_cookies_go_even_when_there_is_no_session_to_end() {
    for lines in [&[][..], &[COOKIE, COOKIE]] {
        let reply = start("POST /cams/logout", lines).1.reply();
        assert_eq!((reply.status, reply.values("Set-Cookie").len()), (200, 2), "{lines:?}");
    }
    let (mut gate, _) = start("POST /cams/logout", &[COOKIE]);
    let reply = gate.answer(Answer::LinkDown).reply();
    assert_eq!((reply.status, reply.values("Set-Cookie").len()), (503, 2));
    assert!(reply.values("Set-Cookie").iter().all(|cookie| cookie.contains("=; ") && cookie.contains("Max-Age=0")));
}
