//! The built-in directory: users and groups of a security domain that are kept in the store.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::secret::Secret;

use super::person::{Name, Person, Profile};
use super::{DirectoryError, Found, UserDirectory};
use crate::auth::account::Account;
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::password::{PasswordPolicy, Weakness};
use crate::digest::pool::CreateError;
use crate::digest::{Decoys, DigestPool, Overloaded, Policy};
use crate::store::{Store, StoreError};
use crate::token::{SealError, random};

/// A user of the built-in directory. Times in seconds are since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone)]
pub struct LocalUser {
    pub person: Person,
    /// The digest.
    pub password: Secret,
    pub password_changed: i64,
    pub must_change: bool,
    pub expires: Option<Timestamp>,
    /// What an administrator set; the policy may have the password end sooner.
    pub credential_expires: Option<Timestamp>,
    /// Names of groups.
    pub groups: BTreeSet<String>,
    /// Of all groups together.
    pub roles: BTreeSet<String>,
    pub created: i64,
    pub changed: i64,
}

/// A user who is to be.
#[derive(Debug)]
pub struct NewUser {
    pub name: Name,
    pub profile: Profile,
    pub expires: Option<Timestamp>,
    pub groups: Vec<Name>,
}

/// What is to be changed of a user; what is `None` stays.
#[derive(Debug, Default)]
pub struct UserEdit {
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub mail: Option<String>,
    pub phone: Option<String>,
    pub organisation: Option<String>,
    /// `Some(None)`: never.
    pub expires: Option<Option<Timestamp>>,
    pub credential_expires: Option<Option<Timestamp>>,
    pub must_change: Option<bool>,
}

impl UserEdit {
    /// Changes the user; the names of what it set.
    pub fn apply(self, user: &mut LocalUser) -> Vec<&'static str> {
        let profile = &mut user.person.profile;
        let set = [
            set("given name", &mut profile.given_name, self.given_name),
            set("family name", &mut profile.family_name, self.family_name),
            set("mail", &mut profile.mail, self.mail),
            set("phone", &mut profile.phone, self.phone),
            set("organisation", &mut profile.organisation, self.organisation),
            set("expires", &mut user.expires, self.expires),
            set("credential expires", &mut user.credential_expires, self.credential_expires),
            set("must change", &mut user.must_change, self.must_change),
        ];
        set.into_iter().flatten().collect()
    }
}

fn set<T>(name: &'static str, field: &mut T, value: Option<T>) -> Option<&'static str> {
    *field = value?;
    Some(name)
}

/// A group and the names of its members.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    pub name: String,
    pub roles: BTreeSet<String>,
    pub members: BTreeSet<String>,
}

impl LocalUser {
    /// # Errors
    /// Why the account cannot be used now. Ask only after the password was right.
    pub fn check(&self, maximum_age: Option<Duration>, now: Timestamp) -> Result<(), LoginError> {
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let aged = maximum_age.map(|age| self.password_changed.saturating_add(seconds(age)));
        // An end beyond the calendar is none.
        let aged = aged.and_then(|end| Timestamp::from_second(end).ok());
        let account = Account {
            enabled: self.person.enabled,
            expires: self.expires,
            credential_expires: self.credential_expires.into_iter().chain(aged).min(),
        };
        account.check(now)?;
        if self.must_change {
            return Err(LoginError::new(
                ErrorKind::CredentialExpired,
                "the password must be changed: `cams user passwd` sets another",
            ));
        }
        Ok(())
    }
}

