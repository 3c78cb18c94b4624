//! `JdbcLoginModule`: users of an SQL database. PostgreSQL, MySQL or MariaDB, SQLite.
//!
//! The user's row and roles are fetched first, by the same two statements whoever it is, and the connection is given back
//! before the password is checked: nobody waits for a connection because somebody else's digest is slow. What the row
//! says of the account counts only after that.

mod columns;
mod options;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;
use tokio::time::timeout;

use super::common::{self, Common};
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::ModuleIdentity;
use crate::digest::pool::DigestPool;
use crate::digest::{Decoys, Policy, SALT, label};
use crate::directory::sql::{Database, Lease, SqlError};
use columns::Person;
use options::Questions;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";

/// Roles of one person.
const MAX_ROLES: usize = 1000;

struct JdbcLoginModule {
    database: Database,
    questions: Questions,
    digests: DigestPool,
    decoys: Decoys,
    policy: Policy,
    common: Common,
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let policy = Policy { allow_cleartext: options.take_bool("allowCleartext", false, problems) };
    let database = options::database(options, services, problems);
    let questions = options::questions(options, database.as_ref(), services, problems);
    let digests = services.shared.digests.clone();
    Some(Box::new(JdbcLoginModule {
        database: database?,
        questions: questions?,
        digests,
        decoys: Decoys::default(),
        policy,
        common,
    }))
}

/// What the database has under a name.
enum Found {
    Nobody,
    Several,
    One(Box<Person>, Vec<String>),
}

impl JdbcLoginModule {
    /// # Errors
    /// `Unavailable` where the database gave no answer, `Login` where the answer does not fit the configuration.
    async fn find(&self, name: &str) -> Result<Found, LoginError> {
        let mut lease = self.database.acquire().await.map_err(unavailable)?;
        let found = self.find_on(&mut lease, name).await?;
        lease.finish();
        Ok(found)
    }

    async fn find_on(&self, lease: &mut Lease, name: &str) -> Result<Found, LoginError> {
        let Questions { user, role, columns, timeout, .. } = &self.questions;
        let values = |placeholders| vec![name; placeholders];
        let rows = match lease.rows(user, &values(user.placeholders), 1, *timeout).await {
            Err(SqlError::TooManyRows(_)) => return Ok(Found::Several),
            rows => rows.map_err(unavailable)?,
        };
        // Asked for nobody's roles too, which takes as long.
        let roles = match role {
            None => Vec::new(),
            Some((role, column)) => {
                let rows = lease.rows(role, &values(role.placeholders), MAX_ROLES, *timeout).await;
                columns::roles(&rows.map_err(unavailable)?, column)?
            }
        };
        match rows.first() {
            None => Ok(Found::Nobody),
            Some(row) => Ok(Found::One(Box::new(columns.read(row)?), roles)),
        }
    }

    /// The person whose password this is and whose account is good. Every path that gives a verdict costs one password
    /// verification.
    async fn authenticate(&self, name: &str, password: &Secret, now: Timestamp) -> Result<ModuleIdentity, LoginError> {
        let found = self.find(name).await?;
        let stored = match &found {
            Found::One(person, _) => person.password.as_ref().and_then(Secret::expose_str).map(str::to_owned),
            Found::Nobody | Found::Several => None,
        };
        let right = self
            .digests
            .verify(&self.decoys, name, stored.clone(), password.clone(), self.policy)
            .await
            .map_err(|overloaded| LoginError::new(ErrorKind::Unavailable, overloaded.to_string()))?;
        let (person, roles) = one(found, name)?;
        if !right {
            return Err(LoginError::new(ErrorKind::FailedLogin, self.refusal(stored.as_deref())));
        }
        person.check(now)?;
        if let Some(stored) = stored.filter(|stored| label(stored).is_legacy()) {
            self.upgrade(name, &stored, password).await;
        }
        match &person.user {
            Some(canonical) if canonical != name => self.canonical(canonical, &person, now).await,
            _ => Ok(self.identity(name, &person, &roles)),
        }
    }

    /// The person once more, by the name that the database gave: by that one it will be asked again.
    async fn canonical(&self, name: &str, before: &Person, now: Timestamp) -> Result<ModuleIdentity, LoginError> {
        let same = |person: &Person| person.user == before.user && person.id == before.id;
        match self.find(name).await? {
            Found::One(person, roles) if same(&person) => {
                person.check(now)?;
                Ok(self.identity(name, &person, &roles))
            }
            _ => {
                let detail = "`userPreparedStatement` does not find the user by the name in `userNameColumn`";
                Err(LoginError::new(ErrorKind::Login, detail))
            }
        }
    }

