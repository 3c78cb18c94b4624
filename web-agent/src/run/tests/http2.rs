//! The same gate over HTTP/2 and TLS.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::*;

pub type Client = SendRequest<Full<Bytes>>;

pub async fn connect(setting: &Setting) -> Client {
    connect_with(setting).await
}

async fn connect_with<B>(setting: &Setting) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
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

/// A body whose parts come when they come.
struct Parts(mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// Case 70: an upload that stands still ends, and the site is let go; one that moves may take its time.
#[tokio::test]
async fn an_upload_that_stands_still_is_cut() {
    let limits = Limits { upload: Duration::from_secs(2), ..Limits::default() };
    let setting = Setting::with(policy, limits).await;
    let client = connect_with::<Parts>(&setting).await;
    let upload = |path: &str| {
        let (parts, body) = mpsc::channel(1);
        let (mut head, _) = request(path, &[("content-length", "6")]).into_parts();
        head.method = http::Method::POST;
        let mut client = client.clone();
        (parts, async move { client.send_request(Request::from_parts(head, Parts(body))).await })
    };
    let (slow, answer) = upload("/public/slow");
    let moves = async {
        for part in ["a", "b", "c", "d", "e", "f"] {
            slow.send(part.into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        drop(slow);
    };
    let (kept, cut) = upload("/public/still");
    kept.send("a".into()).await.unwrap();
    let both = async { tokio::join!(answer, moves, cut) };
    let (answer, (), cut) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(answer.unwrap().status(), 200);
    assert!(cut.unwrap_err().to_string().contains("http2 error"));
}
