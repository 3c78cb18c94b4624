//! Users of SQL databases: the same logins on PostgreSQL, MariaDB and SQLite, and what becomes of them when the database
//! hangs, lies, or goes away.

mod states;

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tests::command::{cams, cams_with_input};
use tests::databases::{Database, SSHA, certificate};
use tests::policy_server::Files;
use tests::quickstart::replace;
use tests::{Postgres, Quickstart, postgres, within_async};

const SOON: Duration = Duration::from_secs(30);

/// A configuration whose login entries are these.
fn files(entries: &str, services: &str) -> Files {
    let files = Files::new("s", None);
    let domain = |name: &str| files.path("conf/domains/system").join(name);
    fs::write(domain("login-config.xml"), format!("<login-config>{entries}</login-config>")).unwrap();
    fs::write(domain("security-domain.xml"), format!("<service-manager>{services}</service-manager>")).unwrap();
    files
}

fn test_login(files: &Files, entry: &str, user: &str, password: &str) -> Value {
    let conf = files.conf();
    let user = format!("--user={user}");
    let arguments =
        ["test-login", "--json", "--domain=system", "--entry", entry, &user, "--conf", conf.to_str().unwrap()];
    let run = cams_with_input(arguments, password.as_bytes());
    assert!(!run.stdout.contains("SSHA") && !run.stdout.contains("canary"), "{run:?}");
    run.json()
}

