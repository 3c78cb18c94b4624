//! One connection to a database of one of the three kinds, by its own driver. Not pure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use shared_proto::secret::Secret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode, PgTypeKind, PgValueFormat};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection as _, Database, Encode, Executor, IntoArguments, MySql, Postgres,
    Row as _, Sqlite, Type, TypeInfo, ValueRef,
};
use tokio::time::timeout;

use super::statement::Statement;
use super::url::{Location, Server, Tls};
use super::value::{self, Value};
use super::{Row, SqlError};

/// Connections are large, and the three kinds differ.
pub enum Connection {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Interrupt, Box<SqliteConnection>),
}

/// Ends what SQLite is computing when its connection is given up: a thread of its own does it, which nobody else stops.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Instructions of SQLite's machine between two looks.
    const EVERY: i32 = 10_000;

    async fn of(connection: &mut SqliteConnection) -> sqlx::Result<Self> {
        let given_up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&given_up);
        connection.lock_handle().await?.set_progress_handler(Self::EVERY, move || !seen.load(Ordering::Relaxed));
        Ok(Self(given_up))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    pub username: Option<&'a str>,
    pub password: Option<&'a Secret>,
}

impl Credentials<'_> {
    fn password(&self) -> Option<&str> {
        self.password.and_then(Secret::expose_str).filter(|password| !password.is_empty())
    }
}

impl Connection {
    /// Tries the hosts in their order, each for as long as `limit`. Relative files are below `base`.
    pub async fn open(
        location: &Location,
        credentials: Credentials<'_>,
        base: &Path,
        limit: Duration,
    ) -> Result<Self, SqlError> {
        let server = match location {
            Location::Postgres(server) | Location::MySql(server) => server,
            Location::Sqlite(file) => {
                let options = SqliteConnectOptions::new().busy_timeout(limit).create_if_missing(false);
                let options = match &file.path {
                    Some(path) => options.filename(base.join(path)).read_only(!file.writable),
                    None => options.in_memory(true),
                };
                let opening = async {
                    let mut connection = options.disable_statement_logging().connect().await?;
                    Ok(Self::Sqlite(Interrupt::of(&mut connection).await?, Box::new(connection)))
                };
                return timed(limit, opening).await.map_err(|why| unreachable(location, &why));
            }
        };
        let mut why = String::new();
        for (host, port) in &server.hosts {
            let opened = match location {
                Location::MySql(_) => {
                    let options = mysql(server, host, *port, credentials, base);
                    timed(limit, options.connect()).await.map(|c| Self::MySql(Box::new(c)))
                }
                _ => {
                    let options = postgres(server, host, *port, credentials, base);
                    timed(limit, options.connect()).await.map(|c| Self::Postgres(Box::new(c)))
                }
            };
            match opened {
                Ok(connection) => return Ok(connection),
                Err(error) => why = error,
            }
        }
        Err(unreachable(location, &why))
    }

    /// The rows of a statement to whose placeholders these values are bound, `max` at most.
    pub async fn rows(&mut self, statement: &Statement, values: &[&str], max: usize) -> Result<Vec<Row>, SqlError> {
        match self {
            Self::Postgres(connection) => rows::<Postgres>(connection, statement, values, max, postgres_value).await,
            Self::MySql(connection) => rows::<MySql>(connection, statement, values, max, mysql_value).await,
            Self::Sqlite(_, connection) => rows::<Sqlite>(connection, statement, values, max, sqlite_value).await,
        }
    }

    /// A statement without placeholders and rows, such as `COMMIT`.
    pub async fn command(&mut self, sql: &'static str) -> Result<(), SqlError> {
        match self {
            Self::Postgres(connection) => connection.execute(sql).await.map(|_| ()),
            Self::MySql(connection) => connection.execute(sql).await.map(|_| ()),
            Self::Sqlite(_, connection) => connection.execute(sql).await.map(|_| ()),
        }?;
        Ok(())
    }

