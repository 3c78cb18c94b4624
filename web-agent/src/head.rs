//! The head of a request, read strictly from its bytes: the gate must not see a request another way than the site
//! behind it. Pure.
//!
//! The proxy engine repairs and merges some of what is refused here, so this reads the bytes themselves.

use std::fmt;
use std::net::IpAddr;

use shared_proto::client_cert::ClientCert;
use shared_proto::names::{fold_header_name, header, is_identity_header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Schemes are case-insensitive (RFC 3986 section 3.1).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The connection a request came on, as the agent itself saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub peer: IpAddr,
    pub scheme: Scheme,
    /// The local port.
    pub port: u16,
    /// The server name of the TLS handshake, where there was one.
    pub sni: Option<String>,
    /// The certificate that the client proved to hold in its handshake, issued under one of the organisation CAs. Whether
    /// it still counts is asked for each request.
    pub client_cert: Option<ClientCert>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    H10,
    H11,
    H2,
}

/// A request's head as received.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub version: Version,
    pub method: String,
    /// The request-target of HTTP/1, the `:path` of HTTP/2.
    pub target: Vec<u8>,
    /// The `:authority` of HTTP/2.
    pub authority: Option<String>,
    /// Names as received.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Without the values of the headers, which may be cookies and passwords.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Head")
            .field("version", &self.version)
            .field("method", &self.method)
            .field("headers", &names)
            .finish()
    }
}

/// Why a request is not even looked at further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct Refusal {
    pub status: u16,
    /// For the audit log and the page; says nothing the client did not send.
    pub reason: &'static str,
}

impl Refusal {
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub const fn bad(reason: &'static str) -> Self {
        Self::new(400, reason)
    }
}

/// Somebody wants to pass for what only the agent can tell.
pub const RESERVED: Refusal = Refusal::bad("a header is reserved for the web agent");

/// Bytes of the longest head that is read, from the request line to the empty line.
pub const MAX_HEAD: usize = 64 * 1024;

/// Fields of the longest head.
const MAX_FIELDS: usize = 128;

/// Bytes of all names and values together.
const MAX_FIELD_BYTES: usize = 32 * 1024;

/// A longer word at the start of a head is no method, for all we know.
const LONGEST_METHOD: usize = 32;

/// Headers that frame a message, folded: another spelling would contradict the real one.
const UNALIASED: [(&str, &str); 2] = [("CONTENT_LENGTH", "Content-Length"), ("TRANSFER_ENCODING", "Transfer-Encoding")];

impl Head {
    /// Reads an HTTP/1 head, from the request line to the empty line, and checks it.
    ///
    /// # Errors
    /// Everything that two readers could read differently; the connection must be closed after the answer.
    pub fn parse_h1(raw: &[u8]) -> Result<Self, Refusal> {
        if raw.len() > MAX_HEAD {
            return Err(endless(raw));
        }
        let text = raw.strip_suffix(b"\r\n\r\n").ok_or(Refusal::bad("the head does not end with an empty line"))?;
        let mut lines = Lines(Some(text));
        let (method, target, version) = request_line(lines.next().unwrap_or(Ok(b""))?)?;
        let headers = lines.map(|line| field(line?)).collect::<Result<_, _>>()?;
        let head = Self { version, method, target, authority: None, headers };
        head.check()?;
        Ok(head)
    }

    /// Why an HTTP/1 head is refused that the proxy engine did not take. There may be more than the head, or less.
    pub fn refusal(raw: &[u8]) -> Refusal {
        const UNREADABLE: Refusal = Refusal::bad("the head of the request cannot be read");
        match end(raw) {
            Some(end) => Self::parse_h1(raw.get(..end).unwrap_or(raw)).err().unwrap_or(UNREADABLE),
            None if raw.len() >= MAX_HEAD || raw.split(|b| *b == b'\n').nth(MAX_FIELDS + 2).is_some() => endless(raw),
            None => UNREADABLE,
        }
    }

