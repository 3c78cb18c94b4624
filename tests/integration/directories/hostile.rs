//! What people type who mean harm, what directories answer that do, and people of more groups than anybody has.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::Value;
use tests::process::memory;
use tests::quickstart::replace;
use tests::slapd::PASSWORD as LDAP_PASSWORD;
use tests::{Slapd, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{LOCAL, PATTERN, SEARCH_ACCOUNT, SOON, World, entry, ldap, module, single, xml};
use tests::databases::Database;

/// A line of the audit log may be as long as its texts, each of which is cut off.
const LINE: usize = 4 << 10;

/// Many tries are what is tested here, not that they are slowed down. With the built-in directory.
fn untroubled(domain: &str) -> String {
    let valve = "ThrottleAuthValve\" enabled=\"";
    assert!(domain.contains(valve), "{domain}");
    domain
        .replace(&format!("{valve}true"), &format!("{valve}false"))
        .replace("</service-manager>", &format!("{LOCAL}</service-manager>"))
}

/// Every line of the log is one event, and none is long.
fn lines_are_short(world: &World) {
    let audit = std::fs::read_to_string(world.files.path("data/audit.jsonl")).unwrap();
    assert!(audit.lines().all(|line| line.len() < LINE && line.starts_with('{')), "{audit}");
}

#[tokio::test]
async fn no_module_is_harmed_by_what_is_typed() {
    let Some(slapd) = Slapd::shared().await else { return };
    let host = format!("127.0.0.1:{}", slapd.port);
    let database = Database::sqlite();
    let clear = [("authMethod", "retrieve"), ("allowCleartext", "true"), SEARCH_ACCOUNT[0], SEARCH_ACCOUNT[1]];
    let compare = [("authMethod", "compare"), SEARCH_ACCOUNT[0], SEARCH_ACCOUNT[1]];
    let entries = [
        single("local", "Local", Vec::new()),
        single("search", "Ldap", ldap(&host, &[])),
        single("pattern", "Ldap", ldap(&host, &[PATTERN])),
        single("retrieve", "Ldap", ldap(&host, &clear)),
        single("compare", "Ldap", ldap(&host, &compare)),
        single("sql", "Jdbc", database.options(&[("allowCleartext", "true")])),
        // What the first one proves is not to be told to anybody.
        entry("stack", &(module("Xml", "REQUIRED", xml()) + &module("Ldap", "REQUIRED", ldap(&host, &[])))),
    ];
    let names = ["local", "search", "pattern", "retrieve", "compare", "sql", "stack"];
    let mut world = World::with(&names, &entries.concat(), untroubled).await;
    world.files.cams_with_input(&["user", "add", "alice"], LDAP_PASSWORD.as_bytes()).success();
    // With a password the entry knows, so that the refusals are none of an entry that lets nobody in.
    for (entry, user, password) in [
        ("http", "alice", super::PASSWORD),
        ("local", "alice", LDAP_PASSWORD),
        ("search", "alice", LDAP_PASSWORD),
        ("pattern", "alice", LDAP_PASSWORD),
        ("retrieve", "plain", LDAP_PASSWORD),
        ("compare", "plain", LDAP_PASSWORD),
        ("sql", "alice", "right"),
    ] {
        assert_eq!(world.log_in(entry, user, password).await.status, 303, "{entry}");
    }
    let long = "x".repeat(60_000);
    let (with_nul, after_nul) = (format!("{LDAP_PASSWORD}\0"), format!("\0{LDAP_PASSWORD}"));
    let typed = [
        ("alice", "", "is empty"),
        ("alice", " \t\r\n", "is empty"),
        ("alice", "\0", "is empty"),
        ("alice", "\0 \0", "is empty"),
        ("alice", long.as_str(), "is too long"),
        ("alice", with_nul.as_str(), ""),
        ("alice", after_nul.as_str(), ""),
        ("alice", "*", ""),
        ("alice", "' OR '1'='1", ""),
        ("", "x", "is empty"),
        ("\0", "x", "is empty"),
        ("alice\0", LDAP_PASSWORD, "control characters"),
        ("alice\n{\"event\":\"login\"}", "x", "control characters"),
        (long.as_str(), "x", "is too long"),
        ("*", LDAP_PASSWORD, ""),
        ("alice)(|(uid=*", LDAP_PASSWORD, ""),
        ("*)(objectClass=*", LDAP_PASSWORD, ""),
        ("alice,ou=people", LDAP_PASSWORD, ""),
        ("' OR 1=1--", "right", ""),
        ("alice' -- ", "right", ""),
        ("x'; DROP TABLE USERS; --", "right", ""),
        ("%", "right", ""),
    ];
    for entry in ["http"].iter().chain(&names) {
        for (user, password, expected) in typed {
            if [user, password].iter().any(|text| text.contains('\0')) {
                refused_by_the_agent(&world, entry, user, password).await;
                continue;
            }
            let (reply, why) = world.failure(entry, user, password).await;
            let what = format!("{entry} {user:.40?} {password:.40?}: {why}");
            assert_eq!(reply.status, 401, "{what}");
            assert!(why.starts_with("FailedLoginException: ") && why.contains(expected), "{what}");
            assert_eq!(why.lines().count(), 1, "{what}");
        }
    }
    assert_eq!(database.sql("SELECT COUNT(*) FROM USERS WHERE USER_NAME = 'alice'"), "1");
    million_bytes(&world, &names).await;
    // What was right in one module of two.
    let (reply, _) = world.failure("stack", "alice", super::PASSWORD).await;
    assert_eq!(reply.status, 401);
    lines_are_short(&world);
    world.is_sound();
}

/// A form has no NUL. A password that has one by another way comes no further than the callbacks, or is a wrong one.
async fn refused_by_the_agent(world: &World, entry: &str, user: &str, password: &str) {
    let lines = || world.agent.process.output().matches("the form is malformed").count();
    let (before, events) = (lines(), world.events("login-failed").len());
    let reply = world.log_in(entry, user, password).await;
    assert!(reply.status == 400 && reply.cookies().is_empty(), "{entry}: {reply:?}");
    within(SOON, "the agent's line", || lines() == before + 1).await;
    assert_eq!(world.events("login-failed").len(), events, "{entry}: nobody was asked");
    if !user.contains('\0') {
        let report = test_login(world, entry, user, password);
        assert_eq!(report["exception"], "javax.security.auth.login.FailedLoginException", "{entry}: {report}");
    }
}

/// What the command says in few words.
fn test_login(world: &World, entry: &str, user: &str, password: &str) -> Value {
    let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", user];
    let output = world.files.cams_with_input(&arguments, password.as_bytes());
    let report = output.json();
    assert_eq!((output.code, report["ok"].as_bool()), (1, Some(false)), "{entry}: {report}");
    assert!(!output.stderr.contains("panicked") && output.stdout.len() < LINE, "{entry}: {output:?}");
    report
}

/// The agent does not even read such a form to its end; the command reads no more of it than an answer may have.
async fn million_bytes(world: &World, names: &[&str]) {
    let password = "x".repeat(1 << 20);
    for entry in names {
        let before = world.events("login-failed").len();
        let reply = world.log_in(entry, "alice", &password).await;
        assert!(reply.status.is_client_error() && reply.cookies().is_empty(), "{entry}: {reply:?}");
        assert_eq!(world.events("login-failed").len(), before, "{entry}: nobody was asked");
        let report = test_login(world, entry, "alice", &password);
        assert!(report["detail"].as_str().unwrap().contains("is too long"), "{entry}: {report}");
    }
}

/// A directory that answers whatever it hears with these bytes, so many times.
async fn server(bytes: Vec<u8>, times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                _ = stream.read(&mut [0; 4096]).await;
                for _ in 0..times {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
            });
        }
    });
    address
}

