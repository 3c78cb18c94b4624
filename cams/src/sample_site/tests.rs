//! The site over a real listener.

use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::page::PAGES;

/// A listening site; it ends with the test's runtime.
async fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(super::serve(listener));
    address
}

async fn send(address: &str, request: Request<Full<Bytes>>) -> hyper::Response<Incoming> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

async fn body(answer: hyper::Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn request(method: &str, target: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(target).header("host", "site.test")
}

fn empty() -> Full<Bytes> {
    Full::default()
}

#[tokio::test]
async fn every_page_is_there_and_links_to_the_others() {
    let site = site().await;
    for page in PAGES {
        let answer = send(&site, request("GET", page.path).body(empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", page.path);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        let html = body(answer).await;
        for other in PAGES {
            assert!(html.contains(&format!("href=\"{}\"", other.path)), "{} links to {}", page.path, other.path);
        }
        assert!(html.contains("does not know who you are"), "{}", page.path);
        assert!(!html.contains('{'), "{} has a place that was not filled in", page.path);
    }
}

#[tokio::test]
async fn the_rest_of_the_site() {
    let site = site().await;
    let cases = [
        ("/favicon.ico", StatusCode::OK, "image/svg+xml"),
        ("/public/site.css", StatusCode::OK, "text/css; charset=utf-8"),
        ("/nothing", StatusCode::NOT_FOUND, "text/html; charset=utf-8"),
        ("/private", StatusCode::NOT_FOUND, "text/html; charset=utf-8"),
    ];
    for (path, status, kind) in cases {
        let answer = send(&site, request("GET", path).body(empty()).unwrap()).await;
        assert_eq!((answer.status(), answer.headers()["content-type"].to_str().unwrap()), (status, kind), "{path}");
    }
}

#[tokio::test]
async fn what_a_client_sent_is_shown_as_text() {
    let site = site().await;
    let cases: [(&[u8], &str); 6] = [
        (b"alice", "<dd id=\"user\">alice</dd>"),
        ("Zo\u{eb}".as_bytes(), "<dd id=\"user\">Zo\u{eb}</dd>"),
        (b"Zo\xeb", "<dd id=\"user\">Zo\u{eb}</dd>"),
        (b"<script>alert(1)</script>", "<dd id=\"user\">&lt;script&gt;alert(1)&lt;/script&gt;</dd>"),
        (b"\" onclick='x' &amp;", "<dd id=\"user\">&quot; onclick=&#39;x&#39; &amp;amp;</dd>"),
        (b"{title}", "<dd id=\"user\">&#123;title}</dd>"),
    ];
    for (user, shown) in cases {
        let asked = request("GET", "/private/?q={identity}&a='b'").header("cams-http-user", user);
        let html = body(send(&site, asked.header("cams-http-roles", "a,b<c").body(empty()).unwrap()).await).await;
        assert!(html.contains(shown), "{html}");
        assert!(html.contains("<dd id=\"roles\">a,b&lt;c</dd>"), "{html}");
        assert!(html.contains("/private/?q=&#123;identity}&amp;a=&#39;b&#39;"), "{html}");
    }
}

#[tokio::test]
async fn the_echo_says_what_arrived_whatever_the_method() {
    let site = site().await;
    for (index, method) in
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW"].into_iter().enumerate()
    {
        let path = ["/public/echo", "/private/echo", "/admin/echo"][index % 3];
        let target = format!("{path}?a=%2F..//%C3%A9&a=b;c={index}");
        let sent = vec![b'x'; index];
        let asked = request(method, &target).header("x-many", "one").header("x-many", &b"tw\xf6"[..]);
        let answer = send(&site, asked.body(Full::from(sent.clone())).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{method}");
        let echo: serde_json::Value = serde_json::from_str(&body(answer).await).unwrap();
        assert_eq!(echo["method"], method);
        assert_eq!(echo["target"], target);
        assert_eq!(echo["version"], "HTTP/1.1");
        assert_eq!(echo["body_bytes"], index);
        assert_eq!(echo["body_sha256"], sha256(&sent));
        let many: Vec<_> = echo["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "x-many").collect();
        assert_eq!(many, [&serde_json::json!(["x-many", "one"]), &serde_json::json!(["x-many", "tw\u{f6}"])]);
    }
    let head = send(&site, request(Method::HEAD.as_str(), "/public/echo").body(empty()).unwrap()).await;
    assert_eq!(head.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_echo_hashes_a_body_of_any_size() {
    let site = site().await;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    let answer = send(&site, request("POST", "/public/echo").body(Full::from(sent.clone())).unwrap()).await;
    let echo: serde_json::Value = serde_json::from_str(&body(answer).await).unwrap();
    assert_eq!((&echo["body_bytes"], &echo["body_sha256"]), (&sent.len().into(), &sha256(&sent).into()));
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_web_socket_echoes() {
    let site = site().await;
    let stream = TcpStream::connect(&site).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://site.test/private/ws", stream).await.unwrap();
    for message in [Message::text("gr\u{fc}\u{df}e"), Message::binary(vec![0, 255, 0])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn the_event_stream_counts() {
    let site = site().await;
    let mut answer = send(&site, request("GET", "/private/sse").body(empty()).unwrap()).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut seen = String::new();
    while !seen.contains("tick 2\n\n") {
        seen.push_str(std::str::from_utf8(answer.frame().await.unwrap().unwrap().data_ref().unwrap()).unwrap());
    }
    assert_eq!(seen, "id: 1\ndata: tick 1\n\nid: 2\ndata: tick 2\n\n");
}
