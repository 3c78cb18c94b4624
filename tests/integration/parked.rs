//! Forms that were posted after their session had ended, through the product and in the store: their sender sends them
//! again after the login, and nobody else ever does.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use policy_server::session::{SessionStore, TokenHash};
use policy_server::store::Owner;
use sha2::{Digest, Sha256};
use shared_proto::secret::Secret;
use tests::browser::Screen;
use tests::command::cams as command;
use tests::{Browser, Client, Quickstart, Reply};

use crate::browser::accessible;
use crate::secrets::{Kept, files};
use crate::store::{session, stores};

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const FORM: &str = "__Host-CAMS_FORM_MYCAMSCLUSTER_SYSTEM";
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

/// Fills the sample site's form, loses the session, and sends the form.
async fn send_too_late(browser: &Browser, cams: &Quickstart) {
    browser.goto(&format!("{}/private/form", cams.url)).await;
    if browser.has(PASSWORD).await {
        log_in(browser, cams, "alice").await;
    }
    browser.fill("#name", "Zoë \"&amp; <b>").await;
    browser.fill("#note", &format!("{CANARY}\nπ + 1 = 100 %")).await;
    browser.click("input[value=a]").await;
    browser.click("input[value=b]").await;
    end_sessions(cams, "alice");
    browser.follow("button[name=submit]").await;
    assert!(browser.text(".notice").await.contains("is kept"), "{}", browser.source().await);
}

/// What the site has got is that form, byte for byte.
async fn has_arrived(browser: &Browser, cams: &Quickstart) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_form_outlives_its_session_in_a_browser() {
    let cams = Quickstart::start(&[]).await;
    let Some(browser) = Browser::start(Some(&cams.ca_pem)).await else { return };
    send_too_late(&browser, &cams).await;
    accessible(&browser, "form-kept").await;
    log_in(&browser, &cams, "alice").await;
    has_arrived(&browser, &cams).await;
    browser.goto(&format!("{}/private/form", cams.url)).await;
    accessible(&browser, "sample-form").await;

    // Somebody else logs in instead.
    send_too_late(&browser, &cams).await;
    log_in(&browser, &cams, "admin").await;
    let resume = browser.url().await;
    assert!(resume.starts_with(&format!("{}/cams/resume?id=", cams.url)), "{resume}");
    assert!(browser.text("h1").await.contains("no form") && !browser.source().await.contains(CANARY));
    accessible(&browser, "form-gone").await;
    let wanted = Kept::password("a form", CANARY, None);
    let dir = cams.dir();
    let holders: Vec<_> = files(dir.path()).into_iter().filter(|(_, bytes)| wanted.is_in(bytes)).collect();
    assert_eq!(holders.iter().map(|(name, _)| name).collect::<Vec<_>>(), [""; 0]);

    // Its sender comes back to it, with a browser that runs no scripts.
    browser.goto(&format!("{}/cams/logout", cams.url)).await;
    browser.allow_scripts(false).await;
    browser.goto(&resume).await;
    log_in(&browser, &cams, "alice").await;
    assert_eq!((browser.url().await, browser.text("button").await), (resume, "Send it again".to_owned()));
    for (name, screen) in [("phone", Screen::Phone), ("desktop", Screen::Desktop)] {
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.emulate(screen, dark).await;
            browser.screenshot(&format!("form-resend-{name}-{scheme}")).await;
        }
    }
    browser.follow("button").await;
    has_arrived(&browser, &cams).await;
}

/// A client whose session has ended without its knowledge.
async fn ended(cams: &Quickstart) -> Client {
    let (client, elsewhere) = (cams.client_of("alice").await, cams.client());
    elsewhere.set_cookie(SESSION, &client.cookie(SESSION).unwrap());
    assert_eq!(elsewhere.get("/cams/logout").await.status, 200);
    client
}

