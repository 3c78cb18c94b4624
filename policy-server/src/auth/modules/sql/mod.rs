//! `JdbcLoginModule`: users of an SQL database. PostgreSQL, MySQL or MariaDB, SQLite.
//!
//! The user's row and roles are fetched first, by the same two statements whoever it is, and the connection is given back
//! before the password is checked: nobody waits for a connection because somebody else's digest is slow. Whatever else
//! the row says, and whatever is wrong with it, counts only after that.

mod columns;
mod options;
mod people;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;
use tokio::time::timeout;

use super::common::{self, Common, within};
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::{MAX_ROLES, ModuleIdentity};
use crate::auth::valves::throttle::bucket;
use crate::digest::pool::DigestPool;
use crate::digest::{Decoys, Policy, SALT, fingerprint, label};
use crate::directory::UserDirectory;
use crate::directory::sql::{Database, SqlError};
use columns::Person;
use options::Questions;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";

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
    One(Box<Candidate>),
}

struct Candidate {
    password: Option<Secret>,
    /// With the roles. What is wrong with the row is for those who know the password.
    who: Result<(Person, Vec<String>), LoginError>,
}

impl JdbcLoginModule {
    /// # Errors
    /// `Unavailable` where the database gave no answer, `Login` where the answer does not fit the configuration.
    async fn find(&self, name: &str) -> Result<Found, LoginError> {
        let Questions { user, role, columns, timeout, .. } = &self.questions;
        let mut lease = self.database.acquire().await.map_err(unavailable)?;
        let values = |placeholders| vec![name; placeholders];
        let rows = match lease.rows(user, &values(user.placeholders), 1, *timeout).await {
            Err(SqlError::TooManyRows(_)) => return Ok(Found::Several),
            rows => rows.map_err(unavailable)?,
        };
        // Asked for nobody's roles too, which takes as long.
        let (roles, is_read) = match role {
            None => (Ok(Vec::new()), true),
            Some((role, column)) => match lease.rows(role, &values(role.placeholders), MAX_ROLES, *timeout).await {
                Err(SqlError::TooManyRows(_)) => (Err(too_many_roles()), false),
                rows => (columns::roles(&rows.map_err(unavailable)?, column), true),
            },
        };
        if is_read {
            lease.finish();
        }
        let Some(row) = rows.first() else { return Ok(Found::Nobody) };
        let password = columns.password(row)?;
        let who = columns.read(row).and_then(|person| Ok((person, roles?)));
        Ok(Found::One(Box::new(Candidate { password, who })))
    }

    /// The person whose password this is and whose account is good. Every path that gives a verdict costs one password
    /// verification.
    async fn authenticate(&self, name: &str, password: &Secret, now: Timestamp) -> Result<ModuleIdentity, LoginError> {
        let found = within(self.patience(), self.find(name)).await?;
        let stored = match &found {
            Found::One(candidate) => candidate.password.as_ref().and_then(Secret::expose_str).map(str::to_owned),
            Found::Nobody | Found::Several => None,
        };
        let right = self
            .digests
            .verify(&self.decoys, name, stored.clone(), password.clone(), self.policy)
            .await
            .map_err(|overloaded| LoginError::new(ErrorKind::Unavailable, overloaded.to_string()))?;
        let candidate = one(found, name)?;
        let Some(mut stored) = stored.clone().filter(|_| right) else {
            return Err(LoginError::new(ErrorKind::FailedLogin, self.refusal(stored.as_deref())));
        };
        let (person, roles) = candidate.who?;
        self.check_name(name, &person)?;
        person.check(now)?;
        if label(&stored).is_legacy()
            && let Some(stronger) = self.upgrade(name, &stored, password).await
        {
            stored = stronger;
        }
        let credential = self.credential(&stored);
        match &person.user {
            Some(canonical) if canonical != name => {
                within(self.patience(), self.canonical(canonical, &person, credential, now)).await
            }
            _ => Ok(self.identity(name, &person, &roles, credential)),
        }
    }

    /// A name that is not counted as this person's would be further guesses at the same password: to a numeric column of
    /// MySQL `7` is also `7x`, `7y`, and so on without end.
    fn check_name(&self, typed: &str, person: &Person) -> Result<(), LoginError> {
        match &person.user {
            Some(name) if !self.questions.aliases && bucket::canonical(name) != bucket::canonical(typed) => {
                let detail = format!(
                    "the password is right, but `userNameColumn` calls the user `{name}`: log-in by other names needs \
                     `nameAliases`"
                );
                Err(LoginError::new(ErrorKind::FailedLogin, detail))
            }
            _ => Ok(()),
        }
    }

    /// A digest that is about to be replaced shows no change of the password.
    fn credential(&self, stored: &str) -> Option<String> {
        let may_go = self.questions.upgrade.is_some() && label(stored).is_legacy();
        if may_go { None } else { fingerprint(stored) }
    }

