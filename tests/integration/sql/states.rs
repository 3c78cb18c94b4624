//! The state of an account in every type that a column may have.

use super::{files, test_login, verdict};
use tests::databases::{Database, element};

/// Columns of one row, and what they mean where they say whether an account is enabled, or when it expires.
fn columns(database: &Database) -> Vec<(&'static str, &'static str, &'static str)> {
    const GOOD: &str = "alice: ";
    const OFF: &str = "AccountException";
    const OVER: &str = "AccountExpiredException";
    const UNCLEAR: &str = "LoginException";
    const ENABLED: &str = "enabledColumn";
    const EXPIRES: &str = "accountExpiresColumn";
    let mut columns = vec![
        (ENABLED, "1", GOOD),
        (ENABLED, "0", OFF),
        (ENABLED, "'Y'", GOOD),
        (ENABLED, "'no'", OFF),
        (ENABLED, "NULL", OFF),
        (ENABLED, "'perhaps'", UNCLEAR),
        (ENABLED, "1.5", GOOD),
        (EXPIRES, "NULL", GOOD),
        (EXPIRES, "'2030-01-31'", GOOD),
        (EXPIRES, "'2020-01-31 12:00:00'", OVER),
        (EXPIRES, "1900000000", GOOD),
        (EXPIRES, "1500000000000", OVER),
        (EXPIRES, "'soon'", UNCLEAR),
    ];
    columns.extend_from_slice(match database {
        Database::Postgres(..) => &[
            (ENABLED, "TRUE", GOOD),
            (ENABLED, "FALSE", OFF),
            (ENABLED, "1::SMALLINT", GOOD),
            (ENABLED, "0::BIGINT", OFF),
            (ENABLED, "0::NUMERIC", OFF),
            (ENABLED, "0::FLOAT8", OFF),
            (ENABLED, "'t'::\"char\"", GOOD),
            (ENABLED, "'no'::CHAR(10)", OFF),
            (ENABLED, "'off'::SWITCH", OFF),
            (ENABLED, "'{1}'::INT[]", UNCLEAR),
            (ENABLED, "now()", UNCLEAR),
            (EXPIRES, "DATE '2020-01-31'", OVER),
            (EXPIRES, "DATE '2030-01-31'", GOOD),
            (EXPIRES, "TIMESTAMP '2020-01-31 12:00'", OVER),
            (EXPIRES, "TIMESTAMPTZ '2030-01-31 12:00+02'", GOOD),
            (EXPIRES, "now() - INTERVAL '1 second'", OVER),
            (EXPIRES, "now() + INTERVAL '1 hour'", GOOD),
            (EXPIRES, "'infinity'::TIMESTAMP", GOOD),
            (EXPIRES, "'-infinity'::DATE", OVER),
            (EXPIRES, "'2030-01-31 12:00:00+02'::TIMESTAMPTZ::TEXT", GOOD),
            (EXPIRES, "convert_to('2020-01-31', 'UTF8')", OVER),
        ],
        Database::MariaDb(..) => &[
            (ENABLED, "TRUE", GOOD),
            (ENABLED, "CAST(0 AS UNSIGNED)", OFF),
            (ENABLED, "b'1'", GOOD),
            (ENABLED, "CAST(0 AS DECIMAL(5, 2))", OFF),
            (ENABLED, "CAST(1 AS DOUBLE)", GOOD),
            (ENABLED, "(SELECT BITS FROM T)", GOOD),
            (ENABLED, "(SELECT SWITCH FROM T)", OFF),
            (ENABLED, "(SELECT TINY FROM T)", OFF),
            (ENABLED, "NOW()", UNCLEAR),
            (EXPIRES, "DATE '2020-01-31'", OVER),
            (EXPIRES, "DATE '2030-01-31'", GOOD),
            (EXPIRES, "CAST('2020-01-31 12:00:00.5' AS DATETIME(6))", OVER),
            (EXPIRES, "(SELECT STAMP FROM T)", OVER),
            (EXPIRES, "UTC_TIMESTAMP() + INTERVAL 1 HOUR", GOOD),
            (EXPIRES, "CAST('2020-01-31' AS BINARY)", OVER),
        ],
        Database::Sqlite(_) => &[
            (ENABLED, "TRUE", GOOD),
            (ENABLED, "0.0", OFF),
            (ENABLED, "x'59'", GOOD),
            (ENABLED, "x'ff'", UNCLEAR),
            (EXPIRES, "date('2020-01-31')", OVER),
            (EXPIRES, "datetime('now', '+1 hour')", GOOD),
            (EXPIRES, "unixepoch('now') - 2", OVER),
        ],
    });
    columns
}

#[tokio::test]
async fn states_are_understood_in_every_type() {
    for database in Database::all().await {
        match &database {
            Database::Postgres(..) => drop(database.sql("CREATE TYPE SWITCH AS ENUM ('on', 'off')")),
            Database::MariaDb(..) => drop(database.sql(
                "CREATE TABLE T (BITS BIT(1), SWITCH ENUM('on', 'off'), TINY TINYINT(1), STAMP TIMESTAMP NULL);
                 INSERT INTO T VALUES (1, 'off', 0, '2020-01-31 12:00:00')",
            )),
            Database::Sqlite(_) => {}
        }
        let columns = columns(&database);
        let mut entries = String::new();
        for (number, (option, column, _)) in columns.iter().enumerate() {
            let user = format!("SELECT PASSWORD AS \"Secret\", {column} AS STATE FROM USERS WHERE USER_NAME = ?");
            let user = if matches!(database, Database::MariaDb(..)) { user.replace('"', "`") } else { user };
            let all =
                database.options(&[("userPreparedStatement", &user), ("passwordColumn", "secret"), (option, "State")]);
            // Without the columns that this statement does not give, and without roles.
            let kept = ["jdbcUrl", "jdbcUsername", "jdbcPassword", "userPreparedStatement", "passwordColumn", option];
            let options = all.iter().filter(|(name, _)| kept.contains(&name.as_str()));
            let options: String = options.map(|(name, value)| element("option", name, value)).collect();
            let entry = database.entry(&format!("t{number}"), &[]);
            let (start, rest) = entry.split_once("<options>").unwrap();
            entries += &format!("{start}<options>{options}{}", &rest[rest.find("</options>").unwrap()..]);
        }
        let files = files(&entries, "");
        for (number, (option, column, expected)) in columns.iter().enumerate() {
            let report = test_login(&files, &format!("t{number}"), "alice", "right");
            assert_eq!(verdict(&report), *expected, "{} {option} {column}: {report}", database.name());
        }
    }
}