    /// Runs a change; how many rows it changed.
    pub async fn change(&mut self, statement: &Statement, values: &[&str]) -> Result<u64, SqlError> {
        let changed = match self {
            Self::Postgres(connection) => {
                connection.execute(bound::<Postgres>(statement, values)).await?.rows_affected()
            }
            Self::MySql(connection) => connection.execute(bound::<MySql>(statement, values)).await?.rows_affected(),
            Self::Sqlite(_, connection) => {
                connection.execute(bound::<Sqlite>(statement, values)).await?.rows_affected()
            }
        };
        Ok(changed)
    }

    pub async fn ping(&mut self) -> Result<(), SqlError> {
        match self {
            Self::Postgres(connection) => connection.ping().await,
            Self::MySql(connection) => connection.ping().await,
            Self::Sqlite(_, connection) => connection.ping().await,
        }?;
        Ok(())
    }

    /// Says good-bye to the server.
    pub async fn close(self) -> Result<(), SqlError> {
        match self {
            Self::Postgres(connection) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
            Self::Sqlite(_guard, connection) => connection.close().await,
        }?;
        Ok(())
    }
}

async fn timed<T>(limit: Duration, connecting: impl Future<Output = sqlx::Result<T>>) -> Result<T, String> {
    match timeout(limit, connecting).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

fn unreachable(location: &Location, why: &str) -> SqlError {
    SqlError::Connect(location.to_string(), why.to_owned())
}

fn postgres(server: &Server, host: &str, port: u16, credentials: Credentials<'_>, base: &Path) -> PgConnectOptions {
    // The password is set in any case, or the driver would take one from the environment.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(host)
        .port(port)
        .password(credentials.password().unwrap_or_default())
        .ssl_mode(match server.tls {
            Tls::Disabled => PgSslMode::Disable,
            Tls::Preferred => PgSslMode::Prefer,
            Tls::Required => PgSslMode::Require,
            Tls::VerifyCa => PgSslMode::VerifyCa,
            Tls::VerifyFull => PgSslMode::VerifyFull,
        })
        .application_name(server.application.as_deref().unwrap_or("cams"));
    if let Some(socket) = &server.socket {
        options = options.socket(socket);
    }
    if let Some(username) = credentials.username {
        options = options.username(username);
    }
    if let Some(database) = server.database.as_deref().or(credentials.username) {
        options = options.database(database);
    }
    if let Some(ca) = &server.ca {
        options = options.ssl_root_cert(base.join(ca));
    }
    if let (Some(certificate), Some(key)) = (&server.certificate, &server.key) {
        options = options.ssl_client_cert(base.join(certificate)).ssl_client_key(base.join(key));
    }
    if let Some(path) = &server.search_path {
        options = options.options([("search_path", path)]);
    }
    if let Some(capacity) = server.statement_cache {
        options = options.statement_cache_capacity(capacity);
    }
    options.disable_statement_logging()
}

fn mysql(server: &Server, host: &str, port: u16, credentials: Credentials<'_>, base: &Path) -> MySqlConnectOptions {
    // The server's own SQL mode: whoever wrote the statements knows it.
    let mut options =
        MySqlConnectOptions::new().host(host).port(port).pipes_as_concat(false).no_engine_substitution(false).ssl_mode(
            match server.tls {
                Tls::Disabled => MySqlSslMode::Disabled,
                Tls::Preferred => MySqlSslMode::Preferred,
                Tls::Required => MySqlSslMode::Required,
                Tls::VerifyCa => MySqlSslMode::VerifyCa,
                Tls::VerifyFull => MySqlSslMode::VerifyIdentity,
            },
        );
    if let Some(socket) = &server.socket {
        options = options.socket(socket);
    }
    if let Some(username) = credentials.username {
        options = options.username(username);
    }
    if let Some(password) = credentials.password() {
        options = options.password(password);
    }
    if let Some(database) = &server.database {
        options = options.database(database);
    }
    if let Some(ca) = &server.ca {
        options = options.ssl_ca(base.join(ca));
    }
    if let (Some(certificate), Some(key)) = (&server.certificate, &server.key) {
        options = options.ssl_client_cert(base.join(certificate)).ssl_client_key(base.join(key));
    }
    if let Some(capacity) = server.statement_cache {
        options = options.statement_cache_capacity(capacity);
    }
    options.disable_statement_logging()
}

type Query<'q, DB> = sqlx::query::Query<'q, DB, <DB as Database>::Arguments>;

/// The text is the administrator's; what a person typed is in the values alone.
fn bound<'q, DB: Database>(statement: &Statement, values: &[&'q str]) -> Query<'q, DB>
where
    &'q str: Encode<'q, DB> + Type<DB>,
{
    let query = sqlx::query::<DB>(AssertSqlSafe(Arc::clone(&statement.sql)));
    values.iter().fold(query, |query, value| query.bind(*value))
}

