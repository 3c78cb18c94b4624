//! Reader of `security-domain.xml`: the services a domain's modules share, how long sessions live, and the valves
//! around a login.
//!
//! The root is `<security-domain>`, or `<service-manager>` alone for a domain that has services only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::login_config::unknown_class;
use super::xml::{self, Element};
use crate::auth::password::PasswordPolicy;
use crate::auth::valve::{self, ValveConfig};
use crate::auth::valves;

pub const XML_USER_REPOSITORY: &str = "com.cafesoft.security.engine.service.XmlUserRepositoryService";
pub const LOCAL_DIRECTORY: &str = "com.cafesoft.security.engine.service.LocalDirectoryService";
const SERVICES: [&str; 2] = [XML_USER_REPOSITORY, LOCAL_DIRECTORY];
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

#[derive(Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    pub id: String,
    pub kind: ServiceKind,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// `path` is relative to the domain's folder.
    XmlUserRepository { path: PathBuf },
    /// The users and groups of this domain in the store.
    LocalDirectory(PasswordPolicy),
}

/// When a session ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// This long after its last use.
    pub idle_timeout: Duration,
    /// This long after the login, used or not.
    pub maximum_lifetime: Duration,
    /// How often the account of a live session is looked up again.
    pub recheck_interval: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30 * 60),
            maximum_lifetime: Duration::from_secs(12 * 3600),
            recheck_interval: Duration::from_secs(5 * 60),
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

fn session_limits(element: &Element, problems: &mut Problems) -> SessionLimits {
    element.only(&["className", "classname"], &["param-list"], problems);
    optional_class(element, SESSION_MANAGER, "session manager", problems);
    let default = SessionLimits::default();
    let mut params = params(element, problems);
    let limits = SessionLimits {
        idle_timeout: params.take_duration("idleTimeout", default.idle_timeout, problems),
        maximum_lifetime: params.take_duration("maximumLifetime", default.maximum_lifetime, problems),
        recheck_interval: params.take_duration("recheckInterval", default.recheck_interval, problems),
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
<auth-valve className="com.cafesoft.security.engine.auth.ThrottleAuthValve" enabled="false"><param-list/></auth-valve>
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
        let path = PathBuf::from("cams-users.xml");
        let users = ServiceConfig { id: "users".to_owned(), kind: ServiceKind::XmlUserRepository { path } };
        assert_eq!(domain.services, [users]);
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

    #[test]
    fn the_built_in_directory_says_what_passwords_must_be_like() {
        let read_with = |params: &str, count: usize| {
            let service =
                format!("<service id='N' className='{LOCAL_DIRECTORY}'><param-list>\n{params}</param-list></service>");
            let services: String = (0..count).map(|n| service.replace('N', &n.to_string())).collect();
            read_text(&format!("<service-manager>{services}</service-manager>"))
        };
        let param = |name: &str, value: &str| format!("<param name='{name}' value='{value}'/>");
        let all = [param("minimumLength", "15"), param("maximumAge", "90d"), param("history", "24")].concat();
        let (domain, problems) = read_with(&all, 1);
        let maximum_age = Some(Duration::from_secs(90 * 86_400));
        let passwords = PasswordPolicy { minimum_length: 15, maximum_age, history: 24 };
        assert_eq!(problems, "");
        assert_eq!(domain.unwrap().services[0].kind, ServiceKind::LocalDirectory(passwords));
        let (domain, _) = read_with("", 1);
        assert_eq!(domain.unwrap().services[0].kind, ServiceKind::LocalDirectory(PasswordPolicy::default()));

        for (params, count, expected) in [
            (param("minimumLength", "7"), 1, "s.xml:1: minimumLength must be from 8 to 64"),
            (param("minimumLength", "65"), 1, "s.xml:1: minimumLength must be from 8 to 64"),
            (param("minimumLength", "-1"), 1, "s.xml:2: parameter `minimumLength`: `-1` is not a number"),
            (param("history", "25"), 1, "s.xml:1: history must be at most 24"),
            (param("maximumAge", "a while"), 1, "s.xml:2: parameter `maximumAge`: `a while` is not a time"),
            (
                param("minimumlength", "12"),
                1,
                "s.xml:2: unknown parameter `minimumlength`, did you mean `minimumLength`?",
            ),
            (String::new(), 2, "a security domain has one built-in directory"),
        ] {
            let (domain, problems) = read_with(&params, count);
            assert!(domain.is_none() && problems.contains(expected), "{params}: {problems}");
        }
    }

    /// The valve that slows guessing down is in force unless it is turned off.
    #[test]
    fn logins_are_throttled_by_default() {
        let element = |from, to| GOOD.replacen(from, to, 1).replacen(from, to, 1);
        let services = GOOD.find("<service-manager>").unwrap()..GOOD.find("<session-manager").unwrap();
        let pipeline = GOOD.find("<auth-service>").unwrap()..GOOD.find("</security-domain>").unwrap();
        for (text, enabled) in [
            (GOOD.to_owned(), false),
            (element("auth-valve", "auth-value"), false),
            (GOOD.replace("Valve\" enabled=\"false\"", "Valve\""), true),
            (GOOD.replace(&GOOD[pipeline], ""), true),
            (GOOD[services].to_owned(), true),
        ] {
            let (domain, problems) = read_text(&text);
            assert_eq!(problems, "", "{text}");
            let valves: Vec<_> = domain.unwrap().valves.iter().map(|valve| (valve.kind.class, valve.enabled)).collect();
            assert_eq!(valves, [(valves::throttle::CLASS, enabled)], "{text}");
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
                "ThrottleAuthValve",
                "ThrotleAuthValve",
                "s.xml:11: unknown auth valve `com.cafesoft.security.engine.auth.Thr",
            ),
            ("auth-valve className", "auth-valve name", "s.xml:11: <auth-valve> needs the attribute `className`"),
            (
                "enabled=\"false\"><param-list/>",
                "enabled=\"no\">",
                "s.xml:11: attribute `enabled` of <auth-valve>: `no` is",
            ),
            ("</auth-pipe", "<auth-vale/></auth-pipe", "s.xml:12: unknown element <auth-vale> in <auth-pipeline>, did"),
            (
                "</auth-pipe",
                "<auth-value className='com.cafesoft.security.engine.auth.ThrottleAuthValve'/></auth-pipe",
                "s.xml:12: auth valve `com.cafesoft.security.engine.auth.ThrottleAuthValve` is there twice",
            ),
        ] {
            assert!(GOOD.contains(change), "{change}");
            let (domain, problems) = read_text(&GOOD.replacen(change, to, 1));
            assert!(domain.is_none(), "{to}");
            assert!(problems.lines().any(|problem| problem.starts_with(expected)), "{to}:\n{problems}");
        }
    }
}