    /// What can be made out of an HTTP/1 head that is refused: for the log, and for the form of the answer. Never to be
    /// acted on.
    pub fn glimpse(raw: &[u8]) -> Self {
        let raw = raw.get(..end(raw).unwrap_or(raw.len())).unwrap_or_default();
        let mut lines = raw.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut words = lines.next().unwrap_or_default().split(|b| *b == b' ').map(<[u8]>::to_owned);
        let method = words.next().and_then(|word| String::from_utf8(word).ok());
        let method = method.filter(|word| is_method(word) && word.len() <= LONGEST_METHOD).unwrap_or_default();
        // What is no request at all could be anything, also what must not be logged.
        let target = words.next().filter(|_| !method.is_empty()).unwrap_or_default();
        let headers = lines.filter_map(|line| field(line).ok()).collect();
        Self { version: Version::H11, method, target, authority: None, headers }
    }

    /// The rules that hold for every version; for HTTP/2 nothing else checks them.
    ///
    /// # Errors
    /// 400, 405, 417 or 431 with the reason.
    pub fn check(&self) -> Result<(), Refusal> {
        self.check_size()?;
        self.check_fields()?;
        self.check_framing()?;
        if !is_method(&self.method) {
            return Err(Refusal::bad("the method is not in capital letters"));
        }
        match self.method.as_str() {
            "CONNECT" | "TRACE" => Err(Refusal::new(405, "the method is not served here")),
            _ => Ok(()),
        }
    }

    /// All values of a header, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The name the client asked for, unchecked and for logs only.
    pub fn host(&self) -> &[u8] {
        let authority = self.authority.as_deref().map(str::as_bytes);
        authority.or_else(|| self.values("Host").next()).unwrap_or_default()
    }

    /// The value of a header that may be there once.
    ///
    /// # Errors
    /// 400 where it is there twice or is not text.
    pub fn single(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        match (values.next(), std::str::from_utf8(value)) {
            (None, Ok(text)) => Ok(Some(text)),
            _ => Err(Refusal::bad("a header is there twice, or is not text")),
        }
    }

    /// Whether the request is the start of a WebSocket (RFC 6455 section 4.1).
    pub fn wants_websocket(&self) -> bool {
        let has = |name, token: &str| {
            self.values(name)
                .flat_map(|value| value.split(|b| *b == b','))
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        self.version == Version::H11
            && self.method == "GET"
            && has("Connection", "upgrade")
            && has("Upgrade", "websocket")
    }

    fn check_size(&self) -> Result<(), Refusal> {
        let bytes: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        match self.headers.len() <= MAX_FIELDS && bytes <= MAX_FIELD_BYTES {
            true => Ok(()),
            false => Err(Refusal::new(431, "the head is too large")),
        }
    }

    fn check_fields(&self) -> Result<(), Refusal> {
        for (name, value) in &self.headers {
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return Err(Refusal::bad("the name of a header is malformed"));
            }
            if !value.iter().all(|b| *b == b'\t' || !b.is_ascii_control()) {
                return Err(Refusal::bad("a header has a control character"));
            }
            // Whether its sender may send this one is decided where the sender is known: `headers::client_cert`.
            if is_identity_header(name) && !name.eq_ignore_ascii_case(header::CLIENT_CERT) {
                return Err(RESERVED);
            }
            let folded = fold_header_name(name);
            if UNALIASED.iter().any(|(known, real)| folded == *known && !name.eq_ignore_ascii_case(real)) {
                return Err(Refusal::bad("a header is an alias of one that frames the request"));
            }
        }
        Ok(())
    }

