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

/// Tokens that a device has at most, and those that an account has for its password.
const LIVE: i64 = 8;

impl Store {
    /// `expires` is in seconds since 1970. Of too many the oldest ones die.
    pub async fn add_jami_token(
        &self,
        token: &TokenHash,
        account: &str,
        device: Option<&str>,
        expires: i64,
    ) -> Result<(), StoreError> {
        let device = device.unwrap_or_default();
        let mut work = self.begin().await?;
        sqlx::query("INSERT INTO jami_tokens (token_hash, account, device, expires) VALUES ($1, $2, $3, $4)")
            .bind(token.as_str())
            .bind(account)
            .bind(device)
            .bind(expires)
            .execute(&mut *work)
            .await?;
        sqlx::query(
            "DELETE FROM jami_tokens WHERE account = $1 AND device = $2 AND token_hash <> $3 AND token_hash NOT IN \
             (SELECT token_hash FROM jami_tokens WHERE account = $1 AND device = $2 AND token_hash <> $3 \
             ORDER BY expires DESC, token_hash LIMIT $4)",
        )
        .bind(account)
        .bind(device)
        .bind(token.as_str())
        .bind(LIVE - 1)
        .execute(&mut *work)
        .await?;
        work.commit().await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn the_oldest_of_too_many_die() {
        let (store, _dir) = temporary().await;
        for account in ["a", "b"] {
            store.put_jami_account(account, account).await;
        }
        let hash = |name: String| TokenHash::of(&name.as_str().into());
        for (account, device) in [("a", None), ("a", Some("one")), ("a", Some("two")), ("b", None)] {
            // Two a second: of one second, the newest one lives all the same.
            for number in 0..LIVE + 3 {
                let token = hash(format!("{account} {device:?} {number}"));
                store.add_jami_token(&token, account, device, 100 + number / 2).await.unwrap();
                let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jami_tokens WHERE token_hash = $1")
                    .bind(token.as_str())
                    .fetch_one(&store.reader)
                    .await
                    .unwrap();
                assert_eq!(found, 1);
            }
            let left: Vec<i64> = sqlx::query_scalar(
                "SELECT expires FROM jami_tokens WHERE account = $1 AND device = $2 ORDER BY expires",
            )
            .bind(account)
            .bind(device.unwrap_or_default())
            .fetch_all(&store.reader)
            .await
            .unwrap();
            assert_eq!(left, [101, 102, 102, 103, 103, 104, 104, 105]);
        }
    }
}
