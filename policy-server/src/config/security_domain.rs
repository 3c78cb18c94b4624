//! Reader of `security-domain.xml`: the services a domain's modules share, how long sessions live, and the valves
//! around a login.
//!
//! The root is `<security-domain>`, or `<service-manager>` alone for a domain that has services only.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use super::login_config::unknown_class;
use super::xml::{self, Element};
use crate::auth::password::PasswordPolicy;
use crate::auth::valve::{self, ValveConfig};
use crate::auth::valves;
use crate::directory::sql::Settings;
use crate::directory::sql::url::{Location, Source, Url, check_driver};
use crate::session::limits::{ClientNetwork, Crowd, WhenTooMany};

pub const XML_USER_REPOSITORY: &str = "com.cafesoft.security.engine.service.XmlUserRepositoryService";
pub const JDBC_POOL: &str = "com.cafesoft.security.engine.service.JdbcConnectionPoolService";
pub const LOCAL_DIRECTORY: &str = "com.cafesoft.security.engine.service.LocalDirectoryService";
const SERVICES: [&str; 3] = [XML_USER_REPOSITORY, JDBC_POOL, LOCAL_DIRECTORY];
const SESSION_MANAGER: &str = "com.cafesoft.security.engine.session.StandardSessionManager";
const AUTH_PIPELINE: &str = "com.cafesoft.security.engine.auth.StandardAuthPipeline";

#[derive(Debug)]
pub struct SecurityDomain {
    /// Those that are enabled.
    pub services: Vec<ServiceConfig>,
    pub sessions: SessionLimits,
    /// The outermost first: those that are in force without being named, then the named ones.
    pub valves: Vec<ValveConfig>,
}

#[derive(Debug)]
pub struct ServiceConfig {
    pub id: String,
    pub kind: ServiceKind,
}

#[derive(Debug)]
pub enum ServiceKind {
    /// `path` is relative to the domain's folder.
    XmlUserRepository {
        path: PathBuf,
    },
    /// The users and groups of this domain in the store.
    LocalDirectory(PasswordPolicy),
    JdbcPool(Box<PoolConfig>),
}

/// A pool of connections to a database.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub file: PathBuf,
    pub line: usize,
    pub location: Location,
    pub username: Option<String>,
    pub password: Option<SecretRef>,
    pub settings: Settings,
    /// About its URL.
    pub warnings: Vec<String>,
}

/// When a session ends by itself, how many there may be, and from where they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// This long after its last use.
    pub idle_timeout: Duration,
    /// This long after the login, used or not.
    pub maximum_lifetime: Duration,
    /// How often the account of a live session is looked up again.
    pub recheck_interval: Duration,
    /// Of one person; `None`: as many as they like.
    pub crowd: Option<Crowd>,
    pub network: ClientNetwork,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            maximum_lifetime: Duration::from_secs(12 * 3600),
            recheck_interval: Duration::from_secs(5 * 60),
            crowd: None,
            network: ClientNetwork::default(),
        }
    }
}

/// The domain, or `None` with the reasons in `problems`.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<SecurityDomain> {
    let before = problems.len();
    let root = xml::parse_root(file, text, &["security-domain", "service-manager"], problems)?;
    let mut domain = SecurityDomain { services: Vec::new(), sessions: SessionLimits::default(), valves: Vec::new() };
    if root.name == "service-manager" {
        domain.services = services(&root, problems);
    } else {
        root.only(&[], &["service-manager", "session-manager-service", "auth-service"], problems);
        if let Some(element) = root.only_child("service-manager", problems) {
            domain.services = services(element, problems);
        }
        if let Some(element) = root.only_child("session-manager-service", problems) {
            domain.sessions = session_limits(element, problems);
        }
        if let Some(element) = root.only_child("auth-service", problems) {
            domain.valves = auth_valves(element, problems);
        }
    }
    domain.valves.splice(0..0, valve::defaults(&domain.valves, file, root.line));
    (problems.len() == before).then_some(domain)
}

