//! What survives a restart: sealed keys, registered agents, sessions, remembered browsers, posted forms, failed logins, the
//! secrets of one-time codes, the event log, the built-in directory. SQL that runs on SQLite and PostgreSQL alike.
//!
//! Nothing here decides anything; it keeps and finds rows.

mod agents;
mod crowd;
mod events;
mod failures;
mod groups;
mod handover;
mod jami_accounts;
mod jami_authorities;
mod jami_devices;
mod jami_enrolment;
mod jami_people;
mod jami_records;
mod jami_tokens;
mod keys;
mod location;
mod parked;
mod remembered;
mod revocation;
mod sessions;
mod totp;
mod users;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use shared_proto::secret::Secret;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor, SqlSafeStr};
use tokio::sync::Notify;

pub use events::{Event, Position};
pub use failures::{Kept, Pair, Total};
pub use groups::Membership;
pub use handover::Handover;
pub use jami_authorities::{NewAuthority, SealedAuthority};
pub use jami_devices::{Issue, Reason, Shown};
pub use jami_enrolment::{Enrolled, Enrolment};
pub use jami_people::Holder;
pub use jami_records::corrupt_records;
pub use jami_tokens::TokenOwner;
pub use keys::SealedKey;
use location::Location;
pub use parked::Owner;
pub use remembered::Fate;
pub use revocation::{Holders, KeptList, RevokedCertificate, Standing};
pub use totp::TotpUser;
pub use users::{Added, Edited};

use crate::files;

/// In the order they were released; a released one is never edited.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("migrations/0001_initial.sql")),
    (2, "events", include_str!("migrations/0002_events.sql")),
    (3, "local directory", include_str!("migrations/0003_local_directory.sql")),
    (4, "totp", include_str!("migrations/0004_totp.sql")),
    (5, "login failures", include_str!("migrations/0005_login_failures.sql")),
    (6, "rechecks", include_str!("migrations/0006_rechecks.sql")),
    (7, "remembered browsers", include_str!("migrations/0007_remembered_browsers.sql")),
    (8, "session tokens", include_str!("migrations/0008_session_tokens.sql")),
    (9, "where browsers were seen", include_str!("migrations/0009_browsers_seen.sql")),
    (10, "parked forms", include_str!("migrations/0010_parked_forms.sql")),
    (11, "homes of tokens", include_str!("migrations/0011_homes_of_tokens.sql")),
    (12, "jami", include_str!("migrations/0012_jami.sql")),
];

/// Readers of the embedded store; it has one writer.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL: writers have their own, so that a change never waits for questions.
const POSTGRES_READERS: u32 = 12;
const POSTGRES_WRITERS: u32 = 6;

const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                            PRAGMA foreign_keys = ON;";
/// A server that hangs must not hold the event log's lock for the others.
const POSTGRES_SETUP: &str = "SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '5s'; \
                              SET default_transaction_isolation = 'read committed';";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Never with the URL: it may hold a password.
    #[error("the store URL (cams.store.url) cannot be used: {0}")]
    Url(&'static str),
    #[error("cannot use {0} as the store: {1}")]
    Create(String, std::io::Error),
    #[error("the store was written by a newer version of Cams (schema {0}): upgrade this one")]
    Newer(i64),
    #[error("cannot bring the store's schema up to date: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the store did not answer in time")]
    Slow,
    #[error("the store holds a broken record of {0}: {1}")]
    Corrupt(&'static str, serde_json::Error),
    #[error(transparent)]
    Random(#[from] crate::token::SealError),
}

/// The store, opened. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    location: Location,
    reader: AnyPool,
    writer: AnyPool,
    /// The log may have grown.
    stirring: Arc<Notify>,
}

/// Whether this can be the URL of a store; changes nothing.
///
/// # Errors
/// [`StoreError::Url`], in words that hold no part of it; [`StoreError::Create`] where no file can be.
pub fn check_url(url: &Secret, base: &Path) -> Result<(), StoreError> {
    match Location::parse(url, base)? {
        Location::Sqlite(path) => {
            files::may_hold_file(&path).map_err(|error| StoreError::Create(path.display().to_string(), error))
        }
        Location::Postgres(..) => Ok(()),
    }
}

impl Store {
    /// Opens `sqlite:FILE` (a relative file is relative to `base`), creating it, readable by its owner only, or
    /// `postgres://…`, and brings its schema up to date.
    pub async fn open(url: &Secret, base: &Path) -> Result<Self, StoreError> {
        let store = Self::connect(url, base).await?;
        store.migrate(MIGRATIONS).await?;
        store.ensure_head().await?;
        Ok(store)
    }

    async fn connect(url: &Secret, base: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let location = Location::parse(url, base)?;
        let (options, setup, [writers, readers]) = match &location {
            Location::Sqlite(path) => (sqlite_options(path)?, SQLITE_SETUP, [1, SQLITE_READERS]),
            Location::Postgres(options, _) => {
                ((**options).clone(), POSTGRES_SETUP, [POSTGRES_WRITERS, POSTGRES_READERS])
            }
        };
        Ok(Self {
            writer: pool(writers, setup).connect_with(options.clone()).await?,
            reader: pool(readers, setup).connect_with(options).await?,
            location,
            stirring: Arc::default(),
        })
    }

    async fn migrate(&self, migrations: &'static [(i64, &str, &str)]) -> Result<(), StoreError> {
        let migrations = migrations.iter().map(|(version, description, sql)| {
            Migration::new(*version, (*description).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect()).run(&self.writer).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => StoreError::Newer(version),
            error => StoreError::Migrate(error),
        })
    }
}

fn pool(connections: u32, setup: &'static str) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        // Shorter than an agent waits: it is told that the store is away.
        .acquire_timeout(Duration::from_secs(3))
        // What a network may have cut is found out before a question is lost on it.
        .test_before_acquire(setup == POSTGRES_SETUP)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| Box::pin(async move { connection.execute(setup).await.map(|_| ()) }))
}

