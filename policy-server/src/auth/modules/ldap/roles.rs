//! Roles of a person: the groups that name them, and groups of groups, or an attribute of their own entry.

use std::collections::BTreeSet;

use super::{is_fit, unfit};
use crate::auth::error::LoginError;
use crate::directory::ldap::{Connection, Directory, Entry, Filter, Found, LdapError, Scope, Search, dn};

/// Somebody in more groups than this is not logged in with some of them.
const MAX_GROUPS: usize = 1_000;

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
    /// An attribute of the person's entry, and whether its values are names of entries, whose first part is the role.
    pub own: Option<(String, bool)>,
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
        if let Some((attribute, is_dn)) = &self.own {
            roles.extend(entry.texts(attribute).filter_map(|value| own_role(value, *is_dn)));
        }
        roles.retain(|role| is_fit(role));
        Ok(roles)
    }
}

fn own_role(value: &str, is_dn: bool) -> Option<String> {
    if is_dn { dn::first(value).map(|(_, value)| value) } else { Some(value.to_owned()) }
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
                    if seen.len() > MAX_GROUPS {
                        return Err(unfit(format!("{} is in more than {MAX_GROUPS} groups", entry.dn)));
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
            limit: MAX_GROUPS,
        };
        let what = || format!("search under {} with {}", self.base, self.filter.show(&values));
        let found = searcher.search(&search).await?;
        if found.base_missing {
            return Err(unfit(format!("{}: the base is not there, or may not be read", what())));
        }
        if found.incomplete {
            return Err(unfit(format!("{}: there are more groups than sizeLimit", what())));
        }
        Ok(found.entries)
    }
}
