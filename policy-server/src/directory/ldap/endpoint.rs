//! Where a directory is: `host`, `host:port`, `ldap://host`, `ldaps://host:636`. Pure.

use std::fmt;
use std::net::IpAddr;

use shared_proto::authority::Authority;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Clear text, because it was configured so.
    None,
    /// TLS from the first byte.
    Tls,
    /// TLS after a request in clear text; nothing else is sent before it.
    StartTls,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    pub security: Security,
}

impl Endpoint {
    /// One word of the option `host`. `security` is what the other options say, `port` what stands in for one that is
    /// not written here.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn parse(text: &str, security: Security, port: Option<u16>) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let security = match (scheme.map(str::to_ascii_lowercase).as_deref(), security) {
            (None, security) => security,
            (Some("ldap"), Security::None | Security::StartTls) => security,
            (Some("ldaps"), Security::None | Security::Tls) => Security::Tls,
            (Some("ldap"), Security::Tls) => return Err(format!("`{text}`: `ssl` is on, so write ldaps://")),
            (Some("ldaps"), Security::StartTls) => return Err(format!("`{text}`: `startTls` is on, so write ldap://")),
            (Some(_), _) => return Err(format!("`{text}`: write ldap:// or ldaps://")),
        };
        let authority = Authority::parse(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(|| {
            format!("`{text}` is not a host such as ldap.example.org or ldaps://ldap.example.org:636")
        })?;
        let usual = if security == Security::Tls { 636 } else { 389 };
        let host = authority.host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: authority.port.or(port).unwrap_or(usual), security })
    }
}

impl Endpoint {
    /// Whether somebody on the network could read passwords on their way.
    pub fn shows_passwords(&self) -> bool {
        let loopback = self.host.parse::<IpAddr>().map_or_else(|_| self.host == "localhost", |ip| ip.is_loopback());
        self.security == Security::None && !loopback
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.security == Security::Tls { "ldaps" } else { "ldap" };
        let bracketed = self.host.contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_shown_in_clear_text_to_other_machines() {
        use Security::{None as Plain, StartTls, Tls};
        for (text, security, expected) in [
            ("a.test", Plain, true),
            ("ldap://192.0.2.1", Plain, true),
            ("localhost.a.test", Plain, true),
            ("a.test", Tls, false),
            ("a.test", StartTls, false),
            ("ldaps://a.test", Plain, false),
            ("localhost", Plain, false),
            ("127.0.0.2:1389", Plain, false),
            ("[::1]:1389", Plain, false),
        ] {
            assert_eq!(Endpoint::parse(text, security, None).unwrap().shows_passwords(), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_read() {
        use Security::{None as Plain, StartTls, Tls};
        for (text, security, port, expected) in [
            ("a.test", Plain, None, Some(("ldap://a.test:389", Plain))),
            ("a.test", StartTls, None, Some(("ldap://a.test:389", StartTls))),
            ("A.test", Tls, None, Some(("ldaps://a.test:636", Tls))),
            ("a.test", Tls, Some(3269), Some(("ldaps://a.test:3269", Tls))),
            ("a.test:1", Tls, Some(3269), Some(("ldaps://a.test:1", Tls))),
            ("LDAPS://a.test/", Plain, None, Some(("ldaps://a.test:636", Tls))),
            ("ldap://[::1]:1389", StartTls, None, Some(("ldap://[::1]:1389", StartTls))),
            ("ldap://a.test", Tls, None, None),
            ("ldaps://a.test", StartTls, None, None),
            ("http://a.test", Plain, None, None),
            ("ldap://a.test/dc=test", Plain, None, None),
            ("a.test:0", Plain, None, None),
            ("u@a.test", Plain, None, None),
            ("", Plain, None, None),
        ] {
            let endpoint = Endpoint::parse(text, security, port);
            let found = endpoint.as_ref().ok().map(|endpoint| (endpoint.to_string(), endpoint.security));
            let expected = expected.map(|(shown, security)| (shown.to_owned(), security));
            assert_eq!(found, expected, "{text} {endpoint:?}");
        }
    }
}
