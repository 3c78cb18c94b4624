//! Users of the built-in directory. What somebody loses, with the sessions that rest on it and the news, is one
//! transaction.

use std::collections::BTreeSet;

use jiff::Timestamp;
use shared_proto::event::Change;
use shared_proto::secret::Secret;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::sessions::end_sessions_of;
use super::{Store, StoreError};
use crate::directory::Found;
use crate::directory::local::{LocalUser, NewUser};
use crate::directory::person::{Name, Person, Profile, fold, searchable};
use crate::session::Session;
use crate::token::{hex, random};

const COLUMNS: &str = "id, name, password, password_changed, enabled, must_change, expires, credential_expires, \
                       given_name, family_name, mail, phone, organisation, created, changed";
/// One row for each group of the user, or one without a group.
const WITH_GROUPS: &str = "SELECT u.*, g.name AS group_name, g.roles AS group_roles FROM local_users u \
                           LEFT JOIN local_members m ON m.user_id = u.id LEFT JOIN local_groups g ON g.id = m.group_id \
                           WHERE u.domain = $1 AND u.name_key = $2";
const WRITE: &str = "UPDATE local_users SET password = $1, password_changed = $2, enabled = $3, must_change = $4, \
                     expires = $5, credential_expires = $6, given_name = $7, family_name = $8, mail = $9, phone = $10, \
                     organisation = $11, searchable = $12 WHERE id = $13";
const PROFILE: &str = "given_name, family_name, mail, phone, organisation";

/// What became of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// Under this id.
    Done(String),
    /// There is one of this name.
    Exists,
    /// There is no such group.
    NoGroup(String),
}

/// What became of a user.
#[derive(Debug)]
pub struct Edited {
    /// Name as it is kept.
    pub name: String,
    /// The sessions that ended with it.
    pub ended: Vec<Session>,
}

