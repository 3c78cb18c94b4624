//! Jami devices and the certificates they show. Whatever revokes one is [`revoke_devices`].

use shared_proto::event::Change;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::jami_accounts::{ACCOUNT, account, bytes};
use super::revocation::revoke_certificates;
use super::{Store, StoreError};
use crate::device::{Account, Device};
use crate::session::TokenHash;

/// The columns of a device `d`, under names of their own.
const DEVICE: &str = "d.id AS d_id, d.account AS d_account, d.name AS d_name, d.created AS d_created, \
                      d.last_seen AS d_last_seen, d.revoked AS d_revoked, d.reason AS d_reason";

/// Why a device is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    pub text: &'a str,
    /// A CRLReason (RFC 5280, section 5.3.1).
    pub code: i64,
}

impl<'a> Reason<'a> {
    /// Those of RFC 5280 that can be true here.
    const CODES: [(&'static str, i64); 5] = [
        ("key-compromise", 1),
        ("affiliation-changed", 3),
        ("superseded", 4),
        ("cessation-of-operation", 5),
        ("privilege-withdrawn", 9),
    ];
    pub const NAME_OF_ANOTHER: Reason<'static> = Reason { text: "its name belongs to another person", code: 3 };

    /// It is not to be used any more: cessationOfOperation, unless the text is the name of another code.
    pub fn out_of_use(text: &'a str) -> Self {
        let known = Self::CODES.iter().find(|(name, _)| *name == text);
        Self { text, code: known.map_or(5, |(_, code)| *code) }
    }
}

/// A certificate of a device, and whose it is.
#[derive(Debug, Clone)]
pub struct Shown {
    /// As DER.
    pub certificate: Vec<u8>,
    pub not_after: i64,
    pub revoked: Option<i64>,
    pub device: Device,
    pub account: Account,
}

/// A certificate that a device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub serial: String,
    /// As DER.
    pub certificate: Vec<u8>,
    pub issued: i64,
    pub not_after: i64,
}

impl Store {
    /// By the SHA-256 of the certificate, in hexadecimal; signed by the account that the device belongs to.
    pub async fn jami_certificate(&self, fingerprint: &str) -> Result<Option<Shown>, StoreError> {
        let query = format!(
            "SELECT c.certificate AS c_certificate, c.not_after AS c_not_after, c.revoked AS c_revoked, {DEVICE}, \
             {ACCOUNT} FROM jami_certificates c JOIN jami_devices d ON d.id = c.subject AND d.account = c.issuer \
             JOIN jami_accounts a ON a.id = d.account WHERE c.fingerprint = $1"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(fingerprint).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Shown {
            certificate: bytes(&row, "c_certificate")?,
            not_after: row.try_get("c_not_after")?,
            revoked: row.try_get("c_revoked")?,
            device: device(&row)?,
            account: account(&row)?,
        }))
    }

    pub async fn jami_device(&self, id: &str) -> Result<Option<Device>, StoreError> {
        let query = format!("SELECT {DEVICE} FROM jami_devices d WHERE d.id = $1");
        let row = sqlx::query(AssertSqlSafe(query)).bind(id).fetch_optional(&self.reader).await?;
        row.as_ref().map(device).transpose()
    }

    /// The newest certificate of a device that is not revoked, signed by this account.
    pub async fn jami_issue(&self, account: &str, device: &str) -> Result<Option<Issue>, StoreError> {
        let query = sqlx::query(
            "SELECT serial, certificate, created, not_after FROM jami_certificates \
             WHERE subject = $1 AND issuer = $2 AND revoked IS NULL ORDER BY created DESC, serial LIMIT 1",
        );
        let Some(row) = query.bind(device).bind(account).fetch_optional(&self.reader).await? else { return Ok(None) };
        Ok(Some(Issue {
            serial: row.try_get("serial")?,
            certificate: bytes(&row, "certificate")?,
            issued: row.try_get("created")?,
            not_after: row.try_get("not_after")?,
        }))
    }

    /// The devices of an account, revoked ones too, oldest first.
    pub async fn jami_devices(&self, account: &str) -> Result<Vec<Device>, StoreError> {
        let query = format!("SELECT {DEVICE} FROM jami_devices d WHERE d.account = $1 ORDER BY d.created, d.id");
        let rows = sqlx::query(AssertSqlSafe(query)).bind(account).fetch_all(&self.reader).await?;
        rows.iter().map(device).collect()
    }

    /// Devices of everybody, or of one user of a security domain or of all, with their accounts.
    pub async fn all_jami_devices(
        &self,
        domain: Option<&str>,
        user: Option<&str>,
    ) -> Result<Vec<(Device, Account)>, StoreError> {
        let query = format!(
            "SELECT {DEVICE}, {ACCOUNT} FROM jami_devices d JOIN jami_accounts a ON a.id = d.account \
             WHERE ($1 IS NULL OR a.domain = $1) AND ($2 IS NULL OR a.user_key = $2) \
             ORDER BY a.domain, a.user_key, a.created, d.created, d.id"
        );
        let rows = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(user).fetch_all(&self.reader).await?;
        rows.iter().map(|row| Ok((device(row)?, account(row)?))).collect()
    }

    /// The device was there at this time; what was written down up to `known` stays.
    pub async fn see_jami_device(&self, id: &str, known: i64, now: i64) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE jami_devices SET last_seen = $1 WHERE id = $2 AND last_seen <= $3");
        query.bind(now).bind(id).bind(known).execute(&self.writer).await?;
        Ok(())
    }

    /// Revokes a device of this account, with its certificates and tokens, and the tokens that were given for the person's
    /// password, save that of the one who asks; `None` where there is none that is not revoked.
    pub async fn revoke_jami_device(
        &self,
        account: &Account,
        device: &str,
        reason: &Reason<'_>,
        asker: Option<&TokenHash>,
        now: i64,
    ) -> Result<Option<Device>, StoreError> {
        let mut work = self.begin().await?;
        let devices = revoke_devices(&mut work, &account.id, Some(device), reason, now).await?;
        let Some(revoked) = devices.into_iter().next() else { return Ok(None) };
        sqlx::query("DELETE FROM jami_tokens WHERE account = $1 AND device = '' AND token_hash <> $2")
            .bind(&account.id)
            .bind(asker.map_or("", TokenHash::as_str))
            .execute(&mut *work)
            .await?;
        self.commit(work, &[Change::DomainChanged { domain: account.domain.clone() }]).await?;
        Ok(Some(revoked))
    }
}

