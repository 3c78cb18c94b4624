//! User directories: where people, their password digests and their roles are kept.
//!
//! A directory answers what it holds. It does not decide who may log in; that is `auth`.

use async_trait::async_trait;

pub mod ldap;
pub mod local;
pub mod person;
pub mod sql;
pub mod xml_users;

use crate::auth::error::LoginError;
use ldap::LdapError;
use person::{Person, fold};

/// A directory whose people can be looked for.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// Those with this text in their name, mail address or full name, in the order of their names; everybody for an
    /// empty text. At most `limit` of them, the first `offset` left out.
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError>;

    /// The person of this name.
    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError>;
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub people: Vec<Person>,
    /// On all pages together; where a directory does not say how many there are, one more than it gave out.
    pub total: u64,
}

impl Found {
    /// A page of people who were found all at once; `more` where the directory did not give out all.
    pub(crate) fn page(mut people: Vec<Person>, more: bool, offset: u32, limit: u32) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let total = u64::try_from(people.len()).unwrap_or(u64::MAX).saturating_add(more.into());
        people.sort_by_cached_key(|person| (fold(&person.name), person.id.clone()));
        let people = people.into_iter().skip(count(offset)).take(count(limit)).collect();
        Self { people, total }
    }
}

/// The directory could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the directory does not answer: {0}")]
pub struct DirectoryError(pub String);

impl From<LoginError> for DirectoryError {
    fn from(error: LoginError) -> Self {
        Self(error.to_string())
    }
}

impl From<LdapError> for DirectoryError {
    fn from(error: LdapError) -> Self {
        Self(error.to_string())
    }
}
