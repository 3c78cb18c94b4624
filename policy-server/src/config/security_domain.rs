//! Reader of `security-domain.xml`: the services a domain's modules share, how long sessions live, and the valves
//! around a login.
//!
//! The root is `<security-domain>`, or `<service-manager>` alone for a domain that has services only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use super::login_config::unknown_class;
use super::xml::{self, Element};
use crate::directory::sql::Settings;
use crate::directory::sql::url::{Location, Source, Url, check_driver};

pub const XML_USER_REPOSITORY: &str = "com.cafesoft.security.engine.service.XmlUserRepositoryService";
pub const JDBC_POOL: &str = "com.cafesoft.security.engine.service.JdbcConnectionPoolService";
const SERVICES: [&str; 2] = [XML_USER_REPOSITORY, JDBC_POOL];
const SESSION_MANAGER: &str = "com.cafesoft.security.engine.session.StandardSessionManager";
const AUTH_PIPELINE: &str = "com.cafesoft.security.engine.auth.StandardAuthPipeline";
/// The auth valves this version has.
const AUTH_VALVES: [&str; 0] = [];

#[derive(Debug)]
pub struct SecurityDomain {
    /// Those that are enabled.
    pub services: Vec<ServiceConfig>,
    pub sessions: SessionLimits,
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

/// When a session ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// This long after its last use.
    pub idle_timeout: Duration,
    /// This long after the login, used or not.
    pub maximum_lifetime: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(30 * 60), maximum_lifetime: Duration::from_secs(12 * 3600) }
    }
}

/// The domain, or `None` with the reasons in `problems`.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<SecurityDomain> {
    let before = problems.len();
    let root = xml::parse_root(file, text, &["security-domain", "service-manager"], problems)?;
    let mut domain = SecurityDomain { services: Vec::new(), sessions: SessionLimits::default() };
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
            auth_service(element, problems);
        }
    }
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
            found.push(ServiceConfig { id: id.to_owned(), kind });
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
        JDBC_POOL => jdbc_pool(element, &mut params, problems).map(|pool| ServiceKind::JdbcPool(Box::new(pool))),
        _ => params.require("path", problems).map(|path| ServiceKind::XmlUserRepository { path: path.into() }),
    };
    params.finish(problems);
    kind
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
    };
    params.finish(problems);
    if limits.idle_timeout.is_zero() || limits.idle_timeout > limits.maximum_lifetime {
        element.problem(problems, "idleTimeout must be more than nothing and at most maximumLifetime");
    }
    limits
}

