//! Jami accounts: whose they are and whether their people stand behind them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared_proto::event::Change;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::jami_devices::{Reason, revoke_devices};
use super::revocation::revoke_certificates;
use super::{Store, StoreError};
use crate::auth::subject::Subject;
use crate::device::{Account, Device, Holding, Identity, Standing};

/// The columns of an account `a`, under names of their own.
pub(super) const ACCOUNT: &str = "a.id AS a_id, a.domain AS a_domain, a.user_name AS a_user, a.source AS a_source, \
                                  a.source_id AS a_source_id, a.entry AS a_entry, a.subject AS a_subject, \
                                  a.created AS a_created, a.rechecked AS a_rechecked, a.suspended AS a_suspended, \
                                  a.detached AS a_detached";
const LIVE_DEVICE: &str = "EXISTS (SELECT 1 FROM jami_devices d WHERE d.account = a.id AND d.revoked IS NULL)";

/// What an account has to be still, for what was decided by it to count.
const UNCHANGED: &str = "id = $1 AND user_name = $2 AND source = $3 AND source_id = $4 AND subject = $5 \
                         AND suspended = $6 AND detached IS NULL";
/// In the place of a [`Standing::code`], of a detached account: it was revoked, and does not come back.
const REVOKED: i64 = 3;

/// A statement with a condition [`UNCHANGED`].
fn unchanged(query: AssertSqlSafe<String>, was: &Account) -> Result<Query<'static, Any, AnyArguments>, StoreError> {
    let query = sqlx::query(query).bind(was.id.clone()).bind(was.user.clone());
    let query = query.bind(was.identity.source.clone()).bind(was.identity.id.clone());
    Ok(query.bind(to_text(&was.subject)?).bind(was.standing.code()))
}

impl Store {
    pub async fn jami_account(&self, id: &str) -> Result<Option<Account>, StoreError> {
        let query = format!("SELECT {ACCOUNT} FROM jami_accounts a WHERE a.id = $1");
        let query = sqlx::query(AssertSqlSafe(query)).bind(id);
        query.fetch_optional(&self.reader).await?.as_ref().map(account).transpose()
    }

