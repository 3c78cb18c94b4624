//! Headers that would make a site believe the client rather than the agent. The site behind the agent is one that folds
//! names as CGI does, and takes the first or the last value: so it must find one value of every name, and ours.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tests::recorder::Received;
use tests::{Client, Quickstart, RawClient, Recorder};

/// Every character of a token that is no letter and no digit (RFC 9110, section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

const IDENTITY: [&str; 9] = [
    "CAMS-HTTP-USER",
    "CAMS-HTTP-ROLES",
    "CAMS-HTTP-ROLE",
    "CAMS-HTTP-SECURITY-DOMAIN",
    "CAMS-HTTP-SESSION-ID",
    "CAMS-HTTP-SESSION-CREATED",
    "CAMS-HTTP-PERSON-MAIL",
    "CAMS-HTTP-ASSERTION",
    "X-Client-Cert",
];

/// What tells of another client, address or method than the agent saw.
const FORWARDING: [&str; 22] = [
    "X-Forwarded-For: 10.9.8.7",
    "X-Forwarded-For: not an address, 999.1.1.1, ::ffff:127.0.0.1",
    "X_Forwarded_For: 10.9.8.7",
    "X-Real-IP: 10.9.8.7",
    "X.Real.IP: 10.9.8.7",
    "Forwarded: for=10.9.8.7;host=evil.test;proto=http",
    "True-Client-IP: 10.9.8.7",
    "X-Forwarded-Host: evil.test",
    "X~Forwarded~Host: evil.test",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Port: 81",
    "X-Forwarded-Uri: /public/evil",
    "X-Forwarded-Prefix: /public/evil",
    "X-Forwarded-Method: OPTIONS",
    "X-Original-URL: /public/evil",
    "X_Original_URL: /public/evil",
    "X-Original-URI: /public/evil",
    "X-Original-Method: OPTIONS",
    "X-Rewrite-URL: /public/evil",
    "X-HTTP-Method-Override: OPTIONS",
    "X-HTTP-Method: OPTIONS",
    "X-Method-Override: OPTIONS",
];

/// The product in front of a site that records.
struct Setting {
    cams: Quickstart,
    site: Recorder,
}

impl Setting {
    async fn start() -> Self {
        let site = Recorder::start().await;
        Self { cams: Quickstart::start(&["--upstream", &site.url]).await, site }
    }

