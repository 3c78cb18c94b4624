//! Addresses and host names as people type them, checked before anything is done: what passes here is written into
//! configurations as it is. The messages are clap's, with exit code 2.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

#[cfg(feature = "policy-server")]
use ipnet::IpNet;
use shared_proto::authority::Authority;

/// Instead of an upstream's address: only the agent's own pages.
pub const NO_UPSTREAM: &str = "none";

/// A host name that people type into a browser, with a port if only that one is meant.
pub fn site(text: &str) -> Result<Authority, String> {
    Authority::parse(text).ok_or_else(|| "write a host name such as app.example.org, without wildcards".to_owned())
}

/// A host name that cookies of a domain reach: no port, no address.
pub fn host_name(text: &str) -> Result<String, String> {
    let is_name = |host: &str| host.contains('.') && host.parse::<IpAddr>().is_err() && !host.starts_with('[');
    Authority::parse(text)
        .filter(|authority| authority.port.is_none() && is_name(&authority.host))
        .map(|authority| authority.host)
        .ok_or_else(|| "write a host name such as app.example.org, without a port".to_owned())
}

/// `http` or `https`, a host and perhaps a port; spelt as the agent's configuration has it.
pub fn upstream(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    match Authority::parse(rest.strip_suffix('/').unwrap_or(rest)) {
        Some(authority) if ["http", "https"].contains(&scheme.as_str()) => Ok(format!("{scheme}://{authority}")),
        _ => Err("write an address such as http://127.0.0.1:8080, without a path".to_owned()),
    }
}

/// As [`upstream`], or `none`.
pub fn upstream_or_none(text: &str) -> Result<String, String> {
    if text == NO_UPSTREAM { Ok(text.to_owned()) } else { upstream(text) }
}

/// An address to listen on; of a name with several, an IPv4 address first, which the system's tools show most plainly.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("write HOST:PORT ({error})"))?;
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| "the name has no address".to_owned())
}

/// An address or a network, as the throttle valve sees addresses.
#[cfg(feature = "policy-server")]
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    text.parse().or_else(|_| address()).map_err(|_| "write an address or a network such as 192.0.2.0/24".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What none of the parsers may take.
    const NASTY: [&str; 12] = [
        "",
        " ",
        "a\ncams.trusted.proxies=0.0.0.0/0",
        "a b/../;",
        "*.example.org",
        "münchen.example",
        "x\"/><evil.example.org",
        "app.example.org/",
        "user@app.example.org",
        "app.example.org:0",
        "app.example.org\\",
        "${x}",
    ];

    #[test]
    fn nothing_else_than_a_name_passes() {
        for text in NASTY {
            assert!(site(text).is_err() && host_name(text).is_err(), "{text:?}");
            for url in [format!("http://{text}"), format!("http://{text}/x"), text.to_owned()] {
                assert!(upstream(&url).is_err() || url == "http://app.example.org/", "{url:?}");
            }
        }
        for text in ["app.example.org:8443", "localhost", "10.0.0.1", "[::1]"] {
            assert!(host_name(text).is_err(), "{text:?}");
        }
        assert_eq!(host_name("App.Example.org").unwrap(), "app.example.org");
        assert_eq!(site("App.Example.org:8443").unwrap().to_string(), "app.example.org:8443");
    }

    #[test]
    fn upstreams() {
        for (text, expected) in [
            ("http://10.0.0.5:8080", Some("http://10.0.0.5:8080")),
            ("HTTPS://Internal.test/", Some("https://internal.test")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("javascript:alert(1)", None),
            ("ftp://a.test", None),
            ("http://a.test/path", None),
            ("http://a.test\ncams.x=y", None),
            ("none", None),
        ] {
            assert_eq!(upstream(text).ok().as_deref(), expected, "{text}");
        }
        assert_eq!(upstream_or_none("none").unwrap(), "none");
    }

    #[test]
    fn names_to_listen_on_are_looked_up() {
        assert!(listen("localhost:8443").unwrap().ip().is_loopback());
        assert_eq!(listen("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        for text in ["", "localhost", "localhost:x", "127.0.0.1:65536"] {
            assert!(listen(text).is_err(), "{text:?}");
        }
    }
}
