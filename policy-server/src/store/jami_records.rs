//! What the devices of a Jami account share.

use sqlx::{Any, Executor, Row};

use super::{Store, StoreError};
use crate::device::merge::{Record, Records};

const READ: &str = "SELECT id, record FROM jami_records WHERE account = $1 AND kind = $2";
const WRITE: &str = "INSERT INTO jami_records (account, kind, id, record) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (account, kind, id) DO UPDATE SET record = excluded.record";
/// Changes nothing, and holds the row until the transaction ends: two devices of one account come one after the other.
const LOCK: &str = "UPDATE jami_accounts SET id = id WHERE id = $1";

impl Store {
    pub async fn jami_records(&self, account: &str, kind: &str) -> Result<Records, StoreError> {
        read(&self.reader, account, kind).await
    }

    /// Changes the records of an account, one caller after the other; `change` says which it changed. `None` where there
    /// is no such account.
    pub async fn change_jami_records<E: Send>(
        &self,
        account: &str,
        kind: &str,
        change: impl FnOnce(&mut Records) -> Result<Vec<String>, E> + Send,
    ) -> Result<Option<Result<Records, E>>, StoreError> {
        let mut work = self.begin().await?;
        if sqlx::query(LOCK).bind(account).execute(&mut *work).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let mut records = read(&mut *work, account, kind).await?;
        let changed = match change(&mut records) {
            Ok(changed) => changed,
            Err(error) => return Ok(Some(Err(error))),
        };
        for id in &changed {
            let Some(record) = records.get(id) else { continue };
            let record = serde_json::to_string(record).map_err(corrupt)?;
            sqlx::query(WRITE).bind(account).bind(kind).bind(id).bind(record).execute(&mut *work).await?;
        }
        self.commit(work, &[]).await?;
        Ok(Some(Ok(records)))
    }
}

async fn read(executor: impl Executor<'_, Database = Any>, account: &str, kind: &str) -> Result<Records, StoreError> {
    let rows = sqlx::query(READ).bind(account).bind(kind).fetch_all(executor).await?;
    let record = |text: String| serde_json::from_str::<Record>(&text).map_err(corrupt);
    rows.iter().map(|row| Ok((row.try_get("id")?, record(row.try_get("record")?)?))).collect()
}

fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt("what the devices of an account share", error)
}
