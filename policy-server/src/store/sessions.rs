//! Sessions in the store.

use async_trait::async_trait;
use shared_proto::event::Change;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::{Store, StoreError, parked};
use crate::auth::subject::Subject;
use crate::session::{Filter, Home, Session, SessionError, SessionStore, Shown, TokenHash, Turn};

pub(super) const COLUMNS: &str = "id, domain, entry, user_name, subject, created, last_used, rechecked, ends, address, user_agent, \
                       series, remembered";

/// Tokens of a session that were handed over, in all and at one host. Browsers that come for one twice at once, in two
/// tabs, keep the last; the others serve what is under way.
const MAX_TOKENS: i64 = 64;
const MAX_TOKENS_OF_HOST: i64 = 4;

/// The token of a login may be in a cookie of several hosts, and is from where its session is.
const EVERYWHERE: Home<'_> = Home { host: "", address: "" };

#[async_trait]
impl SessionStore for Store {
    async fn insert(&self, token: &TokenHash, session: &Session) -> Result<(), SessionError> {
        let mut work = self.begin().await?;
        add(&mut work, token, session).await?;
        Ok(work.commit().await.map_err(StoreError::from)?)
    }

    async fn insert_in_turn(
        &self,
        token: &TokenHash,
        session: &Session,
        turn: &Turn<'_>,
    ) -> Result<Option<Vec<Session>>, SessionError> {
        Ok(self.add_in_turn(token, session, turn).await?)
    }

    async fn add_token(&self, token: &TokenHash, id: &str, home: &Home<'_>, now: i64) -> Result<bool, SessionError> {
        Ok(self.add_session_token(token, id, home, now).await?)
    }

    async fn find(&self, token: &TokenHash, host: &str) -> Result<Option<Shown>, SessionError> {
        Ok(self.session_shown(token, host).await?)
    }

    async fn touch(&self, id: &str, used: i64) -> Result<(), SessionError> {
        sqlx::query("UPDATE sessions SET last_used = $1 WHERE id = $2 AND last_used < $1")
            .bind(used)
            .bind(id)
            .execute(&self.writer)
            .await
            .map_err(StoreError::from)?;
        Ok(())
    }

    async fn replace_subject(&self, id: &str, old: &Subject, new: &Subject) -> Result<(), SessionError> {
        Ok(self.change_subject(id, old, new).await?)
    }

    async fn take_unchecked(
        &self,
        domain: &str,
        before: i64,
        now: i64,
        limit: i64,
    ) -> Result<Vec<Session>, SessionError> {
        let query = format!(
            "UPDATE sessions SET rechecked = $1 WHERE rechecked <= $2 AND id IN \
             (SELECT id FROM sessions WHERE domain = $3 AND rechecked <= $2 ORDER BY rechecked LIMIT $4) \
             RETURNING {COLUMNS}"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(now)
            .bind(before)
            .bind(domain)
            .bind(limit)
            .fetch_all(&self.writer)
            .await
            .map_err(StoreError::from)?;
        rows.iter().map(|row| session(row).map_err(SessionError::from)).collect()
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Session>, SessionError> {
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE ($1 IS NULL OR id = $1) AND ($2 IS NULL OR domain = $2) \
             AND ($3 IS NULL OR user_name = $3) ORDER BY created DESC, id"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(&filter.id)
            .bind(&filter.domain)
            .bind(&filter.user)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::from)?;
        rows.iter().map(|row| session(row).map_err(SessionError::from)).collect()
    }

    async fn domains(&self) -> Result<Vec<String>, SessionError> {
        let rows = sqlx::query("SELECT DISTINCT domain FROM sessions ORDER BY domain")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::from)?;
        rows.iter().map(|row| row.try_get("domain").map_err(|error| StoreError::from(error).into())).collect()
    }

    async fn delete(&self, id: &str) -> Result<bool, SessionError> {
        Ok(self.end_session(id).await?)
    }

