use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row};

use super::super::{Shared, find};
use super::*;
use crate::auth::callback::CallbackHandler;
use crate::auth::subject::Proof;

const NOW: &str = "2026-06-01T12:00:00Z";
/// Of `right`.
const SSHA: &str = "{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==";
const STATEMENTS: &str = "jdbcUrl=jdbc:sqlite:u.db?mode=rw\n\
     userPreparedStatement=SELECT * FROM USERS WHERE USER_NAME = ? COLLATE NOCASE\npasswordColumn=password\n\
     rolePreparedStatement=SELECT ROLE_NAME FROM USER_ROLES WHERE USER_NAME = ?\nroleColumn=role_name\n";

struct Directory(tempfile::TempDir);

impl Directory {
    async fn new(rows: &str) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        let schema = "CREATE TABLE USERS (ID INTEGER PRIMARY KEY, USER_NAME TEXT, PASSWORD TEXT, ENABLED INTEGER);
                      CREATE TABLE USER_ROLES (USER_NAME TEXT, ROLE_NAME TEXT);";
        dir.run(&format!("{schema}{}", rows.replace("SSHA", SSHA))).await;
        dir
    }

    async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.0.path().join("u.db")).create_if_missing(true);
        options.connect().await.unwrap()
    }

    async fn run(&self, sql: &str) {
        self.connection().await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    async fn password(&self, user: &str) -> String {
        let query = sqlx::query("SELECT PASSWORD FROM USERS WHERE USER_NAME = ?").bind(user);
        self.connection().await.fetch_one(query).await.unwrap().get(0)
    }

    /// The module these options describe, its problems, and its warnings.
    fn module(&self, options: &str) -> (Option<Box<dyn LoginModule>>, String, String) {
        let mut problems = Problems::default();
        let services = Services::new(Shared::offline(), "system", [].into());
        let options = Options::from_properties(&self.0.path().join("t"), options, &mut problems);
        let module = find(CLASS).unwrap().build(options, &services, &mut problems);
        let short = |problems: &Problems| problems.to_string().replace(self.0.path().to_str().unwrap(), "");
        (module, short(&problems), short(&services.warnings.take()))
    }

    fn good(&self, options: &str) -> Box<dyn LoginModule> {
        let (module, problems, _) = self.module(&format!("{STATEMENTS}{options}"));
        assert_eq!(problems, "");
        module.unwrap()
    }
}

async fn login(module: &dyn LoginModule, user: &str, password: &str) -> Result<ModuleIdentity, LoginError> {
    let answers = [("username", user), ("password", password)].map(|(k, v)| (k.to_owned(), Secret::from(v)));
    let callbacks = CallbackHandler::NAME_PASSWORD.answers(&answers.into()).unwrap();
    match module
        .login(&LoginContext { callbacks: &callbacks, now: NOW.parse().unwrap(), proved: None, remembered: None })
        .await
    {
        Outcome::Succeed(identity) => Ok(identity),
        Outcome::Fail(error) => Err(error),
        Outcome::Ignore => panic!("this module is always responsible"),
    }
}

async fn check_refused(module: &dyn LoginModule, user: &str, password: &str, kind: ErrorKind, detail: &str) {
    let error = login(module, user, password).await.unwrap_err();
    assert!(error.kind == kind && error.detail.contains(detail), "{user} {password}: {error}");
}

#[tokio::test]
async fn the_databases_spelling_is_one_person() {
    let rows = "INSERT INTO USERS VALUES (7, 'alice', 'SSHA', 1), (8, 'Bob', 'SSHA', 0);
                INSERT INTO USER_ROLES VALUES ('alice', 'staff'), ('ALICE', 'fraud');";
    let directory = Directory::new(rows).await;
    let module = directory.good("userNameColumn=USER_NAME\nidColumn=ID\nenabledColumn=enabled\nrolePrefix=x-");
    for typed in ["alice", "ALICE", " Alice "] {
        let identity = login(&*module, typed, "right").await.unwrap();
        assert_eq!((identity.user.as_str(), identity.source_id.as_deref()), ("alice", Some("7")), "{typed}");
        assert_eq!(identity.roles.iter().collect::<Vec<_>>(), ["x-staff"], "{typed}");
        check_refused(&*module, typed, "wrong", ErrorKind::FailedLogin, "wrong password").await;
    }
    check_refused(&*module, "bob", "right", ErrorKind::Account, "disabled").await;
    check_refused(&*module, "bob", "wrong", ErrorKind::FailedLogin, "wrong password").await;
    // Without the column it is whoever was typed.
    assert_eq!(login(&*directory.good(""), "ALICE", "right").await.unwrap().user, "ALICE");
    // A name that leads to nobody would end every session at once.
    let by_id = STATEMENTS.replace("USER_NAME = ? COLLATE NOCASE", "ID = ?");
    let (module, problems, _) = directory.module(&format!("{by_id}userNameColumn=USER_NAME\nnameAliases=true"));
    assert_eq!(problems, "");
    check_refused(&*module.unwrap(), "7", "right", ErrorKind::Login, "does not find the user by the name").await;
}