    /// RFC 9112 section 6.3, RFC 9113 section 8.2.2: one way to find the end of the request.
    fn check_framing(&self) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal::bad(reason));
        let lengths: Vec<&[u8]> = self.values("Content-Length").collect();
        let codings: Vec<&[u8]> = self.values("Transfer-Encoding").collect();
        let is_length = |value: &&[u8]| (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if lengths.len() > 1 || !lengths.iter().all(is_length) {
            return refuse("the Content-Length is not one number");
        }
        if !codings.is_empty() && (self.version != Version::H11 || !lengths.is_empty()) {
            return refuse("the Transfer-Encoding contradicts the rest of the head");
        }
        if codings.len() > 1 || !codings.iter().all(|value| value.eq_ignore_ascii_case(b"chunked")) {
            return refuse("the Transfer-Encoding is not chunked");
        }
        let per_hop = ["Connection", "Keep-Alive", "Proxy-Connection", "Upgrade"];
        if self.version == Version::H2 && per_hop.iter().any(|name| self.values(name).next().is_some()) {
            return refuse("a header of the connection has no place in HTTP/2");
        }
        match self.single("Expect")? {
            Some(expected) if !expected.eq_ignore_ascii_case("100-continue") => {
                Err(Refusal::new(417, "the expectation is not known"))
            }
            _ => Ok(()),
        }
    }
}

/// Where the head ends, behind its empty line.
fn end(raw: &[u8]) -> Option<usize> {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    raw.windows(EMPTY_LINE.len()).position(|bytes| bytes == EMPTY_LINE).map(|at| at + EMPTY_LINE.len())
}

/// The refusal of a head whose end comes too late: after RFC 9112 section 3 it depends on what is too long.
fn endless(raw: &[u8]) -> Refusal {
    match raw.iter().take(MAX_HEAD).any(|b| *b == b'\n') {
        true => Refusal::new(431, "the head of the request is too long"),
        false => Refusal::new(414, "the address is too long"),
    }
}

fn is_method(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

/// The lines of a head; a carriage return or line feed on its own is an error.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.take()?;
        let Some(at) = text.iter().position(|b| matches!(b, b'\r' | b'\n')) else { return Some(Ok(text)) };
        let (line, rest) = text.split_at(at);
        let Some(rest) = rest.strip_prefix(b"\r\n") else {
            return Some(Err(Refusal::bad("a line of the head ends in another way than CR LF")));
        };
        self.0 = Some(rest);
        Some(Ok(line))
    }
}

/// Method, target and version. A space inside the target is left to [`crate::target`], as some clients send them raw.
fn request_line(line: &[u8]) -> Result<(String, Vec<u8>, Version), Refusal> {
    const MALFORMED: Refusal = Refusal::bad("the request line is malformed");
    let mut ends = line.iter().enumerate().filter(|(_, b)| **b == b' ').map(|(at, _)| at);
    let first = ends.next().ok_or(MALFORMED)?;
    let last = ends.next_back().ok_or(MALFORMED)?;
    let (method, target) = (line.get(..first).unwrap_or_default(), line.get(first + 1..last).unwrap_or_default());
    let version = match line.get(last + 1..) {
        Some(b"HTTP/1.1") => Version::H11,
        Some(b"HTTP/1.0") => Version::H10,
        _ => return Err(MALFORMED),
    };
    if target.is_empty()
        || target.starts_with(b" ")
        || target.ends_with(b" ")
        || !method.iter().all(|b| is_token_byte(*b))
    {
        return Err(MALFORMED);
    }
    Ok((String::from_utf8_lossy(method).into_owned(), target.to_owned(), version))
}

/// `name: value`; white space before the colon or at the start of the line (a folded value) makes the name malformed.
fn field(line: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
    let colon = line.iter().position(|b| *b == b':').ok_or(Refusal::bad("a line of the head has no colon"))?;
    let (name, value) = line.split_at(colon);
    let name = std::str::from_utf8(name).map_err(|_| Refusal::bad("the name of a header is malformed"))?;
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let value = value.get(1..).unwrap_or_default();
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    Ok((name.to_owned(), value.get(start..end).unwrap_or_default().to_owned()))
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
