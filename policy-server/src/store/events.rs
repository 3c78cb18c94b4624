//! The event log: every change that can make a remembered decision wrong, in the order of commits.
//!
//! A change and its event are one transaction. The number is taken under a lock on the head that is held until the
//! commit, so whoever reads the number `n` sees every change up to `n`, and a change it does not see has a greater one.

use std::time::Duration;

use shared_proto::event::Change;
use sqlx::any::AnyRow;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Any, AnyPool, Row, Transaction};

use super::location::Location;
use super::{Store, StoreError};
use crate::token::{hex, random};

/// Events that are kept in any case, and for how long all are, in seconds.
const KEPT: i64 = 10_000;
const KEPT_SECONDS: i64 = 3_600;
/// How long the primary may take to say how far the log goes.
const PRIMARY: Duration = Duration::from_secs(2);
/// How often the head is looked at: other processes change an embedded store without a word, PostgreSQL sends one.
const SQLITE_LOOK: Duration = Duration::from_millis(20);
const POSTGRES_LOOK: Duration = Duration::from_secs(1);
const CHANNEL: &str = "cams_events";
const NOTIFY: &str = "NOTIFY cams_events";

const SQLITE_HEAD: &str = "SELECT epoch, seq FROM event_head";
/// The primary's timeline is part of the epoch: after a failover that lost commits, numbers are given a second time. A
/// standby has no current position of its own, so that asking one is an error.
const POSTGRES_HEAD: &str =
    "SELECT epoch || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS epoch, seq FROM event_head";

/// How far the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub seq: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub seq: i64,
    pub change: Change,
}

impl Store {
    /// How far the log goes.
    pub async fn position(&self) -> Result<Position, StoreError> {
        self.head(&self.reader).await
    }

    /// The same, read from where changes are written, now.
    ///
    /// # Errors
    /// Also where the store is a standby, or takes too long.
    pub async fn primary_position(&self) -> Result<Position, StoreError> {
        let reading = self.head(&self.writer);
        tokio::time::timeout(PRIMARY, reading).await.unwrap_or(Err(StoreError::Slow))
    }

    /// The events after this number, oldest first, at most so many.
    pub async fn events_after(&self, seq: i64, limit: i64) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query("SELECT seq, change FROM events WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(seq)
            .bind(limit)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(event).collect()
    }

    /// Writes down changes that were made elsewhere than in the store.
    pub async fn append(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit(self.begin().await?, changes).await
    }

    /// Forgets old events.
    pub async fn trim_events(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM events WHERE created <= $1 AND seq <= (SELECT seq FROM event_head) - $2")
            .bind(now.saturating_sub(KEPT_SECONDS))
            .bind(KEPT)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// For a server that starts: an embedded store may have been put back from a backup, and its numbers would be given a
    /// second time. PostgreSQL starts a new timeline for that.
    pub async fn renew_epoch(&self) -> Result<(), StoreError> {
        if let Location::Sqlite(_) = self.location {
            let epoch = hex(&random::<16>()?);
            sqlx::query("UPDATE event_head SET epoch = $1").bind(epoch).execute(&self.writer).await?;
        }
        Ok(())
    }

    /// Waits until the log may have grown.
    pub async fn stirred(&self) {
        let look = match self.location {
            Location::Sqlite(_) => SQLITE_LOOK,
            Location::Postgres(..) => POSTGRES_LOOK,
        };
        // Whichever it is, the log is read.
        let _ = tokio::time::timeout(look, self.stirring.notified()).await;
    }

    /// Makes [`Store::stirred`] end when another process appends, as far as the store can tell. Never ends.
    pub async fn listen(&self) {
        let Location::Postgres(_, options) = &self.location else { return std::future::pending().await };
        loop {
            if let Err(error) = self.listen_once(options).await {
                tracing::debug!(%error, "PostgreSQL does not notify: the event log is looked at every second");
            }
            tokio::time::sleep(POSTGRES_LOOK).await;
        }
    }

    async fn listen_once(&self, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            self.stirring.notify_one();
            listener.recv().await?;
        }
    }

    /// Puts the one row in place that everything here rests on.
    pub(super) async fn ensure_head(&self) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO event_head (id, epoch, seq) VALUES (1, $1, 0) ON CONFLICT DO NOTHING")
            .bind(hex(&random::<16>()?))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A transaction that is going to write; it ends in [`Store::commit`] or is undone.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = match self.location {
            // At once the writer: a transaction that became one later could fail for what was written meanwhile.
            Location::Sqlite(_) => "BEGIN IMMEDIATE",
            Location::Postgres(..) => "BEGIN",
        };
        Ok(self.writer.begin_with(begin).await?)
    }

    /// Commits the transaction together with the events of what it changed.
    pub(super) async fn commit(
        &self,
        mut work: Transaction<'static, Any>,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now().as_second();
        for change in changes {
            let change = serde_json::to_string(change).map_err(|error| StoreError::Corrupt("an event", error))?;
            // The lock that makes numbers follow commits: held by this transaction from here on.
            sqlx::query("UPDATE event_head SET seq = seq + 1").execute(&mut *work).await?;
            sqlx::query("INSERT INTO events (seq, change, created) SELECT seq, $1, $2 FROM event_head")
                .bind(change)
                .bind(now)
                .execute(&mut *work)
                .await?;
        }
        if let (Location::Postgres(..), false) = (&self.location, changes.is_empty()) {
            sqlx::query(NOTIFY).execute(&mut *work).await?;
        }
        work.commit().await?;
        self.stirring.notify_one();
        Ok(())
    }

    async fn head(&self, pool: &AnyPool) -> Result<Position, StoreError> {
        let query = match self.location {
            Location::Sqlite(_) => SQLITE_HEAD,
            Location::Postgres(..) => POSTGRES_HEAD,
        };
        let row = sqlx::query(query).fetch_one(pool).await?;
        Ok(Position { epoch: row.try_get("epoch")?, seq: row.try_get("seq")? })
    }
}

fn event(row: &AnyRow) -> Result<Event, StoreError> {
    let change: String = row.try_get("change")?;
    let change = serde_json::from_str(&change).map_err(|error| StoreError::Corrupt("an event", error))?;
    Ok(Event { seq: row.try_get("seq")?, change })
}
