//! The same gate over HTTP/2 and TLS.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;

pub type Client = SendRequest<Full<Bytes>>;

pub async fn connect(setting: &Setting) -> Client {
    let mut tls = ClientConfig::builder().with_root_certificates(setting.ca.roots()).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = tokio::net::TcpStream::connect(setting.https).await.unwrap();
    let name = ServerName::try_from("app.test").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub fn request(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().version(Version::HTTP_2).uri(format!("https://app.test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_pass_the_same_gate() {
    let setting = Setting::new().await;
    let mut client = connect(&setting).await;
    let alice = ("cookie", "CAMS_SID_TEST_SYSTEM=alive");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Headers<'_>, u16); 7] = [
        ("/public/", &[], 200),
        ("/private/", &[], 401),
        ("/private/", &[alice], 200),
        ("/denied/", &[alice], 403),
        ("/public/..%2fadmin", &[alice], 400),
        ("/public/", &[("cams-http-user", "admin")], 400),
        ("/public/", &[("x-client-cert", "forged")], 400),
    ];
    for (path, headers, status) in cases {
        let answer = client.send_request(request(path, headers)).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {headers:?}");
    }
    let checks = setting.policy.asked("/agent/v1/check");
    assert!(checks.iter().all(|check| check["scheme"] == "https" && check["host"] == "app.test"), "{checks:?}");
}

#[tokio::test]
async fn the_site_receives_an_ordinary_request() {
    let setting = Setting::new().await;
    let mut client = connect(&setting).await;
    let answer = client.send_request(request("/public/x?y=%2f", &[("x-keep", "1")])).await.unwrap();
    let seen = text(answer).await;
    assert!(seen.starts_with("GET /public/x?y=%2f HTTP/1.1\r\n"), "{seen}");
    let lower = seen.to_ascii_lowercase();
    assert!(lower.contains("\r\nhost: app.test\r\n") && lower.contains("\r\nx-keep: 1\r\n"), "{seen}");
    assert_eq!(lower.matches("\r\nhost:").count(), 1, "{seen}");
}

/// Case 20 over HTTP/2: the rest of an unwanted body is no matter for the other streams.
#[tokio::test]
async fn an_early_answer_leaves_the_connection_usable() {
    let setting = Setting::new().await;
    let mut client = connect(&setting).await;
    for length in [1, 10_000, 1_000_000] {
        let mut upload = request("/private/", &[]);
        *upload.method_mut() = http::Method::POST;
        *upload.body_mut() = Full::from(vec![b'x'; length]);
        assert_eq!(client.send_request(upload).await.unwrap().status(), 401, "{length}");
        let next = client.send_request(request("/public/", &[])).await.unwrap();
        assert_eq!(next.status(), 200, "{length}");
    }
}
