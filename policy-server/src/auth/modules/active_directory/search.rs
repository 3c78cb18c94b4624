//! Who searches: the person on the connection that proved the password, or the search account.

use crate::auth::error::{ErrorKind, LoginError};
use crate::directory::ldap::{Connection, Directory, Filter, Found, Scope, Search};

#[derive(Debug)]
pub enum Asker<'a> {
    User(&'a mut Connection),
    Service(&'a Directory),
}

impl Asker<'_> {
    /// At most `limit` entries, and never more than option `sizeLimit`; the caller looks whether that was all.
    ///
    /// # Errors
    /// `Unavailable` where the directory gave no answer to the search, `Login` where there is no such place in it: neither
    /// says that there is nobody.
    pub async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        (filter, values): (&Filter, &[&[u8]]),
        attributes: &[&str],
        limit: usize,
    ) -> Result<Found, LoginError> {
        let search = Search { base, scope, filter: filter.encode(values), attributes, limit };
        let found = match self {
            Self::User(connection) => connection.search(&search).await,
            Self::Service(directory) => directory.search(&search).await,
        };
        let found = found?;
        if found.base_missing {
            let detail = format!("{base} is not in the directory, or may not be seen");
            return Err(LoginError::new(ErrorKind::Login, detail));
        }
        Ok(found)
    }
}
