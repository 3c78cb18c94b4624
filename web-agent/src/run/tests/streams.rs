//! Bodies, tunnels and time limits.

use super::*;

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n{body}")
}

/// Case 20: the body of a request that is answered early is never the next request.
#[tokio::test]
async fn an_early_answer_takes_the_body_out_of_the_way() {
    let setting = Setting::new().await;
    let smuggled = get("/public/smuggled", "");
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let cases = [
        post("/private/", &format!("Content-Length: {}\r\n", smuggled.len()), &smuggled),
        post("/private/", "Transfer-Encoding: chunked\r\n", &chunked),
    ];
    for request in cases {
        let mut client = Client::connect(setting.http).await;
        client.send(&request).await;
        assert_eq!(client.answer().await.map(|answer| answer.status), Some(401), "{request}");
        client.send(get("/public/next", "")).await;
        let answer = client.answer().await.unwrap();
        assert!(answer.body.starts_with("GET /public/next "), "{answer:?}");
        assert!(!setting.site.received().contains("smuggled"), "{request}");
    }
}

/// More than is drained: the answer comes and the connection ends.
#[tokio::test]
async fn a_long_body_ends_the_connection() {
    let setting = Setting::new().await;
    let cases = [
        post("/private/", "Content-Length: 10000000\r\n", "GET /public/smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        post("/private/", "Content-Length: 10\r\nExpect: 100-continue\r\n", ""),
        post("/private/", "Content-Length: 10\r\n", "short"),
        // Large enough that the answer would be lost if the connection were reset under it.
        post("/private/", "Content-Length: 3000000\r\n", &"x".repeat(3_000_000)),
    ];
    for request in cases {
        let mut client = Client::connect(setting.http).await;
        client.send(&request).await;
        let answer = client.answer().await.unwrap();
        let shown = request.split_at(100.min(request.len())).0;
        assert_eq!((answer.status, answer.header("connection")), (401, Some("close")), "{shown}");
        assert_eq!(client.rest().await, "", "{shown}");
    }
    assert_eq!(setting.site.received(), "");
}

#[tokio::test]
async fn a_login_form_is_read_up_to_its_limit_only() {
    let setting = Setting::new().await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
    let answer = ask(setting.http, post("/cams/login", &format!("{form}Content-Length: 100000000\r\n"), "a")).await;
    assert!((400..500).contains(&answer.unwrap().status));
    assert_eq!(setting.policy.asked("/agent/v1/login").len(), 0);
}

#[tokio::test]
async fn a_websocket_runs_both_ways_after_the_permit() {
    let setting = Setting::new().await;
    let mut client = Client::connect(setting.http).await;
    client.send(get("/private/ws", &format!("{ALICE}{WEBSOCKET}"))).await;
    let head = client.until(b"\r\n\r\n").await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    for text in ["\x01one", "\x02two"] {
        client.send(text).await;
        assert_eq!(client.take(text.len()).await.as_deref(), Some(text));
    }
}

/// Case 21: there is no tunnel before a 101, and none but for WebSocket.
#[tokio::test]
async fn an_upgrade_smuggles_nothing() {
    let setting = Setting::new().await;
    let second = get("/private/second", "");
    let cases = [
        get("/public/plain", "Connection: Upgrade\r\nUpgrade: foo\r\n"),
        get("/public/plain", WEBSOCKET),
        get("/public/plain", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
        post("/public/plain", &format!("{WEBSOCKET}Content-Length: 4\r\n"), "body"),
    ];
    for request in cases {
        let mut client = Client::connect(setting.http).await;
        client.send(format!("{request}{second}")).await;
        client.finish().await;
        client.rest().await;
        let seen = setting.site.received();
        assert!(!seen.contains("/private/second"), "{request}: {seen}");
        assert!(!seen.to_ascii_lowercase().contains("h2c"), "{request}: {seen}");
        assert!(!seen.to_ascii_lowercase().contains("upgrade: foo"), "{request}: {seen}");
    }
}

#[tokio::test]
async fn events_and_uploads_are_not_held_back() {
    let setting = Setting::new().await;
    let mut client = Client::connect(setting.http).await;
    client.send(get("/private/sse", ALICE)).await;
    client.until(b"\r\n\r\n").await.unwrap();
    for _ in 0..3 {
        setting.site.event();
        assert!(client.until(b"data: x\n\n").await.is_some());
    }

    let mut client = Client::connect(setting.http).await;
    client.send(post("/private/up", &format!("{ALICE}Content-Length: 10\r\n"), "first")).await;
    setting.site.receives("first").await;
    client.send("_last").await;
    assert_eq!(client.answer().await.map(|answer| answer.status), Some(200));
    assert!(setting.site.received().contains("first_last"));
}

/// Case 69: a byte now and then does not keep a connection.
#[tokio::test]
async fn a_head_has_a_deadline() {
    let setting = Setting::with(policy, Limits { head: Duration::from_millis(300), ..Limits::default() }).await;
    let mut slow = Client::connect(setting.http).await;
    let trickle = async {
        for byte in get("/public/", "").bytes().cycle() {
            slow.send([if byte == b'\r' || byte == b'\n' { b'x' } else { byte }]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // It ends by the closed connection, which the sender sees only in its reads.
    drop(tokio::time::timeout(Duration::from_millis(600), trickle).await);
    assert_eq!(slow.rest().await, "");

    let mut patient = Client::connect(setting.http).await;
    patient.send(get("/public/ws", WEBSOCKET)).await;
    patient.until(b"\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    patient.send("still here").await;
    assert_eq!(patient.take(10).await.as_deref(), Some("still here"));
}