fn sqlite_options(path: &Path) -> Result<AnyConnectOptions, StoreError> {
    let failed = |error| StoreError::Create(path.display().to_string(), error);
    create_private(path).map_err(failed)?;
    let absolute = std::path::absolute(path).map_err(failed)?;
    Ok(AnyConnectOptions::from_str(&format!("sqlite://{}", absolute.display()))?)
}

/// Creates the file for its owner only, so that the database never exists with wider rights.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::session::{SessionStore, TokenHash};

    pub(crate) async fn temporary() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&"sqlite:cams.db".into(), dir.path()).await.unwrap();
        (store, dir)
    }

    #[tokio::test]
    async fn a_store_is_private_and_opens_again() {
        use std::os::unix::fs::PermissionsExt;
        let (store, dir) = temporary().await;
        drop(store);
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        Store::open(&"sqlite:cams.db".into(), dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_clearly() {
        let (store, dir) = temporary().await;
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (999, 'future', TRUE, 'x', 0)",
        )
        .execute(&store.writer)
        .await
        .unwrap();
        let error = Store::open(&"sqlite:cams.db".into(), dir.path()).await.err().unwrap();
        assert!(matches!(error, StoreError::Newer(999)), "{error}");
    }
    /// Sessions that were opened before there were tokens of their own go on.
    #[tokio::test]
    async fn an_older_schema_loses_no_session() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::connect(&"sqlite:cams.db".into(), dir.path()).await.unwrap();
        store.migrate(&MIGRATIONS[..7]).await.unwrap();
        sqlx::query(
            "INSERT INTO sessions (token_hash, id, domain, entry, user_name, subject, created, last_used, rechecked, ends, \
             address, user_agent, series, remembered) VALUES ($1, 'one', 'system', 'http', 'alice', \
             '{\"user\":\"alice\",\"roles\":[],\"attributes\":{},\"proofs\":[]}', 1, 2, 3, 4, 'a', 'u', 's', 1)",
        )
        .bind(TokenHash::of(&"token".into()).as_str())
        .execute(&store.writer)
        .await
        .unwrap();
        store.migrate(MIGRATIONS).await.unwrap();
        let session = store.find(&TokenHash::of(&"token".into()), "any.test").await.unwrap().unwrap().session;
        assert_eq!((session.id.as_str(), session.subject.user.as_str()), ("one", "alice"));
        assert_eq!((session.created, session.last_used, session.rechecked, session.ends), (1, 2, 3, 4));
        assert_eq!((session.series.as_deref(), session.remembered), (Some("s"), true));
        assert!(store.delete("one").await.unwrap());
        let left: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM session_tokens").fetch_one(&store.reader).await.unwrap();
        assert_eq!(left, 0, "the tokens go with their session");
    }
}
