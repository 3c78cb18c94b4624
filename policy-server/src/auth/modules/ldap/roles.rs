//! Roles of a person: the groups that name them, and groups of groups, or an attribute of their own entry.

use std::collections::BTreeSet;

use super::{is_fit, unfit};
use crate::auth::error::LoginError;
use crate::auth::modules::common::cut_off;
use crate::auth::subject::MAX_ROLES;
use crate::directory::ldap::{Connection, Directory, Entry, Filter, Found, LdapError, Scope, Search, dn};

/// Groups whose own groups are looked for, each by a search.
const MAX_NESTED: usize = 1_000;

/// Who looks for groups.
pub enum Searcher<'a> {
    User(&'a mut Connection),
    Service(&'a Directory),
}

impl Searcher<'_> {
    async fn search(&mut self, search: &Search<'_>) -> Result<Found, LdapError> {
        match self {
            Self::User(connection) => connection.search(search).await,
            Self::Service(directory) => directory.search(search).await,
        }
    }
}

#[derive(Debug)]
pub struct Roles {
    pub groups: Option<Groups>,
    pub own: Option<OwnRoles>,
}

/// Roles in an attribute of the person's entry.
#[derive(Debug)]
pub struct OwnRoles {
    pub attribute: String,
    /// Its values are names of entries, whose first part is the role.
    pub is_dn: bool,
    /// Names of entries that are not there count for nothing: whoever may create groups elsewhere could call one like a role.
    pub base: Option<String>,
}

#[derive(Debug)]
pub struct Groups {
    pub base: String,
    pub scope: Scope,
    /// `{0}` is the name of the person's entry (or of a group's), `{1}` the user name (or the role that group is).
    pub filter: Filter,
    pub attribute: String,
    pub as_user: bool,
    /// How many times groups of groups are looked for.
    pub depth: usize,
}

impl Roles {
    pub fn as_user(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.as_user)
    }

    pub async fn of(
        &self,
        searcher: &mut Searcher<'_>,
        entry: &Entry,
        user: &str,
    ) -> Result<BTreeSet<String>, LoginError> {
        let mut roles = match &self.groups {
            Some(groups) => groups.of(searcher, entry, user).await?,
            None => BTreeSet::new(),
        };
        if let Some(own) = &self.own {
            roles.extend(entry.texts(&own.attribute).filter_map(|value| own.role(value)));
        }
        roles.retain(|role| is_fit(role));
        Ok(roles)
    }
}

impl OwnRoles {
    fn role(&self, value: &str) -> Option<String> {
        if !self.is_dn {
            return Some(value.to_owned());
        }
        let counts = self.base.as_ref().is_none_or(|base| dn::is_within(value, base));
        dn::first(value).filter(|_| counts).map(|(_, value)| value)
    }
}

impl Groups {
    /// Breadth first. A group that was seen is not asked about again, so circles end.
    async fn of(&self, searcher: &mut Searcher<'_>, entry: &Entry, user: &str) -> Result<BTreeSet<String>, LoginError> {
        let (mut roles, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut members = vec![(entry.dn.clone(), user.to_owned())];
        for _ in 0..=self.depth {
            let mut next = Vec::new();
            for (dn, name) in &members {
                for group in self.search(searcher, dn, name).await? {
                    let Some(key) = dn::key(&group.dn) else { continue };
                    if !seen.insert(key) {
                        continue;
                    }
                    if self.depth > 0 && seen.len() > MAX_NESTED {
                        let dn = &entry.dn;
                        let detail = format!("{dn} is in more than {MAX_NESTED} groups, too many for `roleNested`");
                        return Err(unfit(detail));
                    }
                    roles.extend(group.texts(&self.attribute).map(str::to_owned));
                    let name = group.text(&self.attribute).unwrap_or_default().to_owned();
                    next.push((group.dn, name));
                }
            }
            members = next;
        }
        Ok(roles)
    }

    async fn search(&self, searcher: &mut Searcher<'_>, dn: &str, name: &str) -> Result<Vec<Entry>, LoginError> {
        let values = [dn, name];
        let search = Search {
            base: &self.base,
            scope: self.scope,
            filter: self.filter.encode(&values),
            attributes: &[&self.attribute],
            limit: MAX_ROLES,
        };
        let what = || format!("search under {} with {}", self.base, self.filter.show(&values));
        let found = searcher.search(&search).await?;
        if found.base_missing {
            return Err(unfit(format!("{}: the base is not there, or may not be read", what())));
        }
        if let Some(why) = cut_off(&found) {
            return Err(unfit(format!("{}: {why}", what())));
        }
        Ok(found.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_below_the_base_are_roles_of_an_entry() {
        const GROUPS: Option<&str> = Some("ou=groups,dc=test");
        for (value, is_dn, base, expected) in [
            ("cn=admins,ou=groups,dc=test", true, None, Some("admins")),
            ("cn=admins,ou=groups,dc=test", true, GROUPS, Some("admins")),
            ("CN=a\\,b,OU=More,OU=Groups,DC=Test", true, GROUPS, Some("a,b")),
            ("cn=admins,ou=projects,dc=test", true, None, Some("admins")),
            ("cn=admins,ou=projects,dc=test", true, GROUPS, None),
            ("cn=admins,cn=x\\,ou=groups,dc=test", true, GROUPS, None),
            ("admins", true, None, None),
            ("admins", false, GROUPS, Some("admins")),
        ] {
            let own = OwnRoles { attribute: "memberOf".to_owned(), is_dn, base: base.map(str::to_owned) };
            assert_eq!(own.role(value).as_deref(), expected, "{value} {is_dn} {base:?}");
        }
    }
}
