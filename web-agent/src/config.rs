//! The reader of `cams-webagent.conf`: a Java properties file becomes a checked [`AgentConfig`], or a list of all its
//! problems with file and line. Nothing else reads the file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use shared_proto::names::{CookieNames, JWKS_PATH, is_name};
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use crate::listen::Caps;
use crate::origin::{Authority, Origin};
use crate::site::{GateConfig, Site};
use crate::target::Target;

mod jami;
mod sites;

/// A checked configuration. Paths are absolute or relative to the current directory.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub cluster: String,
    pub gate: Arc<GateConfig>,
    pub listeners: Vec<Listener>,
    /// In cleartext, where nothing but what is signed is served: revocation lists and answers about certificates.
    pub revocation_listeners: Vec<SocketAddr>,
    pub certificates: Vec<TlsIdentity>,
    /// In the order in which they are tried; the port is always there.
    pub policy_servers: Vec<Authority>,
    pub link: LinkTls,
    pub caps: Caps,
    /// The administrator's templates.
    pub pages: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: bool,
}

/// A certificate for one host name, or for `*.` and a domain.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    pub host: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub passphrase: Option<SecretRef>,
}

/// The agent's own proof towards the policy server, and the CA it trusts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl AgentConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// All problems, sorted by line.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(file, &text),
            Err(error) => {
                problems.add(file, 0, format!("cannot be read: {error}"));
                problems.into_result(None)
            }
        }
    }

    /// Reads the file's text; `file` is for messages and relative paths.
    ///
    /// # Errors
    /// All problems, sorted by line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let options = Options::from_properties(file, text, &mut problems);
        let mut reader = Reader { file, options, problems };
        let config = reader.config();
        let Reader { options, mut problems, .. } = reader;
        options.finish(&mut problems);
        problems.into_result(config)
    }
}

/// The file while it is read. A `None` from any of its functions has been reported as a problem.
struct Reader<'a> {
    file: &'a Path,
    options: Options,
    problems: Problems,
}

