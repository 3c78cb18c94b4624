//! Where the agent sends a browser: to a site of its own, whatever it was told.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tests::{Client, Quickstart, RawClient, Reply};
use url::Url;

/// Places outside, in the spellings that checks and browsers have read differently. `{o}` is the site's own origin, `{h}`
/// its host and port, `{p}` its port.
const OUTSIDE: [&str; 62] = [
    "https://evil.test/",
    "HTTPS://EVIL.TEST",
    "http://evil.test",
    "//evil.test",
    "///evil.test",
    "////evil.test",
    "/\\evil.test",
    "\\/evil.test",
    "\\\\evil.test",
    "/\\/evil.test",
    "/%09/evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/\r\n/evil.test",
    "\t//evil.test",
    " //evil.test",
    "\u{a0}//evil.test",
    "\u{1}//evil.test",
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "https:\\\\evil.test",
    "https:\\evil.test",
    "ht\ntps://evil.test",
    "https://\tevil.test",
    "https://evil。test",
    "https://ｅvil.test",
    "//evil。test",
    "／／evil.test",
    "/／evil.test",
    "{o}@evil.test",
    "{o}%40evil.test",
    "{o}:x@evil.test",
    "https://{h}@evil.test",
    "https://a@b@evil.test",
    "{o}\\@evil.test",
    "{o}#@evil.test/../..",
    "https://evil.test#{o}",
    "https://evil.test?{o}",
    "https://evil.test\\{o}",
    "{o}.evil.test",
    "https://localhost.evil.test:{p}",
    "https://xlocalhost:{p}",
    "https://localhost:1",
    "https://localhost:{p}1",
    "https://localhost",
    "http://localhost:{p}",
    "ws://localhost:{p}",
    "https://user@localhost:{p}",
    "https://[::1]:{p}",
    "https://0x7f000001:{p}",
    "https://2130706433:{p}",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//{o}",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "/..;/..//evil.test",
    "/.//evil.test",
    "/%0d%0aSet-Cookie:%20SID=x",
    "/x\r\nSet-Cookie: SID=x",
];

fn outside(authority: &str) -> impl Iterator<Item = String> {
    let port = authority.rsplit(':').next().unwrap().to_owned();
    let (origin, host) = (format!("https://{authority}"), authority.to_owned());
    OUTSIDE.into_iter().map(move |text| text.replace("{o}", &origin).replace("{h}", &host).replace("{p}", &port))
}

/// The place a browser goes to is one of ours, read as browsers read it.
fn assert_ours(reply: &Reply, site: &Url, what: &str) {
    for location in reply.headers.get_all("location") {
        let location = location.to_str().unwrap_or_else(|_| panic!("{what}: {location:?}"));
        let goes = site.join(location).unwrap_or_else(|error| panic!("{what}: {location}: {error}"));
        assert_eq!(goes.origin(), site.origin(), "{what}: {location}");
        assert_eq!(goes.username(), "", "{what}: {location}");
    }
    for cookie in reply.cookies() {
        assert_ne!(cookie.name(), "SID", "{what}");
    }
    for header in ["refresh", "content-location", "sid"] {
        assert_eq!(reply.header(header), "", "{what}");
    }
    // A form must not carry it on either: but the page may keep a text that will not be followed.
    assert!(!reply.text().contains("href=\"https://evil"), "{what}");
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_leads_to_our_sites_alone() {
    let cams = Quickstart::shared().await;
    let alice = cams.user("alice").clone();
    let site = cams.client().origin().url.clone();
    for original in outside(&cams.client().origin().authority()) {
        let client = cams.client();
        let reply = client.log_in("alice", &alice.password, &original).await;
        assert_eq!(reply.status, 303, "{original:?}: {reply:?}");
        assert_ours(&reply, &site, &format!("login, {original:?}"));
        let failed = client.log_in("alice", "wrong", &original).await;
        assert_ours(&failed, &site, &format!("failed login, {original:?}"));
        for (name, value) in [("cams_original_url", &original), ("cams_message", &original), ("rd", &original)] {
            let page = cams.client().get(&format!("/cams/login?{name}={}", encoded(value))).await;
            assert_ours(&page, &site, &format!("login page, {name}={original:?}"));
            let again = client.get(&format!("/cams/login?{name}={}", encoded(value))).await;
            assert_ours(&again, &site, &format!("login page with a session, {name}={original:?}"));
        }
    }
    // The test can fail: where it may lead, it does.
    let reply = cams.client().log_in("alice", &alice.password, "/private/?a=b").await;
    assert_eq!(site.join(&reply.location()).unwrap().path(), "/private/");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_leads_to_our_sites_alone() {
    let cams = Quickstart::shared().await;
    let (client, site) = (cams.client(), cams.client().origin().url.clone());
    for original in outside(&client.origin().authority()) {
        for field in ["cams_original_url", "rd", "url"] {
            for path in ["/cams/logout", "/cams/logout/forget"] {
                let target = format!("{path}?{field}={}", encoded(&original));
                assert_ours(&client.get(&target).await, &site, &target);
                assert_ours(&client.post_form(&target, &[(field, &original)]).await, &site, &target);
            }
        }
    }
}

/// Headers that name another host, or a page the browser came from.
#[tokio::test]
async fn no_header_changes_where_a_protected_page_leads() {
    let cams = Quickstart::shared().await;
    let (client, site) = (cams.client(), cams.client().origin().url.clone());
    let headers =
        ["x-forwarded-host", "x-forwarded-server", "x-host", "forwarded", "referer", "origin", "x-original-url"];
    for name in headers {
        for value in ["evil.test", "https://evil.test/", "host=evil.test", "//evil.test"] {
            for method in [Method::GET, Method::POST] {
                for path in ["/private/", "/cams/login", "/cams/logout", "/private/?x=//evil.test"] {
                    let asked = Request::builder().method(method.clone()).uri(path).header("accept", "text/html");
                    let asked = asked.header(name, value).body(Full::<Bytes>::default()).unwrap();
                    assert_ours(&client.request(asked).await, &site, &format!("{method} {path}, {name}: {value}"));
                }
            }
        }
    }
}

/// The target itself is what the login returns to: in no spelling does it become another place.
#[tokio::test]
async fn no_target_leads_elsewhere_after_the_login() {
    let cams = Quickstart::shared().await;
    let (raw, site) = (cams.raw(), cams.client().origin().url.clone());
    let password = cams.user("alice").password.clone();
    for outside in outside(&raw.authority()) {
        for target in [outside.clone(), format!("/{outside}"), format!("/private/{outside}")] {
            let Some(original) = original_url(&raw, &target).await else { continue };
            let reply = Client::log_in(&cams.client(), "alice", &password, &original).await;
            assert_ours(&reply, &site, &format!("{target:?}"));
        }
    }
}

/// What the agent hands to the login page for a protected target, where it does.
async fn original_url(raw: &RawClient, target: &str) -> Option<String> {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n", raw.authority());
    let answer = String::from_utf8_lossy(&raw.exchange(request.as_bytes()).await).into_owned();
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: "))?.to_owned();
    let goes = Url::parse(&format!("https://{}", raw.authority())).unwrap().join(&location).unwrap();
    assert_eq!(goes.path(), "/cams/login", "{target:?}: {location}");
    goes.query_pairs().find(|(name, _)| name == "cams_original_url").map(|(_, value)| value.into_owned())
}
