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
    let [ServiceConfig { id, kind: ServiceKind::XmlUserRepository { path } }] = &domain.services[..] else {
        panic!("{:?}", domain.services)
    };
    assert_eq!((id.as_str(), path.as_path()), ("users", Path::new("cams-users.xml")));
    let limits = SessionLimits { idle_timeout: Duration::from_secs(600), ..SessionLimits::default() };
    assert_eq!(domain.sessions, limits);
}

#[test]
fn how_many_sessions_and_from_where() {
    let crowd = |most, beyond| NonZeroUsize::new(most).map(|most| Crowd { most, beyond });
    let cases: [(&[(&str, &str)], _, _); 5] = [
        (&[("maximumSessions", "0")], None, ClientNetwork::None),
        (&[("maximumSessions", "3")], crowd(3, WhenTooMany::EndOldest), ClientNetwork::None),
        (&[("maximumSessions", "1"), ("whenTooMany", "refuse")], crowd(1, WhenTooMany::Refuse), ClientNetwork::None),
        (&[("whenTooMany", "endOldest"), ("clientNetwork", "exact")], None, ClientNetwork::Exact),
        (&[("clientNetwork", "subnet")], None, ClientNetwork::Subnet),
    ];
    for (given, crowd, network) in cases {
        let params: String =
            given.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect();
        let idle = "<param name=\"idleTimeout\" value=\"10m\"/>";
        let (domain, problems) = read_text(&GOOD.replace(idle, &params));
        assert_eq!(problems, "");
        let sessions = domain.unwrap().sessions;
        assert_eq!((sessions.crowd, sessions.network), (crowd, network), "{given:?}");
    }
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
        let services: String = (0..count).map(|n| service.replace("id='N'", &format!("id='{n}'"))).collect();
        read_text(&format!("<service-manager>{services}</service-manager>"))
    };
    let param = |name: &str, value: &str| format!("<param name='{name}' value='{value}'/>");
    let all = [param("minimumLength", "15"), param("maximumAge", "90d"), param("history", "24")].concat();
    let (domain, problems) = read_with(&all, 1);
    let maximum_age = Some(Duration::from_secs(90 * 86_400));
    let passwords = PasswordPolicy { minimum_length: 15, maximum_age, history: 24 };
    assert_eq!(problems, "");
    let policy = |domain: Option<SecurityDomain>| match &domain.unwrap().services[0].kind {
        ServiceKind::LocalDirectory(policy) => policy.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(policy(domain), passwords);
    assert_eq!(policy(read_with("", 1).0), PasswordPolicy::default());

    for (params, count, expected) in [
        (param("minimumLength", "7"), 1, "s.xml:1: minimumLength must be from 8 to 64"),
        (param("minimumLength", "65"), 1, "s.xml:1: minimumLength must be from 8 to 64"),
        (param("minimumLength", "-1"), 1, "s.xml:2: parameter `minimumLength`: `-1` is not a number"),
        (param("history", "25"), 1, "s.xml:1: history must be at most 24"),
        (param("maximumAge", "a while"), 1, "s.xml:2: parameter `maximumAge`: `a while` is not a time"),
        (param("minimumlength", "12"), 1, "s.xml:2: unknown parameter `minimumlength`, did you mean `minimumLength`?"),
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
        ("<security-domain>", "<security-domain><logger/>", "s.xml:1: unknown element <logger> in <security-domain>"),
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
        ("idleTimeout\" value=\"10m", "maximumSessions\" value=\"-1", "s.xml:9: parameter `maximumSessions`: `-1` is"),
        (
            "idleTimeout\" value=\"10m",
            "whenTooMany\" value=\"endoldest",
            "s.xml:9: parameter `whenTooMany`: `endoldest` is not `endOldest` or `refuse`",
        ),
        (
            "idleTimeout\" value=\"10m",
            "clientNetwork\" value=\"/24",
            "s.xml:9: parameter `clientNetwork`: `/24` is not `none` or `exact` or `subnet`",
        ),
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
