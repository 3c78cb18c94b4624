//! Remembered browsers in the store. Which of their cookies count is decided by the auto-login valve.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_proto::event::Change;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError, sessions};
use crate::auth::valves::auto_login::family::{Family, Generation, Rotation, Seen};
use crate::session::Session;

/// What becomes of a family that is looked at.
#[derive(Debug)]
pub enum Fate {
    Stays,
    Changes(Box<Family>),
    /// It goes, and the sessions that belong to it.
    Ends,
    /// The same, but for what tells the next holder of a cookie why.
    EndsInTheft,
}

impl Store {
    /// Adds a family for a session. False, and there is none, where that session ended meanwhile: whoever ended it wants
    /// its browser to be remembered no more.
    pub async fn add_family(&self, family: &Family, session: &str) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        // The update that changes nothing keeps the session until the commit.
        let query = "UPDATE sessions SET id = id WHERE id = $1";
        if sqlx::query(query).bind(session).execute(&mut *work).await?.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO remembered_browsers (series, domain, entry, user_name, methods, created, expires, stolen, \
             generation, since, sealed, pending, pending_since, pending_sealed, skipped) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, '', 0, 0, '', '[]')",
        )
        .bind(&family.series)
        .bind(&family.domain)
        .bind(&family.entry)
        .bind(&family.user)
        .bind(json(&family.methods)?)
        .bind(family.created)
        .bind(family.expires)
        .execute(&mut *work)
        .await?;
        write(&mut work, family).await?;
        work.commit().await?;
        Ok(true)
    }

    pub async fn family(&self, series: &str) -> Result<Option<Family>, StoreError> {
        let query = "SELECT * FROM remembered_browsers WHERE series = $1";
        let row = sqlx::query(query).bind(series).fetch_optional(&self.reader).await?;
        row.as_ref().map(family).transpose()
    }

    /// Decides about a family; nobody else changes it meanwhile, on this server or another. With the decision come the
    /// sessions it ended.
    pub async fn change_family<T>(
        &self,
        series: &str,
        decide: impl FnOnce(Option<Family>) -> (Fate, T),
    ) -> Result<(T, Vec<Session>), StoreError> {
        let mut work = self.begin().await?;
        // The update that changes nothing locks the row until the commit.
        let query = "UPDATE remembered_browsers SET series = series WHERE series = $1 RETURNING *";
        let row = sqlx::query(query).bind(series).fetch_optional(&mut *work).await?;
        let found = row.as_ref().map(family).transpose()?;
        let ended = match decide(found) {
            (Fate::Stays, value) => {
                work.commit().await?;
                return Ok((value, Vec::new()));
            }
            (Fate::Changes(family), value) => {
                write(&mut work, &family).await?;
                work.commit().await?;
                return Ok((value, Vec::new()));
            }
            (Fate::Ends, value) => {
                let query = "DELETE FROM remembered_browsers WHERE series = $1";
                sqlx::query(query).bind(series).execute(&mut *work).await?;
                (value, sessions::end_sessions_of_series(&mut work, series).await?)
            }
            (Fate::EndsInTheft, value) => {
                let query = "UPDATE remembered_browsers SET stolen = 1, sealed = '', pending = 0, pending_sealed = '' \
                             WHERE series = $1";
                sqlx::query(query).bind(series).execute(&mut *work).await?;
                (value, sessions::end_sessions_of_series(&mut work, series).await?)
            }
        };
        let news: Vec<_> = ended.1.iter().map(|session| Change::SessionEnded { session: session.id.clone() }).collect();
        self.commit(work, &news).await?;
        Ok(ended)
    }

    /// The families of a person, in this security domain or in all.
    pub async fn families_of(&self, domain: Option<&str>, user: &str) -> Result<Vec<Family>, StoreError> {
        self.families(domain, Some(user)).await
    }

    /// Those of everybody, or of one person.
    pub async fn families(&self, domain: Option<&str>, user: Option<&str>) -> Result<Vec<Family>, StoreError> {
        let query = "SELECT * FROM remembered_browsers WHERE ($1 IS NULL OR domain = $1) \
                     AND ($2 IS NULL OR user_name = $2) ORDER BY created, series";
        let rows = sqlx::query(query).bind(domain).bind(user).fetch_all(&self.reader).await?;
        rows.iter().map(family).collect()
    }

    /// Forgets what expired.
    pub async fn purge_families(&self, now: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM remembered_browsers WHERE expires <= $1").bind(now).execute(&self.writer).await?;
        Ok(())
    }
}

async fn write(work: &mut Transaction<'_, Any>, family: &Family) -> Result<(), StoreError> {
    let Rotation { current, pending, skipped } = &family.rotation;
    let Seen { at, address, user_agent } = &family.seen;
    let none = Generation { number: 0, since: 0, sealed: Vec::new() };
    let pending = pending.as_ref().unwrap_or(&none);
    sqlx::query(
        "UPDATE remembered_browsers SET generation = $2, since = $3, sealed = $4, pending = $5, pending_since = $6, \
         pending_sealed = $7, skipped = $8, seen = $9, address = $10, user_agent = $11 WHERE series = $1",
    )
    .bind(&family.series)
    .bind(current.number)
    .bind(current.since)
    .bind(STANDARD.encode(&current.sealed))
    .bind(pending.number)
    .bind(pending.since)
    .bind(STANDARD.encode(&pending.sealed))
    .bind(json(skipped)?)
    .bind(at)
    .bind(address)
    .bind(user_agent)
    .execute(&mut **work)
    .await?;
    Ok(())
}

fn family(row: &AnyRow) -> Result<Family, StoreError> {
    let sealed = |column: &str| -> Result<Vec<u8>, sqlx::Error> {
        let text: String = row.try_get(column)?;
        STANDARD.decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    let current =
        Generation { number: row.try_get("generation")?, since: row.try_get("since")?, sealed: sealed("sealed")? };
    let pending = Generation {
        number: row.try_get("pending")?,
        since: row.try_get("pending_since")?,
        sealed: sealed("pending_sealed")?,
    };
    let pending = Some(pending).filter(|pending| pending.number != 0);
    Ok(Family {
        series: row.try_get("series")?,
        domain: row.try_get("domain")?,
        entry: row.try_get("entry")?,
        user: row.try_get("user_name")?,
        methods: from_json(row, "methods")?,
        created: row.try_get("created")?,
        expires: row.try_get("expires")?,
        stolen: row.try_get::<i64, _>("stolen")? != 0,
        seen: Seen {
            at: row.try_get("seen")?,
            address: row.try_get("address")?,
            user_agent: row.try_get("user_agent")?,
        },
        rotation: Rotation { current, pending, skipped: from_json(row, "skipped")? },
    })
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt("a remembered browser", error))
}

fn from_json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Corrupt("a remembered browser", error))
}
