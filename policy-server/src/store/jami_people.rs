//! Who has a Jami account in a security domain, by name and by id. Accounts without a name belong to nobody any more.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError};
use crate::directory::person::Name;

const COLUMNS: &str = "id, user_name, user_key, source, source_id";
/// Names that are asked for at once.
const CHUNK: usize = 200;

/// Who has an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Of the account: the Jami ID.
    pub id: String,
    pub user: String,
    /// What the name is compared by.
    pub key: String,
    /// Class of the login module that knows the person.
    pub source: String,
    /// What that knows the person by for ever, where it has such a thing.
    pub source_id: String,
}

impl Store {
    pub async fn jami_holder(&self, domain: &str, name: &Name) -> Result<Option<Holder>, StoreError> {
        self.jami_holder_where("user_key", domain, name.key()).await
    }

    pub async fn jami_holder_of(&self, domain: &str, id: &str) -> Result<Option<Holder>, StoreError> {
        self.jami_holder_where("id", domain, id).await
    }

    async fn jami_holder_where(
        &self,
        column: &'static str,
        domain: &str,
        value: &str,
    ) -> Result<Option<Holder>, StoreError> {
        let query =
            format!("SELECT {COLUMNS} FROM jami_accounts WHERE domain = $1 AND {column} = $2 AND detached IS NULL");
        let row = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(value).fetch_optional(&self.reader).await?;
        row.as_ref().map(holder).transpose()
    }

    /// Of people with these names, those whose account is good.
    pub async fn jami_holders(&self, domain: &str, names: &[Name]) -> Result<Vec<Holder>, StoreError> {
        let mut holders = Vec::new();
        for names in names.chunks(CHUNK) {
            let places: Vec<String> = (2..names.len() + 2).map(|place| format!("${place}")).collect();
            let query = format!(
                "SELECT {COLUMNS} FROM jami_accounts WHERE domain = $1 AND user_key IN ({}) AND detached IS NULL \
                 AND suspended = 0",
                places.join(", ")
            );
            let query = sqlx::query(AssertSqlSafe(query)).bind(domain);
            let query = names.iter().fold(query, |query, name| query.bind(name.key()));
            let rows = query.fetch_all(&self.reader).await?;
            holders.extend(rows.iter().map(holder).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(holders)
    }

    /// A page of all whose account is good, in the order of their names, and how many there are.
    pub async fn all_jami_holders(
        &self,
        domain: &str,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<Holder>, u64), StoreError> {
        const GOOD: &str = "FROM jami_accounts WHERE domain = $1 AND detached IS NULL AND suspended = 0";
        let total = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) AS total {GOOD}")));
        let total: i64 = total.bind(domain).fetch_one(&self.reader).await?.try_get("total")?;
        let page = format!("SELECT {COLUMNS} {GOOD} ORDER BY user_key LIMIT $2 OFFSET $3");
        let rows = sqlx::query(AssertSqlSafe(page))
            .bind(domain)
            .bind(i64::from(limit))
            .bind(i64::try_from(offset).unwrap_or(i64::MAX))
            .fetch_all(&self.reader)
            .await?;
        Ok((rows.iter().map(holder).collect::<Result<_, _>>()?, u64::try_from(total).unwrap_or(0)))
    }
}

fn holder(row: &AnyRow) -> Result<Holder, StoreError> {
    Ok(Holder {
        id: row.try_get("id")?,
        user: row.try_get("user_name")?,
        key: row.try_get("user_key")?,
        source: row.try_get("source")?,
        source_id: row.try_get("source_id")?,
    })
}

#[cfg(test)]
impl Store {
    /// An account with nothing but its row, in the domain `system`.
    pub(crate) async fn put_jami_account(&self, id: &str, user: &str) {
        let name: Name = user.parse().unwrap();
        sqlx::query(
            "INSERT INTO jami_accounts (id, domain, user_name, user_key, source, source_id, entry, subject, authority, \
             certificate, sealed, created, rechecked, suspended) \
             VALUES ($1, 'system', $2, $3, 'source', '', 'http', '', '', '', '', 0, 0, 0)",
        )
        .bind(id)
        .bind(user)
        .bind(name.key())
        .execute(&self.writer)
        .await
        .unwrap();
    }

    /// Sets a column of an account to what the text says in SQL.
    pub(crate) async fn set_jami_account(&self, id: &str, column: &str, value: &str) {
        let query = format!("UPDATE jami_accounts SET {column} = {value} WHERE id = $1");
        sqlx::query(AssertSqlSafe(query)).bind(id).execute(&self.writer).await.unwrap();
    }
}
