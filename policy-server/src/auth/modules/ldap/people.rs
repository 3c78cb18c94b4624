//! People of the directory for whoever looks for them: found by the search account, never by a user.

use async_trait::async_trait;

use super::options::{self, Lookup};
use super::{LdapLoginModule, verdict};
use crate::auth::modules::common::{PROFILE, SEARCHED};
use crate::directory::ldap::{Entry, Filter, Scope, Search, dn};
use crate::directory::person::{Person, Profile};
use crate::directory::{DirectoryError, Found, UserDirectory};

impl LdapLoginModule {
    /// Where people are, and what all of them have in common with `{0}` for what is searched in each.
    fn place(&self) -> (&str, Scope, Filter, String) {
        match &self.settings.lookup {
            Lookup::Search { base, scope, filter } => {
                (base, *scope, filter.clone(), self.settings.user_name_attribute().to_owned())
            }
            Lookup::Pattern(pattern) => {
                let attribute = pattern.attribute().unwrap_or_default();
                (pattern.parent(), Scope::One, Filter::present(&attribute), attribute)
            }
        }
    }

    fn described(&self) -> Vec<&str> {
        let mut attributes = self.settings.own_attributes();
        attributes.extend(verdict::ACCOUNT);
        attributes.extend(PROFILE);
        attributes
    }

    /// Nobody for an entry that no login would take.
    fn person(&self, entry: &Entry) -> Option<Person> {
        let name = self.settings.user_name(entry).ok()?;
        let id = self.settings.source_id(entry).unwrap_or_default();
        let enabled = verdict::account(entry, self.settings.policy_at_recheck()).is_ok();
        Some(Person { id, name, profile: Profile::of(|name| entry.text(name)), enabled })
    }
}

#[async_trait]
impl UserDirectory for LdapLoginModule {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let (base, scope, filter, name) = self.place();
        let filter = match text {
            "" => filter.for_anybody().encode::<&str>(&[]),
            text => filter.containing(&[&[name.as_str()][..], &SEARCHED].concat()).encode(&[text]),
        };
        let attributes = self.described();
        let most = usize::try_from(offset.saturating_add(limit)).unwrap_or(usize::MAX);
        let found =
            self.directory.search(&Search { base, scope, filter, attributes: &attributes, limit: most }).await?;
        if found.base_missing {
            return Err(DirectoryError(format!("{}: {base} is not there, or may not be read", found.server)));
        }
        let people = found.entries.iter().filter(|entry| self.settings.may_be_at(&entry.dn, base));
        let people = people.filter_map(|entry| self.person(entry)).collect();
        Ok(Found::page(people, found.incomplete, offset, limit))
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        let attributes = self.described();
        let found = match &self.settings.lookup {
            Lookup::Search { base, scope, filter } => {
                let filter = filter.encode(&[name]);
                self.directory
                    .search(&Search { base, scope: *scope, filter, attributes: &attributes, limit: 2 })
                    .await?
            }
            Lookup::Pattern(pattern) => {
                let dn = pattern.with(name);
                let mut found = self.directory.search(&options::entry(&dn, &attributes)).await?;
                found.entries.retain(|entry| dn::key(&entry.dn) == dn::key(&dn));
                found
            }
        };
        match (found.entries.as_slice(), found.incomplete) {
            ([entry], false) => Ok(self.person(entry)),
            _ => Ok(None),
        }
    }
}
