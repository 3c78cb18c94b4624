//! People of the directory for whoever looks for them: found by the search account, never by a user.

use async_trait::async_trait;
use jiff::Timestamp;

use super::account::{self, State};
use super::search::Asker;
use super::{ActiveDirectoryLoginModule, People, identifier};
use crate::auth::error::LoginError;
use crate::auth::modules::common::{PROFILE, SEARCHED};
use crate::directory::ldap::{Entry, Filter};
use crate::directory::person::{Person, Profile};
use crate::directory::{DirectoryError, Found, UserDirectory};

impl ActiveDirectoryLoginModule {
    /// Entries, and whether there are more.
    async fn people(&self, filter: &Filter, value: &str, limit: usize) -> Result<(Vec<Entry>, bool), LoginError> {
        if let Some(locator) = &self.locator {
            locator.locate(&self.directory).await?;
        }
        let People { base, scope, .. } = &self.people;
        let attributes: Vec<&str> = [&["sAMAccountName", "objectGUID"][..], &account::ATTRIBUTES, &PROFILE].concat();
        let mut asker = Asker::Service(&self.directory);
        let found = asker.search(base, *scope, (filter, &[value.as_bytes()]), &attributes, limit).await?;
        Ok((found.entries, found.incomplete))
    }

    /// Nobody for an entry that no login would take.
    fn person(&self, entry: &Entry) -> Option<Person> {
        let id = entry.values("objectGUID").first().and_then(|bytes| identifier::guid(bytes))?;
        let name = self.common.user_name(entry.text("sAMAccountName")?);
        let state = State::read(|name| entry.text(name)).and_then(|state| state.check(Timestamp::now()));
        Some(Person { id, name, profile: Profile::of(|name| entry.text(name)), enabled: state.is_ok() })
    }
}

#[async_trait]
impl UserDirectory for ActiveDirectoryLoginModule {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let filter = match text {
            "" => self.people.by_account.for_anybody(),
            _ => self.people.by_account.containing(&[&["sAMAccountName"][..], &SEARCHED].concat()),
        };
        let most = usize::try_from(offset.saturating_add(limit)).unwrap_or(usize::MAX);
        let (entries, more) = self.people(&filter, text, most).await?;
        Ok(Found::page(entries.iter().filter_map(|entry| self.person(entry)).collect(), more, offset, limit))
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        let (entries, more) = self.people(&self.people.by_account, name, 2).await?;
        match (entries.as_slice(), more) {
            ([entry], false) => Ok(self.person(entry)),
            _ => Ok(None),
        }
    }
}