async fn rows<'q, DB: Database>(
    connection: &mut DB::Connection,
    statement: &Statement,
    values: &[&'q str],
    max: usize,
    value: fn(&DB::Row, usize) -> Value,
) -> Result<Vec<Row>, SqlError>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    &'q str: Encode<'q, DB> + Type<DB>,
{
    let mut found = Vec::new();
    let mut stream = bound::<DB>(statement, values).fetch(connection);
    while let Some(row) = stream.try_next().await? {
        if found.len() == max {
            return Err(SqlError::TooManyRows(max));
        }
        let columns = row.columns().iter().enumerate();
        found.push(Row(columns.map(|(at, column)| (column.name().to_owned(), value(&row, at))).collect()));
    }
    Ok(found)
}

fn broken(error: &sqlx::Error) -> Value {
    Value::Unusable(format!("a value that cannot be read ({error})"))
}

fn postgres_value(row: &PgRow, at: usize) -> Value {
    let raw = match row.try_get_raw(at) {
        Ok(raw) => raw,
        Err(error) => return broken(&error),
    };
    let Ok(bytes) = raw.as_bytes() else { return Value::Null };
    let type_info = raw.type_info();
    let is_text = raw.format() == PgValueFormat::Text || matches!(type_info.kind(), PgTypeKind::Enum(_));
    if is_text { Value::bytes(bytes) } else { value::postgres(type_info.name(), bytes) }
}

fn mysql_value(row: &MySqlRow, at: usize) -> Value {
    let type_name = match row.try_get_raw(at) {
        Ok(raw) if raw.is_null() => return Value::Null,
        Ok(raw) => raw.type_info().name().to_owned(),
        Err(error) => return broken(&error),
    };
    let bytes = || row.try_get_unchecked::<&[u8], _>(at);
    let read = match type_name.as_str() {
        name if name == "BIT" || name == "YEAR" || name.ends_with("UNSIGNED") => {
            row.try_get_unchecked::<u64, _>(at).map(|number| Value::Integer(number.into()))
        }
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            row.try_get_unchecked::<i64, _>(at).map(|number| Value::Integer(number.into()))
        }
        "FLOAT" => row.try_get_unchecked::<f32, _>(at).map(|number| Value::Real(number.into())),
        "DOUBLE" => row.try_get_unchecked::<f64, _>(at).map(Value::Real),
        "DATE" | "DATETIME" | "TIMESTAMP" => bytes().map(|bytes| value::mysql_moment(type_name == "DATE", bytes)),
        "CHAR" => bytes().map(|bytes| Value::bytes(bytes).unpadded()),
        "DECIMAL" => bytes().map(value::decimal),
        _ => bytes().map(Value::bytes),
    };
    read.unwrap_or_else(|error| broken(&error))
}

/// SQLite's values have their own types, whatever the column was declared as.
fn sqlite_value(row: &SqliteRow, at: usize) -> Value {
    let type_name = match row.try_get_raw(at) {
        Ok(raw) if raw.is_null() => return Value::Null,
        Ok(raw) => raw.type_info().name().to_owned(),
        Err(error) => return broken(&error),
    };
    let read = match type_name.as_str() {
        "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(at).map(|number| Value::Integer(number.into())),
        "REAL" => row.try_get_unchecked::<f64, _>(at).map(Value::Real),
        _ => row.try_get_unchecked::<&[u8], _>(at).map(Value::bytes),
    };
    read.unwrap_or_else(|error| broken(&error))
}