/// Why there is no new password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is not taken: {0}")]
    Weak(#[from] Weakness),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Digest(#[from] CreateError),
    #[error(transparent)]
    Random(#[from] SealError),
}

/// The digest of a new password, if the policy takes it. `former` are digests of passwords it must not be.
///
/// # Errors
/// What is wrong with the password, or why it could not be judged.
pub async fn digest_new_password(
    policy: &PasswordPolicy,
    digests: &DigestPool,
    user: &Name,
    password: &Secret,
    former: &[Secret],
) -> Result<Secret, PasswordError> {
    if let Some(weakness) = policy.weakness(password, user) {
        return Err(weakness.into());
    }
    for former in former.iter().filter_map(Secret::expose_str) {
        if digests
            .verify(&Decoys::default(), user.key(), Some(former.to_owned()), password.clone(), Policy::default())
            .await?
        {
            return Err(Weakness::Used(policy.history).into());
        }
    }
    Ok(Secret::from(digests.create(password.clone(), random()?).await?))
}

/// The people of one security domain.
pub struct LocalDirectory {
    pub store: Store,
    pub domain: String,
}

#[async_trait]
impl UserDirectory for LocalDirectory {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let found = self.store.search_local_users(&self.domain, text, offset, limit).await;
        found.map_err(unavailable)
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        // What cannot be a name is nobody's.
        let Ok(name) = name.parse() else { return Ok(None) };
        let found = self.store.local_user(&self.domain, &name).await.map_err(unavailable)?;
        Ok(found.map(|user| user.person))
    }
}

fn unavailable(error: StoreError) -> DirectoryError {
    DirectoryError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str, change: impl FnOnce(&mut LocalUser)) -> LocalUser {
        let person = Person { id: text.into(), name: text.into(), profile: Profile::default(), enabled: true };
        let mut user = LocalUser {
            person,
            password: Secret::default(),
            password_changed: 1_000,
            must_change: false,
            expires: None,
            credential_expires: None,
            groups: BTreeSet::new(),
            roles: BTreeSet::new(),
            created: 0,
            changed: 0,
        };
        change(&mut user);
        user
    }

    #[test]
    fn the_first_end_of_a_password_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (set, age, must_change, now, expected) in [
            (None, None, false, 9_999, None),
            (None, Some(500), false, 1_499, None),
            (None, Some(500), false, 1_500, Some(ErrorKind::CredentialExpired)),
            (Some(1_400), Some(500), false, 1_399, None),
            (Some(1_400), Some(500), false, 1_400, Some(ErrorKind::CredentialExpired)),
            (Some(1_600), Some(500), false, 1_550, Some(ErrorKind::CredentialExpired)),
            (None, Some(u64::MAX), false, 9_999, None),
            (None, None, true, 1_000, Some(ErrorKind::CredentialExpired)),
        ] {
            let user = user("alice", |user| {
                user.credential_expires = set.map(at);
                user.must_change = must_change;
            });
            let found = user.check(age.map(Duration::from_secs), at(now)).err().map(|error| error.kind);
            assert_eq!(found, expected, "{set:?} {age:?} {must_change} {now}");
        }
        let disabled = user("alice", |user| {
            user.person.enabled = false;
            user.must_change = true;
        });
        assert_eq!(disabled.check(None, at(0)).unwrap_err().kind, ErrorKind::Account);
    }

    #[tokio::test]
    async fn a_new_password_is_none_of_the_former_ones() {
        let (digests, alice): (_, Name) = (DigestPool::new(1, 8), "alice".parse().unwrap());
        let policy = PasswordPolicy { history: 2, ..PasswordPolicy::default() };
        let (old, new) = (Secret::from("the old pass phrase"), Secret::from("the new pass phrase"));
        let former = [digest_new_password(&policy, &digests, &alice, &old, &[]).await.unwrap()];
        let error = digest_new_password(&policy, &digests, &alice, &old, &former).await.unwrap_err();
        assert!(matches!(error, PasswordError::Weak(Weakness::Used(2))), "{error}");
        let digest = digest_new_password(&policy, &digests, &alice, &new, &former).await.unwrap();
        let digest = digest.expose_str().unwrap().to_owned();
        assert!(digest.starts_with("{ARGON2}"));
        assert_eq!(digests.verify(&Decoys::default(), "alice", Some(digest), new, Policy::default()).await, Ok(true));
    }
}
