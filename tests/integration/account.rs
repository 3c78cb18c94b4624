//! The account page, through the product: people see where they are logged in and end any of it, here or elsewhere.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tests::browser::Screen;
use tests::{Browser, Client, Quickstart, within_async};

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const REMEMBERED: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";
const ACCOUNT: &str = "/cams/account";
const PAGE: &str = "/private/echo";
const EVERYTHING: &str = "everything";

/// The values of the page's buttons.
fn buttons(page: &str) -> Vec<String> {
    let values = page.split("name=\"cams_end\" value=\"").skip(1);
    values.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
}

/// A client that calls itself so and is logged in.
async fn client(cams: &Quickstart, user: &str, name: &str, is_remembered: bool) -> Client {
    let client = cams.client();
    let flag = if is_remembered { "true" } else { "" };
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", ACCOUNT),
        ("cams_cb_username", user),
        ("cams_cb_password", &cams.user(user).password),
        ("cams_cb_autologin_flag", flag),
    ];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post("/cams/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", name)
        .body(Full::from(body))
        .unwrap();
    let reply = client.request(request).await;
    assert_eq!((reply.status.as_u16(), reply.location().as_str()), (303, ACCOUNT), "{}", reply.text());
    client
}

async fn end(client: &Client, what: &str) -> (u16, String) {
    let reply = client.post_form(ACCOUNT, &[("cams_end", what)]).await;
    (reply.status.as_u16(), reply.location())
}

async fn passes(client: &Client) -> bool {
    client.get_unless_cut(PAGE).await.is_some_and(|reply| reply.status == 200)
}

async fn gone(client: &Client) {
    within_async(Duration::from_secs(10), "its session is over", async || {
        client.get_unless_cut(PAGE).await.is_some_and(|reply| reply.status != 200)
    })
    .await;
}

#[tokio::test]
async fn people_end_what_is_theirs_and_only_that() {
    let cams = Quickstart::start(&[]).await;
    let desk = client(&cams, "alice", "DeskBrowser", false).await;
    let phone = client(&cams, "alice", "PhoneBrowser", true).await;
    let admin = client(&cams, "admin", "AdminBrowser", true).await;

    let page = desk.get(ACCOUNT).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    for (wanted, count) in [("DeskBrowser", 2), ("PhoneBrowser", 4), ("AdminBrowser", 0), ("This browser", 1)] {
        assert_eq!(text.matches(wanted).count(), count, "{wanted}: {text}");
    }
    for client in [&desk, &phone] {
        for cookie in [SESSION, REMEMBERED].iter().filter_map(|name| client.cookie(name)) {
            assert!(!text.contains(&cookie), "a page must not show what opens anything: {text}");
        }
    }
    let [own, other, browser, all] = &buttons(&text)[..] else { panic!("{text}") };
    assert_eq!(all, EVERYTHING);
    // What somebody else has is not found, which looks like success.
    for what in [own, other, browser] {
        assert_eq!(end(&admin, what).await, (303, ACCOUNT.to_owned()));
    }
    assert!(passes(&desk).await && passes(&phone).await);

    let run = |arguments: &[&str]| {
        let conf = ["--conf", cams.conf.to_str().unwrap()];
        tests::command::cams(["session"].iter().chain(arguments).chain(&conf)).success()
    };
    let browsers: Vec<serde_json::Value> =
        serde_json::from_str(&run(&["list", "--browsers", "--user", "alice", "--json"])).unwrap();
    let [listed] = &browsers[..] else { panic!("{browsers:?}") };
    assert_eq!(format!("browser:{}", listed["id"].as_str().unwrap()), *browser);
    assert_eq!(listed["user_agent"], "PhoneBrowser");
    run(&["end", listed["id"].as_str().unwrap()]);
    gone(&phone).await;
    let phone = client(&cams, "alice", "PhoneBrowser", true).await;
    let other = &buttons(&desk.get(ACCOUNT).await.text())[1];

    let kept = phone.cookie(REMEMBERED).unwrap();
    assert_eq!(end(&desk, other).await, (303, ACCOUNT.to_owned()));
    gone(&phone).await;
    let back = cams.client();
    back.set_cookie(REMEMBERED, &kept);
    assert!(!passes(&back).await, "its cookie is of no use");
    assert_eq!(back.cookie(REMEMBERED), None);
    assert!(!desk.get(ACCOUNT).await.text().contains("PhoneBrowser"));

    // One's own is a logout, and forgets what the browser was remembered by.
    let remembered = client(&cams, "alice", "TabletBrowser", true).await;
    let kept = remembered.cookie(REMEMBERED).unwrap();
    let text = remembered.get(ACCOUNT).await.text();
    assert_eq!(end(&remembered, &buttons(&text)[0]).await, (303, "/cams/logout".to_owned()));
    assert_eq!((remembered.cookie(SESSION), remembered.cookie(REMEMBERED)), (None, None));
    back.set_cookie(REMEMBERED, &kept);
    assert!(!passes(&back).await);
    assert!(passes(&admin).await);
    let reasons = cams.audit().into_iter().filter(|event| event["reason"] == "ended on the account page");
    assert_eq!(reasons.filter(|event| event["event"] == "session-ended").count(), 2);
}

