//! Requests of HTTP/2 that no library would send: each would reach a page for administrators if it were read as a
//! request at all, and none does.

use tests::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, literal, request,
};
use tests::recorder::Received;
use tests::{Quickstart, Recorder};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

struct Setting {
    site: Recorder,
    admin: String,
    cams: Quickstart,
}

impl Setting {
    async fn start() -> Self {
        let site = Recorder::start().await;
        let cams = Quickstart::start(&["--upstream", &site.url]).await;
        let admin = cams.client_of("admin").await.cookie_header().unwrap();
        Self { site, admin, cams }
    }

    async fn connect(&self) -> H2 {
        self.cams.raw().h2().await
    }

    /// A request that is granted.
    fn good(&self) -> Fields {
        let authority = self.cams.raw().authority();
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", &*authority),
            (":path", "/admin/h2"),
            ("cookie", &*self.admin),
        ];
        fields.map(|(name, value)| (name.into(), value.into())).into()
    }

    /// The good request with one field changed, or left out where there is no value for it.
    fn changed(&self, name: &str, value: Option<&[u8]>) -> Fields {
        let mut fields = self.good();
        let at = fields.iter().position(|(field, _)| field == name.as_bytes()).unwrap();
        match value {
            Some(value) => value.clone_into(&mut fields[at].1),
            None => drop(fields.remove(at)),
        }
        fields
    }

    /// The good request with a further field: at the end, or among the pseudo-headers where it is one.
    fn with(&self, name: &[u8], value: &[u8]) -> Fields {
        let mut fields = self.good();
        let at = if name.starts_with(b":") { 4 } else { fields.len() };
        fields.insert(at, (name.to_owned(), value.to_owned()));
        fields
    }

    /// The status, or 0 where the stream or the connection ended without one.
    async fn ask(&self, fields: &Fields) -> u16 {
        let mut client = self.connect().await;
        client.send(&encode(1, END_STREAM, fields)).await;
        client.until("an answer or an end", |seen| seen.is_over(1)).await.status(1).unwrap_or(0)
    }

    /// What reached the protected page, however its address was written.
    fn reached(&self) -> Vec<Received> {
        self.site.about("admin")
    }

    async fn assert_serves(&self) {
        let before = self.reached().len();
        assert_eq!(self.ask(&self.good()).await, 200);
        assert_eq!(self.reached().len(), before + 1, "what was sent would have got through");
    }
}

fn encode(stream: u32, flags: u8, fields: &Fields) -> Vec<u8> {
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    request(stream, flags, &fields)
}

