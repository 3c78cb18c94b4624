//! A request that is well formed and meant for one of our sites: all that the gate decides with.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use shared_proto::check::{CertificateStanding, CheckRequest, Client};
use shared_proto::client_cert::ClientCert;
use shared_proto::secret::Secret;

use crate::cookies::{self, Carried, Changes};
use crate::gate::parked::Posted;
use crate::head::{Connection, Head, Refusal, Scheme, Version};
use crate::headers::{self, Origination};
use crate::jami;
use crate::origin::{Authority, Origin};
use crate::site::{GateConfig, Site};
use crate::target::Target;

/// Characters of a user agent that are passed on to the logs.
const MAX_USER_AGENT: usize = 256;

#[derive(Debug)]
pub struct Request {
    pub config: Arc<GateConfig>,
    pub id: String,
    pub site: Arc<Site>,
    /// As the client wrote it, lower case; its host is the site's.
    pub authority: Authority,
    pub scheme: Scheme,
    /// The port rules see: the site's own, else the listener's; never one that the client only claims.
    pub port: u16,
    pub target: Target,
    pub method: String,
    pub client: Client,
    pub session: Option<Secret>,
    /// What the browser shows for having been remembered; once it was tried, nothing.
    pub remembered: Carried,
    /// What it shows for having forms kept.
    pub browser: Carried,
    /// What becomes of a form that it carries.
    pub posted: Posted,
    /// What the browser shows for having gone to log in elsewhere.
    pub handover: Option<Secret>,
    /// What the browser is told about our cookies with the answer, whichever it is.
    pub changes: Changes,
    /// The client's certificate, as a trusted proxy before us verified it, or we did. At a site where devices enrol it is
    /// worth nothing before the policy server says so.
    pub client_cert: Option<ClientCert>,
    /// It came in cleartext, and not from a trusted proxy.
    pub is_exposed: bool,
    /// A person's browser wants a page, so that an answer is a page too.
    pub is_navigation: bool,
    pub is_websocket: bool,
}

