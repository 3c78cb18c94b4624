//! The register of web agents.

use shared_proto::event::Change;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};
use crate::agents::{Registered, Rights};

const COLUMNS: &str = "name, fingerprint, rights, created";

impl Store {
    /// False where an agent of this name is registered already.
    pub async fn add_agent(&self, agent: &Registered) -> Result<bool, StoreError> {
        let rights = serde_json::to_string(&agent.rights).map_err(|error| StoreError::Corrupt("an agent", error))?;
        let mut work = self.begin().await?;
        let done = sqlx::query(
            "INSERT INTO agents (name, fingerprint, rights, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(&agent.name)
        .bind(&agent.fingerprint)
        .bind(rights)
        .bind(agent.created)
        .execute(&mut *work)
        .await?;
        let added = done.rows_affected() == 1;
        self.commit(work, if added { &[Change::AgentsChanged] } else { &[] }).await?;
        Ok(added)
    }

    /// False where there was none.
    pub async fn remove_agent(&self, name: &str) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let done = sqlx::query("DELETE FROM agents WHERE name = $1").bind(name).execute(&mut *work).await?;
        let removed = done.rows_affected() == 1;
        self.commit(work, if removed { &[Change::AgentsChanged] } else { &[] }).await?;
        Ok(removed)
    }

    pub async fn agents(&self) -> Result<Vec<Registered>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM agents ORDER BY name");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.reader).await?;
        rows.iter().map(registered).collect()
    }

    /// The agent whose client certificate has this SHA-256.
    pub async fn agent_by_fingerprint(&self, fingerprint: &str) -> Result<Option<Registered>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM agents WHERE fingerprint = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(fingerprint).fetch_optional(&self.reader).await?;
        row.as_ref().map(registered).transpose()
    }
}

fn registered(row: &AnyRow) -> Result<Registered, StoreError> {
    let rights: String = row.try_get("rights")?;
    Ok(Registered {
        name: row.try_get("name")?,
        fingerprint: row.try_get("fingerprint")?,
        rights: serde_json::from_str::<Rights>(&rights).map_err(|error| StoreError::Corrupt("an agent", error))?,
        created: row.try_get("created")?,
    })
}