/// To MySQL a text that begins with a number is that number.
#[tokio::test]
async fn nobody_has_names_that_are_not_counted_together() {
    let rows = "INSERT INTO USERS VALUES (7, '7', 'SSHA', 0), (8, 'bob', 'SSHA', 1);";
    let directory = Directory::new(rows).await;
    let as_mysql =
        STATEMENTS.replace("USER_NAME = ? COLLATE NOCASE", "CAST(USER_NAME AS INTEGER) = CAST(? AS INTEGER)");
    let module = |options: &str| directory.module(&format!("{as_mysql}userNameColumn=USER_NAME{options}")).0.unwrap();
    let enabled = "\nenabledColumn=ENABLED";
    for typed in ["7x", "7y", "7 or so"] {
        // Not even that the account is disabled.
        check_refused(&*module(enabled), typed, "right", ErrorKind::FailedLogin, "needs `nameAliases`").await;
        check_refused(&*module(enabled), typed, "wrong", ErrorKind::FailedLogin, "wrong password").await;
        let identity = login(&*module("\nnameAliases=true"), typed, "right").await.unwrap();
        assert_eq!(identity.user, "7", "{typed}");
    }
    for typed in ["7", " 7 ", "7@corp.test"] {
        assert_eq!(login(&*module(""), typed, "right").await.unwrap().user, "7", "{typed}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_row_is_for_who_knows_the_password() {
    let rows = "INSERT INTO USERS VALUES (1, 'alice', 'SSHA', 1), (2, 'many', 'SSHA', 1);
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)
                INSERT INTO USER_ROLES SELECT 'many', 'r' || i FROM n;";
    let directory = Directory::new(rows).await;
    let odd = "SELECT *, NULL AS ABSENT, x'ff' AS BYTES FROM";
    for (options, user, kind, detail) in [
        ("idColumn=ABSENT", "alice", ErrorKind::Login, "`ABSENT` holds no usable name"),
        ("userNameColumn=ABSENT", "alice", ErrorKind::Login, "`ABSENT` holds no usable name"),
        ("attributeColumns=BYTES", "alice", ErrorKind::Login, "`BYTES` holds"),
        ("enabledColumn=MISSING", "alice", ErrorKind::Login, "gives no column `MISSING`"),
        ("", "many", ErrorKind::Login, "more than 10000 rows"),
    ] {
        let statements = STATEMENTS.replace("SELECT * FROM", odd);
        let (module, problems, _) = directory.module(&format!("{statements}{options}"));
        assert_eq!(problems, "");
        let module = module.unwrap();
        check_refused(&*module, user, "right", kind, detail).await;
        check_refused(&*module, user, "wrong", ErrorKind::FailedLogin, "wrong password").await;
        check_refused(&*module, "nobody", "wrong", ErrorKind::FailedLogin, "found nobody").await;
    }
}

#[tokio::test]
async fn a_weak_digest_is_replaced_whole_or_not_at_all() {
    let rows = "INSERT INTO USERS VALUES (1, 'alice', 'SSHA', 1), (2, 'clear', 'right', 1), (3, 'twin', 'SSHA', 1);";
    for (upgrade, replaced) in [
        ("UPDATE USERS SET PASSWORD = ? WHERE USER_NAME = ? AND PASSWORD = ?", true),
        ("UPDATE USERS SET PASSWORD = ? WHERE USER_NAME = 'x' || ? AND PASSWORD = ?", false),
        ("UPDATE USERS SET PASSWORD = ? WHERE ID > 0 OR USER_NAME = ? OR PASSWORD = ?", false),
        ("UPDATE USERS SET PASSWORD = substr(?, 1, 40) WHERE USER_NAME = ? AND PASSWORD = ?", false),
        ("UPDATE USERS SET NO_SUCH = ? WHERE USER_NAME = ? AND PASSWORD = ?", false),
    ] {
        let directory = Directory::new(rows).await;
        let module = directory.good(&format!("allowCleartext=true\npasswordUpgrade={upgrade}"));
        for (user, before) in [("alice", SSHA), ("clear", "right")] {
            let identity = login(&*module, user, "right").await.unwrap();
            let after = directory.password(user).await;
            match replaced {
                true => assert!(after.starts_with("{ARGON2}$argon2id$"), "{upgrade}: {after}"),
                false => assert_eq!(after, before, "{upgrade}"),
            }
            // The session is not to end because of the upgrade, but with the next password.
            let now = module.recheck().unwrap().recheck(user, NOW.parse().unwrap()).await;
            let Standing::Current(now) = now else { panic!("{upgrade}: {now:?}") };
            assert_eq!((now.credential.is_some(), &now.credential), (replaced, &identity.credential), "{upgrade}");
            login(&*module, user, "right").await.unwrap();
            assert!(login(&*module, user, "wrong").await.is_err());
            assert_eq!(directory.password(user).await, after, "a strong one stays");
        }
        assert_eq!(directory.password("twin").await, SSHA, "{upgrade}");
    }
}

#[tokio::test]
async fn rechecks_follow_the_database() {
    let directory = Directory::new("INSERT INTO USERS VALUES (1, 'alice', 'SSHA', 1);").await;
    let module = directory.good("enabledColumn=ENABLED\nidColumn=ID");
    let now = NOW.parse().unwrap();
    let standing = async || module.recheck().unwrap().recheck("alice", now).await;
    let Standing::Current(identity) = standing().await else { panic!("gone") };
    assert_eq!((identity.roles.len(), identity.source_id.as_deref()), (0, Some("1")));
    directory.run("INSERT INTO USER_ROLES VALUES ('alice', 'staff')").await;
    assert!(matches!(standing().await, Standing::Current(identity) if identity.roles.contains("staff")));
    let proof = Proof::new(0, login(&*module, "alice", "right").await.unwrap());
    assert!(matches!(standing().await, Standing::Current(identity) if identity.is_of(&proof)));
    directory.run("UPDATE USERS SET PASSWORD = '{SSHA}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='").await;
    assert!(matches!(standing().await, Standing::Current(identity) if !identity.is_of(&proof)));
    directory.run("UPDATE USERS SET ENABLED = 0").await;
    assert!(matches!(standing().await, Standing::Gone(error) if error.kind == ErrorKind::Account));
    directory.run("UPDATE USERS SET ENABLED = 'perhaps'").await;
    assert!(matches!(standing().await, Standing::Unknown(_)));
    directory.run("DELETE FROM USERS").await;
    assert!(matches!(standing().await, Standing::Gone(error) if error.kind == ErrorKind::FailedLogin));
    directory.run("DROP TABLE USERS").await;
    assert!(matches!(standing().await, Standing::Unknown(_)));
    std::fs::remove_file(directory.0.path().join("u.db")).unwrap();
    assert!(matches!(standing().await, Standing::Unknown(_)));
}

#[tokio::test]
async fn what_is_configured_wrongly_is_a_problem() {
    let directory = Directory::new("").await;
    let cases = [
        ("u.db?mode=rw", "u.db?mode=rwc", "/t:1: option `jdbcUrl`: parameter `mode`: write ro or rw"),
        ("jdbc:sqlite:u.db?mode=rw", "jdbc:oracle:thin:canary", "option `jdbcUrl`: `jdbc:oracle:` is not supported"),
        ("jdbc:sqlite:u.db?mode=rw", "pool:main", "option `jdbcUrl`: security-domain.xml has no enabled pool `main`"),
        ("NAME = ? COLLATE", "NAME = 'x' COLLATE", "/t:2: option `userPreparedStatement` has no `?` for the user name"),
        ("NAME = ?\nrole", "NAME = '?\nrole", "option `rolePreparedStatement` ends within a quoted text"),
        ("roleColumn=role_name", "", "/t: property `roleColumn` is missing"),
        ("passwordColumn=password", "", "/t: property `passwordColumn` is missing"),
        ("passwordColumn", "debug=1\npasswordColumn", "`1` is not true or false"),
        (
            "passwordColumn",
            "jdbcDriver=org.hsqldb.jdbcDriver\npasswordColumn",
            "/t:3: option `jdbcDriver`: `org.hsqldb",
        ),
        ("passwordColumn", "jdbcPassword=file:missing\npasswordColumn", "/t:3: option `jdbcPassword`: cannot read"),
        ("passwordColumn", "passwordUpgrade=UPDATE T SET P = ?\npasswordColumn", "needs three placeholders"),
        (
            "passwordColumn",
            "passwordUpgrade=UPDATE T SET P = ? WHERE N = ?\npasswordColumn",
            "/t:3: option `passwordUpgrade` needs three placeholders",
        ),
        ("?mode=rw", "\npasswordUpgrade=UPDATE T SET P = ? WHERE N = ? AND P = ?", "is opened for reading"),
    ];
    for (from, to, expected) in cases {
        let (module, problems, _) = directory.module(&STATEMENTS.replacen(from, to, 1));
        assert!(!problems.is_empty() && problems.contains(expected), "{to}: {problems}");
        assert!(!problems.contains("canary"), "{problems}");
        drop(module);
    }
}

#[tokio::test]
async fn what_works_but_should_not_stay_so_is_a_warning() {
    let directory = Directory::new("").await;
    let sqlite = "jdbc:sqlite:u.db?mode=rw";
    for (from, to, expected) in [
        ("", "", ""),
        ("?mode=rw", "?cache=shared", "/t:1: option `jdbcUrl`: parameter `cache` has no meaning"),
        ("=SELECT *", "=EXPLAIN *", "/t:2: option `userPreparedStatement` begins with EXPLAIN"),
        ("userNameColumn=USER_NAME", "", "/t: without `userNameColumn` a person is whatever name was typed"),
        (sqlite, "jdbc:postgresql://h/d?sslmode=prefer", "the database is on another machine"),
    ] {
        let text = format!("{STATEMENTS}userNameColumn=USER_NAME");
        let (module, problems, warnings) = directory.module(&text.replacen(from, to, 1));
        assert!(module.is_some(), "{to}: {problems}");
        assert_eq!(warnings.is_empty(), expected.is_empty(), "{to}: {warnings}");
        assert!(warnings.contains(expected), "{to}: {warnings}");
    }
    let pools = "jdbcUrl=pool:main\njdbcUsername=u\njdbcPassword=p\nconnectTimeout=1s\n\
                 userPreparedStatement=SELECT ?\npasswordColumn=P";
    let mut services = Services::new(Shared::offline(), "system", [].into());
    let mut problems = Problems::default();
    let options = Options::from_properties(Path::new("t"), "jdbcUrl=sqlite:u.db", &mut problems);
    let target = options::database(&mut { options }, &services, &mut problems).unwrap();
    services.pools.insert("main".to_owned(), target);
    let options = Options::from_properties(Path::new("t"), pools, &mut problems);
    assert!(find(CLASS).unwrap().build(options, &services, &mut problems).is_some(), "{problems}");
    assert_eq!(services.warnings.take().len(), 4);
}

#[tokio::test]
async fn people_are_searched_for_by_a_statement_that_names_them() {
    let search = "searchPreparedStatement=SELECT * FROM USERS WHERE USER_NAME LIKE ? ESCAPE '!'\n";
    let directory = Directory::new("INSERT INTO USERS VALUES (7, 'a_b', 'SSHA', 1), (8, 'acb', 'SSHA', 0);").await;
    let (_, problems, _) = directory.module(&format!("{STATEMENTS}{search}"));
    assert!(problems.contains("needs `userNameColumn`"), "{problems}");
    let module = directory.good(&format!("userNameColumn=USER_NAME\nidColumn=ID\nenabledColumn=enabled\n{search}"));
    let people = module.directory().unwrap();
    let found = people.search("A", 0, 9).await.unwrap().people;
    let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.id.as_str(), p.enabled)).collect();
    assert_eq!(found, [("a_b", "7", true), ("acb", "8", false)]);
    assert_eq!(people.search("_", 0, 9).await.unwrap().people.len(), 1);
    let last = people.search("", 1, 1).await.unwrap();
    assert_eq!((last.people[0].name.as_str(), last.total), ("acb", 2));
    assert!(directory.good("").directory().is_none());
}
