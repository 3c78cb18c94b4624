//! Browsers that are remembered, over sockets: one attempt for many requests, and every kind of request goes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::testkit::client::Answer;

const KEPT: &str = "Cookie: CAMS_AUTO_LOGIN_TEST_SYSTEM=kept\r\n";
const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
const AUTO_LOGIN: &str = "/agent/v1/autologin";

/// An agent that offers to remember; `script` answers for what is remembered, [`policy`] the rest.
async fn remembering(script: impl Fn() -> Act + Send + Sync + 'static) -> Setting {
    let script = move |path: &str, question: &Value| if path == AUTO_LOGIN { script() } else { policy(path, question) };
    Setting::changed(script, Limits::default(), |gate| gate.auto_login = true).await
}

fn alive() -> Act {
    let identity = json!({
        "user": "alice", "roles": [], "domain": "system", "entry": "http", "session_id": "s1", "session_created": 1
    });
    let remember = json!({"cookie": "next", "max_age_seconds": 600});
    Act::Answer(200, json!({"is": "success", "session": "alive", "identity": identity, "remember": remember}))
}

/// The `Set-Cookie` values of an answer up to their first attribute.
fn cookies(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let values = lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).map(|(_, value)| value);
    values.map(|value| value.split(';').next().unwrap()).collect()
}

const GIVEN: [&str; 2] = ["CAMS_SID_TEST_SYSTEM=alive", "CAMS_AUTO_LOGIN_TEST_SYSTEM=next"];

#[tokio::test]
async fn every_kind_of_request_goes_on_and_brings_the_cookies() {
    let post = format!("POST /private/ HTTP/1.1\r\nHost: app.test\r\n{KEPT}Content-Length: 5\r\n\r\nhello");
    let chunked = format!(
        "PUT /private/ HTTP/1.1\r\nHost: app.test\r\n{KEPT}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    for (request, status, sent) in [
        (get("/private/", &format!("{KEPT}{PAGE}")), 200, "GET /private/ "),
        (get("/private/", &format!("{KEPT}X-Requested-With: XMLHttpRequest\r\n")), 200, "GET /private/ "),
        (post, 200, "\r\n\r\nhello"),
        (chunked, 200, "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (get("/private/ws", &format!("{KEPT}{WEBSOCKET}Origin: http://app.test\r\n")), 101, "GET /private/ws "),
    ] {
        let setting = remembering(alive).await;
        let request = request.replace("Origin: http://app.test", &format!("Origin: http://{}", host(&setting)));
        let request = request.replace("Host: app.test", &format!("Host: {}", host(&setting)));
        let answer = ask(setting.http, &request).await.unwrap();
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert_eq!(cookies(&answer), GIVEN, "{request}");
        assert_eq!(answer.header("cache-control"), Some("no-store, private"), "{request}");
        let seen = setting.site.received();
        assert!(seen.contains(sent), "{request}: {seen}");
        assert!(seen.to_ascii_lowercase().contains("cams-http-user: alice"), "{seen}");
        assert!(!["kept", "next", "alive", "AUTO_LOGIN"].iter().any(|secret| seen.contains(secret)), "{seen}");
        assert_eq!(setting.policy.asked(AUTO_LOGIN)[0]["cookie"], "kept");
    }
}

/// The session lives although the site does not.
#[tokio::test]
async fn a_site_that_is_down_takes_no_cookie_along() {
    let setting = remembering(alive).await;
    let address = setting.site.address;
    drop(setting.site);
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    let answer = ask(setting.http, get("/private/", KEPT)).await.unwrap();
    assert_eq!((answer.status, cookies(&answer)), (502, GIVEN.to_vec()), "{answer:?}");
}

fn host(setting: &Setting) -> String {
    format!("app.test:{}", setting.http.port())
}

#[tokio::test]
async fn twenty_tabs_are_one_attempt_and_a_late_one_shares_it() {
    let setting = remembering(alive).await;
    let tab = || ask(setting.http, get("/private/", &format!("{KEPT}{PAGE}")));
    for answer in futures_util::future::join_all((0..20).map(|_| tab())).await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, cookies(&answer)), (200, GIVEN.to_vec()), "{answer:?}");
    }
    assert_eq!(tab().await.unwrap().status, 200);
    assert_eq!(setting.policy.asked(AUTO_LOGIN).len(), 1);
}

