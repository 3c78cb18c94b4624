//! Certificates that were issued, their revocation, and the newest list of each issuer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError};

/// What is known of a certificate that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is revoked, in seconds since 1970.
    pub revoked: Option<i64>,
    /// A CRLReason (RFC 5280, section 5.3.1).
    pub reason: i64,
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// In hexadecimal.
    pub serial: String,
    pub revoked: i64,
    pub reason: i64,
}

/// The newest list of an issuer. `number` is 0, and `list` empty, before there is a first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptList {
    pub number: i64,
    /// DER.
    pub list: Vec<u8>,
    pub next_update: i64,
    /// How many revocations came after it.
    pub stale: i64,
}

/// How many have certificates that are not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holders {
    pub accounts: i64,
    pub devices: i64,
}

impl Store {
    pub async fn holders(&self) -> Result<Holders, StoreError> {
        let accounts = "SELECT COUNT(*) FROM jami_accounts WHERE detached IS NULL";
        let devices = "SELECT COUNT(*) FROM jami_devices WHERE revoked IS NULL";
        Ok(Holders {
            accounts: sqlx::query_scalar(accounts).fetch_one(&self.reader).await?,
            devices: sqlx::query_scalar(devices).fetch_one(&self.reader).await?,
        })
    }

    /// The certificate (DER) and the sealed key of an account.
    pub async fn sealed_account(&self, id: &str) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        let row = sqlx::query("SELECT certificate, sealed FROM jami_accounts WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| Ok((bytes(&row, "certificate")?, bytes(&row, "sealed")?))).transpose()
    }

    /// `None` where the issuer did not issue it.
    pub async fn standing(&self, issuer: &str, serial: &str) -> Result<Option<Standing>, StoreError> {
        let row = sqlx::query("SELECT revoked, reason FROM jami_certificates WHERE issuer = $1 AND serial = $2")
            .bind(issuer)
            .bind(serial)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| Ok(Standing { revoked: row.try_get("revoked")?, reason: row.try_get("reason")? })).transpose()
    }

    /// What a list of this issuer has to hold: the revoked certificates that end after `since`, in the order of their serials.
    pub async fn revoked(&self, issuer: &str, since: i64) -> Result<Vec<RevokedCertificate>, StoreError> {
        let rows = sqlx::query(
            "SELECT serial, revoked, reason FROM jami_certificates \
             WHERE issuer = $1 AND revoked IS NOT NULL AND not_after > $2 ORDER BY serial",
        )
        .bind(issuer)
        .bind(since)
        .fetch_all(&self.reader)
        .await?;
        let line = |row: &AnyRow| {
            let (serial, revoked, reason) = (row.try_get("serial")?, row.try_get("revoked")?, row.try_get("reason")?);
            Ok(RevokedCertificate { serial, revoked, reason })
        };
        rows.iter().map(line).collect()
    }

    /// The newest list without its DER: what tells whether it still counts.
    pub async fn list_head(&self, issuer: &str) -> Result<Option<KeptList>, StoreError> {
        let row = sqlx::query("SELECT number, next_update, stale FROM jami_revocation_lists WHERE issuer = $1")
            .bind(issuer)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            let (number, next_update) = (row.try_get("number")?, row.try_get("next_update")?);
            Ok(KeptList { number, list: Vec::new(), next_update, stale: row.try_get("stale")? })
        })
        .transpose()
    }

    /// `None` before there is a first one.
    pub async fn kept_list(&self, issuer: &str) -> Result<Option<KeptList>, StoreError> {
        let row = sqlx::query("SELECT number, list, next_update, stale FROM jami_revocation_lists WHERE issuer = $1")
            .bind(issuer)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            let (number, next_update) = (row.try_get("number")?, row.try_get("next_update")?);
            Ok(KeptList { number, list: bytes(&row, "list")?, next_update, stale: row.try_get("stale")? })
        })
        .transpose()
    }

    /// The same of an issuer that exists; makes its place where there is none yet.
    pub async fn revocation_list(&self, issuer: &str) -> Result<KeptList, StoreError> {
        if let Some(kept) = self.kept_list(issuer).await? {
            return Ok(kept);
        }
        // The place has to be there before the certificates are read: what is revoked from then on makes it stale.
        sqlx::query(
            "INSERT INTO jami_revocation_lists (issuer, number, list, next_update, stale) VALUES ($1, 0, '', 0, 0) \
             ON CONFLICT DO NOTHING",
        )
        .bind(issuer)
        .execute(&self.writer)
        .await?;
        self.kept_list(issuer).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Puts a list in the place of the one it follows; false where another one took that place meanwhile. `seen` are the
    /// revocations that the former one lacked: only those are in the new one for certain.
    pub async fn publish_list(&self, issuer: &str, new: &KeptList, seen: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE jami_revocation_lists SET number = $1, list = $2, next_update = $3, stale = stale - $4 \
             WHERE issuer = $5 AND number = $6",
        )
        .bind(new.number)
        .bind(STANDARD.encode(&new.list))
        .bind(new.next_update)
        .bind(seen)
        .bind(issuer)
        .bind(new.number - 1)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

/// Revokes every certificate of this subject, an account or a device; how many there were. The lists of their issuers are
/// stale from the commit on.
pub(super) async fn revoke_certificates(
    work: &mut Transaction<'static, Any>,
    subject: &str,
    reason: i64,
    now: i64,
) -> Result<u64, StoreError> {
    sqlx::query(
        "INSERT INTO jami_revocation_lists (issuer, number, list, next_update, stale) \
         SELECT DISTINCT issuer, 0, '', 0, 1 FROM jami_certificates WHERE subject = $1 AND revoked IS NULL \
         ON CONFLICT (issuer) DO UPDATE SET stale = jami_revocation_lists.stale + 1",
    )
    .bind(subject)
    .execute(&mut **work)
    .await?;
    let done =
        sqlx::query("UPDATE jami_certificates SET revoked = $1, reason = $2 WHERE subject = $3 AND revoked IS NULL")
            .bind(now)
            .bind(reason)
            .bind(subject)
            .execute(&mut **work)
            .await?;
    Ok(done.rows_affected())
}

fn bytes(row: &AnyRow, column: &str) -> Result<Vec<u8>, StoreError> {
    let text: String = row.try_get(column)?;
    Ok(STANDARD.decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