    async fn overdue(&self, domain: &str, unused_since: i64, now: i64) -> Result<Vec<Session>, SessionError> {
        let query = format!("SELECT {COLUMNS} FROM sessions WHERE domain = $1 AND (last_used <= $2 OR ends <= $3)");
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(domain)
            .bind(unused_since)
            .bind(now)
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::from)?;
        rows.iter().map(|row| session(row).map_err(SessionError::from)).collect()
    }
}

impl Store {
    /// What a token opens at a host: of a login everywhere, of a hand-over only where it was handed over to.
    async fn session_shown(&self, token: &TokenHash, host: &str) -> Result<Option<Shown>, StoreError> {
        let query = format!(
            "SELECT {COLUMNS}, given_to FROM sessions JOIN (SELECT session_id, address AS given_to FROM session_tokens \
             WHERE token_hash = $1 AND (host = '' OR host = $2)) AS shown ON session_id = id"
        );
        let row =
            sqlx::query(AssertSqlSafe(query)).bind(token.as_str()).bind(host).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(None) };
        let (session, given_to) = (session(&row)?, row.try_get::<String, _>("given_to")?);
        let address = if given_to.is_empty() { session.address.clone() } else { given_to };
        Ok(Some(Shown { session, address }))
    }

    async fn add_session_token(
        &self,
        token: &TokenHash,
        id: &str,
        home: &Home<'_>,
        now: i64,
    ) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let lives = hold(&mut work, id).await?;
        if lives {
            make_room(&mut work, id, home.host).await?;
            write_token(&mut work, token, id, home, now).await?;
        }
        work.commit().await?;
        Ok(lives)
    }

    /// The session and the news of its end, in one transaction.
    async fn end_session(&self, id: &str) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let ended = end(&mut work, id).await?;
        let news = ended.then(|| Change::SessionEnded { session: id.to_owned() });
        self.commit(work, news.as_slice()).await?;
        Ok(ended)
    }

    /// The account and the news of it, in one transaction.
    async fn change_subject(&self, id: &str, old: &Subject, new: &Subject) -> Result<(), StoreError> {
        let mut work = self.begin().await?;
        let done = sqlx::query("UPDATE sessions SET subject = $1 WHERE id = $2 AND subject = $3")
            .bind(subject_text(new)?)
            .bind(id)
            .bind(subject_text(old)?)
            .execute(&mut *work)
            .await?;
        let news = (done.rows_affected() == 1).then(|| Change::SessionChanged { session: id.to_owned() });
        self.commit(work, news.as_slice()).await
    }
}

/// Puts a session in, as a part of this work.
pub(super) async fn add(
    work: &mut Transaction<'static, Any>,
    token: &TokenHash,
    session: &Session,
) -> Result<(), StoreError> {
    let query =
        format!("INSERT INTO sessions ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)");
    sqlx::query(AssertSqlSafe(query))
        .bind(&session.id)
        .bind(&session.domain)
        .bind(&session.entry)
        .bind(&session.subject.user)
        .bind(subject_text(&session.subject)?)
        .bind(session.created)
        .bind(session.last_used)
        .bind(session.rechecked)
        .bind(session.ends)
        .bind(&session.address)
        .bind(&session.user_agent)
        .bind(session.series.as_deref().unwrap_or_default())
        .bind(i64::from(session.remembered))
        .execute(&mut **work)
        .await?;
    write_token(work, token, &session.id, &EVERYWHERE, session.created).await?;
    Ok(())
}

/// Keeps a session until the end of this work, by an update that changes nothing. False where it has ended.
pub(super) async fn hold(work: &mut Transaction<'static, Any>, id: &str) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE sessions SET id = id WHERE id = $1").bind(id).execute(&mut **work).await?;
    Ok(done.rows_affected() == 1)
}

/// The one place where a session goes: whose it was is known for a while longer. False where it had ended already.
async fn end(work: &mut Transaction<'static, Any>, id: &str) -> Result<bool, StoreError> {
    parked::remember_owner(work, id).await?;
    let done = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id).execute(&mut **work).await?;
    Ok(done.rows_affected() == 1)
}

