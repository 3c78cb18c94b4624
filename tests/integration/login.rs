//! Logging in and out over HTTP, as a client sees it that looks at every answer.

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use tests::client::is_deletion;
use tests::{Quickstart, Reply};

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const AUTO_LOGIN: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";

fn request(method: Method, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

fn empty() -> Full<Bytes> {
    Full::default()
}

/// A query parameter of a URL or target.
fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_navigation_is_sent_to_the_login_page_and_back_to_its_target() {
    let cams = Quickstart::shared().await;
    let alice = cams.user("alice");
    for target in
        ["/private/", "/private/?a=1&b=%2F%C3%A9&c=+", "/private/a%20b?x=y", "/private/echo?next=//evil.test/"]
    {
        let client = cams.client();
        let asked = client.get(target).await;
        assert_eq!(asked.status, 302, "{asked:?}");
        let page = asked.location();
        assert!(page.contains("/cams/login?"), "{page}");
        assert_eq!(parameter(&page, "cams_security_domain").as_deref(), Some("system"));
        assert_eq!(parameter(&page, "cams_login_config").as_deref(), Some("http"));
        let original = parameter(&page, "cams_original_url").unwrap();
        assert!(original.ends_with(target), "{original}");

        let done = client.log_in("alice", &alice.password, &original).await;
        assert_eq!(done.status, 303, "{done:?}");
        assert!(done.location().ends_with(target), "{}", done.location());
        assert!(client.cookie(SESSION).is_some());
        assert!(client.get(target).await.status.as_u16() != 302, "logged in");
    }
}

#[tokio::test]
async fn the_session_cookie_is_kept_from_scripts_other_sites_and_plain_connections() {
    let cams = Quickstart::shared().await;
    let client = cams.client();
    let alice = cams.user("alice");
    let done = client.log_in("alice", &alice.password, "/private/").await;
    let cookies = done.cookies();
    let session = cookies.iter().find(|cookie| cookie.name() == SESSION).unwrap();
    assert_eq!((session.secure(), session.http_only(), session.domain()), (Some(true), Some(true), None), "{session}");
    assert_eq!(session.same_site(), Some(cookie::SameSite::Lax));
    assert_eq!((session.max_age(), session.expires()), (None, None), "it must end with the browser");
    assert!(cookies.iter().all(|cookie| cookie.name() != AUTO_LOGIN), "nobody asked to be remembered");
    assert!(!client.cookie(SESSION).unwrap().contains("alice"));
}

#[tokio::test]
async fn a_wrong_password_keeps_name_and_target() {
    // Its own product: failures count against whoever logs in beside this test.
    let cams = Quickstart::start(&[]).await;
    let messages = std::fs::read_to_string(cams.domain_file("login-exception.properties")).unwrap();
    let expected = "Authentication failed, invalid credentials";
    assert!(messages.contains(expected), "{messages}");

    let cases = [
        ("alice", "wrong-one", "alice"),
        ("alice", "", "alice"),
        ("nobody", "wrong-one", "nobody"),
        ("<b>alice</b>", "wrong-one", "&lt;b&gt;alice&lt;"),
    ];
    for (user, password, shown) in cases {
        let client = cams.client();
        let failed = client.log_in(user, password, "/private/?a=b").await;
        assert_eq!(failed.status, 401, "{user}: {failed:?}");
        assert!(client.cookie_header().is_none(), "{user}");
        let page = failed.text();
        for wanted in [expected, shown, "&#x2f;private&#x2f;?a=b"] {
            assert!(page.contains(wanted), "{user}: no {wanted} in {page}");
        }
        assert!(!page.contains("wrong-one") && !page.contains("<b>alice"), "{user}: {page}");
    }
    let done = cams.client().log_in("alice", &cams.user("alice").password, "/private/").await;
    assert_eq!(done.status, 303, "{done:?}");
}

#[tokio::test]
async fn the_login_service_keeps_the_originals_error_codes() {
    let cams = Quickstart::shared().await;
    let client = cams.client();
    let password = &cams.user("alice").password;
    let fields = |domain, entry| {
        [
            ("cams_security_domain", domain),
            ("cams_login_config", entry),
            ("cams_cb_username", "alice"),
            ("cams_cb_password", password.as_str()),
        ]
    };
    for (domain, entry, code) in
        [("other", "http", "5003"), ("", "http", "5003"), ("system", "other", "5004"), ("system", "", "5004")]
    {
        let refused = client.post_form("/cams/login", &fields(domain, entry)).await;
        assert!(refused.status.is_client_error() && refused.text().contains(code), "{domain}/{entry}: {refused:?}");
        assert!(client.cookie(SESSION).is_none());
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let refused = client.request(request(method.clone(), "/cams/login").body(empty()).unwrap()).await;
        assert!(refused.status.is_client_error() && refused.text().contains("5002"), "{method}: {refused:?}");
    }
}

#[tokio::test]
async fn nobody_else_can_log_a_browser_in() {
    let cams = Quickstart::shared().await;
    let client = cams.client();
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("cams_security_domain", "system"), ("cams_login_config", "http")])
        .extend_pairs([("cams_cb_username", "alice"), ("cams_cb_password", cams.user("alice").password.as_str())])
        .finish();
    let cases: [&[(&str, &str)]; 4] = [
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
        &[("origin", "https://localhost.evil.test"), ("sec-fetch-site", "same-origin")],
        &[("origin", &client.origin().origin()), ("sec-fetch-site", "cross-site")],
    ];
    for headers in cases {
        let mut login =
            request(Method::POST, "/cams/login").header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            login = login.header(*name, *value);
        }
        let refused = client.request(login.body(Full::from(body.clone())).unwrap()).await;
        assert_eq!(refused.status, 403, "{headers:?}: {refused:?}");
        assert!(client.cookie(SESSION).is_none(), "{headers:?}");
    }
}

