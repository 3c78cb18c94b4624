//! Writing an enrolment down: wholly or not at all, and only where nothing it rests on has changed meanwhile.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared_proto::event::Change;
use sqlx::{Any, Row, Transaction};

use super::jami_accounts::{detach, to_text};
use super::jami_devices::Reason;
use super::{Store, StoreError};
use crate::device::{Account, Device, Holding, Standing};
use crate::pki::Issued;

/// Devices of an account within a day, revoked ones among them: so many times those it may have, and never more than this.
const QUOTAS_A_DAY: u32 = 5;
const MOST_A_DAY: u32 = 1_000;
const DAY: i64 = 86_400;

/// All that an enrolment changes.
pub struct Enrolment<'a> {
    /// As it is to be from now on.
    pub account: &'a Account,
    /// What names are compared by.
    pub key: &'a str,
    pub holding: &'a Holding,
    /// The certificate of the account, where it is a new one.
    pub account_certificate: Option<&'a Issued>,
    /// What the account was when this was decided; `None` where there was none.
    pub was: Option<(&'a Account, &'a Holding)>,
    /// The account of another person that had the name.
    pub loses_name: Option<&'a Account>,
    pub device: &'a Device,
    /// SHA-1 of the device's public key, in hexadecimal.
    pub short_id: &'a str,
    pub is_new_device: bool,
    /// The certificate of the device, where it is a new one, and the serial of the one it had.
    pub device_certificate: Option<(&'a Issued, Option<&'a str>)>,
    /// Devices that an account may have.
    pub quota: u32,
    pub now: i64,
}

/// What came of it.
#[derive(Debug)]
pub enum Enrolled {
    /// With the devices that were revoked, of the account that lost the name.
    Done(Vec<Device>),
    /// Something that it was decided by is not so any more: decide again.
    Changed,
    TooMany,
}

impl Store {
    /// Writes an enrolment down.
    pub async fn enrol(&self, enrolment: &Enrolment<'_>) -> Result<Enrolled, StoreError> {
        match self.enrol_once(enrolment).await {
            // Another one was quicker with the same name, device or number.
            Err(StoreError::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
                Ok(Enrolled::Changed)
            }
            result => result,
        }
    }

    async fn enrol_once(&self, enrolment: &Enrolment<'_>) -> Result<Enrolled, StoreError> {
        let Enrolment { account, now, .. } = *enrolment;
        let mut work = self.begin().await?;
        let mut revoked = Vec::new();
        if let Some(other) = enrolment.loses_name {
            let Some(devices) = detach(&mut work, &other.id, &Reason::NAME_OF_ANOTHER, now).await? else {
                return Ok(Enrolled::Changed);
            };
            revoked = devices;
        }
        let written = match enrolment.was {
            Some(was) => update_account(&mut work, enrolment, was).await?,
            None => add_account(&mut work, enrolment).await?,
        };
        // Whoever enrols a device of this account meanwhile waits from here on.
        if !written {
            return Ok(Enrolled::Changed);
        }
        if let Some(issued) = enrolment.account_certificate {
            add_certificate(&mut work, &enrolment.holding.authority, &account.id, issued, now).await?;
        }
        match enrolment.is_new_device {
            true if count(&mut work, &account.id).await? >= i64::from(enrolment.quota) => {
                return Ok(Enrolled::TooMany);
            }
            true if is_too_often(&mut work, enrolment).await? => return Ok(Enrolled::TooMany),
            true => add_device(&mut work, enrolment).await?,
            false if !update_device(&mut work, enrolment).await? => return Ok(Enrolled::Changed),
            false => {}
        }
        if let Some((issued, former)) = enrolment.device_certificate {
            if newest(&mut work, enrolment).await?.as_deref() != former {
                return Ok(Enrolled::Changed);
            }
            add_certificate(&mut work, &account.id, &enrolment.device.id, issued, now).await?;
        }
        let was_suspended = enrolment.was.is_some_and(|(was, _)| was.standing != Standing::Stands);
        let change = Change::DomainChanged { domain: account.domain.clone() };
        let is_told = was_suspended || enrolment.loses_name.is_some();
        self.commit(work, if is_told { std::slice::from_ref(&change) } else { &[] }).await?;
        Ok(Enrolled::Done(revoked))
    }
}

async fn add_account(work: &mut Transaction<'static, Any>, enrolment: &Enrolment<'_>) -> Result<bool, StoreError> {
    let Enrolment { account, holding, key, .. } = *enrolment;
    sqlx::query(
        "INSERT INTO jami_accounts (id, domain, user_name, user_key, source, source_id, entry, subject, authority, \
         certificate, sealed, created, rechecked, suspended, detached) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 0, NULL)",
    )
    .bind(&account.id)
    .bind(&account.domain)
    .bind(&account.user)
    .bind(key)
    .bind(&account.identity.source)
    .bind(&account.identity.id)
    .bind(&account.entry)
    .bind(to_text(&account.subject)?)
    .bind(&holding.authority)
    .bind(STANDARD.encode(&holding.certificate))
    .bind(STANDARD.encode(&holding.sealed))
    .bind(account.created)
    .execute(&mut **work)
    .await?;
    Ok(true)
}

