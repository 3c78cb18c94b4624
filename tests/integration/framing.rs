//! Requests whose end two readers find in different places, and heads that no reader should accept. What is hidden in
//! one must never reach the site as a request of its own.

use tests::recorder::Received;
use tests::{Quickstart, RawClient, Recorder};

/// What an attacker hides: as an administrator, so that it would succeed if anybody read it as a request.
fn hidden(setting: &Setting) -> String {
    format!("GET /admin/smuggled HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", setting.raw.authority(), setting.admin)
}

struct Setting {
    site: Recorder,
    raw: RawClient,
    admin: String,
    cams: Quickstart,
}

impl Setting {
    async fn start() -> Self {
        let site = Recorder::start().await;
        let cams = Quickstart::start(&["--upstream", &site.url]).await;
        let admin = cams.client_of("admin").await.cookie_header().unwrap();
        Self { site, raw: cams.raw(), admin, cams }
    }

    /// The first status, after which the server has to close, and what else came back.
    async fn send(&self, request: &[u8]) -> (u16, String) {
        let answer = String::from_utf8_lossy(&self.raw.exchange(request).await).into_owned();
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    fn smuggled(&self) -> Vec<Received> {
        self.site.about("smuggled")
    }

    async fn assert_alive(&self) {
        assert_eq!(self.cams.client().get("/public/alive").await.status, 200);
    }
}

/// Headers that frame a body in more than one way, or in one that is not allowed; `{}` is where the length belongs.
const FRAMINGS: [&str; 36] = [
    "Content-Length: {}\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: {}",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: chunked\x00",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer_Encoding: chunked\r\nContent-Length: {}",
    "Transfer.Encoding: chunked",
    "Content_Length: {}",
    "X-A: b\nTransfer-Encoding: chunked",
    "X-A: b\rTransfer-Encoding: chunked",
    "Content-Length: {}\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: {}",
    "Content-Length: {}\r\nContent-Length: {}",
    "Content-Length: {}, {}",
    "Content-Length: +{}",
    "Content-Length: -1",
    "Content-Length: 0x10",
    "Content-Length: 1e1",
    "Content-Length: \"{}\"",
    "Content-Length: 99999999999999999999999999",
    "Content-Length : {}",
    "Content-Length:\r\n\t{}",
    "Content-Length: {} 0",
];

#[tokio::test]
async fn a_body_has_one_end() {
    let setting = Setting::start().await;
    let (hidden, host) = (hidden(&setting), setting.raw.authority());
    for path in ["/public/front", "/private/front"] {
        for framing in FRAMINGS {
            for body in [format!("0\r\n\r\n{hidden}"), hidden.clone()] {
                let framing = framing.replace("{}", &body.len().to_string());
                let request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n{body}");
                let (status, answer) = setting.send(request.as_bytes()).await;
                assert_eq!(status, 400, "{framing:?}: {answer}");
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing:?}: {answer}");
            }
        }
    }
    let old =
        format!("POST /public/front HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    assert_eq!(setting.send(old.as_bytes()).await.0, 400);
    assert!(setting.smuggled().is_empty() && setting.site.about("front").is_empty(), "{:?}", setting.site.seen());
    setting.assert_alive().await;
}

/// Sizes of a first chunk that only some would read, and ends that are none.
const CHUNKS: [&str; 16] = [
    "0x2\r\nhi\r\n0\r\n\r\n",
    "+2\r\nhi\r\n0\r\n\r\n",
    "-2\r\nhi\r\n0\r\n\r\n",
    "2 \r\nhi\r\n0 \r\n\r\n",
    "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "2\nhi\n0\n\n",
    "2\rhi\r0\r\r",
    "2\r\nhi0\r\n\r\n",
    "2\r\nhixx0\r\n\r\n",
    "\r\n2\r\nhi\r\n0\r\n\r\n",
    "g\r\nhi\r\n0\r\n\r\n",
    "2;a=\"\n\"\r\nhi\r\n0\r\n\r\n",
    "2;\nxx\r\nhi\r\n0\r\n\r\n",
    "2\r\nhi\r\n0\r\nX: y\n\r\n",
    "2\r\nhi\r\n00000000000000000000\r\n\r\n",
];

/// The engine is lenient with chunks, so what follows a chunked body is never read as a request; and the site gets the
/// body in chunks of the engine's own making.
#[tokio::test]
async fn a_chunk_has_one_length() {
    let setting = Setting::start().await;
    let (hidden, host) = (hidden(&setting), setting.raw.authority());
    for (at, chunks) in CHUNKS.into_iter().enumerate() {
        let marker = format!("/public/k{at}-");
        let head = format!("POST {marker} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked");
        let (status, answer) = setting.send(format!("{head}\r\n\r\n{chunks}{hidden}").as_bytes()).await;
        assert!([0, 200, 400, 502].contains(&status), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunks:?}: {answer}");
        assert!(setting.smuggled().is_empty(), "{chunks:?}: {:?}", setting.site.seen());
        let body = setting.site.about(&marker).pop().map(|received| received.body).unwrap_or_default();
        // Whole, cut off, or with nothing in it.
        let whole = [b"".as_slice(), b"0\r\n\r\n", b"2\r\nhi\r\n0\r\n\r\n"];
        assert!(whole.contains(&body.as_slice()), "{chunks:?}: {body:?}");
    }
    // Nor is it when it comes later, to a body that was whole.
    let head = format!("POST /public/front HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked");
    let answer =
        setting.raw.exchange_in_two(format!("{head}\r\n\r\n2\r\nhi\r\n0\r\n\r\n").as_bytes(), hidden.as_bytes()).await;
    assert_eq!(
        String::from_utf8_lossy(&answer).matches("HTTP/1.1 ").count(),
        1,
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(setting.smuggled().is_empty(), "{:?}", setting.site.seen());
    setting.assert_alive().await;
}

/// An answer that was given before the body was read: the rest of the body is no request.
#[tokio::test]
async fn an_early_answer_leaves_no_request_behind() {
    let setting = Setting::start().await;
    let (hidden, host) = (hidden(&setting), setting.raw.authority());
    let padding = "x".repeat(100_000);
    for body in [hidden.clone(), format!("{hidden}{padding}"), format!("{padding}{hidden}")] {
        for (method, path, accept) in [
            ("POST", "/private/front", "text/html"),
            ("GET", "/private/", "*/*"),
            ("POST", "/cams/logout", "*/*"),
            ("PUT", "/a/../b", "*/*"),
        ] {
            for framing in ["Content-Length", "Expect: 100-continue\r\nContent-Length"] {
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n{framing}: {}",
                    body.len()
                );
                // A well-formed request follows, so that the connection closes if it is kept at all.
                let after = format!("GET /public/after HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                let (status, answer) = setting.send(format!("{head}\r\n\r\n{body}{after}").as_bytes()).await;
                assert!((200..500).contains(&status), "{head}: {answer}");
                assert!(setting.smuggled().is_empty(), "{head}: {:?}", setting.site.seen());
            }
        }
    }
    setting.assert_alive().await;
}

/// There is no tunnel before the site has agreed to one, and none but to a WebSocket.
#[tokio::test]
async fn an_upgrade_hides_no_request() {
    let setting = Setting::start().await;
    let (hidden, host) = (hidden(&setting), setting.raw.authority());
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (at, upgrade) in [
        "Upgrade: foo\r\nConnection: upgrade".to_owned(),
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA".to_owned(),
        "Upgrade: TLS/1.0\r\nConnection: Upgrade".to_owned(),
        format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{key}"),
        format!("Upgrade: websocket, foo\r\nConnection: Upgrade\r\n{key}"),
        format!("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: {}\r\n{key}", hidden.len()),
    ]
    .iter()
    .enumerate()
    {
        // Nobody's: pipelined behind this, it would be asked for a login.
        let hidden = hidden.replace("Cookie", "X-Cookie").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let request = format!("GET /public/u{at}- HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n\r\n{hidden}");
        let (status, answer) = setting.send(request.as_bytes()).await;
        assert!([200, 400].contains(&status), "{upgrade}: {answer}");
        assert!(setting.smuggled().is_empty(), "{upgrade}: {:?}", setting.site.seen());
        for received in setting.site.about(&format!("u{at}-")) {
            let folded = received.folded();
            assert!(!folded.contains_key("HTTP2_SETTINGS"), "{received:?}");
            assert!(folded.get("UPGRADE").is_none_or(|to| to == &["websocket"]), "{received:?}");
        }
    }
    setting.assert_alive().await;
}

/// A head and the statuses it may get; 0 where closing says enough.
#[tokio::test]
async fn heads_that_no_reader_should_accept() {
    let setting = Setting::start().await;
    let host = setting.raw.authority();
    let of = |line: &str| format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes();
    let with = |header: &str| of(&format!("GET /public/bad HTTP/1.1\r\n{header}"));
    let hosts = |hosts: &str| format!("GET /public/bad HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").into_bytes();
    let raw = |line: &[u8]| [line, format!("\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()].concat();
    let mut cases: Vec<(Vec<u8>, &[u16])> = vec![
        (raw(b"GET /public/\x01 HTTP/1.1"), &[400]),
        (raw(b"GET /public/\x00bad HTTP/1.1"), &[400]),
        (raw(b"GET /public/\xff HTTP/1.1"), &[400]),
        (raw(b"GET /public/\tbad HTTP/1.1"), &[400]),
        (raw(b"GET\t/public/bad HTTP/1.1"), &[400]),
        (of("GET  /public/bad HTTP/1.1"), &[400]),
        (of("GET /public/bad  HTTP/1.1"), &[400]),
        (of("GET /public/bad HTTP/1.1 "), &[400]),
        (of("GET /public/bad"), &[400]),
        (of("GET /public/bad HTTP/2.0"), &[400]),
        (of("GET /public/bad HTTP/1.2"), &[400]),
        (of("GET /public/bad http/1.1"), &[400]),
        (of("get /public/bad HTTP/1.1"), &[400]),
        (of("G<T /public/bad HTTP/1.1"), &[400]),
        (of("GET /public/bad#/../admin HTTP/1.1"), &[400]),
        (of("GET /admin/#/public/bad HTTP/1.1"), &[400]),
        (of("GET bad HTTP/1.1"), &[400]),
        (of("GET * HTTP/1.1"), &[400]),
        (of("OPTIONS * HTTP/1.1"), &[400]),
        (of("CONNECT localhost:80 HTTP/1.1"), &[400, 405]),
        (of("GET http://other.test/public/bad HTTP/1.1"), &[400, 421]),
        (of("GET http://localhost@evil.test/public/bad HTTP/1.1"), &[400]),
        (of("GET https://localhost:1/public/bad HTTP/1.1"), &[400]),
        (of("GET ftp://localhost/public/bad HTTP/1.1"), &[400]),
        (of("GET //evil.test/..;/public/bad HTTP/1.1"), &[400]),
        (hosts(""), &[400]),
        (hosts("Host:\r\n"), &[400]),
        (hosts(&format!("Host: {host}\r\nHost: {host}\r\n")), &[400]),
        (hosts(&format!("Host: {host}\r\nHost: evil.test\r\n")), &[400]),
        (hosts(&format!("Host: {host}, evil.test\r\n")), &[400]),
        (hosts(&format!("Host: {host}\tevil\r\n")), &[400]),
        (hosts("Host: localhost:99999\r\n"), &[400]),
        (hosts("Host: localhost.evil.test\r\n"), &[421]),
        (hosts("Host: evil.test\r\n"), &[421]),
        (hosts("Host: user@localhost\r\n"), &[400]),
        (hosts("Host: localhost/public\r\n"), &[400]),
        (hosts(&format!("Host : {host}\r\n")), &[400]),
        (with("No colon"), &[400]),
        (with(": no name"), &[400]),
        (with("X-A: b\r\n folded"), &[400]),
        (with("X-A: b\nX-B: c"), &[400]),
        (with("X-A: b\rX-B: c"), &[400]),
        (with("X-A: b\x00c"), &[400]),
        (with("X-\u{e4}: b"), &[400]),
        (with("Expect: 200-maybe"), &[417]),
        (of(&format!("GET /public/bad?{} HTTP/1.1", "a".repeat(9 * 1024))), &[414]),
        (with(&format!("Cookie: a={}", "b".repeat(64 * 1024))), &[431]),
        (with(&format!("X-A: {}", "b".repeat(1024 * 1024))), &[431, 400, 0]),
        (with(&vec!["X-A: b"; 300].join("\r\n")), &[431, 400]),
        (with(&vec!["X-A: b"; 200].join("\r\n")), &[431]),
    ];
    cases.push((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400, 0]));
    cases.push((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 0]));
    for (request, allowed) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let (status, answer) = setting.send(&request).await;
        assert!(allowed.contains(&status), "{shown:?}: {answer}");
        // It is closed: where one head could not be read, nobody knows where the next one starts.
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{shown:?}: {answer}");
    }
    assert!(setting.site.about("bad").is_empty(), "{:?}", setting.site.seen());
    setting.assert_alive().await;
}
