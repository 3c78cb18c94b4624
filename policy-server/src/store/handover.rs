//! Sessions on their way from one site to another. What makes a code good is decided by who asks.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, sessions};
use crate::session::TokenHash;

/// Codes of a session that are under way; another takes the place of the oldest.
const MAX_OF_SESSION: i64 = 16;

/// What a code stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    pub session: String,
    pub domain: String,
    pub entry: String,
    /// Origin of the site that it is for.
    pub audience: String,
    /// Path and query of the page that was wanted there.
    pub target: String,
    /// What the browser has to show there.
    pub binding: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub expires: i64,
}

impl Store {
    /// False where the session is over.
    pub async fn add_handover(&self, code: &TokenHash, handover: &Handover) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        if !sessions::hold(&mut work, &handover.session).await? {
            return Ok(false);
        }
        let query = "DELETE FROM handovers WHERE session_id = $1 AND code_hash NOT IN \
                     (SELECT code_hash FROM handovers WHERE session_id = $1 ORDER BY expires DESC, code_hash LIMIT $2)";
        sqlx::query(query).bind(&handover.session).bind(MAX_OF_SESSION - 1).execute(&mut *work).await?;
        sqlx::query(
            "INSERT INTO handovers (code_hash, session_id, domain, entry, audience, target, binding, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(code.as_str())
        .bind(&handover.session)
        .bind(&handover.domain)
        .bind(&handover.entry)
        .bind(&handover.audience)
        .bind(&handover.target)
        .bind(&handover.binding)
        .bind(handover.expires)
        .execute(&mut *work)
        .await?;
        work.commit().await?;
        Ok(true)
    }

    /// What the code stands for, and an end to it: of all who ask at once, at any server, one is told.
    pub async fn take_handover(&self, code: &TokenHash) -> Result<Option<Handover>, StoreError> {
        let query = "DELETE FROM handovers WHERE code_hash = $1 RETURNING *";
        let row = sqlx::query(query).bind(code.as_str()).fetch_optional(&self.writer).await?;
        row.as_ref().map(handover).transpose()
    }

    /// Forgets codes that nobody came back with.
    pub async fn purge_handovers(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM handovers WHERE expires <= $1").bind(now).execute(&self.writer).await?;
        Ok(())
    }
}

fn handover(row: &AnyRow) -> Result<Handover, StoreError> {
    Ok(Handover {
        session: row.try_get("session_id")?,
        domain: row.try_get("domain")?,
        entry: row.try_get("entry")?,
        audience: row.try_get("audience")?,
        target: row.try_get("target")?,
        binding: row.try_get("binding")?,
        expires: row.try_get("expires")?,
    })
}
