//! The head of a request, read strictly from its bytes: the gate must not see a request another way than the site
//! behind it. Pure.
//!
//! The proxy engine repairs and merges some of what is refused here, so this reads the bytes themselves.

use std::fmt;
use std::net::IpAddr;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    H10,
    H11,
    H2,
}

/// A request's head as received.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Head {
    /// Reads an HTTP/1 head, from the request line to the empty line, and checks it.
    ///
    /// # Errors
    /// Everything that two readers could read differently; the connection must be closed after the answer.
    pub fn parse_h1(raw: &[u8]) -> Result<Self, Refusal> {
        if raw.is_empty() {
            return Err(Refusal::bad("the request is empty"));
        }
        Err(Refusal::bad("skeleton"))
    }

    /// The rules that hold for every version; for HTTP/2 nothing else checks them.
    pub fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}
