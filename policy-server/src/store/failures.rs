//! Failed logins in the store. What they mean is decided by the throttle valve.

use ipnet::IpNet;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError};
use crate::auth::valves::throttle::rules::Count;

/// A canonical user name, as a keyed hash, and a network in one security domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub domain: String,
    pub bucket: String,
    pub network: IpNet,
}

/// Whose failures are added up.
#[derive(Debug, Clone, Copy)]
pub enum Total {
    /// The user name's, over all networks.
    User,
    /// The network's, over all user names.
    Network,
}

/// What is kept of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub pair: Pair,
    pub count: Count,
}

impl Kept {
    pub fn is_locked(&self, now: i64) -> bool {
        self.count.locked_until > now
    }
}

impl Store {
    /// All zeros where nothing is kept.
    pub async fn failures(&self, pair: &Pair) -> Result<Count, StoreError> {
        let query = "SELECT * FROM login_failures WHERE domain = $1 AND bucket = $2 AND network = $3";
        let query = sqlx::query(query).bind(&pair.domain).bind(&pair.bucket).bind(pair.network.to_string());
        let row = query.fetch_optional(&self.reader).await?;
        Ok(row.as_ref().map(count).transpose()?.unwrap_or_default())
    }

    /// Changes what is kept of a pair. Nobody else changes it meanwhile, on this server or another. `change` gives the new
    /// count, when it expires, and what is returned; at 0 nothing is kept.
    pub async fn change_failures<T>(
        &self,
        pair: &Pair,
        change: impl FnOnce(Count) -> (Count, i64, T),
    ) -> Result<T, StoreError> {
        let mut work = self.begin().await?;
        // The update that changes nothing locks the row until the commit.
        let query = "INSERT INTO login_failures (domain, bucket, network, failures, pending, since, charged, \
                     locked_until, locks, name, expires) VALUES ($1, $2, $3, 0, 0, 0, 0, 0, 0, 0, 0) \
                     ON CONFLICT (domain, bucket, network) DO UPDATE SET locks = login_failures.locks RETURNING *";
        let query = sqlx::query(query).bind(&pair.domain).bind(&pair.bucket).bind(pair.network.to_string());
        let row = query.fetch_one(&mut *work).await?;
        let (count, expires, value) = change(count(&row)?);
        write(&mut work, pair, count, expires).await?;
        work.commit().await?;
        Ok(value)
    }

    /// Forgets the pair.
    pub async fn clear_failures(&self, pair: &Pair) -> Result<(), StoreError> {
        let query = "DELETE FROM login_failures WHERE domain = $1 AND bucket = $2 AND network = $3";
        let query = sqlx::query(query).bind(&pair.domain).bind(&pair.bucket).bind(pair.network.to_string());
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// The failures of windows that began after `since`, added up; at least `rows`, where there are more rows than that.
    pub async fn total_failures(&self, pair: &Pair, total: Total, since: i64, rows: i64) -> Result<i64, StoreError> {
        let network = pair.network.to_string();
        let (query, which) = match total {
            Total::User => (
                "SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) AS total FROM (SELECT failures FROM login_failures \
                 WHERE domain = $1 AND bucket = $2 AND failures > 0 AND since > $3 LIMIT $4) AS recent",
                &pair.bucket,
            ),
            Total::Network => (
                "SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) AS total FROM (SELECT failures FROM login_failures \
                 WHERE domain = $1 AND network = $2 AND failures > 0 AND since > $3 LIMIT $4) AS recent",
                &network,
            ),
        };
        let query = sqlx::query(query).bind(&pair.domain).bind(which).bind(since).bind(rows);
        Ok(query.fetch_one(&self.reader).await?.try_get("total")?)
    }

    /// What is kept of this user name, or of all, in this security domain, or in all.
    pub async fn kept_failures(&self, domain: Option<&str>, bucket: Option<&str>) -> Result<Vec<Kept>, StoreError> {
        let query = "SELECT * FROM login_failures WHERE ($1 IS NULL OR domain = $1) AND ($2 IS NULL OR bucket = $2) \
                     ORDER BY domain, network, bucket";
        let rows = sqlx::query(query).bind(domain).bind(bucket).fetch_all(&self.reader).await?;
        // A network that cannot be read was not written by us and can lock nobody.
        Ok(rows.iter().map(kept).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Forgets what expired.
    pub async fn purge_failures(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM login_failures WHERE expires <= $1").bind(now).execute(&self.writer).await?;
        Ok(())
    }

    /// Forgets what expires first, until about so many pairs of the domain are left.
    pub async fn shrink_failures(&self, domain: &str, most: i64) -> Result<(), StoreError> {
        let query = "DELETE FROM login_failures WHERE domain = $1 AND expires <= \
                     (SELECT expires FROM login_failures WHERE domain = $1 ORDER BY expires DESC LIMIT 1 OFFSET $2)";
        sqlx::query(query).bind(domain).bind(most).execute(&self.writer).await?;
        Ok(())
    }
}

async fn write(work: &mut Transaction<'_, Any>, pair: &Pair, count: Count, expires: i64) -> Result<(), StoreError> {
    if expires == 0 {
        let query = "DELETE FROM login_failures WHERE domain = $1 AND bucket = $2 AND network = $3";
        let query = sqlx::query(query).bind(&pair.domain).bind(&pair.bucket).bind(pair.network.to_string());
        query.execute(&mut **work).await?;
        return Ok(());
    }
    let query = "UPDATE login_failures SET failures = $4, pending = $5, since = $6, charged = $7, locked_until = $8, \
                 locks = $9, name = $10, expires = $11 WHERE domain = $1 AND bucket = $2 AND network = $3";
    let query = sqlx::query(query).bind(&pair.domain).bind(&pair.bucket).bind(pair.network.to_string());
    let query = query.bind(count.failures).bind(count.pending).bind(count.since).bind(count.charged);
    query.bind(count.locked_until).bind(count.locks).bind(count.name).bind(expires).execute(&mut **work).await?;
    Ok(())
}

fn count(row: &AnyRow) -> Result<Count, sqlx::Error> {
    Ok(Count {
        failures: row.try_get("failures")?,
        pending: row.try_get("pending")?,
        since: row.try_get("since")?,
        charged: row.try_get("charged")?,
        locked_until: row.try_get("locked_until")?,
        locks: row.try_get("locks")?,
        name: row.try_get("name")?,
    })
}

fn kept(row: &AnyRow) -> Result<Option<Kept>, sqlx::Error> {
    let network: String = row.try_get("network")?;
    let Ok(network) = network.parse() else { return Ok(None) };
    let pair = Pair { domain: row.try_get("domain")?, bucket: row.try_get("bucket")?, network };
    Ok(Some(Kept { pair, count: count(row)? }))
}
