//! Requests of Jami devices on their way to the policy server.

use super::*;
use crate::testkit::policy_server::PassedOn;

const JSON: &str = "Content-Type: application/json\r\n";

/// As [`policy`], and the API says what it was asked.
fn api(path: &str, question: &Value) -> Act {
    if path.starts_with("/api/") { Act::Answer(200, json!({ "api": path })) } else { policy(path, question) }
}

/// Devices enrol at `app.test`, through a proxy that ends their TLS.
fn jami(gate: &mut GateConfig) {
    Arc::make_mut(&mut gate.sites[0]).jami = true;
    gate.trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
}

async fn setting() -> Setting {
    Setting::changed(api, Limits::default(), jami).await
}

fn only(setting: &Setting) -> PassedOn {
    let mut passed_on = setting.policy.passed_on();
    assert_eq!(passed_on.len(), 1, "{passed_on:?}");
    passed_on.remove(0)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Everything that the policy server sees is in this list, whatever the client sends.
#[tokio::test]
async fn the_policy_server_sees_the_request_in_our_words() {
    let setting = setting().await;
    let headers = "Authorization: Basic YTpi\r\nContent-Type: application/json\r\nUser-Agent: Jami\r\nAccept: */*\r\n\
                   Cookie: CAMS_SID_TEST_SYSTEM=alive\r\nX-Forwarded-For: 10.0.0.1\r\nX-Other: 1\r\n\
                   Connection: close, X-Drop\r\nX-Drop: 1\r\nReferer: x\r\n";
    let answer = ask(setting.http, post("//api/auth/device", headers, "{}")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"api":"/api/auth/device"}"#), "{answer:?}");
    let seen = only(&setting);
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body), ("POST", "/api/auth/device", 2));
    let origin = format!("http://app.test:{}", setting.http.port());
    let mut headers = seen.headers.clone();
    let id = headers.iter().position(|(name, _)| name == "cams-http-request-id").map(|at| headers.remove(at).1);
    assert_eq!(id.map(|id| id.len()), Some(32));
    let expected = [
        (":authority", "cams-policy-server"),
        ("accept", "*/*"),
        ("authorization", "Basic YTpi"),
        ("cams-http-client-address", "10.0.0.1"),
        ("cams-http-login-entry", "http"),
        ("cams-http-origin", &origin),
        ("cams-http-security-domain", "system"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("user-agent", "Jami"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
    assert!(setting.policy.asked("/agent/v1/check").is_empty());
    assert_eq!(setting.site.received(), "");
}

/// What the answer keeps, and what not.
#[tokio::test]
async fn answers_come_without_cookies() {
    let setting = setting().await;
    let answer = ask(setting.http, get("/api/info", "")).await.unwrap();
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("cache-control: no-store") && head.contains("content-type: application/json"), "{head}");
    for lost in ["set-cookie", "clear-site-data", "leak", "location"] {
        assert!(!head.contains(lost), "{lost}: {head}");
    }
}

/// The Jami client sends the words of a search raw.
#[tokio::test]
async fn a_search_with_spaces_arrives_encoded() {
    let setting = setting().await;
    let search = get("/api/auth/directory/search?queryString=bo b&x=\u{e9}", "");
    assert_eq!(ask(setting.http, search).await.map(|answer| answer.status), Some(200));
    assert_eq!(only(&setting).target, "/api/auth/directory/search?queryString=bo%20b&x=%C3%A9");
}

#[tokio::test]
async fn a_body_has_an_end() {
    let setting = setting().await;
    let chunked = |length: usize| {
        let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", length, "x".repeat(length));
        format!("POST /api/auth/contacts HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")
    };
    let announced = |length: usize| post("/api/auth/contacts", JSON, &"x".repeat(length));
    for (request, status) in
        [(announced(1000), 200), (announced(1001), 413), (chunked(1000), 200), (chunked(1001), 413)]
    {
        let answer = ask(setting.http, request).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 413 {
            assert!(answer.body.starts_with(r#"{"error":"#) && answer.header("set-cookie").is_none(), "{answer:?}");
        }
    }
    let bodies: Vec<usize> =
        setting.policy.passed_on().iter().filter(|seen| seen.whole).map(|seen| seen.body).collect();
    assert_eq!(bodies, [1000, 1000], "nothing is passed on as whole that is not");
}

/// A hundred megabytes pass, and a server that does not read them stops the client instead of filling our memory.
#[tokio::test]
async fn a_long_body_is_streamed() {
    const LENGTH: usize = 100 * 1024 * 1024;
    let change = |gate: &mut GateConfig| {
        jami(gate);
        gate.jami.body_limit = LENGTH as u64;
    };
    let setting = Setting::changed(api, Limits::default(), change).await;
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {LENGTH}\r\n\r\n");
    let mut client = Client::connect(setting.http).await;
    client.send(head("/api/auth/unread")).await;
    // What two pairs of sockets hold is the system's; what we hold is little.
    let taken = client.fill(LENGTH).await;
    assert!(taken < LENGTH / 4, "{taken}");
    let mut client = Client::connect(setting.http).await;
    client.send(head("/api/auth/conversations")).await;
    assert_eq!(client.fill(LENGTH).await, LENGTH);
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(200));
    assert_eq!((only(&setting).body, only(&setting).whole), (LENGTH, true));
}

/// The site would give the word; here it is ours to give.
#[tokio::test]
async fn a_client_that_waits_for_the_word_gets_it() {
    let setting = setting().await;
    let mut client = Client::connect(setting.http).await;
    let head = "POST /api/auth/device HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n";
    client.send(format!("{head}Content-Length: 2\r\n\r\n")).await;
    assert!(client.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 100"));
    client.send("{}").await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(200));
    assert_eq!(only(&setting).header("expect"), None);
    let mut client = Client::connect(setting.http).await;
    client.send(format!("{head}Content-Length: 1001\r\n\r\n")).await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(413));
}

/// 401 makes clients throw their keys away, and other 4xx their accounts.
#[tokio::test]
async fn without_a_server_there_is_503_and_nothing_else() {
    fn lost(path: &str, question: &Value) -> Act {
        if path.starts_with("/api/") { Act::Close } else { policy(path, question) }
    }
    let broken = Setting::changed(lost, Limits::default(), jami).await;
    let mut gone = setting().await;
    gone.policy = PolicyServer::start(&gone.ca, policy).await;
    for setting in [broken, gone] {
        for request in [get("/api/auth/devices", ""), get("/api/info", ""), post("/api/login", JSON, "{}")] {
            let answer = ask(setting.http, &request).await.unwrap();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{request}: {answer:?}");
            assert!(answer.body.starts_with(r#"{"error":"#), "{answer:?}");
        }
    }
}

/// A 401 without a challenge is not about the device: the server does not know us, or something else answers in its place.
#[tokio::test]
async fn only_what_is_about_the_device_is_401() {
    fn script(path: &str, question: &Value) -> Act {
        match path {
            "/api/login" => Act::Challenge("Basic realm=\"Jami\""),
            "/api/auth/devices" => Act::Challenge("Bearer"),
            _ if path.starts_with("/api/") => Act::Answer(401, json!({ "error": "not registered" })),
            _ => policy(path, question),
        }
    }
    let setting = Setting::changed(script, Limits::default(), jami).await;
    for (path, status, retry) in
        [("/api/login", 401, None), ("/api/auth/devices", 401, None), ("/api/auth/device", 503, Some("5"))]
    {
        let answer = ask(setting.http, post(path, JSON, "{}")).await.unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry), "{path}: {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
    }
}

/// A server that takes a question and says nothing is not waited for, and one that is done with a question not kept waiting
/// for the rest of it.
#[tokio::test]
async fn neither_side_keeps_the_other_waiting() {
    fn script(path: &str, question: &Value) -> Act {
        if path == "/api/auth/device" { Act::Hang } else { api(path, question) }
    }
    let second = Duration::from_secs(1);
    let setting = Setting::changed(script, Limits { answer: second, upload: second, ..Limits::default() }, jami).await;
    let answer = ask(setting.http, post("/api/auth/device", JSON, "{}")).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    let mut client = Client::connect(setting.http).await;
    client.send("POST /api/auth/early HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nx").await;
    assert!(client.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 200"));
    tokio::time::timeout(10 * second, client.rest()).await.expect("it is cut");
}

/// What a server certainly did not act on is asked again, once, whatever the method; a longer body cannot be.
#[tokio::test]
async fn a_refused_stream_is_tried_again() {
    let refusals = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let left = refusals.clone();
    let script = move |path: &str, question: &Value| {
        let less = |left: usize| left.checked_sub(1);
        let order = std::sync::atomic::Ordering::SeqCst;
        match path.starts_with("/api/") && left.fetch_update(order, order, less).is_ok() {
            true => Act::Refuse,
            false => api(path, question),
        }
    };
    let change = |gate: &mut GateConfig| {
        jami(gate);
        gate.jami.body_limit = 1024 * 1024;
    };
    let setting = Setting::changed(script, Limits::default(), change).await;
    for (times, length, status) in [(1, 10, 200), (2, 10, 503), (1, 500_000, 503)] {
        refusals.store(times, std::sync::atomic::Ordering::SeqCst);
        let answer = ask(setting.http, post("/api/auth/device", JSON, &"x".repeat(length))).await.unwrap();
        assert_eq!(answer.status, status, "{times} {length}: {answer:?}");
        refusals.store(0, std::sync::atomic::Ordering::SeqCst);
    }
    let bodies: Vec<usize> = setting.policy.passed_on().iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [10, 10, 10, 10, 500_000], "nothing is left out when it is sent again");
}

/// A burst waits for its turn, and does not open a connection each.
#[tokio::test]
async fn what_is_too_much_at_once_waits() {
    fn script(path: &str, question: &Value) -> Act {
        if path == "/api/auth/device" { Act::Hang } else { api(path, question) }
    }
    let room = crate::passing::Room { all: 2, of_network: 1, wait: Duration::from_millis(200) };
    let setting = Setting::changed(script, Limits { room, ..Limits::default() }, jami).await;
    let mut first = Client::connect(setting.http).await;
    first.send(post("/api/auth/device", JSON, "{}")).await;
    while setting.policy.passed_on().is_empty() {
        tokio::task::yield_now().await;
    }
    let refused = ask(setting.http, get("/api/info", "")).await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    let other = ask(setting.http, get("/api/info", "X-Forwarded-For: 192.0.2.7\r\n")).await.unwrap();
    assert_eq!(other.status, 200, "another network has its own");
    assert_eq!(ask(setting.http, get("/public/", "")).await.unwrap().status, 200, "the sites are not meant");
    drop(first);
    loop {
        if ask(setting.http, get("/api/info", "")).await.unwrap().status == 200 {
            break;
        }
    }
}

/// One that does not answer the handshake costs two seconds at most, and nothing once the link knows.
#[tokio::test]
async fn the_next_server_is_asked_where_one_cannot_be_reached() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let (policy, site) = (PolicyServer::start(&ca, api).await, upstream::Site::start().await);
    // It accepts connections, as the system does for it, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // A good certificate, but not that of a policy server.
    let impostor = PolicyServer::named(&ca, "agent.test", "127.0.0.1:0".parse().unwrap(), api).await;
    let mut config = config(&dir, &ca, &policy, &site);
    jami(Arc::make_mut(&mut config.gate));
    for first in [silent.local_addr().unwrap(), impostor.address] {
        config.policy_servers.insert(0, Authority::parse(&first.to_string()).unwrap());
    }
    let agent = Agent::start(config, Limits::default()).unwrap();
    for _ in 0..3 {
        let answer = ask(agent.addresses()[0], get("/api/info", "")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!((policy.passed_on().len(), impostor.passed_on().len()), (3, 0));
}

#[tokio::test]
async fn hostile_headers_do_not_reach_the_server() {
    let setting = setting().await;
    for name in ["X-Client-Cert", "x_client_cert", "X.Client.Cert", "CAMS-HTTP-ORIGIN", "cams_http_login_entry"] {
        for path in ["/api/login", "/api/info", "/api/crl/a.crl"] {
            let answer = ask(setting.http, get(path, &format!("{name}: x\r\n"))).await.unwrap();
            assert_eq!(answer.status, 400, "{name} {path}: {answer:?}");
        }
    }
    assert!(setting.policy.passed_on().is_empty());
}

#[tokio::test]
async fn in_cleartext_nothing_but_revocation_is_served() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let (policy, site) = (PolicyServer::start(&ca, api).await, upstream::Site::start().await);
    let mut config = config(&dir, &ca, &policy, &site);
    jami(Arc::make_mut(&mut config.gate));
    config.revocation_listeners = vec!["127.0.0.1:0".parse().unwrap()];
    let agent = Agent::start(config, Limits::default()).unwrap();
    let address = agent.addresses()[2];
    let page = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
    for (path, status) in
        [("/api/crl/a.crl", 200), ("/api/ocsp/a/MEo%2F", 200), ("/api/info", 404), ("/cams/login", 404), ("/", 404)]
    {
        let answer = ask(address, get(path, page).replace("app.test", "crl.other.test")).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.header("location").is_none() && answer.header("set-cookie").is_none(), "{answer:?}");
    }
    let seen: Vec<String> = policy.passed_on().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/api/crl/a.crl", "/api/ocsp/a/MEo%2F"]);
    let mut idle = Client::connect(address).await;
    idle.send("GET /api/crl/a.crl HTTP/1.1\r\n").await;
    agent.stop(Duration::from_millis(100)).await;
    assert_eq!(idle.rest().await, "");
    drop(TcpListener::bind(address).unwrap());
}
