//! Tokens of Jami devices, by their hashes.

use sqlx::{AssertSqlSafe, Row};

use super::jami_accounts::{ACCOUNT, account};
use super::{Store, StoreError};
use crate::device::Account;
use crate::session::TokenHash;

/// Whose a token is. The account may not stand any more.
#[derive(Debug, Clone)]
pub struct TokenOwner {
    pub account: Account,
    /// `None` for a token that a password was given for.
    pub device: Option<String>,
}

impl Store {
    /// `expires` is in seconds since 1970.
    pub async fn add_jami_token(
        &self,
        token: &TokenHash,
        account: &str,
        device: Option<&str>,
        expires: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO jami_tokens (token_hash, account, device, expires) VALUES ($1, $2, $3, $4)")
            .bind(token.as_str())
            .bind(account)
            .bind(device.unwrap_or_default())
            .bind(expires)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Of a token whose time is not over and whose device, where it has one, is not revoked.
    pub async fn jami_token(&self, token: &TokenHash, now: i64) -> Result<Option<TokenOwner>, StoreError> {
        let query = format!(
            "SELECT t.device AS t_device, {ACCOUNT} FROM jami_tokens t JOIN jami_accounts a ON a.id = t.account \
             WHERE t.token_hash = $1 AND t.expires > $2 AND (t.device = '' OR EXISTS \
             (SELECT 1 FROM jami_devices d WHERE d.id = t.device AND d.account = a.id AND d.revoked IS NULL))"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(token.as_str()).bind(now).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(None) };
        let device: String = row.try_get("t_device")?;
        Ok(Some(TokenOwner { account: account(&row)?, device: (!device.is_empty()).then_some(device) }))
    }

    /// Forgets those whose time is over.
    pub async fn purge_jami_tokens(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jami_tokens WHERE expires <= $1").bind(now).execute(&self.writer).await?;
        Ok(())
    }
}
