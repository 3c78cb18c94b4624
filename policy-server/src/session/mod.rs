//! Sessions: what a login leaves behind, how long it lives, and who may end it.
//!
//! The token in the browser's cookie is 256 random bits; only its SHA-256 is stored, so a stolen store opens nothing. A
//! session that was handed over to other hosts has a token for each of them, good there alone, and ends with all of them.

pub mod limits;
pub mod rules;
mod service;
mod sightings;

pub use limits::Limits;
pub use service::{Found, Opened, SessionError, SessionService, new_token};

use sha2::{Digest, Sha256};
use shared_proto::check::{Client, Identity};
use shared_proto::secret::Secret;

use crate::auth::subject::Subject;
use crate::token::hex;
use limits::Crowd;

/// Characters of a browser's name for itself that are kept.
const USER_AGENT: usize = 256;

/// A person's session. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone)]
pub struct Session {
    /// Names the session in logs, listings and towards sites; it opens nothing.
    pub id: String,
    pub domain: String,
    /// The login entry it was opened through: it opens nothing that demands another.
    pub entry: String,
    /// The person, and which module proved what.
    pub subject: Subject,
    pub created: i64,
    pub last_used: i64,
    /// When all modules of its login were last asked about the account, or about to be.
    pub rechecked: i64,
    /// When it ends however much it is used.
    pub ends: i64,
    pub address: String,
    pub user_agent: String,
    /// The remembered browser it belongs to, and ends with.
    pub series: Option<String>,
    /// Opened by a remember-me cookie: nobody typed anything.
    pub remembered: bool,
}

/// What a session is opened for.
#[derive(Debug)]
pub struct Opening<'a> {
    pub subject: Subject,
    pub domain: &'a str,
    pub entry: &'a str,
    pub client: &'a Client,
    /// As in [`Session`].
    pub series: Option<&'a str>,
    pub remembered: bool,
    /// The browser's former session, by its id: it ends where there is a limit, and takes nobody's place.
    pub replaces: Option<&'a str>,
}

/// What is to be heeded where a person may have so many sessions.
#[derive(Debug)]
pub struct Turn<'a> {
    pub crowd: Crowd,
    /// As in [`Opening`].
    pub replaces: Option<&'a str>,
    /// What was last used at this time or before does not count.
    pub idle_since: i64,
}

impl Session {
    /// How many seconds ago the person typed at the login page, if anybody did.
    pub fn typed(&self, now: i64) -> Option<u64> {
        (!self.remembered).then(|| u64::try_from(now.saturating_sub(self.created)).unwrap_or(0))
    }

    pub fn identity(&self) -> Identity {
        Identity {
            user: self.subject.user.clone(),
            roles: self.subject.roles.iter().cloned().collect(),
            domain: self.domain.clone(),
            entry: self.entry.clone(),
            session_id: self.id.clone(),
            session_created: self.created,
            attributes: self.subject.attributes.clone(),
            remembered: self.remembered,
        }
    }
}

/// For people to recognise a browser by; a longer one is kept cut off.
pub fn user_agent(client: &Client) -> String {
    client.user_agent.chars().take(USER_AGENT).collect()
}

/// What the store knows a token by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHash(String);

impl TokenHash {
    pub fn of(token: &Secret) -> Self {
        Self(hex(&Sha256::digest(token.expose())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a session was handed over to: the token that was given out there counts nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    pub host: &'a str,
    /// The client's address when it came for the token.
    pub address: &'a str,
}

/// A session, and the token that it was asked for by.
#[derive(Debug)]
pub struct Shown {
    pub session: Session,
    /// From where the token was fetched: by the login, or by the hand-over.
    pub address: String,
}

/// Which sessions to list or end; what is `None` does not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub id: Option<String>,
    pub domain: Option<String>,
    pub user: Option<String>,
}

#[async_trait::async_trait]
pub trait SessionStore: Send + Sync {
    async fn insert(&self, token: &TokenHash, session: &Session) -> Result<(), SessionError>;
    /// The same within the person's limit, whoever else logs in at that moment. The sessions that ended for it; `None`
    /// where there is no room.
    async fn insert_in_turn(
        &self,
        token: &TokenHash,
        session: &Session,
        turn: &Turn<'_>,
    ) -> Result<Option<Vec<Session>>, SessionError>;
    /// A further token of a session; false where it has ended.
    async fn add_token(&self, token: &TokenHash, id: &str, home: &Home<'_>, now: i64) -> Result<bool, SessionError>;
    /// The session of a token that is shown at this host.
    async fn find(&self, token: &TokenHash, host: &str) -> Result<Option<Shown>, SessionError>;
    /// Records when a session was last used.
    async fn touch(&self, id: &str, used: i64) -> Result<(), SessionError>;
    /// Puts what the account is now in place of what it was; nothing where it is neither any more.
    async fn replace_subject(&self, id: &str, old: &Subject, new: &Subject) -> Result<(), SessionError>;
    /// At most so many of the domain's sessions whose accounts were last rechecked at `before` or earlier, and marks
    /// them as rechecked `now`, so that no other server takes them as well.
    async fn take_unchecked(
        &self,
        domain: &str,
        before: i64,
        now: i64,
        limit: i64,
    ) -> Result<Vec<Session>, SessionError>;
    async fn list(&self, filter: &Filter) -> Result<Vec<Session>, SessionError>;
    /// The security domains that have sessions.
    async fn domains(&self) -> Result<Vec<String>, SessionError>;
    /// Ends one session; false where it had ended already.
    async fn delete(&self, id: &str) -> Result<bool, SessionError>;
    /// The domain's sessions that were last used at `unused_since` or before, or whose end has come.
    async fn overdue(&self, domain: &str, unused_since: i64, now: i64) -> Result<Vec<Session>, SessionError>;
}
