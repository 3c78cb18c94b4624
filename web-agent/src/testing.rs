//! What the tests of this crate share.

use std::sync::Arc;

use shared_proto::names::CookieNames;

use crate::head::Scheme;
use crate::origin::Origin;
use crate::site::{GateConfig, Site, Upstream};

/// Two sites, one with a port of its own, and a third of the cluster elsewhere; no trusted proxy.
pub fn gate_config() -> GateConfig {
    let site = |name: &str, port| {
        let upstream = Upstream { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: 8080, ca: None };
        Arc::new(Site { name: name.to_owned(), host: format!("{name}.test"), port, upstream })
    };
    GateConfig {
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        cookies: CookieNames::new("CAMS", "MyCamsCluster", "system"),
        cookie_prefix: "CAMS".to_owned(),
        cookie_domain: None,
        auto_login: true,
        login_uri: "/cams/login".to_owned(),
        logout_uri: "/cams/logout".to_owned(),
        default_page: "/".to_owned(),
        sites: vec![site("app", None), site("shop", Some(9443))],
        cluster_sites: vec![Origin { scheme: Scheme::Https, host: "portal.test".to_owned(), port: 443 }],
        trusted_proxies: Vec::new(),
    }
}

/// A small deterministic generator (xorshift64*): a failing seed fails again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
