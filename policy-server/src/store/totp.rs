//! The sealed secrets of one-time codes, and which codes were used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared_proto::event::Change;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

/// Somebody who has a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TotpUser {
    pub domain: String,
    pub user: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
}

impl Store {
    /// False where the person has one already.
    pub async fn add_totp_secret(&self, domain: &str, user: &str, sealed: &[u8], now: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO totp_secrets (domain, user_name, sealed, used_step, created) VALUES ($1, $2, $3, 0, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(domain)
        .bind(user)
        .bind(STANDARD.encode(sealed))
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn totp_secret(&self, domain: &str, user: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT sealed FROM totp_secrets WHERE domain = $1 AND user_name = $2")
            .bind(domain)
            .bind(user)
            .fetch_optional(&self.reader)
            .await?;
        let sealed = |row: AnyRow| {
            let text: String = row.try_get("sealed")?;
            STANDARD.decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
        };
        Ok(row.map(sealed).transpose()?)
    }

    /// Uses up the code of a time step, and those before; false where that happened already, or the secret is another one
    /// now. Of all who try at once, at any server, one is told true.
    pub async fn use_totp_step(&self, domain: &str, user: &str, sealed: &[u8], step: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE totp_secrets SET used_step = $1 \
             WHERE domain = $2 AND user_name = $3 AND sealed = $4 AND used_step < $1",
        )
        .bind(step)
        .bind(domain)
        .bind(user)
        .bind(STANDARD.encode(sealed))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// False where there was none. Sessions that rest on it end, so agents are told.
    pub async fn remove_totp_secret(&self, domain: &str, user: &str) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let done = sqlx::query("DELETE FROM totp_secrets WHERE domain = $1 AND user_name = $2")
            .bind(domain)
            .bind(user)
            .execute(&mut *work)
            .await?;
        let removed = done.rows_affected() == 1;
        let change = Change::DomainChanged { domain: domain.to_owned() };
        self.commit(work, if removed { std::slice::from_ref(&change) } else { &[] }).await?;
        Ok(removed)
    }

    pub async fn totp_users(&self) -> Result<Vec<TotpUser>, StoreError> {
        let rows = sqlx::query("SELECT domain, user_name, created FROM totp_secrets ORDER BY domain, user_name")
            .fetch_all(&self.reader)
            .await?;
        let user = |row: &AnyRow| {
            let (domain, user) = (row.try_get("domain")?, row.try_get("user_name")?);
            Ok(TotpUser { domain, user, created: row.try_get("created")? })
        };
        rows.iter().map(user).collect()
    }
}