impl Store {
    /// `password` is a digest, here and below.
    pub async fn add_local_user(
        &self,
        domain: &str,
        user: &NewUser,
        password: &Secret,
        now: i64,
    ) -> Result<Added, StoreError> {
        let id = hex(&random::<16>()?);
        let mut work = self.begin().await?;
        let query = format!(
            "INSERT INTO local_users (domain, name_key, searchable, {COLUMNS}) VALUES \
             ($1, $2, $3, $4, $5, $6, $7, 1, 0, $8, NULL, $9, $10, $11, $12, $13, $7, $7) ON CONFLICT DO NOTHING"
        );
        let profile = &user.profile;
        let done = sqlx::query(AssertSqlSafe(query))
            .bind(domain)
            .bind(user.name.key())
            .bind(searchable(user.name.text(), profile))
            .bind(&id)
            .bind(user.name.text())
            .bind(text(password))
            .bind(now)
            .bind(user.expires.map(Timestamp::as_second))
            .bind(&profile.given_name)
            .bind(&profile.family_name)
            .bind(&profile.mail)
            .bind(&profile.phone)
            .bind(&profile.organisation)
            .execute(&mut *work)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(Added::Exists);
        }
        for group in &user.groups {
            let joined = sqlx::query(
                "INSERT INTO local_members (group_id, user_id) SELECT id, $1 FROM local_groups \
                 WHERE domain = $2 AND name_key = $3 ON CONFLICT DO NOTHING",
            );
            let joined = joined.bind(&id).bind(domain).bind(group.key()).execute(&mut *work).await?;
            if joined.rows_affected() == 0 {
                return Ok(Added::NoGroup(group.to_string()));
            }
        }
        // Nobody can have been told anything about a user who was not there.
        self.commit(work, &[]).await?;
        Ok(Added::Done(id))
    }

    pub async fn local_user(&self, domain: &str, name: &Name) -> Result<Option<LocalUser>, StoreError> {
        let rows = sqlx::query(WITH_GROUPS).bind(domain).bind(name.key()).fetch_all(&self.reader).await?;
        user(&rows)
    }

    /// See [`crate::directory::UserDirectory::search`].
    pub async fn search_local_users(
        &self,
        domain: &str,
        text: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Found, StoreError> {
        let escaped = fold(text).replace('!', "!!").replace('%', "!%").replace('_', "!_");
        let pattern = format!("%{escaped}%");
        let matching = "FROM local_users WHERE domain = $1 AND searchable LIKE $2 ESCAPE '!'";
        let total = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) AS total {matching}")))
            .bind(domain)
            .bind(&pattern)
            .fetch_one(&self.reader)
            .await?;
        let page = format!("SELECT id, name, enabled, {PROFILE} {matching} ORDER BY name_key LIMIT $3 OFFSET $4");
        let rows = sqlx::query(AssertSqlSafe(page))
            .bind(domain)
            .bind(&pattern)
            .bind(i64::from(limit))
            .bind(i64::from(offset))
            .fetch_all(&self.reader)
            .await?;
        let people = rows.iter().map(person).collect::<Result<_, _>>()?;
        Ok(Found { people, total: u64::try_from(total.try_get::<i64, _>("total")?).unwrap_or(0) })
    }

    /// The digests of the last passwords, the present one first; at most so many.
    pub async fn local_passwords(&self, user: &LocalUser, count: usize) -> Result<Vec<Secret>, StoreError> {
        let rows = sqlx::query("SELECT password FROM local_former_passwords WHERE user_id = $1 ORDER BY number DESC")
            .bind(&user.person.id)
            .fetch_all(&self.reader)
            .await?;
        let former = rows.iter().map(|row| row.try_get::<String, _>("password").map(Secret::from));
        let all = std::iter::once(Ok(user.password.clone())).chain(former);
        Ok(all.take(count).collect::<Result<_, _>>()?)
    }

    /// Changes a user; `None` where there is none. Who is disabled loses every session.
    pub async fn edit_local_user(
        &self,
        domain: &str,
        name: &Name,
        now: i64,
        edit: impl FnOnce(&mut LocalUser) + Send,
    ) -> Result<Option<Edited>, StoreError> {
        let mut work = self.begin().await?;
        let Some(mut user) = lock(&mut work, domain, name, now).await? else { return Ok(None) };
        edit(&mut user);
        write(&mut work, &user).await?;
        self.finish(work, domain, user.person, |person| !person.enabled).await.map(Some)
    }

    /// A new password: it need not be changed, it has no end of its own, and every session ends. `history` is how many
    /// passwords are remembered, this one included.
    pub async fn set_local_password(
        &self,
        domain: &str,
        name: &Name,
        password: Secret,
        history: usize,
        now: i64,
    ) -> Result<Option<Edited>, StoreError> {
        let mut work = self.begin().await?;
        let Some(mut user) = lock(&mut work, domain, name, now).await? else { return Ok(None) };
        remember(&mut work, &user, history).await?;
        user.password = password;
        user.password_changed = now;
        user.must_change = false;
        user.credential_expires = None;
        write(&mut work, &user).await?;
        self.finish(work, domain, user.person, |_| true).await.map(Some)
    }

    pub async fn remove_local_user(&self, domain: &str, name: &Name, now: i64) -> Result<Option<Edited>, StoreError> {
        let mut work = self.begin().await?;
        let Some(user) = lock(&mut work, domain, name, now).await? else { return Ok(None) };
        sqlx::query("DELETE FROM local_users WHERE id = $1").bind(&user.person.id).execute(&mut *work).await?;
        self.finish(work, domain, user.person, |_| true).await.map(Some)
    }

    /// Ends the sessions where that is due, and tells. That the whole domain is told as well is for a session that is
    /// being opened meanwhile: what an agent is told of it before this is committed, it forgets.
    async fn finish(
        &self,
        mut work: Transaction<'static, Any>,
        domain: &str,
        person: Person,
        sessions_end: impl FnOnce(&Person) -> bool,
    ) -> Result<Edited, StoreError> {
        let ended = match sessions_end(&person) {
            true => end_sessions_of(&mut work, domain, &person.name, &person.id).await?,
            false => Vec::new(),
        };
        let ends = ended.iter().map(|session| Change::SessionEnded { session: session.id.clone() });
        let changes: Vec<_> = ends.chain([Change::DomainChanged { domain: domain.to_owned() }]).collect();
        self.commit(work, &changes).await?;
        Ok(Edited { name: person.name, ended })
    }
}

