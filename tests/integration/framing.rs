//! Requests whose end two readers find in different places, and heads that no reader should accept. What is hidden in
//! one must never reach the site as a request of its own.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;
use tests::recorder::Received;
use tests::{Answer, Quickstart, RawClient, Recorder, within};

/// What an attacker hides: as an administrator, so that it would succeed if anybody read it as a request.
fn hidden(setting: &Setting) -> String {
    format!("GET /admin/smuggled HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", setting.raw.authority(), setting.admin)
}

struct Setting {
    site: Recorder,
    raw: RawClient,
    admin: String,
    /// The statuses of what was refused so far.
    refused: RefCell<Vec<u16>>,
    cams: Quickstart,
}

impl Setting {
    async fn start() -> Self {
        let site = Recorder::start().await;
        let cams = Quickstart::start(&["--upstream", &site.url]).await;
        let admin = cams.client_of("admin").await.cookie_header().unwrap();
        Self { site, raw: cams.raw(), admin, refused: RefCell::default(), cams }
    }

    /// The first status, after which the server has to close, and what else came back.
    async fn send(&self, request: &[u8]) -> (u16, String) {
        let answer = self.raw.exchange(request).await;
        (Answer::whole(answer.clone()).status, String::from_utf8_lossy(&answer).into_owned())
    }

    /// A request that gets one of these statuses and no page but ours, whoever found the mistake, and is the last on its
    /// connection. With `Accept: text/html` it is a page for people, as far as anybody can tell what was asked for.
    async fn refuse(&self, request: &[u8], allowed: &[u16]) {
        let host = format!("Host: {}\r\n", self.raw.authority()).into_bytes();
        let at = request.windows(host.len()).position(|part| part == host);
        let navigation = at.map(|at| [&request[..at], b"Accept: text/html\r\n", &request[at..]].concat());
        for request in [Some(request), navigation.as_deref()].into_iter().flatten() {
            let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
            let answer = Answer::whole(self.raw.exchange(request).await);
            assert!(allowed.contains(&answer.status), "{shown:?}: {answer:?}");
            let knows_method = request.starts_with(b"GET ") || request.starts_with(b"POST ");
            // No more of a head is read than this.
            let read = &request[..request.len().min(64 * 1024)];
            let is_page = knows_method && read.windows(10).any(|part| part == b" text/html");
            assert_refusal(&answer, is_page, &shown);
            self.refused.borrow_mut().push(answer.status);
        }
    }

    /// Everything that was refused is in the audit log, once.
    async fn assert_audited(&self) {
        let mut expected = self.refused.take();
        expected.sort_unstable();
        let mut events: Vec<Value> = Vec::new();
        within(Duration::from_secs(30), "every refusal in the audit log", || {
            events = self.cams.audit();
            // The agent may have refused others too, before its policy server was up.
            events.retain(|line| line["event"] == "request-refused" && line["status"] != 503);
            events.len() >= expected.len()
        })
        .await;
        let mut found: Vec<u16> = events.iter().filter_map(|line| line["status"].as_u64()?.try_into().ok()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        let whole = |line: &Value| {
            line["reason"].as_str().is_some_and(|reason| !reason.is_empty())
                && line["request_id"].as_str().is_some_and(|id| id.len() == 32)
                && line["client"] == "127.0.0.1"
        };
        assert!(events.iter().all(whole), "{events:#?}");
    }

    fn smuggled(&self) -> Vec<Received> {
        self.site.about("smuggled")
    }

    async fn assert_alive(&self) {
        assert_eq!(self.cams.client().get("/public/alive").await.status, 200);
    }
}

/// One whole answer of the agent's own making, and nothing behind it.
fn assert_refusal(answer: &Answer, is_page: bool, shown: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    let status = answer.status;
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{shown:?}: {answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{shown:?}: {answer:?}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{shown:?}: {answer:?}");
    assert_eq!(answer.header("allow").is_some(), status == 405, "{shown:?}: {answer:?}");
    assert!(answer.header("date").is_some(), "{shown:?}: {answer:?}");
    if is_page {
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{shown:?}: {answer:?}");
        assert!(answer.header("content-security-policy").is_some(), "{shown:?}: {answer:?}");
        assert!(text.contains(&format!("give the people who run this site the code {status}.")), "{shown:?}: {text}");
        assert!(text.trim_end().ends_with("</html>"), "{shown:?}: {text}");
    } else {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{shown:?}: {answer:?}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["error"], "refused", "{shown:?}: {text}");
        assert!(json["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{shown:?}: {text}");
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
                setting.refuse(request.as_bytes(), &[400]).await;
            }
        }
    }
    let old =
        format!("POST /public/front HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    setting.refuse(old.as_bytes(), &[400]).await;
    setting.assert_audited().await;
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

/// A head and the statuses it may get.
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
        (of("CONNECT localhost:80 HTTP/1.1"), &[405]),
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
        (of(&format!("GET /public/bad?{} HTTP/1.1", "a".repeat(1024 * 1024))), &[414]),
        (of(&"a".repeat(1024 * 1024)), &[414]),
        (with(&format!("Cookie: a={}", "b".repeat(64 * 1024))), &[431]),
        (with(&format!("X-A: {}", "b".repeat(1024 * 1024))), &[431]),
        (with(&vec!["X-A: b"; 300].join("\r\n")), &[431]),
        (with(&vec!["X-A: b"; 200].join("\r\n")), &[431]),
        (with(&vec!["X-A: b"; 60_000].join("\r\n")), &[431]),
    ];
    cases.push((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]));
    cases.push((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400]));
    for (request, allowed) in cases {
        setting.refuse(&request, allowed).await;
    }
    setting.assert_audited().await;
    assert!(setting.site.about("bad").is_empty(), "{:?}", setting.site.seen());
    setting.assert_alive().await;
}