fn services(manager: &Element, problems: &mut Problems) -> Vec<ServiceConfig> {
    manager.only(&[], &["service"], problems);
    let mut ids = BTreeSet::new();
    let mut found = Vec::new();
    for element in manager.children_named("service") {
        element.only(&["id", "className", "classname", "enabled"], &["param-list"], problems);
        let id = element.require("id", problems);
        if id.is_some_and(|id| !ids.insert(id.to_owned())) {
            element.problem(problems, format!("service `{}` is there twice", id.unwrap_or_default()));
        }
        let enabled = element.flag("enabled", true, problems);
        if let (Some(id), Some(kind)) = (id, service_kind(element, problems))
            && enabled
        {
            let is_local = |service: &ServiceConfig| matches!(service.kind, ServiceKind::LocalDirectory(_));
            let service = ServiceConfig { id: id.to_owned(), kind };
            if is_local(&service) && found.iter().any(is_local) {
                element.problem(problems, "a security domain has one built-in directory: this is a second one");
            }
            found.push(service);
        }
    }
    found
}

fn service_kind(element: &Element, problems: &mut Problems) -> Option<ServiceKind> {
    let class = element.class_name(problems)?;
    if !SERVICES.contains(&class) {
        element.problem(problems, unknown_class("service", class, SERVICES.into_iter()));
        return None;
    }
    let mut params = params(element, problems);
    let kind = match class {
        LOCAL_DIRECTORY => Some(ServiceKind::LocalDirectory(password_policy(element, &mut params, problems))),
        JDBC_POOL => jdbc_pool(element, &mut params, problems).map(|pool| ServiceKind::JdbcPool(Box::new(pool))),
        _ => params.require("path", problems).map(|path| ServiceKind::XmlUserRepository { path: path.into() }),
    };
    params.finish(problems);
    kind
}

fn password_policy(element: &Element, params: &mut Options, problems: &mut Problems) -> PasswordPolicy {
    let default = PasswordPolicy::default();
    let maximum_age = params.take_duration("maximumAge", Duration::ZERO, problems);
    let policy = PasswordPolicy {
        minimum_length: params.take_parsed("minimumLength", default.minimum_length, "a number", problems),
        maximum_age: (!maximum_age.is_zero()).then_some(maximum_age),
        history: params.take_parsed("history", default.history, "a number", problems),
    };
    if !(8..=64).contains(&policy.minimum_length) {
        element.problem(problems, "minimumLength must be from 8 to 64 characters");
    }
    if policy.history > 24 {
        element.problem(problems, "history must be at most 24 passwords");
    }
    policy
}

fn jdbc_pool(element: &Element, params: &mut Options, problems: &mut Problems) -> Option<PoolConfig> {
    let line = params.line_of("jdbcUrl");
    let url = params.require("jdbcUrl", problems);
    let driver = params.take("jdbcDriver");
    let username = params.take_string("jdbcUsername").filter(|name| !name.is_empty());
    let password = params.take_string("jdbcPassword").map(|text| SecretRef::parse(&text));
    let settings = pool_settings(element, params, problems);
    let mut problem = |line, message: String| problems.add(params.file(), line, message);
    let url = Url::parse(&url?).map_err(|why| problem(line, format!("parameter `jdbcUrl`: {why}"))).ok()?;
    if let Some((class, line)) = driver
        && let Err(why) = check_driver(&class, &url.source)
    {
        problem(line, format!("parameter `jdbcDriver`: {why}"));
    }
    let Source::Database(location) = url.source else {
        problem(line, "parameter `jdbcUrl`: a pool needs the URL of a database, not of a pool".to_owned());
        return None;
    };
    Some(PoolConfig {
        file: params.file().to_owned(),
        line,
        location: *location,
        username: username.or(url.username),
        password: password.or(url.password.map(SecretRef::Literal)),
        settings,
        warnings: url.warnings,
    })
}

fn pool_settings(element: &Element, params: &mut Options, problems: &mut Problems) -> Settings {
    let default = Settings::default();
    let settings = Settings {
        max_connections: params.take_parsed("maxConnections", default.max_connections, "a number", problems),
        min_connections: params.take_parsed("minConnections", default.min_connections, "a number", problems),
        keep: true,
        acquire_timeout: params.take_duration("acquireTimeout", default.acquire_timeout, problems),
        idle_timeout: params.take_duration("idleTimeout", default.idle_timeout, problems),
        max_lifetime: params.take_duration("maxLifetime", default.max_lifetime, problems),
        test_before_acquire: params.take_bool("testBeforeAcquire", default.test_before_acquire, problems),
        connect_timeout: params.take_duration("connectTimeout", default.connect_timeout, problems),
    };
    if !(1..=1000).contains(&settings.max_connections) || settings.min_connections > settings.max_connections {
        element.problem(problems, "maxConnections must be from 1 to 1000, and minConnections not more than that");
    }
    let times = [settings.acquire_timeout, settings.idle_timeout, settings.max_lifetime, settings.connect_timeout];
    if times.iter().any(Duration::is_zero) {
        element.problem(problems, "the times of a pool must be more than nothing");
    }
    settings
}