/// Revokes a device of this account, or all of them, as a part of this work: with all their certificates, which the next list
/// of the account names, and without their tokens. Those that were not revoked before.
pub(super) async fn revoke_devices(
    work: &mut Transaction<'static, Any>,
    account: &str,
    device_id: Option<&str>,
    reason: &Reason<'_>,
    now: i64,
) -> Result<Vec<Device>, StoreError> {
    let one = if device_id.is_some() { "AND d.id = $4" } else { "" };
    let query = format!(
        "UPDATE jami_devices AS d SET revoked = $2, reason = $3 WHERE d.account = $1 {one} AND d.revoked IS NULL \
         RETURNING {}",
        DEVICE.replace("d.", "")
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(account).bind(now).bind(reason.text);
    let query = device_id.into_iter().fold(query, |query, id| query.bind(id));
    let rows = query.fetch_all(&mut **work).await?;
    let devices: Vec<Device> = rows.iter().map(device).collect::<Result<_, _>>()?;
    for Device { id, .. } in &devices {
        revoke_certificates(work, id, reason.code, now).await?;
        sqlx::query("DELETE FROM jami_tokens WHERE device = $1").bind(id).execute(&mut **work).await?;
    }
    Ok(devices)
}

/// From the columns of [`DEVICE`].
pub(super) fn device(row: &AnyRow) -> Result<Device, StoreError> {
    Ok(Device {
        id: row.try_get("d_id")?,
        account: row.try_get("d_account")?,
        name: row.try_get("d_name")?,
        created: row.try_get("d_created")?,
        last_seen: row.try_get("d_last_seen")?,
        revoked: row.try_get("d_revoked")?,
        reason: row.try_get("d_reason")?,
    })
}

#[cfg(test)]
impl Store {
    /// A device that is revoked, with nothing but its row.
    pub(crate) async fn put_revoked_device(&self, id: &str, account: &str, created: i64) {
        sqlx::query(
            "INSERT INTO jami_devices (id, account, short_id, name, created, last_seen, revoked, reason) \
             VALUES ($1, $2, '', '', $3, $3, $3, '')",
        )
        .bind(id)
        .bind(account)
        .bind(created)
        .execute(&self.writer)
        .await
        .unwrap();
    }

    /// The certificates of this device end at this time.
    pub(crate) async fn end_jami_certificates(&self, device: &str, not_after: i64) {
        let query = sqlx::query("UPDATE jami_certificates SET not_after = $1 WHERE subject = $2");
        query.bind(not_after).bind(device).execute(&self.writer).await.unwrap();
    }
}
