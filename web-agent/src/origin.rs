//! Origins of the web (scheme, host, port): the one parser by which addresses are both checked and emitted. Pure.

use std::fmt;

pub use shared_proto::authority::Authority;

use crate::head::Scheme;

/// Scheme, host and port, never anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
}

impl Origin {
    pub fn new(scheme: Scheme, authority: &Authority) -> Self {
        Self { scheme, host: authority.host.clone(), port: authority.port.unwrap_or(scheme.default_port()) }
    }

    /// Exactly `http://host[:port]` or `https://host[:port]`, as browsers send it in `Origin`.
    pub fn parse(text: &str) -> Option<Self> {
        match split_url(text)? {
            (origin, "") => Some(origin),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Splits an absolute `http` or `https` URL into its origin and what follows, which is empty or starts with `/` or `?`.
pub fn split_url(url: &str) -> Option<(Origin, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = Scheme::parse(scheme)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some((Origin::new(scheme, &Authority::parse(authority)?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (text, expected) in [
            ("https://app.test", Some("https://app.test")),
            ("HTTPS://App.test:443", Some("https://app.test")),
            ("http://app.test:443", Some("http://app.test:443")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("https://app.test/", None),
            ("https://app.test?x", None),
            ("https://", None),
            ("ftp://app.test", None),
            ("app.test", None),
            ("null", None),
        ] {
            let found = Origin::parse(text).map(|origin| origin.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
