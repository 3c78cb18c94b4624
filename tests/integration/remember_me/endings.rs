//! What ends it, as a person with a browser sees it: the form, and nothing left to try with.

use super::*;

/// Closes the browser and comes back, until there is the form.
async fn is_asked(browser: &mut Browser, page: &str, why: &str) {
    let start = std::time::Instant::now();
    loop {
        browser.reopen().await;
        browser.goto(page).await;
        if browser.has(TYPED).await {
            break;
        }
        assert!(start.elapsed() < SOON, "still remembered: {why}");
    }
    assert_eq!(browser.cookie(REMEMBERED).await, None, "{why}");
}

async fn tick(browser: &mut Browser, page: &str, password: &str) {
    browser.goto(page).await;
    browser.fill(USER, "alice").await;
    browser.click(TICK).await;
    browser.submit(TYPED, password).await;
    assert_eq!(browser.url().await, page);
    browser.reopen().await;
    browser.goto(page).await;
    assert_eq!(browser.text("#user").await, "alice", "no form for whoever is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_remembered_no_more_is_asked() {
    let cams = Quickstart::start(&[]).await;
    let Some(mut browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    let page = format!("{}/private/?deep=1", cams.url);
    let digest = cams_with_input(["digest", "--scheme", "SSHA256"], b"another").success();

    tick(&mut browser, &page, &cams.user("alice").password).await;
    cams.edit_users(|text| {
        let (before, after) = text.split_once("name=\"alice\" password=\"").unwrap();
        let after = &after[after.find('"').unwrap()..];
        format!("{before}name=\"alice\" password=\"{}{after}", digest.trim())
    });
    is_asked(&mut browser, &page, "the password is another").await;

    tick(&mut browser, &page, "another").await;
    cams.edit_users(|text| text.replace("name=\"alice\"", "name=\"alice\" enabled=\"false\""));
    is_asked(&mut browser, &page, "the account is disabled").await;
    cams.edit_users(|text| text.replace(" enabled=\"false\"", ""));
    let is_back = async || cams.client().log_in("alice", "another", "/private/").await.status == 303;
    within_async(SOON, "the account is enabled", is_back).await;

    tick(&mut browser, &page, "another").await;
    let key = command(["keygen"]).success();
    let key = key.lines().find(|line| line.contains("\"secretKey\"")).unwrap().to_owned();
    replace(&cams.domain_file("security-domain.xml"), |text| {
        let lines = text.lines().map(|line| if line.contains("\"secretKey\"") { key.as_str() } else { line });
        lines.collect::<Vec<_>>().join("\n")
    });
    is_asked(&mut browser, &page, "the key is gone").await;

    tick(&mut browser, &page, "another").await;
    replace(&cams.facts().agent_conf, |text| {
        text.replace("cams.autologin.enabled=true", "cams.autologin.enabled=false")
    });
    is_asked(&mut browser, &page, "the agent remembers nobody").await;
}