impl Reader<'_> {
    /// Reads everything before it gives up, so that all problems are found.
    fn config(&mut self) -> Option<AgentConfig> {
        let cluster = self.name("cams.cluster.name");
        // Before the servers, whose numbered names share a beginning with that of their CA.
        let link = self.link();
        let policy_servers = self.policy_servers();
        let listeners = self.listeners();
        let certificates = self.certificates();
        let gate = self.gate(cluster.as_deref().unwrap_or_default());
        let pages = self.options.take_string("cams.pages.directory").map(|path| self.path(&path));
        let caps = self.caps();
        let revocation_listeners = self.revocation_listeners(gate.as_ref(), &listeners);
        let gate = gate?;
        self.check_encryption(&listeners, &gate);
        self.check_certificates(&listeners, &certificates, &gate);
        Some(AgentConfig {
            cluster: cluster?,
            gate: Arc::new(gate),
            listeners,
            revocation_listeners,
            certificates,
            policy_servers,
            link: link?,
            caps,
            pages,
        })
    }

    fn gate(&mut self, cluster: &str) -> Option<GateConfig> {
        let domain = self.name("cams.security.domain");
        let entry = self.name_or("cams.loginconfig.entry", "http");
        let further_entries =
            self.list("cams.loginconfig.entries", NAME, |text| is_name(text).then(|| text.to_owned()));
        let cookie_prefix = self.name_or("cams.cookie.prefix", "CAMS");
        let auto_login = self.options.take_bool("cams.autologin.enabled", false, &mut self.problems);
        let login_uri = self.uri("cams.login.uri", "/cams/login");
        let logout_uri = self.uri("cams.logout.uri", "/cams/logout");
        let account_uri = self.uri("cams.account.uri", "/cams/account");
        let resume_uri = self.uri("cams.resume.uri", "/cams/resume");
        let handover_uri = self.uri("cams.handover.uri", "/cams/handover");
        let default_page = self.uri("cams.default.page", "/");
        let cluster_sites = self.list("cams.cluster.sites", "an origin such as https://www.example.org", Origin::parse);
        let trusted_proxies = self.list("cams.trusted.proxies", "an address or a network such as 10.0.0.0/8", network);
        let client_cert = "cams.trusted.proxies.client.cert";
        let line = self.options.line_of(client_cert);
        let client_cert_from_proxies = self.options.take_bool(client_cert, false, &mut self.problems);
        if client_cert_from_proxies && trusted_proxies.is_empty() {
            self.problems.add(self.file, line, format!("`{client_cert}`: nobody is in `cams.trusted.proxies`"));
        }
        let jami = self.jami(&entry);
        let sites = self.sites();
        let cookie_domain = self.cookie_domain(&sites);
        let domain = domain?;
        let gate = GateConfig {
            cookies: CookieNames::new(&cookie_prefix, cluster, &domain),
            domain,
            entry,
            further_entries,
            cookie_prefix,
            cookie_domain,
            auto_login,
            login_uri,
            logout_uri,
            resume_uri,
            account_uri,
            handover_uri,
            default_page,
            sites,
            cluster_sites,
            trusted_proxies,
            client_cert_from_proxies,
            jami,
        };
        let mut paths: BTreeSet<String> = BTreeSet::new();
        for (path, _) in gate.services() {
            if !paths.insert(path.to_string()) {
                let message = format!(
                    "`{path}` is two of the agent's own pages: write another path for one of `cams.*.uri` \
                     ({JWKS_PATH} is where the assertion keys are)"
                );
                self.problems.add(self.file, 0, message);
            }
        }
        self.check_own_paths(&gate);
        Some(gate)
    }

    fn caps(&mut self) -> Caps {
        let default = Caps::default();
        let mut count = |name, default| {
            let what = "a number of connections";
            self.options.take_parsed(name, default, what, &mut self.problems)
        };
        Caps {
            all: count("cams.connections.max", default.all),
            per_network: count("cams.connections.per.network", default.per_network),
        }
    }

    fn policy_servers(&mut self) -> Vec<Authority> {
        let servers = self.options.take_numbered("cams.policy.server.", &mut self.problems);
        if servers.is_empty() {
            self.problems.add(self.file, 0, "`cams.policy.server.1` is missing: nobody could be asked");
        }
        let parse = |text: &str| Authority::parse(text).filter(|server| server.port.is_some());
        servers.into_iter().filter_map(|(text, line)| self.parsed(&text, line, "host:port", parse)).collect()
    }

    fn link(&mut self) -> Option<LinkTls> {
        let mut path = |name| self.options.require(name, &mut self.problems);
        let [certificate, key, ca] =
            [path("cams.agent.certificate"), path("cams.agent.key"), path("cams.policy.server.ca")];
        Some(LinkTls { certificate: self.path(&certificate?), key: self.path(&key?), ca: self.path(&ca?) })
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let listeners = self.options.take_numbered("cams.listen.", &mut self.problems);
        if listeners.is_empty() {
            self.problems.add(self.file, 0, "`cams.listen.1` is missing: nobody could reach a site");
        }
        let what = "an address such as https://127.0.0.1:8443, or 127.0.0.1:8080 for cleartext";
        listeners.into_iter().filter_map(|(text, line)| self.parsed(&text, line, what, listener)).collect()
    }

    fn certificates(&mut self) -> Vec<TlsIdentity> {
        let groups = self.groups("cams.tls.", |rest| rest.rsplit_once('.'));
        groups.into_iter().filter_map(|(host, options)| self.certificate(host, options)).collect()
    }

    fn certificate(&mut self, host: String, mut options: Options) -> Option<TlsIdentity> {
        let prefix = format!("cams.tls.{host}.");
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if Authority::parse(name).is_none_or(|name| name.port.is_some()) {
            let message = format!("`{host}` is not a host name, nor `*.` and a domain");
            self.problems.add(self.file, options.line(), message);
        }
        let certificate = options.require(&format!("{prefix}certificate"), &mut self.problems);
        let key = options.require(&format!("{prefix}key"), &mut self.problems);
        let passphrase = options.take_string(&format!("{prefix}passphrase"));
        options.finish(&mut self.problems);
        let passphrase = passphrase.map(|text| match SecretRef::parse(&text) {
            SecretRef::File(path) => SecretRef::File(self.directory().join(path)),
            other => other,
        });
        let (certificate, key) = (self.path(&certificate?), self.path(&key?));
        Some(TlsIdentity { host: host.to_ascii_lowercase(), certificate, key, passphrase })
    }

    /// A cookie for a domain reaches all its hosts: every site must be one of them, or it could never log in.
    fn cookie_domain(&mut self, sites: &[Arc<Site>]) -> Option<String> {
        let (text, line) = self.options.take("cams.cookie.domain").filter(|(text, _)| !text.trim().is_empty())?;
        let parse = |text: &str| Authority::parse(text).filter(|name| name.port.is_none() && name.host.contains('.'));
        let domain = self.parsed(&text, line, "a domain such as example.org", parse)?.host;
        for site in sites {
            if site.host != domain && !site.host.ends_with(&format!(".{domain}")) {
                let message = format!("the site `{}` ({}) is not in {domain}", site.name, site.host);
                self.problems.add(self.file, line, message);
            }
        }
        Some(domain)
    }

    /// Where every listener speaks TLS, every site needs a certificate.
    fn check_certificates(&mut self, listeners: &[Listener], certificates: &[TlsIdentity], gate: &GateConfig) {
        let covers = |identity: &TlsIdentity, host: &str| match identity.host.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, parent)| parent == domain),
            None => identity.host == host,
        };
        let has_certificate = |host: &str| certificates.iter().any(|identity| covers(identity, host));
        if certificates.is_empty() && listeners.iter().any(|listener| listener.tls) {
            self.problems.add(self.file, 0, "a listener speaks https, but there is no `cams.tls.<host>.certificate`");
        } else if !listeners.is_empty() && listeners.iter().all(|listener| listener.tls) {
            for site in gate.sites.iter().filter(|site| !has_certificate(&site.host)) {
                let message = format!("the site `{}` has no certificate for {}", site.name, site.host);
                self.problems.add(self.file, 0, message);
            }
        }
    }

    /// Sorts properties that share a prefix by the name that follows it: (name, its properties by their full names).
    fn groups(&mut self, prefix: &str, split: impl Fn(&str) -> Option<(&str, &str)>) -> Vec<(String, Options)> {
        let mut groups: Vec<(String, Options)> = Vec::new();
        for (rest, value, line) in self.options.take_prefixed(prefix) {
            // `upstream.ca` is one name.
            let parts = rest.strip_suffix(".upstream.ca").map(|name| (name, "upstream.ca")).or_else(|| split(&rest));
            let Some((name, key)) = parts.filter(|(name, key)| !name.is_empty() && !key.is_empty()) else {
                self.problems.add(self.file, line, format!("`{prefix}{rest}`: write `{prefix}<name>.<property>`"));
                continue;
            };
            let full = format!("{prefix}{name}.{key}");
            match groups.iter_mut().find(|(known, _)| known == name) {
                Some((_, options)) => options.insert(full, value, line, &mut self.problems),
                None => {
                    let mut options = Options::new(self.file, line, "property");
                    options.insert(full, value, line, &mut self.problems);
                    groups.push((name.to_owned(), options));
                }
            }
        }
        groups
    }

    /// A required cluster or domain name.
    fn name(&mut self, property: &str) -> Option<String> {
        let line = self.options.line_of(property);
        let name = self.options.require(property, &mut self.problems)?;
        self.parsed(&name, line, NAME, |text| is_name(text).then(|| text.to_owned()))
    }

    fn name_or(&mut self, property: &str, default: &str) -> String {
        let given = self.options.take(property);
        let name = given
            .and_then(|(name, line)| self.parsed(&name, line, NAME, |text| is_name(text).then(|| text.to_owned())));
        name.unwrap_or_else(|| default.to_owned())
    }

    /// A path in canonical form: any other would never be equal to that of a request.
    fn uri(&mut self, property: &str, default: &str) -> String {
        let is_canonical = |text: &str| Target::parse(text.as_bytes()).is_ok_and(|target| target.path() == text);
        let given = self.options.take(property);
        let what = "a path such as /cams/login, without escapes that are not needed";
        let uri = given
            .and_then(|(uri, line)| self.parsed(&uri, line, what, |text| is_canonical(text).then(|| text.to_owned())));
        uri.unwrap_or_else(|| default.to_owned())
    }

    /// The items of a list that is separated by commas or blanks.
    fn list<T>(&mut self, property: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let (text, line) = self.options.take(property).unwrap_or_default();
        let items = text.split([',', ' ', '\t']).filter(|item| !item.is_empty());
        items.filter_map(|item| self.parsed(item, line, what, &parse)).collect()
    }

    fn parsed<T>(&mut self, text: &str, line: usize, what: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(text.trim());
        if parsed.is_none() {
            self.problems.add(self.file, line, format!("`{text}` is not {what}"));
        }
        parsed
    }

    fn directory(&self) -> PathBuf {
        self.file.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Relative paths count from the file's folder.
    fn path(&self, text: &str) -> PathBuf {
        self.directory().join(text.trim())
    }
}

const NAME: &str = "a name of letters, digits and `_`";

/// `https://address:port`, `http://address:port`, `address:port`, or `address:port tls`.
fn listener(text: &str) -> Option<Listener> {
    let (address, tls) = if let Some(rest) = text.strip_prefix("https://") {
        (rest, true)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (rest, false)
    } else if let Some(rest) = text.strip_suffix(" tls") {
        (rest.trim_end(), true)
    } else {
        (text, false)
    };
    let address = match address.strip_prefix("localhost:") {
        Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)),
        None => address.parse().ok()?,
    };
    Some(Listener { address, tls })
}

/// A network, or one address; never everybody.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.filter(|network: &IpNet| network.prefix_len() > 0)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