impl Request {
    /// Checks everything that can be checked before the policy server is asked.
    pub fn admit(
        config: &Arc<GateConfig>,
        connection: &Connection,
        head: &Head,
        request_id: &str,
    ) -> Result<Self, Refusal> {
        head.check()?;
        let handed_on = headers::client_cert(config, connection, head)?;
        let (target, ocsp) = (Target::parse(&head.target), jami::ocsp_target(&head.target));
        let authority = match &ocsp {
            Some(ocsp) => authority(head, ocsp)?,
            None => authority(head, target.as_ref().map_err(|refusal| *refusal)?)?,
        };
        let origination = headers::origination(config, connection, head)?;
        let site = config.site(&authority, origination.scheme).ok_or(MISDIRECTED)?;
        if connection.sni.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case(&authority.host)) {
            return Err(MISDIRECTED);
        }
        let target = ocsp.filter(|_| site.jami).map_or(target, Ok)?;
        let port = site.port.unwrap_or(connection.port);
        let mut request = Self::new(config, head, request_id, site, origination, (authority, port), target);
        request.is_exposed = connection.scheme == Scheme::Http && !config.trusts(connection.peer);
        request.client_cert = handed_on.or_else(|| shown_here(config, connection, site));
        Ok(request)
    }

    /// The same for a listener that serves nothing but revocation: for the first site at which devices enrol, whatever the
    /// request calls it, and as if it had come there. `None` where there is no such site.
    pub fn for_revocation(
        config: &Arc<GateConfig>,
        connection: &Connection,
        head: &Head,
        request_id: &str,
    ) -> Result<Option<Self>, Refusal> {
        head.check()?;
        headers::client_cert(config, connection, head)?;
        let target = jami::ocsp_target(&head.target).map_or_else(|| Target::parse(&head.target), Ok)?;
        let address = headers::origination(config, connection, head)?.address;
        let Some(site) = config.sites.iter().find(|site| site.jami) else { return Ok(None) };
        let origination = Origination { address, scheme: Scheme::Https };
        let authority = Authority { host: site.host.clone(), port: site.port };
        let port = site.port.unwrap_or(Scheme::Https.default_port());
        Ok(Some(Self::new(config, head, request_id, site, origination, (authority, port), target)))
    }

    fn new(
        config: &Arc<GateConfig>,
        head: &Head,
        request_id: &str,
        site: &Arc<Site>,
        origination: Origination,
        (authority, port): (Authority, u16),
        target: Target,
    ) -> Self {
        let user_agent = head.values("User-Agent").next().map(String::from_utf8_lossy).unwrap_or_default();
        let user_agent = user_agent.chars().take(MAX_USER_AGENT).collect();
        Self {
            config: Arc::clone(config),
            id: request_id.to_owned(),
            site: Arc::clone(site),
            scheme: origination.scheme,
            port,
            method: head.method.clone(),
            client: Client { address: origination.address, user_agent },
            session: cookies::session(config, head),
            remembered: cookies::remembered(config, head),
            browser: cookies::form(config, origination.scheme, head),
            posted: Posted::default(),
            handover: cookies::handover(config, origination.scheme, head),
            changes: Changes::default(),
            client_cert: None,
            is_exposed: false,
            is_navigation: is_navigation(head),
            is_websocket: head.wants_websocket(),
            authority,
            target,
        }
    }

    /// The question whether it may pass.
    pub fn check(&self) -> CheckRequest {
        CheckRequest {
            request_id: self.id.clone(),
            scheme: self.scheme.as_str().to_owned(),
            host: self.site.host.clone(),
            port: self.port,
            method: self.method.clone(),
            path: self.target.path().to_owned(),
            query: self.target.query().map(str::to_owned),
            domain: self.config.domain.clone(),
            entry: self.config.entry.clone(),
            session: self.session.clone(),
            client_cert: self.fingerprint(),
            client: self.client.clone(),
        }
    }

    /// Of the certificate that is to be asked about, SHA-256 in hexadecimal.
    fn fingerprint(&self) -> Option<String> {
        let certificate = self.client_cert.as_ref().filter(|_| self.site.jami)?;
        Some(Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Takes up what the policy server says of the certificate. At other sites it was not asked.
    pub fn judge_client_cert(&mut self, standing: CertificateStanding) {
        if self.site.jami && standing != CertificateStanding::Live {
            self.client_cert = None;
        }
    }

    /// The values of `Set-Cookie` that go with the answer.
    pub fn set_cookies(&self) -> Vec<String> {
        self.changes.headers(&self.config, self.scheme)
    }

    /// The origin the client sees.
    pub fn here(&self) -> Origin {
        Origin::new(self.scheme, &self.authority)
    }

    /// The origin of the site, of which nothing is what the client only claims.
    pub fn audience(&self) -> String {
        Origin { scheme: self.scheme, host: self.site.host.clone(), port: self.port }.to_string()
    }

    /// Whether the method only reads (RFC 9110 section 9.2.1), so that it can be repeated after a login.
    pub fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// The certificate of the connection itself, where it means the client: a proxy speaks for others, and another site on the
/// same connection asked for none.
fn shown_here(config: &GateConfig, connection: &Connection, site: &Site) -> Option<ClientCert> {
    let is_meant = site.jami && !config.trusts(connection.peer);
    connection.client_cert.clone().filter(|_| is_meant)
}

/// There is no default site: a name that is not ours must not reach one that is.
const MISDIRECTED: Refusal = Refusal::new(421, "no site of that name is served on this connection");

/// The one name all parts of the request agree on.
fn authority(head: &Head, target: &Target) -> Result<Authority, Refusal> {
    const INVALID: Refusal = Refusal::bad("the host name is missing or malformed");
    let parse = |text: &str| Authority::parse(text).ok_or(INVALID);
    let host = head.single("Host")?.map(parse).transpose()?;
    let pseudo = head.authority.as_deref().map(parse).transpose()?;
    if head.version == Version::H2 && target.authority().is_some() {
        return Err(Refusal::bad("the path of the request is not a path"));
    }
    if head.version != Version::H2 && host.is_none() {
        return Err(INVALID);
    }
    let named: Vec<Authority> = [pseudo, host, target.authority().cloned()].into_iter().flatten().collect();
    match named.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => Ok(first.clone()),
        Some(_) => Err(Refusal::bad("the request names two hosts")),
        None => Err(INVALID),
    }
}

/// Whether a browser is about to show the answer to a person: by Fetch Metadata where there is any, else by `Accept`.
pub fn is_navigation(head: &Head) -> bool {
    let single = |name| head.single(name).unwrap_or_default();
    let is = |name, wanted: &str| single(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    if !matches!(head.method.as_str(), "GET" | "HEAD" | "POST")
        || head.values("Upgrade").next().is_some()
        || is("X-Requested-With", "XMLHttpRequest")
    {
        return false;
    }
    if head.values("Sec-Fetch-Mode").next().is_some() {
        return is("Sec-Fetch-Mode", "navigate") && single("Sec-Fetch-Dest").is_none_or(|dest| dest == "document");
    }
    let is_html = |item: &[u8]| {
        let kind = item.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"text/html") || kind.eq_ignore_ascii_case(b"application/xhtml+xml")
    };
    head.values("Accept").flat_map(|value| value.split(|b| *b == b',')).any(is_html)
}
