//! Assertions on their way to the site, reports on theirs to the policy server, and a configuration that changes.

use std::time::Instant;

use super::*;

/// A policy server that never gives a key.
fn keyless(path: &str, question: &Value) -> Act {
    match path {
        "/agent/v1/assertion-key" => Act::Answer(503, json!({"error": "not now"})),
        _ => policy(path, question),
    }
}

#[tokio::test]
async fn a_person_comes_with_an_assertion_and_nobody_else_does() {
    let setting = Setting::new().await;
    for (path, headers, expected) in [("/private/", ALICE, true), ("/public/", ALICE, true), ("/public/", "", false)] {
        let answer = ask(setting.http, get(path, headers)).await.unwrap();
        let echo = answer.body.to_ascii_lowercase();
        assert_eq!(answer.status, 200);
        assert_eq!(echo.matches("cams-http-assertion: ey").count(), usize::from(expected), "{path}: {echo}");
        assert_eq!(echo.contains("cams-http-user"), expected, "{path}");
    }
    let answer = ask(setting.http, get("/cams/jwks.json", "")).await.unwrap();
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=300")));
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    let keys: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(keys["keys"][0]["kid"], "k1");
    assert!(keys["keys"][0].get("d").is_none(), "a private key is shown");
}

#[tokio::test]
async fn without_a_key_nobody_is_forwarded_as_somebody() {
    let setting = Setting::with(keyless, Limits::default()).await;
    assert_eq!(ask(setting.http, get("/public/", "")).await.unwrap().status, 200);
    let began = Instant::now();
    for path in ["/private/x", "/public/x", "/cams/jwks.json"] {
        let answer = ask(setting.http, get(path, ALICE)).await.unwrap();
        assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")), "{path}");
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(!setting.site.received().contains("/x"), "{}", setting.site.received());
}

#[tokio::test]
async fn no_site_speaks_as_us_in_trailers() {
    let setting = Setting::new().await;
    let mut client = Client::connect(setting.http).await;
    client.send(get("/public/trailers", "Connection: close\r\n")).await;
    let answer = client.rest().await;
    assert!(answer.contains("ok") && !answer.contains("stolen") && !answer.contains("leak"), "{answer}");
}

/// What was reported, once it is so much.
pub async fn reported(setting: &Setting, count: usize) -> Vec<Value> {
    let reported = async {
        loop {
            let batches = setting.policy.asked("/agent/v1/audit");
            let events: Vec<Value> = batches.iter().flat_map(|b| b["events"].as_array().unwrap().clone()).collect();
            if events.len() >= count {
                assert_eq!(events.len(), count, "{events:?}");
                return events;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reported).await.unwrap()
}

/// The engine answers these by itself, before any of its hooks.
#[tokio::test]
async fn what_the_engine_refuses_alone_is_reported() {
    let setting = Setting::with(policy, Limits { head: Duration::from_secs(1), ..Limits::default() }).await;
    let cases = [
        (get("/x?secret", "Bad Name: secret\r\n"), 400, "/x"),
        (get("/x?secret", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400, "/x"),
        (get("/x?secret", &"A: b\r\n".repeat(300)), 431, "/x"),
        (get("/x?secret", &"A: b\r\n".repeat(20_000)), 431, "/x"),
        (get(&format!("/x?{}", "secret".repeat(20_000)), ""), 414, "/x"),
        ("GET /x?secret HTTP/2.0\r\nHost: app.test\r\n\r\n".to_owned(), 400, "/x"),
        ("GET /x HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400, "/x"),
        ("secret secret\n\x16\x03\x01\x02\0\x01\0\x01\n\n".to_owned(), 400, ""),
        ("CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), 405, "app.test:80"),
    ];
    // Neither connections without a request nor good requests are refused, nor who goes away in the middle of one.
    Client::connect(setting.http).await.finish().await;
    let mut gone = Client::connect(setting.http).await;
    gone.send("GET /secret").await;
    gone.finish().await;
    assert_eq!(gone.rest().await, "");
    for (request, status, _) in &cases {
        let mut client = Client::connect(setting.http).await;
        client.send(get("/public/", "")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        client.send(request).await;
        assert_eq!(client.answer().await.unwrap().status, *status, "{request:.100}");
        assert_eq!(client.rest().await, "");
    }
    let mut tunnels = http2::connect(&setting).await;
    let tunnel = http::Request::connect("app.test:443").body(http_body_util::Full::default()).unwrap();
    assert_eq!(tunnels.send_request(tunnel).await.unwrap().status(), 405);
    let (mut idle, mut slow) = (Client::connect(setting.http).await, Client::connect(setting.http).await);
    slow.send("GET /x?secret HTTP/1.1\r\n").await;
    assert_eq!((slow.rest().await, idle.rest().await), (String::new(), String::new()));

    let events = reported(&setting, cases.len() + 2).await;
    let expected = cases.iter().map(|(_, status, path)| (*status, *path)).chain([(405, "app.test:443"), (408, "/x")]);
    for (event, (status, path)) in events.iter().zip(expected) {
        assert_eq!((&event["is"], &event["status"]), (&json!("request-refused"), &json!(status)), "{event}");
        assert_eq!((&event["client"], &event["path"]), (&json!("127.0.0.1"), &json!(path)), "{event}");
        assert!(!event["reason"].as_str().unwrap().is_empty() && !event.to_string().contains("secret"), "{event}");
    }
}

#[tokio::test]
async fn what_the_agent_refuses_alone_is_reported() {
    let setting = Setting::new().await;
    let post = |headers: &str| format!("POST /cams/login HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n\r\n");
    let cases = [
        (get("/public/../a?secret", ""), 400, "/public/../a"),
        (get("/a", "X_Client_Cert: forged\r\n"), 400, "/a"),
        (post("Origin: https://evil.test\r\nContent-Length: 0"), 403, "/cams/login"),
        ("TRACE /b HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), 405, "/b"),
        ("PUT /cams/login HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), 405, "/cams/login"),
        ("GET /c\x1b[31m HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), 400, "/c"),
        ("GET /d HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned(), 421, "/d"),
        (get("/cams/login?cams_security_domain=other", ""), 400, "/cams/login"),
        (get(&format!("/{}", "e".repeat(40_000)), ""), 431, ""),
    ];
    // What the policy server decided, it knows.
    assert_eq!(ask(setting.http, get("/denied/", "")).await.unwrap().status, 403);
    let mut expected = Vec::new();
    for (request, status, path) in &cases {
        let answer = ask(setting.http, request).await.unwrap();
        expected.push((answer.status, (*path).to_owned()));
        assert!(answer.status == *status || answer.status == 414, "{request:.100}: {}", answer.status);
    }
    let events = reported(&setting, cases.len()).await;
    for (event, (status, path)) in events.iter().zip(&expected) {
        assert_eq!((&event["is"], &event["status"]), (&json!("request-refused"), &json!(status)), "{event}");
        assert!(event["path"].as_str().unwrap().starts_with(path.as_str()), "{event}");
        assert!(event["path"].as_str().unwrap().len() <= 2_048 && !event.to_string().contains("secret"), "{event}");
        assert_eq!(event["client"], "127.0.0.1");
    }
    assert_eq!(events[6]["host"], "evil.test");
}
