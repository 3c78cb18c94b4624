//! User directories: where people, their password digests and their roles are kept.
//!
//! A directory answers what it holds. It does not decide who may log in; that is `auth`.

use async_trait::async_trait;

pub mod ldap;
pub mod local;
pub mod person;
pub mod sql;
pub mod xml_users;

use person::Person;

/// A directory whose people can be looked for.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// Those with this text in their name, mail address or full name, in the order of their names; everybody for an
    /// empty text. At most `limit` of them, the first `offset` left out.
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError>;
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub people: Vec<Person>,
    /// On all pages together.
    pub total: u64,
}

/// The directory could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the directory does not answer: {0}")]
pub struct DirectoryError(pub String);
