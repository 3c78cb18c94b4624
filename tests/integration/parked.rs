//! Forms that were posted after their session had ended, through the product: their sender sends them again after the
//! login, and nobody else ever does.

use sha2::{Digest, Sha256};
use tests::browser::Screen;
use tests::command::cams as command;
use tests::{Browser, Quickstart};

const USER: &str = "input[name=cams_cb_username]";
const PASSWORD: &str = "input[name=cams_cb_password]";
/// Typed into a form, which is nobody's business.
const CANARY: &str = "canary-7hq2m-diagnosis";

fn body(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn end_sessions(cams: &Quickstart, user: &str) {
    command(["session", "end", "--user", user, "--conf", cams.conf.to_str().unwrap()]).success();
}

async fn log_in(browser: &Browser, cams: &Quickstart, user: &str) {
    browser.fill(USER, user).await;
    browser.submit(PASSWORD, &cams.user(user).password).await;
}

/// Fills the sample site's form.
async fn fill(browser: &Browser, cams: &Quickstart) {
    browser.goto(&format!("{}/private/form", cams.url)).await;
    if browser.has(PASSWORD).await {
        log_in(browser, cams, "alice").await;
    }
    browser.fill("#name", "Zoë \"&amp; <b>").await;
    browser.fill("#note", &format!("{CANARY}\nπ + 1 = 100 %")).await;
    browser.click("input[value=a]").await;
    browser.click("input[value=b]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_outlives_its_session_in_a_browser() {
    let cams = Quickstart::start(&[]).await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    fill(&browser, &cams).await;
    end_sessions(&cams, "alice");
    browser.follow("button[name=submit]").await;
    assert!(browser.text(".notice").await.contains("is kept"), "{}", browser.source().await);
    browser.emulate(Screen::Desktop, false).await;
    browser.screenshot("form-kept-login").await;
    log_in(&browser, &cams, "alice").await;
    let sent = body(&[
        ("name", "Zoë \"&amp; <b>"),
        ("note", &format!("{CANARY}\r\nπ + 1 = 100 %")),
        ("tag", "a"),
        ("tag", "b"),
        ("empty", ""),
        ("submit", "Send"),
    ]);
    let echo: serde_json::Value = serde_json::from_str(&browser.text("pre").await).unwrap();
    assert_eq!(browser.url().await, format!("{}/private/echo", cams.url));
    assert_eq!((&echo["method"], &echo["body_sha256"]), (&"POST".into(), &sha256(&sent).into()));
}