/// Ends those of the sessions that are there, and returns them.
pub(super) async fn end_all(
    work: &mut Transaction<'static, Any>,
    sessions: impl IntoIterator<Item = Session>,
) -> Result<Vec<Session>, StoreError> {
    let mut ended = Vec::new();
    for session in sessions {
        if end(work, &session.id).await? {
            ended.push(session);
        }
    }
    Ok(ended)
}

/// Forgets the oldest tokens that were handed over, so that one more is within the limits. That of the login stays.
async fn make_room(work: &mut Transaction<'static, Any>, id: &str, host: &str) -> Result<(), StoreError> {
    let query = "DELETE FROM session_tokens WHERE session_id = $1 AND host = $2 AND token_hash NOT IN \
                 (SELECT token_hash FROM session_tokens WHERE session_id = $1 AND host = $2 \
                 ORDER BY created DESC, token_hash LIMIT $3)";
    sqlx::query(query).bind(id).bind(host).bind(MAX_TOKENS_OF_HOST - 1).execute(&mut **work).await?;
    let query = "DELETE FROM session_tokens WHERE session_id = $1 AND host <> '' AND token_hash NOT IN \
                 (SELECT token_hash FROM session_tokens WHERE session_id = $1 AND host <> '' \
                 ORDER BY created DESC, token_hash LIMIT $2)";
    sqlx::query(query).bind(id).bind(MAX_TOKENS - 1).execute(&mut **work).await?;
    Ok(())
}

async fn write_token(
    work: &mut Transaction<'static, Any>,
    token: &TokenHash,
    id: &str,
    home: &Home<'_>,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO session_tokens (token_hash, session_id, host, address, created) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(token.as_str())
    .bind(id)
    .bind(home.host)
    .bind(home.address)
    .bind(now)
    .execute(&mut **work)
    .await?;
    Ok(())
}

/// Ends, as a part of this work, the sessions that rest on this user of a directory: `id` is the directory's own.
pub(super) async fn end_sessions_of(
    work: &mut Transaction<'static, Any>,
    domain: &str,
    user: &str,
    id: &str,
) -> Result<Vec<Session>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM sessions WHERE domain = $1 AND user_name = $2");
    let rows = sqlx::query(AssertSqlSafe(query)).bind(domain).bind(user).fetch_all(&mut **work).await?;
    let mut sessions = rows.iter().map(session).collect::<Result<Vec<_>, _>>()?;
    sessions.retain(|session| session.subject.proofs.iter().any(|proof| proof.source_id.as_deref() == Some(id)));
    end_all(work, sessions).await
}

/// The same for those that belong to a remembered browser.
pub(super) async fn end_sessions_of_series(
    work: &mut Transaction<'static, Any>,
    series: &str,
) -> Result<Vec<Session>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM sessions WHERE series = $1 AND series <> ''");
    let rows = sqlx::query(AssertSqlSafe(query)).bind(series).fetch_all(&mut **work).await?;
    let sessions = rows.iter().map(session).collect::<Result<Vec<_>, _>>()?;
    end_all(work, sessions).await
}

fn subject_text(subject: &Subject) -> Result<String, StoreError> {
    serde_json::to_string(subject).map_err(|error| StoreError::Corrupt("a session", error))
}

pub(super) fn session(row: &AnyRow) -> Result<Session, StoreError> {
    let (subject, series): (String, String) = (row.try_get("subject")?, row.try_get("series")?);
    Ok(Session {
        id: row.try_get("id")?,
        domain: row.try_get("domain")?,
        entry: row.try_get("entry")?,
        subject: serde_json::from_str(&subject).map_err(|error| StoreError::Corrupt("a session", error))?,
        created: row.try_get("created")?,
        last_used: row.try_get("last_used")?,
        rechecked: row.try_get("rechecked")?,
        ends: row.try_get("ends")?,
        address: row.try_get("address")?,
        user_agent: row.try_get("user_agent")?,
        series: Some(series).filter(|series| !series.is_empty()),
        remembered: row.try_get::<i64, _>("remembered")? != 0,
    })
}
