//! Stories of people, in a real Chromium.

use tests::browser::Screen;
use tests::{Browser, Quickstart};

const USER: &str = "input[name=cams_cb_username]";
const PASSWORD: &str = "input[name=cams_cb_password]";

/// Fills the login page that is shown.
async fn log_in(browser: &Browser, user: &str, password: &str) {
    browser.fill(USER, user).await;
    browser.submit(PASSWORD, password).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_and_out() {
    let cams = Quickstart::start(&[]).await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let alice = cams.user("alice");

    browser.goto(&format!("{}/private/?a=1&b=%C3%A9", cams.url)).await;
    assert!(browser.url().await.contains("/cams/login"), "{}", browser.url().await);

    log_in(&browser, "alice", "wrong").await;
    let page = browser.text("body").await;
    assert!(page.contains("Authentication failed, invalid credentials"), "{page}");
    assert_eq!((browser.value(USER).await.as_str(), browser.value(PASSWORD).await.as_str()), ("alice", ""));

    browser.submit(PASSWORD, &alice.password).await;
    assert_eq!(browser.url().await, format!("{}/private/?a=1&b=%C3%A9", cams.url));
    assert_eq!((browser.text("#user").await.as_str(), browser.text("#roles").await.as_str()), ("alice", "user"));

    browser.goto(&format!("{}/private/echo", cams.url)).await;
    let echo: serde_json::Value = serde_json::from_str(&browser.text("pre").await).unwrap();
    let header = |name: &str| {
        let headers = echo["headers"].as_array().unwrap().iter();
        headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((header("cams-http-user"), header("cams-http-roles")), (vec!["alice"], vec!["user"]));
    assert!(!header("cookie").concat().contains("CAMS_"), "{echo}");

    browser.goto(&format!("{}/private/", cams.url)).await;
    browser.follow("#logout").await;
    browser.goto(&format!("{}/private/", cams.url)).await;
    assert!(browser.has(PASSWORD).await, "asked again");
}

/// Chromium keeps whole pages for its back button, `no-store` or not, and the answer that ends the session comes
/// before it has put the last one away.
#[tokio::test(flavor = "multi_thread")]
async fn the_back_button_brings_nothing_protected_back() {
    let cams = Quickstart::shared().await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    browser.goto(&format!("{}/private/", cams.url)).await;
    log_in(&browser, "alice", &cams.user("alice").password).await;
    assert_eq!(browser.text("#user").await, "alice");
    browser.follow("#logout").await;
    browser.goto(&cams.url).await;
    for _ in 0..3 {
        browser.back().await;
        assert!(!browser.has("#user").await, "{}: {}", browser.url().await, browser.source().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_each_end_on_their_own_page() {
    let cams = Quickstart::shared().await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let mut tabs = Vec::new();
    for number in 0..10 {
        tabs.push(browser.new_tab().await);
        browser.goto(&format!("{}/private/?tab={number}", cams.url)).await;
        assert!(browser.has(PASSWORD).await, "tab {number}");
    }
    for (number, tab) in tabs.iter().enumerate() {
        browser.session.switch_to_window(tab.clone()).await.unwrap();
        log_in(&browser, "alice", &cams.user("alice").password).await;
        assert_eq!(browser.url().await, format!("{}/private/?tab={number}", cams.url));
    }
    // What the first tabs got still counts after the last one logged in.
    for (number, tab) in tabs.into_iter().enumerate() {
        browser.session.switch_to_window(tab).await.unwrap();
        browser.session.refresh().await.unwrap();
        assert_eq!(browser.text("#target").await, format!("/private/?tab={number}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_one_tab_opens_the_others() {
    let cams = Quickstart::shared().await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let first = browser.new_tab().await;
    browser.goto(&format!("{}/private/?tab=1", cams.url)).await;
    browser.new_tab().await;
    browser.goto(&format!("{}/private/?tab=2", cams.url)).await;
    log_in(&browser, "alice", &cams.user("alice").password).await;
    browser.session.switch_to_window(first).await.unwrap();
    browser.goto(&format!("{}/private/?tab=1", cams.url)).await;
    assert_eq!(browser.text("#target").await, "/private/?tab=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_pages_keep_nobody_out() {
    let cams = Quickstart::start(&[]).await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    browser.goto(&format!("{}/private/", cams.url)).await;
    if !accessible(&browser, "login").await {
        return;
    }
    log_in(&browser, "alice", "wrong").await;
    accessible(&browser, "login-failed").await;
    browser.submit(PASSWORD, &cams.user("alice").password).await;
    browser.goto(&format!("{}/admin/", cams.url)).await;
    accessible(&browser, "denied").await;
}

/// Panics when axe-core finds anything wrong with the page on any screen; false when there is no axe-core.
pub async fn accessible(browser: &Browser, page: &str) -> bool {
    for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.emulate(screen, dark).await;
            browser.screenshot(&format!("{page}-{name}-{scheme}")).await;
            let Some(violations) = browser.violations().await else { return false };
            assert_eq!(violations, [""; 0], "{page} {name} {scheme}");
        }
    }
    true
}