const USER: &str = "input[name=cams_cb_username]";
const TYPED: &str = "input[name=cams_cb_password]";
const TICK: &str = "input[name=cams_cb_autologin_flag]";

/// Logs in on the form that is shown, and asks to be remembered.
async fn log_in(cams: &Quickstart, browser: &Browser) {
    browser.fill(USER, "alice").await;
    browser.click(TICK).await;
    browser.submit(TYPED, &cams.user("alice").password).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_browser_ends_the_other() {
    let cams = Quickstart::start(&[]).await;
    let Some(here) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let Some(mut there) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let (account, page) = (format!("{}{ACCOUNT}", cams.url), format!("{}/private/", cams.url));
    for browser in [&here, &there] {
        browser.goto(&account).await;
        log_in(&cams, browser).await;
        assert_eq!(browser.url().await, account, "back to the page after the login");
    }
    here.goto(&page).await;
    here.follow("#account").await;
    assert_eq!(here.url().await, account);

    here.follow("form li:nth-child(2) button[value^='session:']").await;
    assert_eq!(here.url().await, account);
    assert_eq!(buttons(&here.source().await).len(), 3, "a session, a browser, everything");
    there.goto(&page).await;
    assert!(there.has(TYPED).await, "the other browser is asked to log in");
    assert_eq!(there.cookie(REMEMBERED).await, None, "what it was remembered by is of no use");

    there.goto(&page).await;
    log_in(&cams, &there).await;
    there.follow("#account").await;
    there.follow("button[value=everything]").await;
    assert!(there.text("h1").await.contains("signed out"), "{}", there.source().await);
    there.reopen().await;
    for browser in [&here, &there] {
        browser.goto(&page).await;
        assert!(browser.has(TYPED).await, "everywhere");
        assert_eq!(browser.cookie(REMEMBERED).await, None);
    }
}

/// The page on every screen: with one session, and with as many as make it long.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_keeps_nobody_out() {
    let cams = Quickstart::start(&[]).await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    browser.goto(&format!("{}{ACCOUNT}", cams.url)).await;
    browser.fill(USER, "alice").await;
    browser.submit(TYPED, &cams.user("alice").password).await;
    accessible(&browser, "account-one").await;
    let long = format!("Robot/{}", "wide".repeat(60));
    let names =
        ["Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) Version/17.6 Safari/604.1", &long, "", "curl/8.9"];
    for number in 0..30 {
        client(&cams, "alice", names[number % names.len()], number % 3 == 0).await;
    }
    browser.session.refresh().await.unwrap();
    accessible(&browser, "account-many").await;
    for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
        browser.emulate(screen, false).await;
        browser.session.execute("scrollTo(0, document.body.scrollHeight)", vec![]).await.unwrap();
        browser.screenshot(&format!("account-many-end-{name}")).await;
    }
}

/// Takes pictures, and panics when axe-core finds anything wrong with the page on any screen.
async fn accessible(browser: &Browser, page: &str) {
    for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.emulate(screen, dark).await;
            browser.screenshot(&format!("{page}-{name}-{scheme}")).await;
            assert!(browser.fits().await, "{page} {name}: it is wider than the screen");
            let Some(violations) = browser.violations().await else { return };
            assert_eq!(violations, [""; 0], "{page} {name} {scheme}");
        }
    }
}
