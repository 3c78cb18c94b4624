//! Bodies, content types, verbs and lengths that no client would send: refused with 4xx, and nothing is issued.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tests::jami_client::{DeviceKey, basic};

use super::{JSON, PASSWORD, World};

/// A good request for a new device.
fn csr() -> String {
    DeviceKey::generate().csr()
}

/// Bodies in which there is a good request, and something that is not good.
fn bodies(csr: &str) -> Vec<(&'static str, Vec<u8>)> {
    let good = json!({"csr": csr, "deviceName": "x"}).to_string();
    let with = |name: &str, value: &str| format!("{}, \"{name}\": {value}}}", good.strip_suffix('}').unwrap());
    let nested = |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let texts = vec![
        ("nothing", String::new()),
        ("white space", " \n\t".to_owned()),
        ("no object", json!(csr).to_string()),
        ("a list", json!([csr, "x"]).to_string()),
        ("a list of one", format!("[{good}]")),
        ("null", "null".to_owned()),
        ("no member", "{}".to_owned()),
        ("no csr", json!({"deviceName": "x"}).to_string()),
        ("csr of null", json!({"csr": null}).to_string()),
        ("csr as a list", json!({"csr": [csr]}).to_string()),
        ("csr as an object", json!({"csr": {"pem": csr}}).to_string()),
        ("csr as a number", json!({"csr": 1}).to_string()),
        ("csr in another case", json!({"CSR": csr}).to_string()),
        ("csr twice", with("csr", &json!(csr).to_string())),
        ("csr twice, spelled in two ways", with("\\u0063sr", &json!(csr).to_string())),
        ("a name that is a number", json!({"csr": csr, "deviceName": 1}).to_string()),
        ("a name that is a list", json!({"csr": csr, "deviceName": ["x"]}).to_string()),
        ("a name twice", with("deviceName", "\"y\"")),
        ("cut short", good[..good.len() - 1].to_owned()),
        ("something behind it", format!("{good}x")),
        ("a second one behind it", format!("{good}{good}")),
        ("a comma too much", good.replace('}', ",}")),
        ("a comment", format!("/* */ {good}")),
        ("single quotes", good.replace('"', "'")),
        ("NaN", with("x", "NaN")),
        ("half a surrogate pair", with("x", "\"\\ud800\"").replace("deviceName\":\"x", "deviceName\":\"\\ud800")),
        ("deep lists", format!("{{\"csr\": {}}}", nested(10_000, "[", "]"))),
        ("deep objects", nested(7_000, "{\"csr\":", "}")),
        ("lists without end", nested(100_000, "[", "]")),
        ("objects without end", "{\"csr\":".repeat(100_000)),
        ("a megabyte of csr", json!({"csr": "x".repeat(1 << 20)}).to_string()),
        ("a megabyte of a name", json!({"csr": csr, "deviceName": "x".repeat(1 << 20)}).to_string()),
        ("a megabyte of a member", json!({"csr": csr, "x": "x".repeat(1 << 20)}).to_string()),
        ("a megabyte of white space", format!("{good}{}", " ".repeat(1 << 20))),
        ("a long number", with("deviceName", &"9".repeat(60_000))),
    ];
    let mut bodies: Vec<_> = texts.into_iter().map(|(what, text)| (what, text.into_bytes())).collect();
    let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bodies.push(("UTF-16", wide));
    bodies
        .push(("no UTF-8", good.replace("\"x\"", "\"?\"").bytes().map(|b| if b == b'?' { 0xff } else { b }).collect()));
    bodies.push(("a mark before it", ["\u{feff}".as_bytes(), good.as_bytes()].concat()));
    bodies.push(("a byte of zero behind it", [good.as_bytes(), b"\0"].concat()));
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_a_good_object_are_refused() {
    let world = World::shared().await;
    let mut wrong = Vec::new();
    for (what, body) in bodies(&csr()) {
        let reply = world.post_enrolment("gina", JSON, body).await;
        if !matches!(reply.status.as_u16(), 400 | 413) {
            wrong.push(format!("{what}: {reply:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(world.devices("gina").is_empty());
    // The same request in a good body, with what nobody knows.
    let good = json!({"csr": csr(), "deviceName": "\u{202e}x\n", "x": [1, {}], "password": null});
    assert_eq!(world.post_enrolment("gina", JSON, good.to_string()).await.status, StatusCode::OK);
    assert_eq!(world.devices("gina").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_kind_are_refused_unread() {
    let world = World::shared().await;
    let csr = csr();
    let good = json!({"csr": csr, "deviceName": "x"}).to_string();
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("csr", &csr).finish();
    let multipart = format!("--b\r\nContent-Disposition: form-data; name=\"csr\"\r\n\r\n{csr}\r\n--b--\r\n");
    let cases = [
        ("", good.clone()),
        ("text/plain", good.clone()),
        ("text/plain; charset=application/json", good.clone()),
        ("text/json", good.clone()),
        ("application/json-seq", good.clone()),
        ("application/jsonp", good.clone()),
        ("application/ json", good.clone()),
        ("json", good.clone()),
        ("application/x-www-form-urlencoded", form),
        ("application/x-www-form-urlencoded", good.clone()),
        ("multipart/form-data; boundary=b", multipart),
        ("application/xml", format!("<csr>{csr}</csr>")),
        ("application/pkcs10", csr.clone()),
        ("application/octet-stream", good.clone()),
        ("*/*", good.clone()),
    ];
    for (kind, body) in cases {
        let reply = world.post_enrolment("hugo", kind, body).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}: {reply:?}");
    }
    assert!(world.devices("hugo").is_empty());
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"] {
        assert_eq!(world.post_enrolment("hugo", kind, good.clone()).await.status, StatusCode::OK, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_verb_is_refused() {
    const VERBS: [&str; 11] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "MKCOL", "BREW"];
    let routes: [(&str, &[&str]); 14] = [
        ("/api/auth/device", &["POST"]),
        ("/api/auth/device/0123", &["DELETE"]),
        ("/api/auth/devices", &["GET", "HEAD"]),
        ("/api/login", &["POST"]),
        ("/api/info", &["GET", "HEAD"]),
        ("/api/auth/contacts", &["POST"]),
        ("/api/auth/conversations", &["POST"]),
        ("/api/auth/conversationRequests", &["POST"]),
        ("/api/auth/policyData", &["GET", "HEAD"]),
        ("/api/auth/directory/search?queryString=x", &["GET", "HEAD"]),
        ("/api/nameserver/name/x", &["GET", "HEAD", "POST"]),
        ("/api/nameserver/addr/x", &["GET", "HEAD"]),
        ("/api/crl/x.crl", &["GET", "HEAD"]),
        ("/api/ocsp/x", &["POST"]),
    ];
    let world = World::shared().await;
    let device = world.device("ivan").await;
    let token = world.jami.token(&device).await;
    let body = json!({"csr": csr(), "deviceName": "x"}).to_string();
    let mut wrong = Vec::new();
    for authorization in [basic("ivan", PASSWORD), format!("Bearer {token}")] {
        for (route, right) in routes {
            for verb in VERBS.into_iter().filter(|verb| !right.contains(verb)) {
                let request = Request::builder()
                    .method(Method::from_bytes(verb.as_bytes()).unwrap())
                    .uri(route)
                    .header(AUTHORIZATION, &authorization)
                    .header(CONTENT_TYPE, JSON)
                    .body(Full::from(body.clone()));
                let reply = world.ask(request.unwrap()).await;
                // What may be a preflight of a page of another origin is answered as one, or as any other verb.
                let status = reply.map_or(0, |reply| reply.status.as_u16());
                if status != 405 {
                    wrong.push(format!("{verb} {route}: {status}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.devices("ivan"), [device.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_do_not_fit_are_refused() {
    let world = World::start().await;
    let raw = world.cams.raw();
    let body = json!({"csr": csr(), "deviceName": "x"}).to_string();
    let head = format!(
        "POST /api/auth/device HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {JSON}\r\n\
         Authorization: {}\r\n",
        raw.authority(),
        basic("bella", PASSWORD)
    );
    let length = body.len();
    let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let huge = format!("X: {}\r\n", "x".repeat(200_000));
    let many: String = (0..5_000).map(|number| format!("X-{number}: x\r\n")).collect();
    let cases = [
        ("no length", format!("{head}\r\n")),
        ("a length of nothing", format!("{head}Content-Length: 0\r\n\r\n{body}")),
        ("a byte short", format!("{head}Content-Length: {}\r\n\r\n{body}", length - 1)),
        ("two lengths", format!("{head}Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{body}", length - 1)),
        ("a list of lengths", format!("{head}Content-Length: {length}, {length}\r\n\r\n{body}")),
        ("a signed length", format!("{head}Content-Length: +{length}\r\n\r\n{body}")),
        ("a length without end", format!("{head}Content-Length: 99999999999999999999999\r\n\r\n{body}")),
        ("200 MB announced", format!("{head}Content-Length: 209715200\r\n\r\n{body}")),
        ("both", format!("{head}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")),
        ("chunked twice", format!("{head}Transfer-Encoding: chunked, chunked\r\n\r\n{chunk}")),
        ("compressed", format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n{chunk}")),
        ("a chunk that is no number", format!("{head}Transfer-Encoding: chunked\r\n\r\nz\r\n{body}\r\n0\r\n\r\n")),
        ("a huge header", format!("{head}{huge}Content-Length: {length}\r\n\r\n{body}")),
        ("many headers", format!("{head}{many}Content-Length: {length}\r\n\r\n{body}")),
        (
            "two credentials",
            format!("{head}Authorization: {}\r\nContent-Length: {length}\r\n\r\n{body}", basic("a", "b")),
        ),
        ("two types", format!("{head}Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}")),
    ];
    let mut wrong = Vec::new();
    for (what, request) in cases {
        let status = raw.status(request.as_bytes()).await;
        if !(400..500).contains(&status) {
            wrong.push(format!("{what}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(world.devices("bella").is_empty());
    let cut = raw.send_and_end(format!("{head}Content-Length: {}\r\n\r\n{body}", length + 1).as_bytes()).await;
    assert!(!cut.starts_with(b"HTTP/1.1 200"), "less than announced: {}", String::from_utf8_lossy(&cut));
    assert!(world.devices("bella").is_empty());
    assert_eq!(raw.status(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes()).await, 200);
    assert_eq!(world.devices("bella").len(), 1);
    world.is_alive("bella").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_path_of_the_api_is_not_there() {
    let world = World::shared().await;
    let mut answers = Vec::new();
    for path in ["/api/auth/Device", "/api/auth/device/", "/api/auth/device/x/y", "/api/auth/users", "/api/auth/group"]
    {
        let request = Request::post(path).header(CONTENT_TYPE, JSON).header(AUTHORIZATION, basic("hugo", PASSWORD));
        let reply = world.ask(request.body(Full::from(json!({"csr": csr()}).to_string())).unwrap()).await.unwrap();
        answers.push((path, reply.status));
    }
    assert!(answers.iter().all(|(_, status)| *status == StatusCode::NOT_FOUND), "{answers:?}");
}