/// The user, whom nobody else changes until this work ends.
async fn lock(
    work: &mut Transaction<'static, Any>,
    domain: &str,
    name: &Name,
    now: i64,
) -> Result<Option<LocalUser>, StoreError> {
    sqlx::query("UPDATE local_users SET changed = $1 WHERE domain = $2 AND name_key = $3")
        .bind(now)
        .bind(domain)
        .bind(name.key())
        .execute(&mut **work)
        .await?;
    user(&sqlx::query(WITH_GROUPS).bind(domain).bind(name.key()).fetch_all(&mut **work).await?)
}

async fn write(work: &mut Transaction<'static, Any>, user: &LocalUser) -> Result<(), StoreError> {
    let Person { id, name, profile, enabled } = &user.person;
    sqlx::query(WRITE)
        .bind(text(&user.password))
        .bind(user.password_changed)
        .bind(i64::from(*enabled))
        .bind(i64::from(user.must_change))
        .bind(user.expires.map(Timestamp::as_second))
        .bind(user.credential_expires.map(Timestamp::as_second))
        .bind(&profile.given_name)
        .bind(&profile.family_name)
        .bind(&profile.mail)
        .bind(&profile.phone)
        .bind(&profile.organisation)
        .bind(searchable(name, profile))
        .bind(id)
        .execute(&mut **work)
        .await?;
    Ok(())
}

/// Keeps the digest that is about to go, and of the older ones as many as are wanted.
async fn remember(work: &mut Transaction<'static, Any>, user: &LocalUser, history: usize) -> Result<(), StoreError> {
    const LATEST: &str = "(SELECT COALESCE(MAX(number), 0) FROM local_former_passwords WHERE user_id = $1)";
    let id = &user.person.id;
    let add = format!("INSERT INTO local_former_passwords (user_id, number, password) SELECT $1, {LATEST} + 1, $2");
    sqlx::query(AssertSqlSafe(add)).bind(id).bind(text(&user.password)).execute(&mut **work).await?;
    let trim = format!("DELETE FROM local_former_passwords WHERE user_id = $1 AND number <= {LATEST} - $2");
    // The new password counts too.
    let kept = i64::try_from(history.saturating_sub(1)).unwrap_or(i64::MAX);
    sqlx::query(AssertSqlSafe(trim)).bind(id).bind(kept).execute(&mut **work).await?;
    Ok(())
}

/// Digests are text: the directory makes them itself.
fn text(password: &Secret) -> &str {
    password.expose_str().unwrap_or_default()
}

fn person(row: &AnyRow) -> Result<Person, StoreError> {
    let profile = Profile {
        given_name: row.try_get("given_name")?,
        family_name: row.try_get("family_name")?,
        mail: row.try_get("mail")?,
        phone: row.try_get("phone")?,
        organisation: row.try_get("organisation")?,
    };
    let enabled = row.try_get::<i64, _>("enabled")? == 1;
    Ok(Person { id: row.try_get("id")?, name: row.try_get("name")?, profile, enabled })
}

/// From the rows of [`WITH_GROUPS`].
fn user(rows: &[AnyRow]) -> Result<Option<LocalUser>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let end = |name| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(name)?.map(moment));
    let mut user = LocalUser {
        person: person(row)?,
        password: row.try_get::<String, _>("password")?.into(),
        password_changed: row.try_get("password_changed")?,
        must_change: row.try_get::<i64, _>("must_change")? != 0,
        expires: end("expires")?,
        credential_expires: end("credential_expires")?,
        groups: BTreeSet::new(),
        roles: BTreeSet::new(),
        created: row.try_get("created")?,
        changed: row.try_get("changed")?,
    };
    for row in rows {
        user.groups.extend(row.try_get::<Option<String>, _>("group_name")?);
        if let Some(roles) = row.try_get::<Option<String>, _>("group_roles")? {
            user.roles.extend(super::groups::roles(&roles)?);
        }
    }
    Ok(Some(user))
}

/// A moment that is not in the calendar is long past: whoever changed the store by hand must not open anything.
fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}
