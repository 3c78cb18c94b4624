//! Origins of the web (scheme, host, port) and authorities (`host[:port]`): the one parser by which addresses are both
//! checked and emitted. Pure.

use std::fmt;

use crate::head::Scheme;

/// `host[:port]` as in a `Host` header, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: Option<u16>,
}

/// Scheme, host and port, never anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
}

impl Authority {
    /// `None` for anything that is not exactly `host` or `host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (text.get(..address.len() + 2)?, after)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        let host = host.to_ascii_lowercase();
        (host.starts_with('[') || is_host_name(&host)).then_some(Self { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
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

fn parse_port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

/// Letters, digits, `-` and (as some intranets have it) `_`, in labels; no empty label, hence no trailing dot.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (text, expected) in [
            ("app.test", Some("app.test")),
            ("APP.Test:8443", Some("app.test:8443")),
            ("a_b.test", Some("a_b.test")),
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("[::1]", Some("[::1]")),
            ("[2001:DB8::1]:65535", Some("[2001:db8::1]:65535")),
            ("", None),
            (":80", None),
            ("app.test:", None),
            ("app.test:0", None),
            ("app.test:080", None),
            ("app.test:65536", None),
            ("app.test:+80", None),
            ("app.test:80:80", None),
            ("app.test.", None),
            (".app.test", None),
            ("app..test", None),
            ("-app.test", None),
            ("app-.test", None),
            ("a b", None),
            (" app.test", None),
            ("user@app.test", None),
            ("app.test/x", None),
            ("app.test?x", None),
            ("app.test#x", None),
            ("app%2etest", None),
            ("äpp.test", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[app.test]", None),
            ("[::1%25eth0]", None),
            ("::1", None),
        ] {
            let found = Authority::parse(text).map(|authority| authority.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
        assert_eq!(Authority::parse(&format!("{}.test", "a".repeat(64))), None);
        assert_eq!(Authority::parse(&vec!["a"; 128].join(".")), None);
    }

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