#[tokio::test]
async fn a_login_leads_to_no_foreign_site() {
    let cams = Quickstart::shared().await;
    let alice = cams.user("alice");
    let authority = cams.raw().authority();
    let foreign = [
        "https://evil.test/".to_owned(),
        "//evil.test/".into(),
        "/\\evil.test/".into(),
        "/\t/evil.test/".into(),
        "\\\\evil.test/".into(),
        "https:evil.test".into(),
        "javascript:alert(1)".into(),
        format!("https://{authority}@evil.test/"),
        format!("https://{authority}.evil.test/"),
        format!("http://{authority}/private/"),
        "https://localhost/private/".into(),
        "/private/\r\nSet-Cookie: a=b".into(),
    ];
    for target in foreign {
        let done = cams.client().log_in("alice", &alice.password, &target).await;
        assert_eq!(done.status, 303, "{target:?}: {done:?}");
        let location = done.location();
        let own = location.strip_prefix(&format!("https://{authority}")).unwrap_or(&location);
        assert!(own.starts_with('/') && !own.contains("evil") && !own.starts_with("//"), "{target:?}: {location}");
        assert!(done.cookies().iter().all(|cookie| cookie.name() != "a"), "{target:?}");
    }
}

#[tokio::test]
async fn ten_tabs_log_in_at_once_and_each_gets_its_own_page() {
    let cams = Quickstart::shared().await;
    let alice = cams.user("alice");
    let client = cams.client();
    let tab = async |number: usize| -> (String, Reply) {
        let target = format!("/private/?tab={number}");
        let asked = client.get(&target).await;
        let original = parameter(&asked.location(), "cams_original_url").unwrap();
        (target, client.log_in("alice", &alice.password, &original).await)
    };
    for (target, done) in join_all((0..10).map(tab)).await {
        assert_eq!(done.status, 303, "{done:?}");
        assert!(done.location().ends_with(&target), "{} is not {target}", done.location());
    }
    assert_eq!(client.get("/private/").await.status, 200);
}

#[tokio::test]
async fn logging_out_ends_the_session_and_deletes_the_cookies() {
    let cams = Quickstart::shared().await;
    let client = cams.client_of("alice").await;
    let token = client.cookie(SESSION).unwrap();
    let out = client.get("/cams/logout").await;
    assert!(out.status.is_success() || out.status.is_redirection(), "{out:?}");
    let deleted = |name| out.cookies().iter().any(|cookie| cookie.name() == name && is_deletion(cookie));
    assert!(deleted(SESSION) && deleted(AUTO_LOGIN), "{:?}", out.cookies());
    client.set_cookie(SESSION, &token);
    assert_eq!(client.get("/private/").await.status, 302, "a logged-out token opens nothing");
}

#[tokio::test]
async fn another_site_can_not_log_a_browser_out() {
    let cams = Quickstart::shared().await;
    let client = cams.client_of("alice").await;
    let asked = request(Method::GET, "/cams/logout")
        .header("accept", "text/html")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate");
    let page = client.request(asked.body(empty()).unwrap()).await;
    assert_eq!(page.status, 200, "a page that asks: {page:?}");
    assert_eq!(client.get("/private/").await.status, 200);
}

#[tokio::test]
async fn two_cookies_of_one_name_mean_nobody() {
    let cams = Quickstart::shared().await;
    let client = cams.client_of("alice").await;
    let token = client.cookie(SESSION).unwrap();
    for cookies in [format!("{SESSION}={token}; {SESSION}=x"), format!("{SESSION}=x; {SESSION}={token}")] {
        let asked = request(Method::GET, "/private/").header("accept", "text/html").header("cookie", cookies);
        let status = cams.client().request(asked.body(empty()).unwrap()).await.status;
        assert!(!status.is_success(), "{status}");
    }
}