    /// What the site received for this request, which has to reach it.
    async fn through(&self, raw: &RawClient, marker: &str, request: &str) -> Received {
        let answer = String::from_utf8_lossy(&raw.exchange(request.as_bytes()).await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
        let [received] = self.site.about(marker).try_into().unwrap_or_else(|seen| panic!("{request}: {seen:?}"));
        received
    }
}

fn get(raw: &RawClient, target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", raw.authority())
}

/// One value for every name that speaks of identity or origin, whichever of two a site prefers, and ours.
fn assert_ours(received: &Received, user: Option<(&str, &[String])>) {
    let folded = received.folded();
    for (name, values) in &folded {
        if name.starts_with("CAMS_HTTP") && name != "CAMS_HTTP_ROLE" || name.starts_with("X_FORWARDED") {
            assert_eq!(values.len(), 1, "{name}: {received:?}");
        }
    }
    let of = |name: &str| folded.get(name).cloned().unwrap_or_default();
    let (name, roles) = user.unwrap_or_default();
    let expected: Vec<String> = user.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(of("CAMS_HTTP_USER"), expected, "{name}: {received:?}");
    assert_eq!(of("CAMS_HTTP_ROLE"), roles, "{received:?}");
    assert_eq!(of("X_FORWARDED_FOR"), ["127.0.0.1"], "{received:?}");
    assert_eq!(of("X_REAL_IP"), ["127.0.0.1"], "{received:?}");
    assert_eq!(of("X_FORWARDED_PROTO"), ["https"], "{received:?}");
    assert!(!received.head.contains("evil") && !received.head.contains("10.9.8.7"), "{received:?}");
    for absent in ["X_CLIENT_CERT", "FORWARDED", "TE", "TRAILER", "X_ORIGINAL_URL", "X_HTTP_METHOD_OVERRIDE"] {
        assert_eq!(of(absent), [""; 0], "{absent}: {received:?}");
    }
}

fn spellings(name: &str) -> Vec<String> {
    let mixed = |name: &str| {
        let letters = name
            .char_indices()
            .map(|(at, c)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
        letters.collect::<String>()
    };
    let all = SEPARATORS.chars().map(|separator| name.replace('-', &separator.to_string()));
    // One separator alone in place, too: two kinds in one name.
    let halves = SEPARATORS.chars().map(|separator| name.replacen('-', &separator.to_string(), 1));
    all.chain(halves).flat_map(|name| [mixed(&name), name.to_ascii_lowercase(), name]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_an_identity_header_comes_from_outside() {
    let setting = Setting::start().await;
    let names: Vec<String> = IDENTITY.into_iter().flat_map(spellings).collect();
    let alice = setting.cams.client_of("alice").await.cookie_header().unwrap();
    let raw = Arc::new(setting.cams.raw());
    let cases = names.iter().enumerate().map(|(at, name)| {
        // Half of them with a session, half of those on a protected page.
        let cookie = if at % 2 == 0 { format!("Cookie: {alice}\r\n") } else { String::new() };
        let target = if at % 4 == 0 { "/private/spoofed" } else { "/public/spoofed" };
        let twice = if at % 3 == 0 { "Accept: */*\r\n".to_owned() } else { format!("{name}: adm\r\n") };
        (get(&raw, target, &format!("{cookie}{name}: admin\r\n{twice}")), name.clone())
    });
    let sent = stream::iter(cases).map(|(request, name)| {
        let raw = Arc::clone(&raw);
        async move { (raw.status(request.as_bytes()).await, name) }
    });
    let answers: Vec<(u16, String)> = sent.buffer_unordered(16).collect().await;
    assert!(answers.len() > 700, "{}", answers.len());
    for (status, name) in answers {
        assert_eq!(status, 400, "{name}");
    }
    assert_eq!(setting.site.about("spoofed").len(), 0, "{:?}", setting.site.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_over_http2() {
    let setting = Setting::start().await;
    let alice = setting.cams.client_of("alice").await;
    let (stranger, alice) = (setting.cams.client().http2(), alice.cookie_header().unwrap());
    for (at, name) in IDENTITY.into_iter().flat_map(spellings).enumerate() {
        // HTTP/2 knows no capital letters, so two thirds would be the same.
        if at % 3 != 1 {
            continue;
        }
        let mut request = Request::get(if at % 2 == 0 { "/private/spoofed" } else { "/public/spoofed" });
        if at % 2 == 0 {
            request = request.header("cookie", &alice);
        }
        let request = request.header(&name, "admin").body(Full::<Bytes>::default()).unwrap();
        assert_eq!(stranger.request(request).await.status, 400, "{name}");
    }
    assert_eq!(setting.site.about("spoofed").len(), 0, "{:?}", setting.site.seen());
}

#[tokio::test]
async fn headers_of_other_proxies_change_no_decision_and_reach_no_site() {
    let setting = Setting::start().await;
    let (raw, cams) = (setting.cams.raw(), &setting.cams);
    let alice = cams.client_of("alice").await.cookie_header().unwrap();
    let roles = &cams.user("alice").roles;
    for (at, header) in FORWARDING.into_iter().enumerate() {
        let answer = raw.exchange(get(&raw, "/admin/", &format!("Accept: text/html\r\n{header}\r\n")).as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 302"), "{header}: {answer}");
        assert!(!answer.contains("evil") && !answer.contains("gopher"), "{header}: {answer}");
        let denied = get(&raw, "/admin/", &format!("{header}\r\nCookie: {alice}\r\n"));
        assert_eq!(raw.status(denied.as_bytes()).await, 403, "{header}");

        let marker = format!("/public/x{at}-");
        let received = setting.through(&raw, &marker, &get(&raw, &marker, &format!("{header}\r\n"))).await;
        assert_ours(&received, None);
        let marker = format!("/private/x{at}-");
        let request = get(&raw, &marker, &format!("{header}\r\nCookie: {alice}\r\n"));
        assert_ours(&setting.through(&raw, &marker, &request).await, Some(("alice", roles)));
    }
    assert_eq!(setting.site.about("/admin").len(), 0);
}

#[tokio::test]
async fn no_client_is_let_in_for_its_name_or_method() {
    let setting = Setting::start().await;
    let raw = setting.cams.raw();
    for agent in ["GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "Cams", ""] {
        for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "POST", "BREW"] {
            let request = get(&raw, "/admin/", &format!("User-Agent: {agent}\r\nX-Requested-With: XMLHttpRequest\r\n"));
            let request = request.replacen("GET", method, 1);
            assert_eq!(raw.status(request.as_bytes()).await, 401, "{method} {agent}");
        }
        let traced = get(&raw, "/public/", "").replacen("GET", "TRACE", 1);
        assert_eq!(raw.status(traced.as_bytes()).await, 405);
    }
    assert_eq!(setting.site.about("/admin").len(), 0);
}

/// `Connection` names headers that a proxy has to remove: it must not remove what the agent adds after that.
#[tokio::test]
async fn a_client_cannot_have_our_headers_removed() {
    let setting = Setting::start().await;
    let raw = setting.cams.raw();
    let alice = setting.cams.client_of("alice").await.cookie_header().unwrap();
    let roles = &setting.cams.user("alice").roles;
    let nominated = [
        "close, CAMS-HTTP-USER, CAMS-HTTP-ROLES, CAMS-HTTP-ROLE, X-Client-Cert",
        "close, X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, X-Forwarded-Host",
        "close, Cookie, Authorization, Host",
        "close, cams_http_user, Content-Length, Connection",
    ];
    let mut passed = 0;
    for (at, nominated) in nominated.into_iter().enumerate() {
        let marker = format!("/private/c{at}-");
        let request = get(&raw, &marker, &format!("Cookie: {alice}\r\n")).replace("close", nominated);
        let status = raw.status(request.as_bytes()).await;
        assert!([200, 400].contains(&status), "{nominated}: {status}");
        let seen = setting.site.about(&marker);
        assert_eq!(seen.len(), usize::from(status == 200), "{nominated}: {seen:?}");
        passed += seen.len();
        for received in seen {
            assert_ours(&received, Some(("alice", roles)));
            let folded = received.folded();
            assert_eq!(folded.get("HOST").map(Vec::len), Some(1), "{received:?}");
            let connection = folded.get("CONNECTION").cloned().unwrap_or_default().join(",").to_ascii_lowercase();
            assert!(!connection.contains("cams") && !connection.contains("forwarded"), "{received:?}");
        }
    }
    assert!(passed > 0, "the engine refuses all of them: this proves nothing of our headers");
}

#[tokio::test]
async fn nothing_of_a_trailer_reaches_the_site() {
    let setting = Setting::start().await;
    let raw = setting.cams.raw();
    let alice = setting.cams.client_of("alice").await.cookie_header().unwrap();
    for (at, trailer) in
        ["CAMS-HTTP-USER: admin", "cams_http_roles: admin", "X-Client-Cert: x", "X-Any: evil"].iter().enumerate()
    {
        let marker = format!("/private/t{at}-");
        let name = trailer.split(':').next().unwrap();
        let request = format!(
            "POST {marker} HTTP/1.1\r\nHost: {}\r\nCookie: {alice}\r\nConnection: close, TE\r\nTE: trailers\r\n\
             Trailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailer}\r\n\r\n",
            raw.authority()
        );
        let status = raw.status(request.as_bytes()).await;
        assert!([200, 400].contains(&status), "{trailer}: {status}");
        let seen = setting.site.about(&marker);
        assert_eq!(seen.len(), usize::from(status == 200), "{seen:?}");
        for received in seen {
            assert_ours(&received, Some(("alice", &setting.cams.user("alice").roles)));
            assert_eq!(String::from_utf8_lossy(&received.body), "2\r\nhi\r\n0\r\n\r\n", "{trailer}");
        }
        let seen = http2_trailer(&setting, &alice, trailer, at).await;
        assert!(!seen.contains("admin") && !seen.contains("evil"), "{seen}");
    }
}

/// The body that the site received for a request over HTTP/2 with this trailer.
async fn http2_trailer(setting: &Setting, cookie: &str, trailer: &str, at: usize) -> String {
    let marker = format!("/private/u{at}-");
    let (name, value) = trailer.split_once(": ").unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from("hi"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(stream::iter(frames));
    let request = Request::post(&marker).header("cookie", cookie).body(body).unwrap();
    let client: Client = setting.cams.client().http2();
    let response = client.send(request).await;
    assert!([200, 400].contains(&response.status().as_u16()), "{trailer}: {response:?}");
    drop(response.into_body().collect().await);
    setting.site.about(&marker).iter().map(|received| String::from_utf8_lossy(&received.body).into_owned()).collect()
}