    fn identity(&self, name: &str, person: &Person, roles: &[String]) -> ModuleIdentity {
        ModuleIdentity {
            class: CLASS,
            user: person.user.clone().unwrap_or_else(|| name.to_owned()),
            source_id: person.id.clone(),
            roles: self.common.roles(roles),
            attributes: person.attributes.clone(),
        }
    }

    /// Why a password was refused, for administrators.
    fn refusal(&self, stored: Option<&str>) -> String {
        let nothing = || "the password column is NULL or holds no text".to_owned();
        stored.map_or_else(nothing, |stored| common::refusal(stored, self.policy))
    }

    /// Replaces a digest that would give the password away. Its failure is nobody's failed login.
    async fn upgrade(&self, name: &str, stored: &str, password: &Secret) {
        if self.questions.upgrade.is_none() {
            return;
        }
        let limit = self.questions.timeout;
        let done = timeout(limit, self.try_upgrade(name, stored, password)).await;
        match done.unwrap_or_else(|_| Err(SqlError::Slow(limit).to_string())) {
            Ok(()) => {
                tracing::info!(class = CLASS, user = name, "the password's digest was replaced by a stronger one")
            }
            Err(why) => tracing::warn!(class = CLASS, user = name, why, "the password's digest could not be replaced"),
        }
    }

    /// In one transaction, which ends well only if exactly one row was changed and the column holds the whole digest:
    /// some database would cut it off.
    async fn try_upgrade(&self, name: &str, stored: &str, password: &Secret) -> Result<(), String> {
        let Questions { user, upgrade: Some(upgrade), columns, timeout, .. } = &self.questions else { return Ok(()) };
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        let digest = self.digests.create(password.clone(), salt).await.map_err(|error| error.to_string())?;
        let mut lease = self.database.acquire().await.map_err(|error| error.to_string())?;
        lease.command("BEGIN").await.map_err(|error| code(&error))?;
        let values = [digest.as_str(), name, stored];
        let values = values.get(..upgrade.placeholders).unwrap_or(&values);
        let changed = lease.change(upgrade, values).await.map_err(|error| code(&error))?;
        if changed != 1 {
            return Err(format!("`passwordUpgrade` changed {changed} rows instead of one; all is as it was"));
        }
        let rows = lease.rows(user, &vec![name; user.placeholders], 1, *timeout).await.map_err(|error| code(&error))?;
        let kept = rows.first().and_then(|row| columns.password(row).ok().flatten());
        if kept.is_none_or(|kept| kept.expose() != digest.as_bytes()) {
            return Err("the column does not hold the whole digest; all is as it was".to_owned());
        }
        lease.command("COMMIT").await.map_err(|error| code(&error))?;
        lease.finish();
        Ok(())
    }
}

/// The one person there is.
fn one(found: Found, name: &str) -> Result<(Box<Person>, Vec<String>), LoginError> {
    let detail = match found {
        Found::One(person, roles) => return Ok((person, roles)),
        Found::Nobody => format!("`userPreparedStatement` found nobody for `{name}`"),
        Found::Several => {
            tracing::error!(class = CLASS, user = name, "`userPreparedStatement` gives several rows for one user");
            format!("`userPreparedStatement` found several rows for `{name}`: nobody can log in by this name")
        }
    };
    Err(LoginError::new(ErrorKind::FailedLogin, detail))
}

fn unavailable(error: SqlError) -> LoginError {
    LoginError::new(ErrorKind::Unavailable, error.to_string())
}

/// What went wrong with a digest among the values: the server's own words may repeat it.
fn code(error: &SqlError) -> String {
    match error {
        SqlError::Statement(sqlx::Error::Database(error)) => {
            format!("the database refused (code {})", error.code().unwrap_or_default())
        }
        error => error.to_string(),
    }
}

#[async_trait]
impl LoginModule for JdbcLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let name = self.common.user_name(cx.callbacks.username());
        let outcome = match self.authenticate(&name, cx.callbacks.password(), cx.now).await {
            Ok(identity) => Outcome::Succeed(identity),
            Err(error) => Outcome::Fail(error.about(self.database.location())),
        };
        self.common.trace(CLASS, &name, &outcome);
        outcome
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }
}

#[async_trait]
impl Recheck for JdbcLoginModule {
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing {
        let found = match self.find(user).await {
            Ok(found) => one(found, user).and_then(|(person, roles)| person.check(now).map(|()| (person, roles))),
            Err(error) => Err(error),
        };
        match found {
            Ok((person, roles)) => Standing::Current(self.identity(user, &person, &roles)),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Login) => {
                Standing::Unknown(error.to_string())
            }
            Err(error) => Standing::Gone(error),
        }
    }
}

#[cfg(test)]
mod tests;