/// An entry of a search, as BER, in answer to the first request, with a value of this length.
fn result(length: usize) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], length.as_slice(), content].concat()
    };
    let values = element(0x31, &element(0x04, &vec![b'x'; length]));
    let attribute = element(0x30, &[element(0x04, b"uid"), values].concat());
    let entry = element(0x64, &[element(0x04, b"uid=a"), element(0x30, &attribute)].concat());
    element(0x30, &[&[2, 1, 2], entry.as_slice()].concat())
}

#[tokio::test]
async fn a_hostile_directory_costs_little_and_lets_nobody_in() {
    const EVER: usize = usize::MAX;
    let cases = [
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 1, "malformed"),
        ("noise", (0..=255).rev().cycle().take(100_000).collect(), EVER, "malformed"),
        ("huge", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff], 1, "too large"),
        ("overflow", vec![0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0], 1, "malformed"),
        ("indefinite", vec![0x30, 0x80], EVER, "malformed"),
        ("nested", [0x30, 0x84, 0, 0x08, 0, 0].repeat(150_000), 1, "malformed"),
        ("endless", result(10), EVER, "more entries"),
        ("large", result(1 << 19), EVER, "too large"),
        ("unfinished", result(10), 1, "in time"),
        ("silent", Vec::new(), 0, "in time"),
        // Result 2 to the StartTLS operation.
        ("starttls", vec![0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 2, 4, 0, 4, 0], 1, "StartTLS"),
    ];
    let mut entries = String::new();
    for (name, bytes, times, expected) in &cases {
        let host = server(bytes.clone(), *times).await.to_string();
        // Time is for those that wait in vain; the others are found out when they are read.
        let time = if *expected == "in time" { "500ms" } else { "30s" };
        let options = [("readTimeout", time), ("startTls", if *name == "starttls" { "true" } else { "false" })];
        entries += &single(name, "Ldap", ldap(&host, &options));
        entries += &single(&format!("{name}_bind"), "Ldap", ldap(&host, &[options.as_slice(), &[PATTERN]].concat()));
    }
    let names: Vec<String> = cases.iter().flat_map(|case| [case.0.to_owned(), format!("{}_bind", case.0)]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::start(&names, &entries).await;
    assert_eq!(world.log_in("http", "alice", super::PASSWORD).await.status, 303);
    let before = memory(world.server.process.pid());
    for (name, _, _, expected) in &cases {
        let bind = format!("{name}_bind");
        // In answer to a bind an entry is an answer of another kind.
        let kind = if ["endless", "large", "unfinished"].contains(name) { "another kind" } else { expected };
        for (entry, expected) in [(*name, *expected), (&bind, kind)] {
            let (reply, why) = world.failure(entry, "alice", "x").await;
            assert_eq!(reply.status, 503, "{entry}: {why}");
            assert!(why.starts_with("LoginException: ") && why.contains(expected), "{entry}: {why}");
            assert_eq!(why.lines().count(), 1, "{entry}: {why}");
        }
    }
    let grown = memory(world.server.process.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert_eq!(world.log_in("http", "alice", super::PASSWORD).await.status, 303);
    lines_are_short(&world);
    world.is_sound();
}

#[tokio::test]
async fn thousands_of_groups_are_as_many_roles_or_none() {
    const GROUPS: usize = 5_000;
    const SERVICE: (&str, &str) = ("roleSearchAs", "service");
    let Some(slapd) = Slapd::start().await else { return };
    let person = "uid=alice,ou=people,dc=example,dc=test";
    let mut ldif = format!("dn: {person}\nchangetype: modify\nreplace: employeeType\n");
    (0..GROUPS).for_each(|number| writeln!(ldif, "employeeType: g{number:04}").unwrap());
    for number in 0..GROUPS {
        write!(
            ldif,
            "\ndn: cn=g{number:04},ou=groups,dc=example,dc=test\nchangetype: add\nobjectClass: groupOfNames\n\
             cn: g{number:04}\nmember: {person}\n"
        )
        .unwrap();
    }
    slapd.modify(&ldif);
    let host = format!("127.0.0.1:{}", slapd.port);
    const OWN: [(&str, &str); 2] = [("userRoleAttribute", "employeeType"), ("userRoleAttributeIsDn", "false")];
    const ALL: (&str, &str) = ("roleFilter", "(member={0})");
    const THOUSAND: (&str, &str) = ("roleFilter", "(&(member={0})(cn=g0*))");
    const USER: (&str, &str) = ("roleSearchAs", "user");
    type Options = &'static [(&'static str, &'static str)];
    // Each with how many roles there are, or why nobody is let in.
    let cases: [(&str, Options, Result<usize, &str>); 8] = [
        ("all", &[ALL, SERVICE], Ok(GROUPS)),
        ("all_unpaged", &[ALL, SERVICE, ("pageSize", "0")], Ok(GROUPS)),
        (
            "all_nested",
            &[ALL, SERVICE, ("roleNested", "true")],
            Err("more than 1000 groups, too many for `roleNested`"),
        ),
        ("by_user", &[ALL, USER, ("pageSize", "0")], Err("the directory gives out 500 groups and keeps the rest")),
        ("thousand", &[THOUSAND, SERVICE, ("sizeLimit", "1000")], Ok(1_000)),
        ("small_pages", &[THOUSAND, SERVICE, ("pageSize", "7")], Ok(1_000)),
        ("limited", &[ALL, SERVICE, ("sizeLimit", "1000")], Err("more than 1000 groups: raise option `sizeLimit`")),
        ("own", &OWN, Ok(GROUPS)),
    ];
    let entries = cases.map(|(name, options, _)| {
        let base = (name != "own").then_some(("roleBaseDn", "ou=groups,dc=example,dc=test"));
        let options: Vec<_> = SEARCH_ACCOUNT.into_iter().chain(base).chain(options.iter().copied()).collect();
        single(name, "Ldap", ldap(&host, &options))
    });
    let mut world = World::with(&cases.map(|case| case.0), &entries.concat(), untroubled).await;
    let before = world.events("configuration-loaded").len();
    // The agent's sites are for its first entry, unless a rule names others.
    replace(&world.files.path("conf/domains/system/access-control-policy.xml"), |policy| {
        policy.replace(
            "<acr id=\"members\"><auth/></acr>",
            "<acr id=\"members\"><auth entries=\"all, all_unpaged, thousand, small_pages, own\"/></acr>",
        )
    });
    within(SOON, "the new rule", || world.events("configuration-loaded").len() > before).await;
    for (entry, _, expected) in cases {
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", "alice"];
        let report = world.files.cams_with_input(&arguments, LDAP_PASSWORD.as_bytes()).json();
        let roles: Vec<String> = (0..expected.unwrap_or(0)).map(|number| format!("g{number:04}")).collect();
        let found = report["roles"].as_array().unwrap();
        assert!(found.iter().eq(&roles), "{entry}: {} roles, {:.600}", found.len(), report.to_string());
        assert_eq!(report["ok"], expected.is_ok(), "{entry}");
        let Err(expected) = expected else {
            let client = world.client();
            assert_eq!(super::log_in(&client, entry, "alice", LDAP_PASSWORD).await.status, 303, "{entry}");
            assert_eq!(client.get(&format!("/{entry}")).await.status, 200, "{entry}");
            let [request] = &world.site.about(entry)[..] else { panic!("{entry}: one request") };
            let told = request.fields().find(|(name, _)| name.eq_ignore_ascii_case("cams-http-roles"));
            assert_eq!(told.map(|(_, roles)| roles), Some(roles.join(",").as_str()), "{entry}");
            continue;
        };
        let (_, why) = world.failure(entry, "alice", LDAP_PASSWORD).await;
        assert!(why.starts_with("LoginException: ") && why.contains(expected), "{entry}: {why}");
    }
    lines_are_short(&world);
    world.is_sound();
}