fn auth_service(element: &Element, problems: &mut Problems) {
    element.only(&[], &["auth-pipeline"], problems);
    let Some(pipeline) = element.only_child("auth-pipeline", problems) else { return };
    pipeline.only(&["className", "classname"], &["auth-valve"], problems);
    optional_class(pipeline, AUTH_PIPELINE, "auth pipeline", problems);
    for valve in pipeline.children_named("auth-valve") {
        valve.only(&["className", "classname", "enabled"], &["param-list"], problems);
        valve.flag("enabled", true, problems);
        if let Some(class) = valve.class_name(problems) {
            valve.problem(problems, unknown_class("auth valve", class, AUTH_VALVES.into_iter()));
        }
    }
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
mod tests {
    use super::*;

    const GOOD: &str = r#"<security-domain>
<service-manager>
<service id="users" className="com.cafesoft.security.engine.service.XmlUserRepositoryService" enabled="true">
<param-list><param name="path" value="cams-users.xml"/></param-list></service>
<service id="off" className="com.cafesoft.security.engine.service.XmlUserRepositoryService" enabled="false">
<param-list><param name="path" value="other.xml"/></param-list></service>
</service-manager>
<session-manager-service className="com.cafesoft.security.engine.session.StandardSessionManager">
<param-list><param name="idleTimeout" value="10m"/></param-list></session-manager-service>
<auth-service><auth-pipeline className="com.cafesoft.security.engine.auth.StandardAuthPipeline">
</auth-pipeline></auth-service>
</security-domain>"#;

    fn read_text(text: &str) -> (Option<SecurityDomain>, String) {
        let mut problems = Problems::default();
        let domain = read(Path::new("s.xml"), text, &mut problems);
        (domain, problems.to_string())
    }

    #[test]
    fn enabled_services_and_limits_are_read() {
        let (domain, problems) = read_text(GOOD);
        assert_eq!(problems, "");
        let domain = domain.unwrap();
        let [ServiceConfig { id, kind: ServiceKind::XmlUserRepository { path } }] = &domain.services[..] else {
            panic!("{:?}", domain.services)
        };
        assert_eq!((id.as_str(), path.as_path()), ("users", Path::new("cams-users.xml")));
        let limits = SessionLimits { idle_timeout: Duration::from_secs(600), ..SessionLimits::default() };
        assert_eq!(domain.sessions, limits);
    }

    #[test]
    fn a_service_manager_alone_is_a_domain() {
        let services = &GOOD[GOOD.find("<service-manager>").unwrap()..GOOD.find("<session-manager").unwrap()];
        let (domain, problems) = read_text(services);
        assert_eq!(problems, "");
        let domain = domain.unwrap();
        assert_eq!((domain.services.len(), domain.sessions), (1, SessionLimits::default()));
        let default = Duration::from_secs(30 * 60);
        assert_eq!((default, default * 24), (domain.sessions.idle_timeout, domain.sessions.maximum_lifetime));
    }

    fn pool(params: &str) -> (Option<PoolConfig>, String) {
        let text = format!(
            "<service-manager>\n<service id='p' className='{JDBC_POOL}'><param-list>\n{params}</param-list></service>\n\
             </service-manager>"
        );
        let (domain, problems) = read_text(&text);
        let kind = domain.and_then(|mut domain| domain.services.pop()).map(|service| service.kind);
        let pool = kind.map(|kind| match kind {
            ServiceKind::JdbcPool(pool) => *pool,
            other => panic!("{other:?}"),
        });
        (pool, problems)
    }

    #[test]
    fn a_pool_has_a_database_and_bounds() {
        const URL: &str = "<param name='jdbcUrl' value='jdbc:sqlite:u.db'/>";
        let (found, problems) = pool(URL);
        assert_eq!(problems, "");
        assert_eq!(found.unwrap().settings, Settings::default());
        let (found, problems) = pool(
            "<param name='jdbcUrl' value='postgres://a:canary@localhost/d'/><param name='jdbcUsername' value='u'/>
             <param name='jdbcDriver' value='org.postgresql.Driver'/><param name='maxConnections' value='3'/>
             <param name='minConnections' value='1'/><param name='testBeforeAcquire' value='false'/>",
        );
        assert_eq!(problems, "");
        let found = found.unwrap();
        let settings = Settings { max_connections: 3, min_connections: 1, ..Settings::default() };
        assert_eq!(found.settings, Settings { test_before_acquire: false, ..settings });
        assert_eq!((found.username.as_deref(), found.password.is_some()), (Some("u"), true));
        assert!(!format!("{found:?}").contains("canary"));
        for (params, expected) in [
            ("", "s.xml:2: parameter `jdbcUrl` is missing"),
            ("<param name='jdbcUrl' value='jdbc:oracle:x'/>", "s.xml:3: parameter `jdbcUrl`: `jdbc:oracle:` is not"),
            ("<param name='jdbcUrl' value='pool:p'/>", "s.xml:3: parameter `jdbcUrl`: a pool needs the URL of a data"),
            (&format!("{URL}<param name='jdbcDriver' value='x'/>"), "s.xml:3: parameter `jdbcDriver`: `x` is not"),
            (&format!("{URL}<param name='maxConnections' value='0'/>"), "s.xml:2: maxConnections must be from 1"),
            (&format!("{URL}<param name='minConnections' value='11'/>"), "s.xml:2: maxConnections must be from 1"),
            (&format!("{URL}<param name='idleTimeout' value='0s'/>"), "s.xml:2: the times of a pool must be more"),
            (&format!("{URL}<param name='maxConections' value='1'/>"), "did you mean `maxConnections`?"),
        ] {
            let (found, problems) = pool(params);
            assert!(found.is_none() && problems.contains(expected), "{params}: {problems}");
        }
    }

    /// Each change of the good file is a problem, reported where it stands.
    #[test]
    fn what_is_not_understood_is_refused() {
        for (change, to, expected) in [
            (
                "<security-domain>",
                "<security-domain><logger/>",
                "s.xml:1: unknown element <logger> in <security-domain>",
            ),
            ("\"off\"", "\"users\"", "s.xml:5: service `users` is there twice"),
            ("id=\"users\" ", "", "s.xml:3: <service> needs the attribute `id`"),
            (
                "RepositoryService",
                "RepositorService",
                "s.xml:3: unknown service `com.cafesoft.security.engine.service.XmlU",
            ),
            ("\"true\"", "\"yes\"", "s.xml:3: attribute `enabled` of <service>: `yes` is not true or false"),
            ("name=\"path\"", "name=\"pth\"", "s.xml:4: unknown parameter `pth`, did you mean `path`?"),
            ("name=\"path\"", "name=\"pth\"", "s.xml:4: parameter `path` is missing"),
            ("cams-users.xml", "", "s.xml:4: parameter `path` is empty"),
            ("\"10m\"", "\"10 parsecs\"", "s.xml:9: parameter `idleTimeout`: `10 parsecs` is not a time"),
            ("\"10m\"", "\"0\"", "s.xml:8: idleTimeout must be more than nothing"),
            ("\"10m\"", "\"13h\"", "s.xml:8: idleTimeout must be more than nothing and at most maximumLifetime"),
            ("idleTimeout", "idletimeout", "s.xml:9: unknown parameter `idletimeout`, did you mean `idleTimeout`?"),
            (
                "StandardSessionManager",
                "Fast",
                "s.xml:8: unknown session manager `com.cafesoft.security.engine.session.Fast",
            ),
            ("StandardAuthPipeline", "Fast", "s.xml:10: unknown auth pipeline `com.cafesoft.security.engine.auth.Fast"),
            (
                "</auth-pipe",
                "<auth-valve className='V'/></auth-pipe",
                "s.xml:11: unknown auth valve `V`: there are none yet",
            ),
            ("</auth-pipe", "<auth-valve/></auth-pipe", "s.xml:11: <auth-valve> needs the attribute `className`"),
            (
                "</auth-pipe",
                "<auth-value/></auth-pipe",
                "s.xml:11: unknown element <auth-value> in <auth-pipeline>, did",
            ),
        ] {
            assert!(GOOD.contains(change), "{change}");
            let (domain, problems) = read_text(&GOOD.replacen(change, to, 1));
            assert!(domain.is_none(), "{to}");
            assert!(problems.lines().any(|problem| problem.starts_with(expected)), "{to}:\n{problems}");
        }
    }
}