#[tokio::test]
async fn the_first_to_ask_may_leave() {
    let (say, words) = unbounded_channel();
    let words = Arc::new(Mutex::new(words));
    let asked = Arc::new(Notify::new());
    let heard = asked.clone();
    let setting = remembering(move || {
        heard.notify_one();
        Act::Stream(words.clone())
    })
    .await;
    let mut first = Client::connect(setting.http).await;
    first.send(get("/private/", KEPT)).await;
    asked.notified().await;
    drop(first);
    let Act::Answer(_, answer) = alive() else { panic!() };
    say.send(answer.to_string().into()).unwrap();
    drop(say);
    let answer = ask(setting.http, get("/private/", KEPT)).await.unwrap();
    assert_eq!((answer.status, cookies(&answer)), (200, GIVEN.to_vec()), "{answer:?}");
    assert_eq!(setting.policy.asked(AUTO_LOGIN).len(), 1);
}

/// The connection breaks under the question: the server may have answered, and is asked once more.
#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let is_first = AtomicBool::new(true);
    let setting = remembering(move || if is_first.swap(false, Ordering::SeqCst) { Act::Close } else { alive() }).await;
    let answer = ask(setting.http, get("/private/", &format!("{KEPT}{PAGE}"))).await.unwrap();
    assert_eq!((answer.status, cookies(&answer)), (200, GIVEN.to_vec()), "{answer:?}");
    assert_eq!(setting.policy.asked(AUTO_LOGIN).len(), 2);
}

#[tokio::test]
async fn what_is_no_login_leads_to_the_form_or_is_told_to_wait() {
    let deleted = vec!["CAMS_AUTO_LOGIN_TEST_SYSTEM="];
    let (form, later) = ([302, 200, 401], [503, 503, 503]);
    for (answer, statuses, cookie) in [
        (Act::Answer(200, json!({"is": "refused"})), form, deleted.clone()),
        (Act::Answer(200, json!({"is": "refused", "notice": "remember-me-stolen"})), form, deleted),
        (Act::Answer(200, json!({"is": "unavailable"})), form, vec![]),
        (Act::Answer(200, json!({"is": "of a newer server"})), form, vec![]),
        (Act::Answer(200, json!({"is": "no-service"})), later, vec![]),
        (Act::Answer(200, json!({"is": "success"})), later, vec![]),
        (Act::Answer(403, json!({"error": "no"})), later, vec![]),
        (Act::Answer(503, json!({"error": "busy"})), later, vec![]),
        (Act::Raw(b"{".to_vec()), later, vec![]),
        (Act::Close, later, vec![]),
    ] {
        let shown = format!("{answer:?}");
        let setting = remembering(move || answer.clone()).await;
        let page = ask(setting.http, get("/private/", &format!("{KEPT}{PAGE}"))).await.unwrap();
        assert_eq!((page.status, cookies(&page)), (statuses[0], cookie.clone()), "{shown}: {page:?}");
        let login = page.header("location").unwrap_or("/cams/login?cams_original_url=%2Fprivate%2F").to_owned();
        let form = ask(setting.http, get(&login, &format!("{KEPT}{PAGE}"))).await.unwrap();
        assert_eq!((form.status, cookies(&form)), (statuses[1], cookie.clone()), "{shown}: {form:?}");
        assert_eq!(form.body.contains("used a copy of what it kept"), shown.contains("stolen"), "{shown}");
        let program = ask(setting.http, get("/private/", KEPT)).await.unwrap();
        assert_eq!((program.status, cookies(&program)), (statuses[2], cookie), "{shown}: {program:?}");
        assert_eq!(setting.site.received(), "", "{shown}");
    }
}

#[tokio::test]
async fn only_what_needs_a_login_makes_an_attempt() {
    let setting = remembering(alive).await;
    for (request, status) in [
        (get("/public/", KEPT), 200),
        (get("/denied/", KEPT), 403),
        (get("/private/", &format!("{KEPT}{ALICE}")), 200),
        (get("/private/", ""), 401),
        (get("/cams/login", &format!("{KEPT}{PAGE}")), 200),
        (
            format!(
                "POST /private/ HTTP/1.1\r\nHost: app.test\r\n{KEPT}Origin: http://evil.test\r\nContent-Length: 0\r\n\r\n"
            ),
            401,
        ),
    ] {
        let answer = ask(setting.http, &request).await.unwrap();
        assert_eq!((answer.status, cookies(&answer).len()), (status, 0), "{request}: {answer:?}");
    }
    assert_eq!(setting.policy.asked(AUTO_LOGIN), [] as [Value; 0]);
}