#[tokio::test]
async fn what_is_no_request_reaches_nobody() {
    let setting = Setting::start().await;
    let authority = setting.cams.raw().authority();
    let mut cases: Vec<(String, Fields)> = Vec::new();
    for (name, value) in setting.good().into_iter().take(4) {
        let shown = String::from_utf8(name.clone()).unwrap();
        cases.push((format!("no {shown}"), setting.changed(&shown, None)));
        cases.push((format!("empty {shown}"), setting.changed(&shown, Some(b""))));
        cases.push((format!("{shown} twice"), setting.with(&name, &value)));
        let mut late = setting.changed(&shown, None);
        late.push((name, value));
        cases.push((format!("{shown} late"), late));
    }
    let odd = |byte: u8| [b"a", &*vec![byte], b"b"].concat();
    let paths = ["admin/h2", "*", "/public/../admin/h2", "/public/..%2fadmin/h2"];
    let absolute = [format!("https://{authority}/admin/h2"), "https://evil.test/admin/h2".to_owned()];
    for path in paths.map(str::to_owned).into_iter().chain(absolute) {
        cases.push((path.clone(), setting.changed(":path", Some(path.as_bytes()))));
    }
    for byte in [0, b'\t', b'\n', b'\r', 0x1b, 0x7f, 0xff] {
        let path = [b"/admin/h2", &*odd(byte)].concat();
        cases.push((format!("{byte:#x} in the path"), setting.changed(":path", Some(&path))));
        cases.push((format!("{byte:#x} in the method"), setting.changed(":method", Some(&odd(byte)))));
        cases.push((format!("{byte:#x} in the host"), setting.changed(":authority", Some(&odd(byte)))));
        cases.push((format!("{byte:#x} in a name"), setting.with(&odd(byte), b"x")));
        if byte != b'\t' && byte < 0x80 {
            cases.push((format!("{byte:#x} in a value"), setting.with(b"x-a", &odd(byte))));
        }
    }
    for path in [&b"/public/x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /admin/h2"[..], b"/admin/h2 HTTP/1.1\r\nX: y"] {
        cases.push(("a request in the path".to_owned(), setting.changed(":path", Some(path))));
    }
    for method in ["get", "GET /admin/h2 HTTP/1.1\r\nX:", "GET /admin", "TRACE", "CONNECT", "G(T"] {
        cases.push((format!("method {method:?}"), setting.changed(":method", Some(method.as_bytes()))));
    }
    for scheme in ["ftp", "javascript", "https:", "HTTPS//", "a b"] {
        cases.push((format!("scheme {scheme:?}"), setting.changed(":scheme", Some(scheme.as_bytes()))));
    }
    for host in
        ["evil.test", "user@localhost", "localhost, evil.test", "localhost/admin", "localhost:99999", "localhost:"]
    {
        cases.push((format!("authority {host:?}"), setting.changed(":authority", Some(host.as_bytes()))));
    }
    let mut tunnel = setting.changed(":method", Some(b"CONNECT"));
    tunnel.retain(|(name, _)| name != b":scheme" && name != b":path");
    cases.push(("a tunnel".to_owned(), tunnel));
    let mut websocket = setting.changed(":method", Some(b"CONNECT"));
    websocket.insert(4, (b":protocol".to_vec(), b"websocket".to_vec()));
    cases.push(("a WebSocket nobody offered".to_owned(), websocket));
    for (name, value) in FIELDS {
        cases.push((format!("{name:?}: {value:.40?}"), setting.with(name.as_bytes(), value.as_bytes())));
    }
    let further = |fields: &[(&str, &str)]| -> Fields {
        let further = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        setting.good().into_iter().chain(further).collect()
    };
    cases.push(("two lengths".to_owned(), further(&[("content-length", "0"), ("content-length", "1")])));
    cases.push(("two hosts".to_owned(), further(&[("host", &authority), ("host", &authority)])));
    cases.push(("many fields".to_owned(), further(&[("x-a", "b"); 200])));
    let long = "b".repeat(7_000);
    for count in [6, 20] {
        cases.push((format!("{count} long fields"), further(&vec![("x-a", &*long); count])));
    }

    for (what, fields) in &cases {
        let status = setting.ask(fields).await;
        assert!(status == 0 || (400..500).contains(&status), "{what}: {status}");
        assert!(setting.reached().is_empty(), "{what}: {:?}", setting.reached());
    }
    setting.assert_serves().await;
}