fn session_limits(element: &Element, problems: &mut Problems) -> SessionLimits {
    element.only(&["className", "classname"], &["param-list"], problems);
    optional_class(element, SESSION_MANAGER, "session manager", problems);
    let default = SessionLimits::default();
    let mut params = params(element, problems);
    let limits = SessionLimits {
        idle_timeout: params.take_duration("idleTimeout", default.idle_timeout, problems),
        maximum_lifetime: params.take_duration("maximumLifetime", default.maximum_lifetime, problems),
        recheck_interval: params.take_duration("recheckInterval", default.recheck_interval, problems),
        crowd: crowd(&mut params, problems),
        network: one_of(
            &mut params,
            "clientNetwork",
            &[("none", ClientNetwork::None), ("exact", ClientNetwork::Exact), ("subnet", ClientNetwork::Subnet)],
            problems,
        ),
    };
    params.finish(problems);
    if limits.idle_timeout.is_zero() || limits.idle_timeout > limits.maximum_lifetime {
        element.problem(problems, "idleTimeout must be more than nothing and at most maximumLifetime");
    }
    if limits.recheck_interval.is_zero() {
        element.problem(problems, "recheckInterval must be more than nothing");
    }
    limits
}

fn crowd(params: &mut Options, problems: &mut Problems) -> Option<Crowd> {
    let most = params.take_parsed("maximumSessions", 0, "a number", problems);
    let ways = [("endOldest", WhenTooMany::EndOldest), ("refuse", WhenTooMany::Refuse)];
    let beyond = one_of(params, "whenTooMany", &ways, problems);
    NonZeroUsize::new(most).map(|most| Crowd { most, beyond })
}

/// What a parameter chooses among words.
fn one_of<T: Copy + Default>(params: &mut Options, name: &str, ways: &[(&str, T)], problems: &mut Problems) -> T {
    let Some((value, line)) = params.take(name) else { return T::default() };
    let chosen = ways.iter().find(|(word, _)| *word == value);
    if chosen.is_none() {
        let words = ways.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        problems.add(params.file(), line, format!("parameter `{name}`: `{value}` is not {words}"));
    }
    chosen.map_or_else(T::default, |(_, meaning)| *meaning)
}

fn auth_valves(service: &Element, problems: &mut Problems) -> Vec<ValveConfig> {
    service.only(&[], &["auth-pipeline"], problems);
    let Some(pipeline) = service.only_child("auth-pipeline", problems) else { return Vec::new() };
    // The original's reference spells the tag in both ways.
    pipeline.only(&["className", "classname"], &["auth-valve", "auth-value"], problems);
    optional_class(pipeline, AUTH_PIPELINE, "auth pipeline", problems);
    let mut found: Vec<ValveConfig> = Vec::new();
    for element in &pipeline.children {
        let Some(valve) = auth_valve(element, problems) else { continue };
        if found.iter().any(|other| other.kind.class == valve.kind.class) {
            element.problem(problems, format!("auth valve `{}` is there twice", valve.kind.class));
        }
        found.push(valve);
    }
    found
}

fn auth_valve(element: &Element, problems: &mut Problems) -> Option<ValveConfig> {
    element.only(&["className", "classname", "enabled"], &["param-list"], problems);
    let enabled = element.flag("enabled", true, problems);
    let params = params(element, problems);
    let class = element.class_name(problems)?;
    let Some(kind) = valves::find(class) else {
        let known = valves::all().map(|kind| kind.class);
        element.problem(problems, unknown_class("auth valve", class, known));
        return None;
    };
    Some(ValveConfig { kind, enabled, params })
}

/// There is one class to choose from, so it need not be named.
fn optional_class(element: &Element, known: &'static str, what: &str, problems: &mut Problems) {
    if element.attribute("className").or(element.attribute("classname")).is_some()
        && let Some(class) = element.class_name(problems)
        && class != known
    {
        element.problem(problems, unknown_class(what, class, [known].into_iter()));
    }
}

fn params(element: &Element, problems: &mut Problems) -> Options {
    element.child_options("param-list", "param", "parameter", problems)
}

#[cfg(test)]
#[path = "security_domain_tests.rs"]
mod tests;
