//! A small HTTP client with a cookie jar. It follows no redirect: tests look at each.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use cookie::{Cookie, Expiration};
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;

use crate::tls::{Origin, Stream};

/// What a browser sends for a page.
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[derive(Debug)]
pub struct Client {
    origin: Origin,
    version: Version,
    jar: Mutex<BTreeMap<String, String>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The header's first value as text, empty when there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    }

    pub fn location(&self) -> String {
        self.header(LOCATION.as_str())
    }

    /// The cookies set by this answer.
    pub fn cookies(&self) -> Vec<Cookie<'static>> {
        set_cookies(&self.headers)
    }
}

impl Client {
    /// Speaks HTTP/1.1 to the server at this URL, trusting this CA alone.
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Self {
        Self::of(Origin::new(url, ca_pem))
    }

    /// Speaks HTTP/1.1 to this origin.
    pub fn of(origin: Origin) -> Self {
        Self { origin, version: Version::HTTP_11, jar: Mutex::default() }
    }

    /// The same client over HTTP/2.
    pub fn http2(self) -> Self {
        Self { version: Version::HTTP_2, ..self }
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The cookie of this name, as the jar has it.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.jar().insert(name.to_owned(), value.to_owned());
    }

    /// Goes to a page as a browser's address bar does.
    pub async fn get(&self, target: &str) -> Reply {
        self.request(navigation(Method::GET, target).body(Full::default()).expect("a request")).await
    }

    /// As [`get`](Self::get); `None` where the agent cut the request, as it does when the session ends meanwhile.
    pub async fn get_unless_cut(&self, target: &str) -> Option<Reply> {
        self.try_request(navigation(Method::GET, target).body(Full::default()).expect("a request")).await
    }

    /// Sends the request over HTTP/1.1; `None` where the connection ends before the whole answer came, as it does when a
    /// client certificate is refused.
    pub async fn try_request(&self, mut request: Request<Full<Bytes>>) -> Option<Reply> {
        self.add_cookies(request.headers_mut());
        let (head, body) = self.try_http1(request).await.ok()?.into_parts();
        self.keep_cookies(&head.headers);
        let body = body.collect().await.ok()?.to_bytes();
        Some(Reply { status: head.status, headers: head.headers, body })
    }

    /// Submits a form of this very site, as a browser does.
    pub async fn post_form(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = navigation(Method::POST, target)
            .header(ORIGIN, self.origin.origin())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.request(request.body(Full::from(body)).expect("a request")).await
    }

    /// Logs in on the built-in page of the sample configuration.
    pub async fn log_in(&self, user: &str, password: &str, original_url: &str) -> Reply {
        let fields = [
            ("cams_security_domain", "system"),
            ("cams_login_config", "http"),
            ("cams_original_url", original_url),
            ("cams_cb_username", user),
            ("cams_cb_password", password),
        ];
        self.post_form("/cams/login", &fields).await
    }

    /// Sends the request and reads the whole answer.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Reply {
        let (head, body) = self.send(request).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Reply { status: head.status, headers: head.headers, body }
    }

    /// Sends the request on a new connection, with the jar's cookies unless it has its own, and returns as soon as
    /// the answer's head is there. Its target is a path; a Host of its own is kept.
    pub async fn send<B>(&self, mut request: Request<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        self.add_cookies(request.headers_mut());
        let response = match self.version {
            Version::HTTP_2 => self.send_http2(request).await,
            _ => self.try_http1(request).await.expect("an answer"),
        };
        self.keep_cookies(response.headers());
        response
    }

    /// A new connection of this client's kind, for other protocols.
    pub async fn connect(&self) -> Box<dyn Stream> {
        self.origin.connect("http/1.1").await
    }

    /// The Cookie header of the jar; nothing when it is empty.
    pub fn cookie_header(&self) -> Option<String> {
        let pairs: Vec<_> = self.jar().iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    async fn try_http1<B>(&self, mut request: Request<B>) -> hyper::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        let host = self.origin.authority().parse().expect("a host and a port");
        request.headers_mut().entry(HOST).or_insert(host);
        let stream = TokioIo::new(self.origin.connect("http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        sender.send_request(request).await
    }

    async fn send_http2<B>(&self, mut request: Request<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        let host = request.headers_mut().remove(HOST);
        let authority = host.map_or(self.origin.authority(), |host| host.to_str().expect("a name").to_owned());
        let target = request.uri().path_and_query().cloned().expect("a path");
        let uri = Uri::builder().scheme(self.origin.url.scheme()).authority(authority).path_and_query(target);
        *request.uri_mut() = uri.build().expect("a URI");
        *request.version_mut() = Version::HTTP_2;
        let stream = TokioIo::new(self.origin.connect("h2").await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.expect("HTTP/2");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    fn add_cookies(&self, headers: &mut HeaderMap) {
        if let Some(cookies) = self.cookie_header()
            && !headers.contains_key(COOKIE)
        {
            headers.insert(COOKIE, cookies.parse().expect("cookies that were received"));
        }
    }

    fn keep_cookies(&self, headers: &HeaderMap) {
        let mut jar = self.jar();
        for cookie in set_cookies(headers) {
            if is_deletion(&cookie) {
                jar.remove(cookie.name());
            } else {
                jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }

    fn jar(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.jar.lock().expect("nothing panics with it")
    }
}

/// A request such as a browser sends when somebody goes to a page of this site from this site.
fn navigation(method: Method, target: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header(ACCEPT, HTML)
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
}

fn set_cookies(headers: &HeaderMap) -> Vec<Cookie<'static>> {
    let texts = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("a cookie in ASCII").to_owned());
    texts.map(|text| Cookie::parse(text).expect("a well-formed cookie")).collect()
}

/// Whether this cookie tells a browser to forget it: no age, or a date long past.
pub fn is_deletion(cookie: &Cookie<'_>) -> bool {
    let date = match cookie.expires() {
        Some(Expiration::DateTime(date)) => Some(date.unix_timestamp()),
        Some(Expiration::Session) | None => None,
    };
    cookie.max_age().is_some_and(|age| !age.is_positive()) || date == Some(0)
}