/// Further fields of a request that is no request with them.
const FIELDS: [(&str, &str); 28] = [
    (":unknown", "x"),
    (":status", "200"),
    (":protocol", "websocket"),
    ("", "x"),
    (":", "x"),
    ("X-Upper", "x"),
    ("Cookie", "x"),
    ("x a", "x"),
    ("x:a", "x"),
    ("x-a: b\r\nx-b", "x"),
    ("x-a", "b\r\ncams-http-user: admin"),
    ("connection", "close"),
    ("connection", "cookie"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
    ("te", "trailers, gzip"),
    ("host", "evil.test"),
    ("content-length", "5"),
    ("content-length", "+0"),
    ("content-length", "0, 1"),
    ("content_length", "0"),
    ("expect", "200-maybe"),
    ("cams-http-user", "root"),
    ("cams_http_roles", "admin"),
    ("x-client-cert", "forged"),
];

/// What looks odd and is allowed, so that the cases above fail for their own reasons.
#[tokio::test]
async fn what_is_a_request_is_served() {
    let setting = Setting::start().await;
    let authority = setting.cams.raw().authority();
    let mut crumbs = setting.with(b"cookie", b"a=b");
    crumbs.push((b"cookie".to_vec(), b"c=d".to_vec()));
    let mut host = setting.changed(":authority", None);
    host.push((b"host".to_vec(), authority.clone().into_bytes()));
    let cases = [
        ("as it is", setting.good()),
        ("cookies in crumbs", crumbs),
        ("a host for the authority", host),
        ("both, and equal", setting.with(b"host", authority.as_bytes())),
        ("trailers", setting.with(b"te", b"trailers")),
        ("no body", setting.with(b"content-length", b"0")),
        // The engine drops it before anybody decides.
        ("a fragment", setting.changed(":path", Some(b"/admin/h2#/../public/"))),
    ];
    for (at, (what, fields)) in (1..).zip(&cases) {
        assert_eq!(setting.ask(fields).await, 200, "{what}");
        let targets: Vec<String> = setting.reached().iter().map(|received| received.target().to_owned()).collect();
        assert_eq!(targets, vec!["/admin/h2"; at], "{what}");
    }
}

/// The length that was announced and the body that came, with or without its end.
#[tokio::test]
async fn a_length_that_lies_is_no_request() {
    let setting = Setting::start().await;
    for (length, body, ends) in [("5", "ab", true), ("2", "abcde", true), ("2", "abcde", false), ("0", "a", true)] {
        let mut fields = setting.with(b"content-length", length.as_bytes());
        fields[0].1 = b"POST".to_vec();
        let mut client = setting.connect().await;
        let body = frame(DATA, if ends { END_STREAM } else { 0 }, 1, body.as_bytes());
        client.send(&[encode(1, 0, &fields), body].concat()).await;
        let seen = client.until("an end", |seen| seen.is_over(1)).await;
        assert!(!matches!(seen.status(1), Some(200..400)), "{length}: {seen:?}");
    }
    // A site is told the length before the body comes, and then that the body broke off.
    let bodies: Vec<Vec<u8>> = setting.reached().into_iter().map(|received| received.body).collect();
    assert!(bodies.iter().all(Vec::is_empty), "{bodies:?}");
    setting.assert_serves().await;
}

/// Frames that no client may send. Behind each comes a good request, which counts only where the connection stands.
#[tokio::test]
async fn frames_out_of_place_end_the_connection() {
    let setting = Setting::start().await;
    let good = |stream: u32| encode(stream, END_STREAM, &setting.good());
    let block: Vec<u8> = setting.good().iter().flat_map(|(name, value)| literal(0, name, value)).collect();
    let (half, rest) = block.split_at(block.len() / 2);
    let public = |stream| {
        let mut fields = setting.changed(":path", Some(b"/public/h2"));
        fields.truncate(4);
        encode(stream, END_STREAM, &fields)
    };
    let word = |number: u32| number.to_be_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a request on no stream", good(0)),
        ("a request on a stream of the server", good(2)),
        ("a stream of the past", [public(5), good(3)].concat()),
        ("the same stream again", [public(1), good(1)].concat()),
        ("a body of no request", frame(DATA, END_STREAM, 1, b"x")),
        ("a body on no stream", frame(DATA, END_STREAM, 0, b"x")),
        ("a window of no request", frame(WINDOW_UPDATE, 0, 1, &word(1))),
        ("no more window", frame(WINDOW_UPDATE, 0, 0, &word(0))),
        ("too much window", [(); 2].map(|()| frame(WINDOW_UPDATE, 0, 0, &word(0x7fff_ffff))).concat()),
        ("a window of another size", frame(WINDOW_UPDATE, 0, 0, b"xxx")),
        ("the reset of no request", frame(RST_STREAM, 0, 1, &word(8))),
        ("the reset of no stream", frame(RST_STREAM, 0, 0, &word(8))),
        ("settings of a stream", frame(SETTINGS, 0, 1, b"")),
        ("settings of another size", frame(SETTINGS, 0, 0, b"xxxxx")),
        ("settings in an acknowledgement", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("a setting out of its range", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 9])),
        ("a frame size out of its range", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("a window out of its range", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8])),
        ("a ping of another size", frame(PING, 0, 0, &[0; 7])),
        ("a priority of another size", frame(PRIORITY, 0, 0, &[0; 5])),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[&word(2)[..], &block].concat())),
        ("a farewell of a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &block)),
        ("a frame in the middle of a head", {
            let ping = frame(PING, 0, 0, &[0; 8]);
            let end = frame(CONTINUATION, END_HEADERS, 1, rest);
            [frame(HEADERS, END_STREAM, 1, half), ping, end].concat()
        }),
        ("the continuation of another head", {
            [frame(HEADERS, END_STREAM, 1, half), frame(CONTINUATION, END_HEADERS, 3, rest)].concat()
        }),
        ("a frame that is too long", frame(HEADERS, END_STREAM | END_HEADERS, 1, &vec![0; 20_000])),
        (
            "padding longer than its frame",
            frame(HEADERS, END_STREAM | END_HEADERS | 8, 1, &[&[255], &block[..9]].concat()),
        ),
        ("entry 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x80], &*block].concat())),
        ("an entry that is not there", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0xfe], &*block].concat())),
        ("a number without end", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 40])),
        (
            "a table that is too large",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x3f, 0xe1, 0xff, 3], &*block].concat()),
        ),
        ("a head that breaks off", frame(HEADERS, END_STREAM | END_HEADERS, 1, &block[..block.len() - 1])),
    ];
    for (what, bytes) in cases {
        let mut client = setting.connect().await;
        client.send(&bytes).await;
        let seen = client.until(what, |seen| seen.is_cut() || !seen.resets.is_empty()).await;
        assert!(setting.reached().is_empty(), "{what}: {seen:?}");
    }
    setting.assert_serves().await;
}
