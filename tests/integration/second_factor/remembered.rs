//! One-time codes and remembered browsers: where the module accepts one, it stands in for the code and for nothing else.

use super::*;
use tests::client::is_deletion;

const REMEMBERED: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";
const PAGE: &str = "/admin/";

/// Turns remember me on for `strong`, for which a remembered browser counts or does not.
fn offer(product: &Product, accepts: bool) {
    replace(&product.cams.domain_file("login-config.xml"), |text| {
        let option = |value: &str| format!("<option name=\"rememberedBrowser\" value=\"{value}\"/>");
        let roles = "<option name=\"defaultRoles\" value=\"two-factors\"/>";
        let (before, strong) = text.split_once("<login-config-entry name=\"strong\">").unwrap();
        let strong = match accepts {
            false => strong
                .replacen("ConfigurableCallbackHandler\"", "ConfigurableCallbackHandler\" rememberMe=\"true\"", 1)
                .replacen(roles, &format!("{roles}{}", option("refuse")), 1),
            true => strong.replacen(&option("refuse"), &option("accept"), 1),
        };
        assert!(strong.contains("rememberMe") && strong.contains(&option(if accepts { "accept" } else { "refuse" })));
        format!("{before}<login-config-entry name=\"strong\">{strong}")
    });
}

/// Comes to a page with this cookie alone: the answer, and the browser it came to.
async fn come_back(agent: &Agent, page: &str, cookie: &str) -> (Reply, Client) {
    let client = Client::new(&url(agent), None);
    client.set_cookie(REMEMBERED, cookie);
    (client.get(page).await, client)
}

#[tokio::test]
async fn a_remembered_browser_stands_in_for_a_code_where_it_may() {
    let product = Product::start().await;
    let secret = product.enrol();
    let Some(code) = codes(&secret) else { return };
    let password = product.password();
    let properties = [("cams.autologin.enabled", "true"), ("cams.loginconfig.entries", "strong")];
    let conf = &product.cams.conf;
    let agent = Agent::run(conf, "remembers", &["http", "strong"], &[(HOST, &product.site)], &properties).await;
    let browser = || Client::new(&url(&agent), None);
    let loads = || {
        let audit = fs::read_to_string(product.cams.dir().path().join("data/audit.jsonl")).unwrap();
        audit.matches("\"configuration-loaded\"").count()
    };
    // A code counts once, and the next one already.
    for (steps, accepts) in [(0, false), (1, true)] {
        let before = loads();
        offer(&product, accepts);
        within_async(SOON, "the new entry", async || loads() > before).await;
        let is_offered = async || {
            let page = browser().get("/cams/login?cams_login_config=strong").await;
            page.text().contains("cams_cb_autologin_flag")
        };
        within_async(SOON, "the offer", is_offered).await;
        let client = browser();
        let answer = code(steps);
        let further = [("cams_cb_totp", answer.as_str()), ("cams_cb_autologin_flag", "true")];
        let done = log_in(&client, "strong", password, &further).await;
        assert_eq!(done.status, 303, "{done:?}");
        assert_eq!(client.cookie(REMEMBERED).is_some(), accepts, "whoever shows a code is remembered if it may be");
        let Some(cookie) = client.cookie(REMEMBERED) else { continue };

        let (back, client) = come_back(&agent, PAGE, &cookie).await;
        assert_eq!(back.status, 200, "{back:?}");
        let cookie = client.cookie(REMEMBERED).unwrap();
        // The family is of `strong`; the site's own entry is another door, which a session of this one leaves shut.
        let attempts = product.sessions().len();
        assert_eq!(client.get("/private/").await.status, 302);
        assert_eq!((product.sessions().len(), client.cookie(REMEMBERED).as_ref()), (attempts, Some(&cookie)));
        // The code is what it stands in for: without the person's enrolment it stands in for nothing.
        product.run(&["user", "totp", "remove", "alice"]).success();
        let is_over = async || {
            let (back, client) = come_back(&agent, PAGE, &cookie).await;
            let is_deleted = back.cookies().iter().any(|cookie| cookie.name() == REMEMBERED && is_deletion(cookie));
            back.status == 302 && is_deleted && client.cookie(REMEMBERED).is_none()
        };
        within_async(SOON, "the enrolment is gone", is_over).await;
    }
}
