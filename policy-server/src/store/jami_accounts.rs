//! Jami accounts: whose they are and whether their people stand behind them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared_proto::event::Change;
use sqlx::any::AnyRow;
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
            "SELECT a.authority, a.certificate, a.sealed, c.created, c.not_after FROM jami_accounts a \
             JOIN jami_certificates c ON c.subject = a.id AND c.certificate = a.certificate WHERE a.id = $1",
        );
        let Some(row) = row.bind(account).fetch_optional(&self.reader).await? else { return Ok(None) };
        Ok(Some(Holding {
            authority: row.try_get("authority")?,
            certificate: bytes(&row, "certificate")?,
            sealed: bytes(&row, "sealed")?,
            issued: row.try_get("created")?,
            not_after: row.try_get("not_after")?,
        }))
    }

    /// What is known of the account's person now.
    pub async fn renew_jami_subject(&self, account: &str, subject: &Subject) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE jami_accounts SET subject = $1 WHERE id = $2");
        query.bind(to_text(subject)?).bind(account).execute(&self.writer).await?;
        Ok(())
    }

    /// False where the account is not in the state it is to leave. One that does not stand has no tokens.
    pub async fn set_jami_standing(
        &self,
        account: &str,
        from: Standing,
        to: Standing,
        changes: &[Change],
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let query = "UPDATE jami_accounts SET suspended = $1 WHERE id = $2 AND suspended = $3 AND detached IS NULL";
        let done = sqlx::query(query).bind(to.code()).bind(account).bind(from.code()).execute(&mut *work).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if to != Standing::Stands {
            let query = sqlx::query("DELETE FROM jami_tokens WHERE account = $1");
            query.bind(account).execute(&mut *work).await?;
        }
        self.commit(work, changes).await?;
        Ok(true)
    }

    /// Accounts with devices whose people were not looked up for so long, which count as looked up from now on.
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
             AND a.suspended < 2 AND {LIVE_DEVICE} ORDER BY a.rechecked LIMIT $4) RETURNING {}",
            ACCOUNT.replace("a.", "")
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(now).bind(before).bind(domain).bind(limit);
        query.fetch_all(&self.writer).await?.iter().map(account).collect()
    }

    /// Binds an account to its identity, its subject and its entry, by which its person was just proved: it stands from now
    /// on. False where it is gone.
    pub async fn bind_jami_account(&self, account: &Account) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let done = sqlx::query(
            "UPDATE jami_accounts SET source = $1, source_id = $2, entry = $3, subject = $4, suspended = 0 \
             WHERE id = $5 AND detached IS NULL",
        )
        .bind(&account.identity.source)
        .bind(&account.identity.id)
        .bind(&account.entry)
        .bind(to_text(&account.subject)?)
        .bind(&account.id)
        .execute(&mut *work)
        .await?;
        let change = Change::DomainChanged { domain: account.domain.clone() };
        let is_told = account.standing != Standing::Stands;
        self.commit(work, if is_told { std::slice::from_ref(&change) } else { &[] }).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes its name from an account for ever, and revokes its devices and its certificates: those devices.
    pub async fn detach_jami_account(&self, account: &Account, now: i64) -> Result<Option<Vec<Device>>, StoreError> {
        let mut work = self.begin().await?;
        let Some(devices) = detach(&mut work, &account.id, now).await? else { return Ok(None) };
        self.commit(work, &[Change::DomainChanged { domain: account.domain.clone() }]).await?;
        Ok(Some(devices))
    }
}

/// `None` where it is detached already, or gone.
pub(super) async fn detach(
    work: &mut Transaction<'static, Any>,
    account: &str,
    now: i64,
) -> Result<Option<Vec<Device>>, StoreError> {
    let query = sqlx::query("UPDATE jami_accounts SET detached = $1 WHERE id = $2 AND detached IS NULL");
    if query.bind(now).bind(account).execute(&mut **work).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let devices = revoke_devices(work, account, None, &Reason::NAME_OF_ANOTHER, now).await?;
    revoke_certificates(work, account, Reason::NAME_OF_ANOTHER.code, now).await?;
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
