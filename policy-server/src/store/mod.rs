//! What survives a restart: sealed keys, registered agents, sessions. SQL that runs on SQLite and PostgreSQL alike.
//!
//! Nothing here decides anything; it keeps and finds rows.

mod agents;
mod keys;
mod sessions;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor, SqlSafeStr};

pub use keys::SealedKey;

/// In the order they were released; a released one is never edited.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "initial", include_str!("migrations/0001_initial.sql"))];

/// Readers of the embedded store; it has one writer.
const SQLITE_READERS: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store URL `{0}` is not supported: write sqlite:FILE")]
    Url(String),
    #[error("cannot create the store file {0}: {1}")]
    Create(String, std::io::Error),
    #[error("the store was written by a newer version of Cams (schema {0}): upgrade this one")]
    Newer(i64),
    #[error("cannot bring the store's schema up to date: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the store holds a broken record of {0}: {1}")]
    Corrupt(&'static str, serde_json::Error),
}

/// The store, opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    reader: AnyPool,
    writer: AnyPool,
}

impl Store {
    /// Opens `sqlite:FILE` (a relative file is relative to `base`), creating it, readable by its owner only, and brings
    /// its schema up to date.
    pub async fn open(url: &str, base: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) else {
            return Err(StoreError::Url(url.to_owned()));
        };
        let path = base.join(path.trim_start_matches("//"));
        create_private(&path).map_err(|error| StoreError::Create(path.display().to_string(), error))?;
        let absolute = std::path::absolute(&path).map_err(|e| StoreError::Create(path.display().to_string(), e))?;
        let options = AnyConnectOptions::from_str(&format!("sqlite://{}", absolute.display()))?;
        let store = Self {
            writer: sqlite_pool(1).connect_with(options.clone()).await?,
            reader: sqlite_pool(SQLITE_READERS).connect_with(options).await?,
        };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.iter().map(|(version, description, sql)| {
            Migration::new(*version, (*description).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect()).run(&self.writer).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => StoreError::Newer(version),
            error => StoreError::Migrate(error),
        })
    }
}

fn sqlite_pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection
                    .execute(
                        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                         PRAGMA foreign_keys = ON;",
                    )
                    .await
                    .map(|_| ())
            })
        })
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

    pub(crate) async fn temporary() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite:cams.db", dir.path()).await.unwrap();
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
        Store::open("sqlite:cams.db", dir.path()).await.unwrap();
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
        let error = Store::open("sqlite:cams.db", dir.path()).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer(999)), "{error}");
    }

    #[tokio::test]
    async fn other_urls_are_refused() {
        let error = Store::open("mysql://x", Path::new("/nonexistent")).await.unwrap_err();
        assert!(error.to_string().contains("sqlite:FILE"));
    }
}
