//! Whether somebody who logged in earlier still could.
//!
//! An account that lost its rights finds nothing, and so does a server that has not got its data yet: both say it without an
//! error, of everybody or of some. So nobody is gone on the word of who sees nobody at all, and who is not seen while others
//! are is absent: gone when the next look says so too.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::options::Lookup;
use super::roles::Searcher;
use super::{LdapLoginModule, NotFound, Why, verdict};
use crate::auth::modules::{Recheck, Standing};
use crate::directory::ldap::{Filter, LdapError, Scope, Search};

/// Nobody waits for it, so it may take longer than a login.
const RECHECK: Duration = Duration::from_secs(30);

impl LdapLoginModule {
    async fn standing(&self, user: &str) -> Standing {
        let entry = match self.find(user).await {
            Ok(Ok(entry)) => entry,
            Ok(Err(not_found)) => return self.is_gone(not_found).await,
            Err(error) => return Standing::Unknown(error.to_string()),
        };
        if let Err(error) = verdict::account(&entry, self.settings.policy_at_recheck()) {
            return Standing::Gone(error);
        }
        match self.identity(&entry, user, &mut Searcher::Service(&self.directory)).await {
            Ok(identity) => Standing::Current(identity),
            Err(error) => Standing::Unknown(error.to_string()),
        }
    }

    async fn is_gone(&self, NotFound { error, why }: NotFound) -> Standing {
        let server = match why {
            Why::Nobody { server } => server,
            Why::NotAll => return Standing::Unknown(error.to_string()),
            Why::Unfit => return Standing::Gone(error),
        };
        match self.sees_somebody(&server).await {
            Ok(true) => Standing::Absent(error),
            Ok(false) => Standing::Unknown(format!("{error}; but {} sees nobody there at all", self.searcher())),
            Err(failure) => Standing::Unknown(failure.to_string()),
        }
    }

    /// Whether the search account finds anybody but itself where people are, on this server.
    async fn sees_somebody(&self, server: &str) -> Result<bool, LdapError> {
        let (base, scope, filter) = match &self.settings.lookup {
            Lookup::Search { base, scope, filter } => (base.as_str(), *scope, filter.for_anybody()),
            Lookup::Pattern(pattern) => {
                let attribute = pattern.attribute().unwrap_or_default();
                (pattern.parent(), Scope::One, Filter::present(&attribute))
            }
        };
        // `1.1` are no attributes (RFC 4511, section 4.5.1.8).
        let search = Search { base, scope, filter: filter.encode::<&str>(&[]), attributes: &["1.1"], limit: 2 };
        let found = self.directory.search(&search).await?;
        let is_another = |entry| !self.directory.is_search_account(entry);
        Ok(found.server == server && found.entries.iter().any(is_another))
    }
}

#[async_trait]
impl Recheck for LdapLoginModule {
    async fn recheck(&self, user: &str, _now: Timestamp) -> Standing {
        let standing = tokio::time::timeout(RECHECK, self.standing(user)).await;
        standing.unwrap_or_else(|_| Standing::Unknown(format!("the directory took more than {RECHECK:?} in all")))
    }
}
