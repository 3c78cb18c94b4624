//! Posted forms that wait for their sender's login, and whose they are: the sessions that ended. What is in a form is
//! sealed by others and never seen here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError};
use crate::session::TokenHash;

/// Forms that are kept of one person; another takes the place of the oldest.
const MAX_OF_USER: i64 = 8;

/// For how long it is known whose session it was, in seconds.
const ENDED_KEPT: i64 = 3_600;

/// Whose a form is, and where it was sent: all of it must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub domain: String,
    pub user: String,
    pub host: String,
    pub origin: String,
    /// Of the cookie of the browser.
    pub browser: TokenHash,
}

impl Store {
    /// Whose session it was that ended, if that is not too long ago.
    pub async fn ended_user(&self, token: &TokenHash, domain: &str, now: i64) -> Result<Option<String>, StoreError> {
        let query = "SELECT user_name FROM ended_sessions WHERE token_hash = $1 AND domain = $2 AND ended > $3";
        let row = sqlx::query(query)
            .bind(token.as_str())
            .bind(domain)
            .bind(now.saturating_sub(ENDED_KEPT))
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.map(|row| row.try_get("user_name")).transpose()?)
    }

    /// The remembered browser that an ended session of these security domains belonged to, as long as it is known.
    pub async fn ended_series(
        &self,
        token: &TokenHash,
        domains: &[String],
        now: i64,
    ) -> Result<Option<String>, StoreError> {
        let query = "SELECT domain, series FROM ended_sessions WHERE token_hash = $1 AND series <> '' AND ended > $2";
        let row = sqlx::query(query)
            .bind(token.as_str())
            .bind(now.saturating_sub(ENDED_KEPT))
            .fetch_optional(&self.reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (domain, series): (String, String) = (row.try_get("domain")?, row.try_get("series")?);
        Ok(domains.contains(&domain).then_some(series))
    }

    /// Keeps a form until it `expires`, in seconds since 1970.
    pub async fn park(&self, id: &str, owner: &Owner, sealed: &[u8], expires: i64) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        // The update that changes nothing makes forms of one person wait for each other, so that their number holds.
        let query = "UPDATE ended_sessions SET ended = ended WHERE token_hash = \
                     (SELECT min(token_hash) FROM ended_sessions WHERE domain = $1 AND user_name = $2)";
        sqlx::query(query).bind(&owner.domain).bind(&owner.user).execute(&mut *work).await?;
        let query = "DELETE FROM parked_forms WHERE domain = $1 AND user_name = $2 AND id NOT IN \
                     (SELECT id FROM parked_forms WHERE domain = $1 AND user_name = $2 \
                     ORDER BY expires DESC, id LIMIT $3)";
        sqlx::query(query).bind(&owner.domain).bind(&owner.user).bind(MAX_OF_USER - 1).execute(&mut *work).await?;
        sqlx::query(
            "INSERT INTO parked_forms (id, domain, user_name, host, origin, browser, sealed, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(&owner.domain)
        .bind(&owner.user)
        .bind(&owner.host)
        .bind(&owner.origin)
        .bind(owner.browser.as_str())
        .bind(STANDARD.encode(sealed))
        .bind(expires)
        .execute(&mut *work)
        .await?;
        Ok(work.commit().await?)
    }

    /// Hands a form out, once: of all who try at the same time, at any server, one gets it.
    pub async fn take_parked(&self, id: &str, owner: &Owner, now: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query(
            "DELETE FROM parked_forms WHERE id = $1 AND domain = $2 AND user_name = $3 AND host = $4 AND origin = $5 \
             AND browser = $6 AND expires > $7 RETURNING sealed",
        )
        .bind(id)
        .bind(&owner.domain)
        .bind(&owner.user)
        .bind(&owner.host)
        .bind(&owner.origin)
        .bind(owner.browser.as_str())
        .bind(now)
        .fetch_optional(&self.writer)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: String = row.try_get("sealed")?;
        let sealed = STANDARD.decode(sealed).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Some(sealed))
    }

    /// Forgets forms that nobody came back for, and sessions that ended long ago.
    pub async fn purge_parked(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM parked_forms WHERE expires <= $1").bind(now).execute(&self.writer).await?;
        sqlx::query("DELETE FROM ended_sessions WHERE ended <= $1")
            .bind(now.saturating_sub(ENDED_KEPT))
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Writes down, as a part of this work, whose session it is that is about to end.
pub(super) async fn remember_owner(work: &mut Transaction<'static, Any>, session: &str) -> Result<(), StoreError> {
    let query = "INSERT INTO ended_sessions (token_hash, domain, user_name, series, ended) \
                 SELECT token_hash, domain, user_name, series, $2 FROM sessions JOIN session_tokens ON session_id = id \
                 WHERE id = $1 ON CONFLICT DO NOTHING";
    sqlx::query(query).bind(session).bind(jiff::Timestamp::now().as_second()).execute(&mut **work).await?;
    Ok(())
}
