//! What passes, what does not, and in which form.

use super::*;

#[tokio::test]
async fn a_permitted_request_reaches_the_site_as_it_was_decided_on() {
    let setting = Setting::new().await;
    let request = get(
        "/private/a%20b?q=%2e&r=1",
        &format!("{ALICE}Cookie: own=1\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nX-Keep: 1\r\n"),
    );
    let answer = ask(setting.http, request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = setting.site.received();
    let lower = seen.to_ascii_lowercase();
    assert!(seen.starts_with("GET /private/a%20b?q=%2e&r=1 HTTP/1.1\r\n"), "{seen}");
    for line in ["\r\nhost: app.test\r\n", "\r\ncams-http-user: alice\r\n", "cams-http-roles: user,a%2cb", "x-keep: 1"]
    {
        assert!(lower.contains(line), "{line}: {seen}");
    }
    for trace in ["cams_sid", "alive", "x-drop"] {
        assert!(!lower.contains(trace), "{trace}: {seen}");
    }
    assert_eq!(setting.policy.asked("/agent/v1/check")[0]["path"], "/private/a%20b");
}

#[tokio::test]
async fn without_a_permit_nothing_is_forwarded() {
    let setting = Setting::new().await;
    let page = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
    let cases = [
        ("/private/", page, 302),
        ("/private/", "", 401),
        ("/private/", WEBSOCKET, 401),
        ("/denied/", page, 403),
        ("/denied/", ALICE, 403),
        ("/cams/login", page, 200),
    ];
    for (path, headers, status) in cases {
        let answer = ask(setting.http, get(path, headers)).await.unwrap();
        assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    assert_eq!(setting.site.received(), "");
}

/// Cases 5, 6, 8, 19, 71: every request here is refused, and the site hears of none.
#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let setting = Setting::new().await;
    let long = "x".repeat(70_000);
    let many = "X-A: 1\r\n".repeat(300);
    let with = |headers: &str| get("/public/", headers);
    let post = |headers: &str| format!("POST /public/ HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n0\r\n\r\n");
    let line = |line: &str| format!("{line}\r\nHost: app.test\r\n\r\n");
    // Without a fault each form passes, so it is the fault that is refused.
    for request in [with(""), post("Transfer-Encoding: chunked\r\n"), line("GET /public/ HTTP/1.1")] {
        let control = Setting::new().await;
        assert_eq!(ask(control.http, &request).await.map(|answer| answer.status), Some(200), "{request}");
    }
    let requests = [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        post("Transfer-Encoding: identity, chunked\r\n"),
        post("Transfer-Encoding: chunked, identity\r\n"),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        post("Transfer-Encoding : chunked\r\n"),
        post("Transfer-Encoding: \x0bchunked\r\n"),
        post("Content-Length: 5\r\nContent-Length: 6\r\n"),
        post("Content-Length: +5\r\n"),
        post("Content-Length: 0x5\r\n"),
        post("Content-Length: 5,5\r\n"),
        "POST /public/ HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        with("X-A: 1\r\n folded\r\n"),
        with("X-A: 1\nX-B: 2\r\n"),
        with("X-A: 1\rX-B: 2\r\n"),
        with("Host: other.test\r\n"),
        with("Host: app.test\r\n"),
        with("no colon\r\n"),
        with(": no name\r\n"),
        with("X-A: \0\r\n"),
        with("X_Client_Cert: forged\r\n"),
        with("CAMS-HTTP-USER: admin\r\n"),
        with(&format!("X-A: {long}\r\n")),
        with(&many),
        line("GET /public/#/../admin HTTP/1.1"),
        line("GET /public/\x01 HTTP/1.1"),
        line("GET /public/\x7f HTTP/1.1"),
        line("GET /public/%00 HTTP/1.1"),
        line("GET /public/../admin HTTP/1.1"),
        line("GET /public/..%2fadmin HTTP/1.1"),
        line("GET /public/\\..\\admin HTTP/1.1"),
        line("GET public/ HTTP/1.1"),
        line("GET http://other.test/public/ HTTP/1.1"),
        line("GET http://app.test@other.test/public/ HTTP/1.1"),
        line("CONNECT app.test:80 HTTP/1.1"),
        line("TRACE /public/ HTTP/1.1"),
        line("GET /public/ HTTP/1.1 HTTP/1.1\r\nX: GET /public/"),
        line("GET /public/ HTTP/2.0"),
        line("GET  /public/ HTTP/1.1"),
        line(&format!("GET /public/{long} HTTP/1.1")),
        "GET /public/ HTTP/1.1\r\n\r\n".into(),
        "GET /public/\r\n\r\n".into(),
    ];
    for request in requests {
        let shown = request.escape_debug().to_string().chars().take(100).collect::<String>();
        let mut client = Client::connect(setting.http).await;
        client.send(&request).await;
        if let Some(answer) = client.answer().await {
            assert!((400..500).contains(&answer.status), "{shown}: {answer:?}");
        }
        client.send(get("/public/second", "")).await;
        assert_eq!(client.rest().await, "", "{shown}: the connection is used on");
        assert_eq!(setting.site.received(), "", "{shown}");
    }
}

/// The Jami client sends spaces; they count as `%20` for the decision and for the site alike.
#[tokio::test]
async fn a_raw_space_is_decided_on_and_forwarded_as_one_thing() {
    let setting = Setting::new().await;
    let answer = ask(setting.http, get("/public/bo b?q=c d", "")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(setting.site.received().starts_with("GET /public/bo%20b?q=c%20d HTTP/1.1\r\n"));
    assert_eq!(setting.policy.asked("/agent/v1/check")[0]["path"], "/public/bo%20b");
}

/// Where the bytes are cut between two segments makes no difference to what is forwarded.
#[tokio::test]
async fn a_request_in_pieces_is_the_same_or_refused() {
    let setting = Setting::new().await;
    let request = get("/public/x?y=1", "X-A: 1\r\n");
    for at in 1..request.len() {
        let (first, second) = request.split_at(at);
        let mut client = Client::connect(setting.http).await;
        client.send(first).await;
        tokio::task::yield_now().await;
        client.send(second).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{at}");
        assert!(answer.body.starts_with("GET /public/x?y=1 HTTP/1.1\r\n"), "{at}: {answer:?}");
    }
}

#[tokio::test]
async fn a_site_cannot_set_our_cookies_or_leak_our_headers() {
    let setting = Setting::new().await;
    let answer = ask(setting.http, get("/private/cookies", ALICE)).await.unwrap();
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("set-cookie: own=1") && head.contains("x-site: yes"), "{head}");
    assert!(!head.contains("stolen") && !head.contains("leak"), "{head}");
}

#[tokio::test]
async fn without_a_policy_server_there_is_503() {
    fn overloaded(path: &str, _: &Value) -> Act {
        if path.ends_with("/hello") { Act::Answer(200, welcome()) } else { Act::Answer(503, json!({"error": "busy"})) }
    }
    let setting = Setting::with(overloaded, Limits::default()).await;
    for path in ["/public/", "/private/"] {
        let answer = ask(setting.http, get(path, ALICE)).await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    assert_eq!(setting.site.received(), "");
}

#[tokio::test]
async fn a_site_that_is_down_is_502_with_our_page() {
    let setting = Setting::new().await;
    let address = setting.site.address;
    drop(setting.site);
    // The socket closes when the runtime gets to it.
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    let answer = ask(setting.http, get("/public/", "")).await.unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.header("content-security-policy").is_some() && answer.body.contains("doesn’t answer"), "{answer:?}");
}

fn login(password: &str) -> String {
    let body = format!(
        "cams_cb_username=alice&cams_cb_password={password}&cams_security_domain=system&cams_login_config=http"
    );
    format!(
        "POST /cams/login HTTP/1.1\r\nHost: app.test\r\nOrigin: http://app.test\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_login_sets_the_cookie_and_the_connection_lives_on() {
    let setting = Setting::new().await;
    let port = setting.http.port();
    let request = |password| login(password).replace("app.test\r\n", &format!("app.test:{port}\r\n"));
    let mut client = Client::connect(setting.http).await;
    client.send(request("wrong")).await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(401));
    client.send(request("right")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("set-cookie").unwrap().starts_with("CAMS_SID_TEST_SYSTEM=alive"), "{answer:?}");
    assert_eq!(setting.policy.connections(), 1);
    assert_eq!(setting.site.received(), "");
}