    /// The account that has this name, by what names are compared by.
    pub async fn jami_account_by_name(&self, domain: &str, key: &str) -> Result<Option<Account>, StoreError> {
        let query = format!(
            "SELECT {ACCOUNT} FROM jami_accounts a WHERE a.domain = $1 AND a.user_key = $2 AND a.detached IS NULL"
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(key);
        query.fetch_optional(&self.reader).await?.as_ref().map(account).transpose()
    }

    /// The newest account with a name that is bound to this id.
    pub async fn jami_account_by_identity(
        &self,
        domain: &str,
        identity: &Identity,
    ) -> Result<Option<Account>, StoreError> {
        let query = format!(
            "SELECT {ACCOUNT} FROM jami_accounts a WHERE a.domain = $1 AND a.source = $2 AND a.source_id = $3 \
             AND a.detached IS NULL ORDER BY a.created DESC, a.id LIMIT 1"
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(&identity.source).bind(&identity.id);
        query.fetch_optional(&self.reader).await?.as_ref().map(account).transpose()
    }

    /// Whether the key of this id (SHA-1 of it, in hexadecimal) is that of an account or of an organisation CA.
    pub async fn is_jami_key(&self, id: &str) -> Result<bool, StoreError> {
        let query =
            "SELECT id FROM jami_accounts WHERE id = $1 UNION ALL SELECT id FROM jami_authorities WHERE id = $1";
        Ok(sqlx::query(query).bind(id).fetch_optional(&self.reader).await?.is_some())
    }

    /// The key and the certificate of an account; `None` where the certificate is not among those that were issued.
    pub async fn jami_holding(&self, account: &str) -> Result<Option<Holding>, StoreError> {
        let row = sqlx::query(
            "SELECT a.authority, a.certificate, a.sealed, c.created, COALESCE(c.revoked, c.not_after) AS not_after \
             FROM jami_accounts a JOIN jami_certificates c ON c.subject = a.id AND c.certificate = a.certificate WHERE a.id = $1",
        );
        let Some(row) = row.bind(account).fetch_optional(&self.reader).await? else { return Ok(None) };
        Ok(Some(Holding {
            authority: row.try_get("authority")?,
            certificate: bytes(&row, "certificate")?,
            sealed: bytes(&row, "sealed")?,
            issued: row.try_get("created")?,
            // One that is revoked has ended.
            not_after: row.try_get("not_after")?,
        }))
    }

    /// What is known of the account's person now. False where the account is not what it was when that was found out.
    pub async fn renew_jami_subject(&self, was: &Account, subject: &Subject) -> Result<bool, StoreError> {
        let query = format!("UPDATE jami_accounts SET subject = $7 WHERE {UNCHANGED}");
        let query = unchanged(AssertSqlSafe(query), was)?.bind(to_text(subject)?);
        Ok(query.execute(&self.writer).await?.rows_affected() == 1)
    }

    /// False where the account is not what it was when this was decided. One that does not stand has no tokens.
    pub async fn set_jami_standing(&self, was: &Account, to: Standing, changes: &[Change]) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let query = format!("UPDATE jami_accounts SET suspended = $7 WHERE {UNCHANGED}");
        let done = unchanged(AssertSqlSafe(query), was)?.bind(to.code()).execute(&mut *work).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if to != Standing::Stands {
            let query = sqlx::query("DELETE FROM jami_tokens WHERE account = $1");
            query.bind(&was.id).execute(&mut *work).await?;
        }
        self.commit(work, changes).await?;
        Ok(true)
    }

    /// Accounts whose people were not looked up for so long, which count as looked up from now on: those with devices, and
    /// those whose source has no ids, so that nobody inherits the contacts of somebody who went without anybody noticing.
    pub async fn take_unchecked_accounts(
        &self,
        domain: &str,
        before: i64,
        now: i64,
        limit: i64,
    ) -> Result<Vec<Account>, StoreError> {
        // Those that were seen gone wait for an administrator.
        let query = format!(
            "UPDATE jami_accounts SET rechecked = $1 WHERE rechecked <= $2 AND id IN \
             (SELECT a.id FROM jami_accounts a WHERE a.domain = $3 AND a.rechecked <= $2 AND a.detached IS NULL \
             AND a.suspended < 2 AND (a.source_id = '' OR {LIVE_DEVICE}) ORDER BY a.rechecked LIMIT $4) RETURNING {}",
            ACCOUNT.replace("a.", "")
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(now).bind(before).bind(domain).bind(limit);
        query.fetch_all(&self.writer).await?.iter().map(account).collect()
    }

    /// The accounts that have a name, and a source without ids, and were not seen gone.
    pub async fn jami_accounts_without_ids(&self, domain: &str) -> Result<Vec<Account>, StoreError> {
        let query = format!(
            "SELECT {ACCOUNT} FROM jami_accounts a WHERE a.domain = $1 AND a.source_id = '' AND a.detached IS NULL \
             AND a.suspended < 2"
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(domain);
        query.fetch_all(&self.reader).await?.iter().map(account).collect()
    }

    /// Binds an account to its identity, its subject and its entry, by which its person was just proved: it stands from now
    /// on. False where it is not what it was any more.
    pub async fn bind_jami_account(&self, was: &Account, account: &Account) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let query = format!(
            "UPDATE jami_accounts SET source = $7, source_id = $8, entry = $9, subject = $10, suspended = 0 \
             WHERE {UNCHANGED}"
        );
        let done = unchanged(AssertSqlSafe(query), was)?
            .bind(&account.identity.source)
            .bind(&account.identity.id)
            .bind(&account.entry)
            .bind(to_text(&account.subject)?)
            .execute(&mut *work)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let change = Change::DomainChanged { domain: was.domain.clone() };
        let is_told = was.standing != Standing::Stands;
        self.commit(work, if is_told { std::slice::from_ref(&change) } else { &[] }).await?;
        Ok(true)
    }

    /// The account that lost this name last, unless it was revoked.
    pub async fn jami_account_that_was(&self, domain: &str, key: &str) -> Result<Option<Account>, StoreError> {
        let query = format!(
            "SELECT {ACCOUNT} FROM jami_accounts a WHERE a.domain = $1 AND a.user_key = $2 AND a.detached IS NOT NULL \
             AND a.suspended < $3 ORDER BY a.detached DESC, a.created DESC, a.id LIMIT 1"
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(key).bind(REVOKED);
        query.fetch_optional(&self.reader).await?.as_ref().map(account).transpose()
    }

    /// Gives it the name again, where nobody has it now: as one whose person is not there. Its devices stay revoked, and so
    /// does its certificate: the next device that enrols brings another one.
    pub async fn attach_jami_account(&self, was: &Account) -> Result<Option<Account>, StoreError> {
        let query = format!(
            "UPDATE jami_accounts SET detached = NULL, suspended = 1 WHERE id = $1 AND detached IS NOT NULL \
             AND suspended < $2 AND NOT EXISTS (SELECT 1 FROM jami_accounts b WHERE b.domain = jami_accounts.domain \
             AND b.user_key = jami_accounts.user_key AND b.detached IS NULL) RETURNING {}",
            ACCOUNT.replace("a.", "")
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(&was.id).bind(REVOKED);
        query.fetch_optional(&self.writer).await?.as_ref().map(account).transpose()
    }

    /// Ends an account for ever, with its certificate and its devices: those devices. Nobody has its name any more.
    pub async fn revoke_jami_account(
        &self,
        account: &Account,
        reason: &Reason<'_>,
        now: i64,
    ) -> Result<Option<Vec<Device>>, StoreError> {
        let mut work = self.begin().await?;
        let Some(devices) = detach(&mut work, &account.id, reason, now).await? else { return Ok(None) };
        let query = sqlx::query("UPDATE jami_accounts SET suspended = $1 WHERE id = $2");
        query.bind(REVOKED).bind(&account.id).execute(&mut *work).await?;
        self.commit(work, &[Change::DomainChanged { domain: account.domain.clone() }]).await?;
        Ok(Some(devices))
    }

    /// Takes its name from an account for ever, and revokes its devices and its certificates: those devices.
    pub async fn detach_jami_account(&self, account: &Account, now: i64) -> Result<Option<Vec<Device>>, StoreError> {
        let mut work = self.begin().await?;
        let Some(devices) = detach(&mut work, &account.id, &Reason::NAME_OF_ANOTHER, now).await? else {
            return Ok(None);
        };
        self.commit(work, &[Change::DomainChanged { domain: account.domain.clone() }]).await?;
        Ok(Some(devices))
    }
}

/// `None` where it is detached already, or gone.
pub(super) async fn detach(
    work: &mut Transaction<'static, Any>,
    account: &str,
    reason: &Reason<'_>,
    now: i64,
) -> Result<Option<Vec<Device>>, StoreError> {
    let query = sqlx::query("UPDATE jami_accounts SET detached = $1 WHERE id = $2 AND detached IS NULL");
    if query.bind(now).bind(account).execute(&mut **work).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let devices = revoke_devices(work, account, None, reason, now).await?;
    revoke_certificates(work, account, reason.code, now).await?;
    let query = sqlx::query("DELETE FROM jami_tokens WHERE account = $1");
    query.bind(account).execute(&mut **work).await?;
    Ok(Some(devices))
}

/// From the columns of [`ACCOUNT`].
pub(super) fn account(row: &AnyRow) -> Result<Account, StoreError> {
    let subject: String = row.try_get("a_subject")?;
    Ok(Account {
        id: row.try_get("a_id")?,
        domain: row.try_get("a_domain")?,
        user: row.try_get("a_user")?,
        identity: Identity { source: row.try_get("a_source")?, id: row.try_get("a_source_id")? },
        entry: row.try_get("a_entry")?,
        subject: serde_json::from_str(&subject).map_err(|error| StoreError::Corrupt("a Jami account", error))?,
        standing: Standing::of(row.try_get("a_suspended")?, row.try_get("a_detached")?),
        created: row.try_get("a_created")?,
        rechecked: row.try_get("a_rechecked")?,
    })
}

pub(super) fn to_text(subject: &Subject) -> Result<String, StoreError> {
    serde_json::to_string(subject).map_err(|error| StoreError::Corrupt("a Jami account", error))
}

/// What is kept as base64.
pub(super) fn bytes(row: &AnyRow, column: &str) -> Result<Vec<u8>, StoreError> {
    let text: String = row.try_get(column)?;
    Ok(STANDARD.decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