/// `user: roles`, or the exception's name.
fn verdict(report: &Value) -> String {
    let Some(exception) = report["exception"].as_str() else {
        let roles: Vec<&str> = report["roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap()).collect();
        return format!("{}: {}", report["user"].as_str().unwrap(), roles.join(","));
    };
    exception.rsplit('.').next().unwrap().to_owned()
}

const FAILED: &str = "FailedLoginException";

/// Who, with which password, and what comes of it: the same everywhere.
const CASES: &[(&str, &str, &str)] = &[
    ("alice", "right", "alice: staff,user"),
    ("ALICE", "right", "alice: staff,user"),
    (" alice ", "right", "alice: staff,user"),
    ("alice", "Right", FAILED),
    ("alice", "", FAILED),
    ("bob", "right", "bob: user"),
    ("bob", "wrong", FAILED),
    ("o'brien", "right", "o'brien: "),
    ("ünï", "right", "ünï: "),
    ("nobody", "right", FAILED),
    ("null", "right", FAILED),
    ("empty", "right", FAILED),
    ("blank", "right", FAILED),
    ("clear", "right", FAILED),
    ("marked", "!", FAILED),
    ("marked", "right", FAILED),
    ("odd", "right", FAILED),
    ("twin", "right", FAILED),
    ("alice", SSHA, FAILED),
    ("disabled", "right", "AccountException"),
    ("disabled", "wrong", FAILED),
    ("locked", "right", "AccountLockedException"),
    ("locked", "wrong", FAILED),
    ("expired", "right", "AccountExpiredException"),
    ("stale", "right", "CredentialExpiredException"),
    ("stale", "wrong", FAILED),
    ("future", "right", "future: "),
];

/// Names that would be something else if they were pasted into a statement.
const INJECTIONS: [&str; 14] = [
    "' OR 1=1--",
    "' OR '1'='1",
    "alice' -- ",
    "alice'/*",
    "alice' #",
    "%",
    "_____",
    "\u{2019} OR \u{2019}1\u{2019}=\u{2019}1",
    "\\' OR 1=1 -- ",
    "alice\\",
    "?",
    "$1",
    "x'; DROP TABLE USERS; --",
    "0",
];

#[tokio::test]
async fn the_same_logins_on_every_database() {
    for database in Database::all().await {
        let entries = database.entry("http", &[])
            + &database.entry("clear", &[("allowCleartext", "true"), ("defaultRoles", "all")])
            + &database.entry("pooled", &[("jdbcUrl", "pool:main"), ("jdbcUsername", ""), ("jdbcPassword", "")]);
        let files = files(&entries, &database.pool("main", &[]));
        for (user, password, expected) in CASES {
            let report = test_login(&files, "http", user, password);
            assert_eq!(verdict(&report), *expected, "{} {user} {password}: {report}", database.name());
        }
        for user in INJECTIONS {
            let report = test_login(&files, "http", user, "right");
            assert_eq!(verdict(&report), FAILED, "{} {user}: {report}", database.name());
        }
        for (entry, user, expected) in
            [("clear", "clear", "clear: all"), ("clear", "empty", FAILED), ("pooled", "alice", "alice: staff,user")]
        {
            let report = test_login(&files, entry, user, "right");
            assert_eq!(verdict(&report), expected, "{} {user}: {report}", database.name());
        }
    }
}

/// Options, and what an administrator reads of the trouble they lead to.
type Trouble = (Vec<(&'static str, String)>, &'static str);

/// What a database may do wrong; nothing is wrong where nothing is read.
fn troubles(database: &Database, right: &str, wrong: &str) -> Vec<Trouble> {
    let user = |select: &str| ("userPreparedStatement", select.to_owned());
    let url = |parameters: String| ("jdbcUrl", database.url() + &parameters);
    let short = || ("queryTimeout", "500ms".to_owned());
    let (sleep, many, huge) = match database {
        Database::Postgres(..) => (
            "SELECT pg_sleep(60), * FROM USERS WHERE USER_NAME = ?",
            "SELECT generate_series(1, 1000000000) AS ROLE_NAME WHERE ? <> ''",
            "SELECT repeat('x', 20000000) AS PASSWORD, U.* FROM USERS U WHERE USER_NAME = ?",
        ),
        Database::MariaDb(..) => (
            "SELECT SLEEP(60), U.* FROM USERS U WHERE USER_NAME = ?",
            "SELECT SEQ AS ROLE_NAME FROM seq_1_to_1000000000 WHERE ? <> ''",
            "SELECT REPEAT('x', 10000000) AS PASSWORD, U.* FROM USERS U WHERE USER_NAME = ?",
        ),
        Database::Sqlite(_) => (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i % 9 + 1 FROM n) SELECT i AS PASSWORD FROM n WHERE i = ?",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS ROLE_NAME FROM n WHERE ? <> ''",
            "SELECT hex(zeroblob(10000000)) AS PASSWORD, U.* FROM USERS U WHERE USER_NAME = ?",
        ),
    };
    let mut troubles = vec![
        (vec![user("SELECT * FROM NO_SUCH_TABLE WHERE N = ?")], "the statement failed"),
        (vec![user(sleep), short()], "the database did not answer within 500ms"),
        (vec![("rolePreparedStatement", many.to_owned())], "gives more than 10000 rows"),
        (vec![user(huge)], "the password column is NULL or holds no text"),
        (vec![("passwordColumn", "PASSWRD".to_owned())], "the statement gives no column `PASSWRD`"),
    ];
    if let Database::Sqlite(dir) = database {
        let missing = format!("jdbc:sqlite:{}/missing.db", dir.path().display());
        troubles.push((vec![("jdbcUrl", missing)], "cannot be reached"));
        return troubles;
    }
    let (mode, ca) = match database {
        Database::Postgres(..) => ("verify-full", "sslrootcert"),
        _ => ("VERIFY_IDENTITY", "serverSslCert"),
    };
    let address = database.url().replace("localhost", "127.0.0.1");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    // Nobody is to take its port while the test runs.
    std::mem::forget(silent);
    let behind = |host: &str| ("jdbcUrl", database.url().replace("localhost", &format!("{host},localhost")));
    let timeout = ("connectTimeout", "2s".to_owned());
    troubles.extend([
        (vec![("jdbcPassword", "wrong".to_owned())], "cannot be reached"),
        (vec![url(format!("?sslmode={mode}&{ca}={right}"))], ""),
        (vec![url(format!("?sslmode={mode}&{ca}={wrong}"))], "cannot be reached"),
        (vec![("jdbcUrl", format!("{address}?sslmode={mode}&{ca}={right}"))], "cannot be reached"),
        (vec![behind("127.0.0.1:1")], ""),
        (vec![behind(&format!("127.0.0.1:{port}")), timeout.clone()], ""),
    ]);
    troubles
}

#[tokio::test]
async fn a_database_in_trouble_is_no_verdict_on_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let wrong = file("wrong.pem", &certificate().0);
    for database in Database::all().await {
        let right = file("right.pem", database.certificate());
        let troubles = troubles(&database, &right, &wrong);
        let entry = |(number, (options, _)): (usize, &Trouble)| {
            let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
            database.entry(&format!("t{number}"), &options)
        };
        let files = files(&troubles.iter().enumerate().map(entry).collect::<String>(), "");
        for (number, (options, expected)) in troubles.iter().enumerate() {
            let begun = Instant::now();
            let report = test_login(&files, &format!("t{number}"), "alice", "right");
            let detail = report["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(expected), "{} {options:?}: {report}", database.name());
            let says_where =
                ["PostgreSQL at ", "MySQL at ", "SQLite file "].iter().any(|place| detail.starts_with(place));
            assert_eq!(says_where, !expected.is_empty(), "{} {options:?}: {report}", database.name());
            let verdict = verdict(&report);
            match *expected {
                "" => assert_eq!(verdict, "alice: staff,user", "{} {options:?}", database.name()),
                expected if expected.starts_with("the password column") => assert_eq!(verdict, FAILED),
                _ => assert_eq!(verdict, "LoginException", "{} {options:?}", database.name()),
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{} {options:?}", database.name());
        }
    }
}

#[tokio::test]
async fn weak_digests_are_replaced_where_the_whole_new_one_fits() {
    for database in Database::all().await {
        let narrow = "CREATE TABLE NARROW (USER_NAME VARCHAR(64), PASSWORD VARCHAR(60));
                      INSERT INTO NARROW SELECT USER_NAME, PASSWORD FROM USERS WHERE USER_NAME = 'legacy';";
        database.sql(narrow);
        if let Database::Postgres(..) = database {
            database.sql("GRANT ALL ON NARROW TO cams");
        }
        let url = match database {
            Database::Sqlite(_) => database.url() + "?mode=rw",
            _ => database.url(),
        };
        let wide = "UPDATE USERS SET PASSWORD = ? WHERE USER_NAME = ? AND PASSWORD = ?";
        let cut = "UPDATE NARROW SET PASSWORD = SUBSTR(?, 1, 60) WHERE USER_NAME = ? AND PASSWORD = ?";
        let cut_user = "SELECT USER_NAME, PASSWORD, 1 AS ENABLED, 0 AS LOCKED, NULL AS EXPIRES, NULL AS PASSWORD_EXPIRES \
                        FROM NARROW WHERE USER_NAME = ?";
        let entries = database.entry("wide", &[("jdbcUrl", &url), ("passwordUpgrade", wide)])
            + &database
                .entry("cut", &[("jdbcUrl", &url), ("passwordUpgrade", cut), ("userPreparedStatement", cut_user)]);
        let files = files(&entries, "");
        for (entry, table, replaced) in [("wide", "USERS", true), ("cut", "NARROW", false)] {
            for password in ["wrong", "right", "right"] {
                let expected = if password == "right" { "legacy: " } else { FAILED };
                let report = test_login(&files, entry, "legacy", password);
                assert_eq!(verdict(&report), expected, "{} {entry}: {report}", database.name());
                let stored = database.sql(&format!("SELECT PASSWORD FROM {table} WHERE USER_NAME = 'legacy'"));
                let is_new = stored.starts_with("{ARGON2}$argon2id$");
                assert_eq!(is_new, replaced && password == "right", "{} {entry}: {stored}", database.name());
            }
        }
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let database = Database::Sqlite(tempfile::tempdir().unwrap());
    let mysql = [("jdbcUrl", "jdbc:mysql://localhost/app")];
    for (entry, services, code, expected) in [
        (database.entry("http", &[]), String::new(), 0, ""),
        (
            database.entry("http", &[("jdbcUrl", "jdbc:oracle:thin:@h:1521:x")]),
            String::new(),
            1,
            "`jdbc:oracle:` is not",
        ),
        (database.entry("http", &[("jdbcUrl", "pool:mainn")]), database.pool("main", &[]), 1, "did you mean `main`?"),
        (database.entry("http", &[]), database.pool("main", &[("maxConnections", "0")]), 1, "from 1 to 1000"),
        (database.entry("http", &[]), database.pool("main", &[("acquireTimeout", "0")]), 1, "more than nothing"),
        (database.entry("http", &[]), database.pool("main", &[("jdbcPassword ", "x")]), 1, "unknown parameter"),
        (
            database.entry("http", &[("jdbcUrl", "jdbc:cafesoft:pool:main")]),
            database.pool("main", &[("jdbcDriver", "com.cafesoft.core.jdbc.PoolingConnectionDriver")]),
            1,
            "is not the driver",
        ),
        (
            database.entry(
                "http",
                &[
                    ("jdbcUrl", "jdbc:cafesoft:pool:main"),
                    ("jdbcDriver", "com.cafesoft.core.jdbc.PoolingConnectionDriver"),
                ],
            ),
            database.pool("main", &[]),
            0,
            "the pool in security-domain.xml has its own",
        ),
        (
            database.entry("http", &[("passwordUpgrade", "UPDATE U SET P = ? WHERE N = ? AND P = ?")]),
            String::new(),
            1,
            "?mode=rw",
        ),
        (
            database.entry("http", &mysql).replace("userNameColumn", "idColumn"),
            String::new(),
            0,
            "several people to Cams",
        ),
    ] {
        let files = files(&entry, &services);
        let checked = cams(["check", "--conf", files.conf().to_str().unwrap()]);
        assert_eq!(checked.code, code, "{entry} {services}: {checked:?}");
        assert!((checked.stdout + &checked.stderr).contains(expected), "{expected}");
    }
}

/// A running product whose entry `http` asks this pool.
async fn product(database: &Database, user: &str, parameters: &[(&str, &str)]) -> Quickstart {
    let cams = Quickstart::start(&[]).await;
    let pool = database.pool("main", parameters);
    replace(&cams.domain_file("security-domain.xml"), |text| {
        text.replace("</service-manager>", &format!("{pool}</service-manager>"))
    });
    let options =
        [("jdbcUrl", "pool:main"), ("jdbcUsername", ""), ("jdbcPassword", ""), ("userPreparedStatement", user)];
    let entry = database.entry("http", &options);
    replace(&cams.domain_file("login-config.xml"), |_| format!("<login-config>{entry}</login-config>"));
    let ready = async || cams.client().log_in("bob", "right", "/private/").await.status == 303;
    within_async(SOON, "a login from the database", ready).await;
    cams
}

#[tokio::test]
async fn a_pool_outlives_its_database_and_sessions_follow_it() {
    let (certificate, key) = certificate();
    let Some(server) = Postgres::start_tls(&certificate, &key).await else { return };
    let mut database = Database::of_postgres(server);
    let user =
        "SELECT *, pg_sleep(CASE USER_NAME WHEN 'bob' THEN 2 ELSE 0 END) FROM USERS WHERE LOWER(USER_NAME) = LOWER(?)";
    let pool = [("maxConnections", "2"), ("acquireTimeout", "500ms"), ("connectTimeout", "2s")];
    let cams = product(&database, user, &pool).await;
    let log_in = async |user: &str, password: &str| {
        let client = cams.client();
        (client.log_in(user, password, "/private/").await.status.as_u16(), client)
    };
    let (status, alice) = log_in("Alice", "right").await;
    assert_eq!((status, alice.get("/private/").await.status.as_u16()), (303, 200));
    assert_eq!(log_in("alice", "wrong").await.0, 401);

    // More logins at once than connections: some wait in vain, and not for long; then all is as before.
    let begun = Instant::now();
    let statuses = join_all((0..6).map(|_| async { log_in("bob", "right").await.0 })).await;
    assert!(statuses.iter().all(|status| [303, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&303) && statuses.contains(&503), "{statuses:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(log_in("alice", "right").await.0, 303);

    // Without the database nobody's password is wrong, and nobody's session ends.
    database.postgres().crash().await;
    assert_eq!(log_in("alice", "right").await.0, 503);
    assert_eq!(log_in("alice", "wrong").await.0, 503);
    assert_eq!(alice.get("/private/").await.status, 200);
    database.postgres().resume().await;
    assert_eq!(log_in("alice", "wrong").await.0, 401);
    assert_eq!(log_in("alice", "right").await.0, 303);
    assert_eq!(alice.get("/private/").await.status, 200);

    // Bob's rows take their time: nobody is to wait for a connection behind his sessions.
    database.sql("DELETE FROM USERS WHERE USER_NAME = 'bob'");
    database.sql("UPDATE USERS SET ENABLED = 0 WHERE USER_NAME = 'alice'");
    replace(&cams.domain_file("security-domain.xml"), |text| {
        text.replace("\"recheckInterval\" value=\"5m\"", "\"recheckInterval\" value=\"1s\"")
    });
    let ended = async || alice.get_unless_cut("/private/").await.is_some_and(|reply| reply.status == 302);
    within_async(SOON, "a disabled account has no session", ended).await;
    let output = cams.process.output();
    assert!(!output.contains(postgres::PASSWORD) && !output.contains("SSHA"), "{output}");
}