/// False where it is not what it was any more.
async fn update_account(
    work: &mut Transaction<'static, Any>,
    enrolment: &Enrolment<'_>,
    (was, held): (&Account, &Holding),
) -> Result<bool, StoreError> {
    let Enrolment { account, holding, key, now, .. } = *enrolment;
    let done = sqlx::query(
        "UPDATE jami_accounts SET user_name = $1, user_key = $2, source = $3, source_id = $4, entry = $5, subject = $6, \
         authority = $7, certificate = $8, rechecked = $9, suspended = 0 WHERE id = $10 AND user_name = $11 \
         AND source = $12 AND source_id = $13 AND certificate = $14 AND suspended = $15 AND subject = $16 \
         AND detached IS NULL",
    )
    .bind(&account.user)
    .bind(key)
    .bind(&account.identity.source)
    .bind(&account.identity.id)
    .bind(&account.entry)
    .bind(to_text(&account.subject)?)
    .bind(&holding.authority)
    .bind(STANDARD.encode(&holding.certificate))
    .bind(now)
    .bind(&was.id)
    .bind(&was.user)
    .bind(&was.identity.source)
    .bind(&was.identity.id)
    .bind(STANDARD.encode(&held.certificate))
    .bind(was.standing.code())
    .bind(to_text(&was.subject)?)
    .execute(&mut **work)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn count(work: &mut Transaction<'static, Any>, account: &str) -> Result<i64, StoreError> {
    let query = sqlx::query("SELECT COUNT(*) AS total FROM jami_devices WHERE account = $1 AND revoked IS NULL");
    Ok(query.bind(account).fetch_one(&mut **work).await?.try_get("total")?)
}

/// Revoked devices stay for ever: who enrols and revokes in turn must not fill the store.
async fn is_too_often(work: &mut Transaction<'static, Any>, enrolment: &Enrolment<'_>) -> Result<bool, StoreError> {
    let Enrolment { account, quota, now, .. } = *enrolment;
    let limit = quota.saturating_mul(QUOTAS_A_DAY).min(MOST_A_DAY).max(quota);
    let query = sqlx::query("SELECT COUNT(*) AS total FROM jami_devices WHERE account = $1 AND created > $2");
    let total: i64 = query.bind(&account.id).bind(now - DAY).fetch_one(&mut **work).await?.try_get("total")?;
    let is_too_often = total >= i64::from(limit);
    if is_too_often {
        tracing::warn!(user = account.user, limit, "the user has enrolled too many devices within a day");
    }
    Ok(is_too_often)
}

async fn add_device(work: &mut Transaction<'static, Any>, enrolment: &Enrolment<'_>) -> Result<(), StoreError> {
    let Enrolment { device, short_id, now, .. } = *enrolment;
    sqlx::query(
        "INSERT INTO jami_devices (id, account, short_id, name, created, last_seen, revoked, reason) \
         VALUES ($1, $2, $3, $4, $5, $5, NULL, '')",
    )
    .bind(&device.id)
    .bind(&device.account)
    .bind(short_id)
    .bind(&device.name)
    .bind(now)
    .execute(&mut **work)
    .await?;
    Ok(())
}

/// False where it was revoked, or is not this account's.
async fn update_device(work: &mut Transaction<'static, Any>, enrolment: &Enrolment<'_>) -> Result<bool, StoreError> {
    let Enrolment { device, now, .. } = *enrolment;
    let query = "UPDATE jami_devices SET name = $1, last_seen = $2 WHERE id = $3 AND account = $4 AND revoked IS NULL";
    let query = sqlx::query(query).bind(&device.name).bind(now).bind(&device.id).bind(&device.account);
    Ok(query.execute(&mut **work).await?.rows_affected() == 1)
}

/// The serial of the newest certificate that the device has.
async fn newest(work: &mut Transaction<'static, Any>, enrolment: &Enrolment<'_>) -> Result<Option<String>, StoreError> {
    let query = sqlx::query(
        "SELECT serial FROM jami_certificates WHERE subject = $1 AND issuer = $2 AND revoked IS NULL \
         ORDER BY created DESC, serial LIMIT 1",
    );
    let query = query.bind(&enrolment.device.id).bind(&enrolment.account.id);
    Ok(query.fetch_optional(&mut **work).await?.map(|row| row.try_get("serial")).transpose()?)
}

async fn add_certificate(
    work: &mut Transaction<'static, Any>,
    issuer: &str,
    subject: &str,
    issued: &Issued,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO jami_certificates (issuer, serial, subject, fingerprint, certificate, created, not_after, revoked, \
         reason) VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, 0)",
    )
    .bind(issuer)
    .bind(&issued.serial)
    .bind(subject)
    .bind(&issued.fingerprint)
    .bind(STANDARD.encode(&issued.der))
    .bind(now)
    .bind(issued.not_after)
    .execute(&mut **work)
    .await?;
    Ok(())
}