    /// The person once more, by the name that the database gave: by that one it will be asked again.
    async fn canonical(
        &self,
        name: &str,
        before: &Person,
        credential: Option<String>,
        now: Timestamp,
    ) -> Result<ModuleIdentity, LoginError> {
        let candidate = match self.find(name).await? {
            Found::One(candidate) => Some(candidate.who?),
            _ => None,
        };
        let same = |(person, _): &(Person, _)| person.user == before.user && person.id == before.id;
        let (person, roles) = candidate.filter(same).ok_or_else(|| {
            let detail = "`userPreparedStatement` does not find the user by the name in `userNameColumn`";
            LoginError::new(ErrorKind::Login, detail)
        })?;
        person.check(now)?;
        Ok(self.identity(name, &person, &roles, credential))
    }

    fn identity(&self, name: &str, person: &Person, roles: &[String], credential: Option<String>) -> ModuleIdentity {
        ModuleIdentity {
            class: CLASS,
            user: person.user.clone().unwrap_or_else(|| name.to_owned()),
            source_id: person.id.clone(),
            credential,
            roles: self.common.roles(roles),
            attributes: person.attributes.clone(),
        }
    }

    /// Why a password was refused, for administrators.
    fn refusal(&self, stored: Option<&str>) -> String {
        let nothing = || "the password column is NULL or holds no text".to_owned();
        stored.map_or_else(nothing, |stored| common::refusal(stored, self.policy))
    }

    /// Replaces a digest that would give the password away; by which one. Its failure is nobody's failed login.
    async fn upgrade(&self, name: &str, stored: &str, password: &Secret) -> Option<String> {
        self.questions.upgrade.as_ref()?;
        let limit = self.questions.timeout;
        let done = timeout(limit, self.try_upgrade(name, stored, password)).await;
        match done.unwrap_or_else(|_| Err(SqlError::Slow(limit).to_string())) {
            Ok(digest) => {
                tracing::info!(class = CLASS, user = name, "the password's digest was replaced by a stronger one");
                Some(digest)
            }
            Err(why) => {
                tracing::warn!(class = CLASS, user = name, why, "the password's digest could not be replaced");
                None
            }
        }
    }

    /// In one transaction, which ends well only if exactly one row was changed and the column holds the whole digest:
    /// some database would cut it off.
    async fn try_upgrade(&self, name: &str, stored: &str, password: &Secret) -> Result<String, String> {
        let Questions { user, upgrade, columns, timeout, .. } = &self.questions;
        let upgrade = upgrade.as_ref().ok_or("there is no `passwordUpgrade`")?;
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        let digest = self.digests.create(password.clone(), salt).await.map_err(|error| error.to_string())?;
        let mut lease = self.database.acquire().await.map_err(|error| error.to_string())?;
        lease.command("BEGIN").await.map_err(|error| code(&error))?;
        // By the third value nothing is replaced but what the password was checked against.
        let changed = lease.change(upgrade, &[digest.as_str(), name, stored]).await.map_err(|error| code(&error))?;
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
        Ok(digest)
    }
}

/// The one person there is.
fn one(found: Found, name: &str) -> Result<Candidate, LoginError> {
    let detail = match found {
        Found::One(candidate) => return Ok(*candidate),
        Found::Nobody => format!("`userPreparedStatement` found nobody for `{name}`"),
        Found::Several => {
            tracing::error!(class = CLASS, user = name, "`userPreparedStatement` gives several rows for one user");
            format!("`userPreparedStatement` found several rows for `{name}`: nobody can log in by this name")
        }
    };
    Err(LoginError::new(ErrorKind::FailedLogin, detail))
}

fn too_many_roles() -> LoginError {
    let detail = format!(
        "`rolePreparedStatement` gives more than {MAX_ROLES} rows, as many roles as one login has at most: let it give fewer"
    );
    LoginError::new(ErrorKind::Login, detail)
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

    fn loose_names(&self) -> Option<&'static str> {
        (!self.questions.columns.names_user()).then_some("option `userNameColumn` is missing")
    }

    fn patience(&self) -> Duration {
        self.database.patience() + self.questions.timeout
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        self.questions.search.is_some().then_some(self)
    }
}

#[async_trait]
impl Recheck for JdbcLoginModule {
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing {
        let standing = async || -> Result<ModuleIdentity, LoginError> {
            let Candidate { password, who } = one(self.find(user).await?, user)?;
            let (person, roles) = who?;
            person.check(now)?;
            let credential = password.as_ref().and_then(Secret::expose_str).and_then(|stored| self.credential(stored));
            Ok(self.identity(user, &person, &roles, credential))
        };
        match standing().await {
            Ok(identity) => Standing::Current(identity),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Login) => {
                Standing::Unknown(error.to_string())
            }
            Err(error) => Standing::Gone(error),
        }
    }
}

#[cfg(test)]
mod tests;