/// Sends a body to the sample site; where the login leads back to, and what its page says.
async fn post(client: &Client, origin: &str, kind: &str, body: impl Into<Bytes>) -> (String, String) {
    let request = Request::post("/private/echo?a=b").header("accept", "text/html").header("origin", origin);
    let request = request.header("content-type", kind).body(Full::new(body.into())).unwrap();
    let reply = client.request(request).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let location = reply.location();
    let (_, query) = location.split_once('?').unwrap();
    let value = |wanted: &str| {
        let mut told = form_urlencoded::parse(query.as_bytes());
        told.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let back = value("cams_original_url");
    (back.strip_prefix(&client.origin().origin()).unwrap_or(&back).to_owned(), value("cams_notice"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_sender_gets_a_form_back_and_once() {
    const PLAIN: &str = "application/x-www-form-urlencoded";
    let cams = Quickstart::start(&[]).await;
    let own = cams.client().origin().origin();
    let of = |length: usize| format!("a={}", "x".repeat(length - 2));
    for (what, origin, kind, body, is_kept) in [
        ("a form", own.as_str(), PLAIN, of(100), true),
        ("64 KiB", &own, PLAIN, of(65_536), true),
        ("64 KiB and a byte", &own, PLAIN, of(65_537), false),
        ("a megabyte", &own, PLAIN, of(1_000_000), false),
        ("another site", "https://evil.test", PLAIN, of(100), false),
        ("JSON", &own, "application/json", "{}".to_owned(), false),
        ("multipart", &own, "multipart/form-data; boundary=x", "--x--\r\n".to_owned(), false),
    ] {
        let (back, notice) = post(&ended(&cams).await, origin, kind, body).await;
        assert_eq!((back.starts_with("/cams/resume?id="), notice == "form-kept"), (is_kept, is_kept), "{what}");
        assert_eq!((back == "/", notice == "form-lost"), (!is_kept, !is_kept), "{what}: {back}");
    }
    let (stranger, never) = (cams.client(), cams.client());
    never.set_cookie(SESSION, "never-a-session");
    for (client, what) in [(stranger, "no session"), (never, "one that nobody had")] {
        assert_eq!(post(&client, &own, PLAIN, of(10)).await.1, "form-lost", "{what}");
    }

    let sender = ended(&cams).await;
    let (resume, _) = post(&sender, &own, PLAIN, "b=1&a=%3Cx%3E&b=").await;
    let browser = sender.cookie(FORM).unwrap();
    let come = async |user: Option<&str>, browser: Option<&str>, resume: &str| -> Reply {
        let client = match user {
            Some(user) => cams.client_of(user).await,
            None => cams.client(),
        };
        if let Some(browser) = browser {
            client.set_cookie(FORM, browser);
        }
        client.get(resume).await
    };
    let other = format!("{resume}0");
    for (user, browser, resume, status) in [
        (None, Some(browser.as_str()), resume.as_str(), 302),
        (Some("admin"), Some(&browser), &resume, 410),
        (Some("alice"), None, &resume, 410),
        (Some("alice"), Some("another-browser"), &resume, 410),
        (Some("alice"), Some(&browser), &other, 410),
    ] {
        assert_eq!(come(user, browser, resume).await.status, status, "{user:?} {browser:?}");
    }
    let tabs = join_all((0..5).map(|_| come(Some("alice"), Some(&browser), &resume))).await;
    let (given, gone): (Vec<_>, Vec<_>) = tabs.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((given.len(), gone.iter().filter(|reply| reply.status == 410).count()), (1, 4));
    let page = given[0].text();
    for part in ["action=\"&#x2f;private&#x2f;echo?a=b\"", "name=\"a\" value=\"&lt;x&gt;\"", "name=\"b\" value=\"\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(given[0].header("content-security-policy").contains("script-src 'sha256-"));
    let events = cams.audit();
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind && event["user"] == "alice").count();
    assert_eq!((count("form-kept"), count("form-returned")), (3, 1));
}

fn owner() -> Owner {
    let text = str::to_owned;
    Owner {
        domain: text("system"),
        user: text("alice"),
        host: text("app.test"),
        origin: text("https://app.test"),
        browser: TokenHash::of(&Secret::from("browser")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_wait_for_their_owner_on_both_databases() {
    for fixture in stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        let (token, alice) = session("one", "alice", 100);
        servers[0].insert(&token, &alice).await.unwrap();
        let now = jiff::Timestamp::now().as_second();
        let whose = async |domain: &str, now: i64| servers[1].ended_user(&token, domain, now).await.unwrap();
        assert_eq!(whose("system", now).await, None, "it lives");
        assert!(servers[0].delete("one").await.unwrap() && !servers[0].delete("one").await.unwrap());
        assert_eq!(whose("system", now).await.as_deref(), Some("alice"));
        assert_eq!((whose("other", now).await, whose("system", now + 3_700).await), (None, None));

        // Twenty at two servers: eight are kept.
        let parking = (0..20).map(|number| {
            let server = servers[number % 2].clone();
            tokio::spawn(async move { server.park(&number.to_string(), &owner(), b"sealed", now + 900).await })
        });
        assert!(join_all(parking).await.into_iter().all(|done| done.unwrap().is_ok()));
        let other = |change: fn(&mut Owner)| {
            let mut owner = owner();
            change(&mut owner);
            owner
        };
        let strangers = [
            other(|owner| owner.domain.push('x')),
            other(|owner| owner.user.push('x')),
            other(|owner| owner.host.push('x')),
            other(|owner| owner.origin.push('x')),
            other(|owner| owner.browser = TokenHash::of(&Secret::from("other"))),
        ];
        let mut left = 0;
        for number in 0..20 {
            let id = number.to_string();
            for stranger in &strangers {
                assert_eq!(servers[0].take_parked(&id, stranger, now).await.unwrap(), None, "{stranger:?}");
            }
            assert_eq!(servers[0].take_parked(&id, &owner(), now + 900).await.unwrap(), None, "too late");
            let taking = (0..4).map(|tab| {
                let (server, id) = (servers[tab % 2].clone(), id.clone());
                tokio::spawn(async move { server.take_parked(&id, &owner(), now + 899).await.unwrap() })
            });
            let taken: Vec<_> = join_all(taking).await.into_iter().filter_map(Result::unwrap).collect();
            assert!(taken.is_empty() || taken == [b"sealed"], "{taken:?}");
            left += taken.len();
        }
        assert_eq!(left, 8);
        servers[0].park("last", &owner(), b"sealed", now + 900).await.unwrap();
        servers[0].purge_parked(now + 3_700).await.unwrap();
        assert_eq!(servers[0].take_parked("last", &owner(), now).await.unwrap(), None);
        assert_eq!(whose("system", now).await, None);
    }
}
