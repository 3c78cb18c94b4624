//! What the agent serves, as checked values: sites, their upstreams, and all the gate needs to know of the
//! configuration. Pure.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use shared_proto::names::{CookieNames, JWKS_PATH};

use crate::head::Scheme;
use crate::origin::{Authority, Origin};

/// One protected web site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// As in `cams.site.<name>.host`.
    pub name: String,
    /// Lower case, without the port.
    pub host: String,
    /// The port people see, where the configuration names one; any port otherwise.
    pub port: Option<u16>,
    /// `None` where only the agent's own pages are served: a host of its own for logging in, which no script of a site
    /// can reach.
    pub upstream: Option<Upstream>,
    /// Jami devices enrol here: the paths of [`crate::jami`] go to the policy server.
    pub jami: bool,
}

/// How requests of Jami devices are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JamiConfig {
    /// The login entry that their credentials run through.
    pub entry: String,
    /// Bytes of the longest body.
    pub body_limit: u64,
}

/// Where a site really lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
    /// PEM file of the CAs that may vouch for an `https` upstream; `None` means those of the system.
    pub ca: Option<PathBuf>,
}

/// Everything the gate decides with, besides the request and the policy server's answers.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// The agent's security domain, the only one it logs people in to.
    pub domain: String,
    /// The login entry its sites demand.
    pub entry: String,
    /// Entries that a rule may demand besides.
    pub further_entries: Vec<String>,
    pub cookies: CookieNames,
    /// `CAMS` unless configured otherwise.
    pub cookie_prefix: String,
    /// Empty by default: a cookie of one host only.
    pub cookie_domain: Option<String>,
    /// Whether people may ask to be remembered.
    pub auto_login: bool,
    /// Paths in canonical form.
    pub login_uri: String,
    pub logout_uri: String,
    /// Where a form goes on that was kept over a login.
    pub resume_uri: String,
    pub account_uri: String,
    /// The same at every agent of the cluster: each sends browsers to those of the others.
    pub handover_uri: String,
    /// Where a login leads that came from nowhere.
    pub default_page: String,
    pub sites: Vec<Arc<Site>>,
    /// Further sites of the cluster to which a login may lead, and whose pages may log in here.
    pub cluster_sites: Vec<Origin>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether they may say which certificate a client has shown them.
    pub client_cert_from_proxies: bool,
    pub jami: JamiConfig,
}

/// What the agent answers by itself instead of asking whether it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Login,
    Logout,
    Forget,
    /// A posted form that was kept over a login.
    Resume,
    /// Where people see where they are logged in, and end any of it.
    Account,
    /// Where a browser comes back to with the session that it got elsewhere.
    Handover,
    /// The public keys that assertions are verified with.
    Keys,
}

impl GateConfig {
    /// Where the services are: the gate routes by this list, and the census of routes is held against it (I10).
    pub fn services(&self) -> [(Cow<'_, str>, Service); 7] {
        [
            (Cow::Borrowed(&self.login_uri), Service::Login),
            (Cow::Borrowed(&self.logout_uri), Service::Logout),
            (Cow::Owned(self.forget_uri()), Service::Forget),
            (Cow::Borrowed(&self.resume_uri), Service::Resume),
            (Cow::Borrowed(&self.account_uri), Service::Account),
            (Cow::Borrowed(&self.handover_uri), Service::Handover),
            (Cow::Borrowed(JWKS_PATH), Service::Keys),
        ]
    }

    /// Where the logged-out page makes the browser forget what it kept.
    pub fn forget_uri(&self) -> String {
        format!("{}/forget", self.logout_uri)
    }

    /// Whether people may log in through this entry here.
    pub fn serves_entry(&self, entry: &str) -> bool {
        self.entry == entry || self.further_entries.iter().any(|further| further == entry)
    }

    /// The site that answers to a name, or none: there is no default site.
    pub fn site(&self, authority: &Authority, scheme: Scheme) -> Option<&Arc<Site>> {
        let port = authority.port.unwrap_or(scheme.default_port());
        self.sites.iter().find(|site| site.host == authority.host && site.port.is_none_or(|wanted| wanted == port))
    }

    /// Whether an origin is a site of the cluster, to which a login may lead and whose pages may log in here. A site
    /// without a port of its own is reached as `here` was, and every site of this agent by the scheme of `here`.
    pub fn is_ours(&self, here: &Origin, origin: &Origin) -> bool {
        let is_site = |site: &Arc<Site>| site.host == origin.host && site.port.unwrap_or(here.port) == origin.port;
        self.cluster_sites.contains(origin) || (origin.scheme == here.scheme && self.sites.iter().any(is_site))
    }

    /// Whether that host has the cookies of ours: the login there is a login here.
    pub fn shares_cookies(&self, host: &str) -> bool {
        self.cookie_domain
            .as_deref()
            .is_some_and(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }

    /// Whether clients that ask for this name (SNI) are asked for a certificate. One that asks for none connects to an
    /// address.
    pub fn wants_client_certs(&self, name: Option<&str>) -> bool {
        self.sites.iter().filter(|site| site.jami).any(|site| match name {
            Some(name) => site.host.eq_ignore_ascii_case(name),
            None => site.host.starts_with('[') || site.host.parse::<IpAddr>().is_ok(),
        })
    }

    /// Whether a peer may speak for others.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}
