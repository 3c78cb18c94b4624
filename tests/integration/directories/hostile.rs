//! What people type who mean harm, what directories answer that do, and people of more groups than anybody has.

use std::fmt::Write;
use std::net::SocketAddr;

use tests::command::cams_with_input;
use tests::process::memory;
use tests::slapd::PASSWORD as LDAP_PASSWORD;
use tests::{PolicyServer, Slapd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{LOCAL, PATTERN, SEARCH_ACCOUNT, World, entry, ldap, module, single, xml};
use crate::sql::databases::Database;

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
            let (reply, why) = world.failure(entry, user, password).await;
            let what = format!("{entry} {:.40?} {:.40?}: {why}", user, password);
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

/// The agent does not even read such a form to its end; the command reads no more of it than an answer may have.
async fn million_bytes(world: &World, names: &[&str]) {
    let password = "x".repeat(1 << 20);
    for entry in names {
        let before = world.events("login-failed").len();
        let reply = world.log_in(entry, "alice", &password).await;
        assert!(reply.status.is_client_error() && reply.cookies().is_empty(), "{entry}: {reply:?}");
        assert_eq!(world.events("login-failed").len(), before, "{entry}: nobody was asked");
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", "alice"];
        let output = world.files.cams_with_input(&arguments, password.as_bytes());
        let report = output.json();
        assert_eq!((output.code, report["ok"].as_bool()), (1, Some(false)), "{entry}: {report}");
        assert!(report["detail"].as_str().unwrap().contains("is too long"), "{entry}: {report}");
        assert!(output.stderr.is_empty() && output.stdout.len() < LINE, "{entry}: {output:?}");
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
        ("hasty", Vec::new(), 0, "in time"),
    ];
    let mut entries = String::new();
    for (name, bytes, times, expected) in &cases {
        let host = server(bytes.clone(), *times).await.to_string();
        // Time is for those that wait in vain; the others are found out when they are read.
        let time = if *expected == "in time" { "500ms" } else { "30s" };
        entries += &single(name, "Ldap", ldap(&host, &[("readTimeout", time)]));
        entries += &single(&format!("{name}_bind"), "Ldap", ldap(&host, &[("readTimeout", time), PATTERN]));
    }
    let names: Vec<String> = cases.iter().flat_map(|case| [case.0.to_owned(), format!("{}_bind", case.0)]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::start(&names, &entries).await;
    assert_eq!(world.log_in("http", "alice", super::PASSWORD).await.status, 303);
    let before = memory(pid(&world.server));
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
    let grown = memory(pid(&world.server)).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert_eq!(world.log_in("http", "alice", super::PASSWORD).await.status, 303);
    lines_are_short(&world);
    world.is_sound();
}

fn pid(server: &PolicyServer) -> u32 {
    server.process.pid()
}

#[tokio::test]
async fn thousands_of_groups_are_as_many_roles_or_none() {
    const GROUPS: usize = 5_000;
    // Its own server: searches of others need not read so many.
    let Some(slapd) = Slapd::start().await else { return };
    let mut ldif = String::new();
    for number in 0..GROUPS {
        write!(
            ldif,
            "dn: cn=g{number:04},ou=groups,dc=example,dc=test\nchangetype: add\nobjectClass: groupOfNames\n\
             cn: g{number:04}\nmember: uid=alice,ou=people,dc=example,dc=test\n\n"
        )
        .unwrap();
    }
    slapd.modify(&ldif);
    let host = format!("127.0.0.1:{}", slapd.port);
    let groups = [
        ("roleBaseDn", "ou=groups,dc=example,dc=test"),
        ("roleFilter", "(member={0})"),
        SEARCH_ACCOUNT[0],
        SEARCH_ACCOUNT[1],
    ];
    let of = |name: &str, who: &str, more: &[(&str, &str)]| {
        single(name, "Ldap", ldap(&host, &[groups.as_slice(), &[("roleSearchAs", who)], more].concat()))
    };
    let entries = of("all", "service", &[("sizeLimit", "5000")])
        + &of("nested", "service", &[("sizeLimit", "5000"), ("roleNested", "true")])
        + &of("standard", "service", &[])
        + &of("one_less", "service", &[("sizeLimit", "4999")])
        + &of("server", "user", &[("sizeLimit", "5000")]);
    let names = ["all", "nested", "standard", "one_less", "server"];
    let mut world = World::with(&names, &entries, untroubled).await;
    let all: Vec<String> = (0..GROUPS).map(|number| format!("g{number:04}")).collect();
    for entry in names {
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", "alice"];
        let conf = world.files.conf();
        let with_conf = arguments.into_iter().chain(["--conf", conf.to_str().unwrap()]);
        let report = cams_with_input(with_conf, LDAP_PASSWORD.as_bytes()).json();
        if entry == "all" {
            assert_eq!((&report["ok"], &report["roles"]), (&true.into(), &all.clone().into()), "{:.400}", report.to_string());
            continue;
        }
        // Some of the roles are none: a rule may be about who has one not.
        assert_eq!((&report["ok"], report["roles"].as_array().unwrap().len()), (&false.into(), 0), "{entry}");
        let (reply, why) = world.failure(entry, "alice", LDAP_PASSWORD).await;
        assert!(reply.status == 401 || reply.status == 503, "{entry}: {why}");
        assert!(why.starts_with("LoginException: "), "{entry}: {why}");
    }
    // Whether a site gets them all or refuses so long a header: never some of them.
    let client = world.client();
    assert_eq!(super::log_in(&client, "all", "alice", LDAP_PASSWORD).await.status, 303);
    let reply = client.get("/private/").await;
    let seen = world.site.about("/private/");
    println!("STATUS {} SEEN {}", reply.status, seen.len());
    lines_are_short(&world);
    world.is_sound();
}
