//! What the devices of a Jami account share.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError};
use crate::device::merge::Records;

/// Records that are written by one statement.
const AT_ONCE: usize = 500;

/// The records of one kind, as JSON.
pub struct KeptRecords {
    /// Every change of any record of the account makes it greater.
    pub revision: i64,
    records: Vec<(String, String)>,
}

impl KeptRecords {
    /// Takes its time where there are many.
    pub fn read(self) -> Result<Records, StoreError> {
        let read = |(id, text): (String, String)| Ok((id, serde_json::from_str(&text).map_err(corrupt_records)?));
        self.records.into_iter().map(read).collect()
    }
}

impl Store {
    /// `None` where there is no such account.
    pub async fn jami_records(&self, account: &str, kind: &str) -> Result<Option<KeptRecords>, StoreError> {
        // First: what is changed between the two makes it too small, and is found out when it is written.
        let revision = sqlx::query_scalar("SELECT revision FROM jami_accounts WHERE id = $1").bind(account);
        let Some(revision) = revision.fetch_optional(&self.reader).await? else { return Ok(None) };
        let rows = sqlx::query("SELECT id, record FROM jami_records WHERE account = $1 AND kind = $2");
        let rows = rows.bind(account).bind(kind).fetch_all(&self.reader).await?;
        let records = rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("record")?)));
        Ok(Some(KeptRecords { revision, records: records.collect::<Result<_, sqlx::Error>>()? }))
    }

    /// Writes these records, each an id and its JSON; false where any of the account has changed since that revision.
    pub async fn change_jami_records(
        &self,
        account: &str,
        kind: &str,
        revision: i64,
        records: &[(String, String)],
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        // Holds the row until the transaction ends: of two that saw the same, the second one is told.
        let query = sqlx::query("UPDATE jami_accounts SET revision = revision + 1 WHERE id = $1 AND revision = $2");
        if query.bind(account).bind(revision).execute(&mut *work).await?.rows_affected() == 0 {
            return Ok(false);
        }
        for records in records.chunks(AT_ONCE) {
            let statement = AssertSqlSafe(upsert(records.len()));
            let query = sqlx::query(statement).persistent(false).bind(account).bind(kind);
            let query = records.iter().fold(query, |query, (id, record)| query.bind(id).bind(record));
            query.execute(&mut *work).await?;
        }
        self.commit(work, &[]).await?;
        Ok(true)
    }
}

fn upsert(records: usize) -> String {
    let mut statement = "INSERT INTO jami_records (account, kind, id, record) VALUES ".to_owned();
    for number in 0..records {
        let separator = if number == 0 { "" } else { ", " };
        let (id, record) = (2 * number + 3, 2 * number + 4);
        // Writing to a string does not fail.
        let _ = write!(statement, "{separator}($1, $2, ${id}, ${record})");
    }
    statement + " ON CONFLICT (account, kind, id) DO UPDATE SET record = excluded.record"
}

/// Of JSON that is none.
pub fn corrupt_records(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt("what the devices of an account share", error)
}
