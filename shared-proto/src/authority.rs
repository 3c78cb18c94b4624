//! Authorities (`host[:port]`): the one parser by which host names are checked and written, on the command line as in
//! requests.

use std::fmt;

/// `host[:port]` as in a `Host` header, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub host: String,
    pub port: Option<u16>,
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
}
