//! Which groups somebody is in, and what the roles are called.

use std::collections::BTreeSet;
use std::str::FromStr;

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::identifier::Sid;
use super::name::{Naming, base_dn};
use super::options::{read_filter, take_base};
use super::range::Ranged;
use super::search::Asker;
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::modules::common::cut_off;
use crate::auth::subject::MAX_ROLES;
use crate::directory::ldap::{Directory, Entry, Filter, Scope, dn};

/// How many groups are asked for by name in one search.
const BATCH: usize = 100;

/// LDAP_MATCHING_RULE_IN_CHAIN: membership through other groups, worked out by the directory, which knows loops.
const IN_CHAIN: &str = "(member:1.2.840.113556.1.4.1941:={0})";

/// Option `roleSource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    MemberOf,
    Search,
    TokenGroups,
}

impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "memberOf" => Ok(Self::MemberOf),
            "search" => Ok(Self::Search),
            "tokenGroups" => Ok(Self::TokenGroups),
            _ => Err(()),
        }
    }
}

/// Option `roleAttribute`: what of a group becomes the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoleName {
    CommonName,
    AccountName,
}

impl FromStr for RoleName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "cn" => Ok(Self::CommonName),
            "sAMAccountName" => Ok(Self::AccountName),
            _ => Err(()),
        }
    }
}

impl RoleName {
    fn attribute(self) -> &'static str {
        match self {
            Self::CommonName => "cn",
            Self::AccountName => "sAMAccountName",
        }
    }
}

#[derive(Debug)]
pub struct Roles {
    /// Whether the search account looks for groups, rather than the person.
    pub as_service: bool,
    source: Source,
    name: RoleName,
    /// Groups elsewhere give no roles.
    base: String,
    scope: Scope,
    /// {0} is the person's distinguished name, {1} the account's name.
    filter: Filter,
    /// The place of the whole domain, where the primary group is.
    domain: String,
    nested: Option<Filter>,
    primary: bool,
    by_sid: Filter,
}

impl Roles {
    /// `None` with the reasons in `problems`.
    pub fn take(
        options: &mut Options,
        naming: &Naming,
        directory: Option<&Directory>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let kinds = "memberOf, search or tokenGroups";
        let source = options.take_parsed("roleSource", Source::MemberOf, kinds, problems);
        let name = options.take_parsed("roleAttribute", RoleName::CommonName, "cn or sAMAccountName", problems);
        let domain = naming.domain.as_deref().map(base_dn);
        let base = take_base(options, "roleBaseDn", domain.clone(), problems);
        let scope = options.take_parsed("groupScope", Scope::Sub, "base, one or sub", problems);
        let nested = options.take_bool("nestedGroups", false, problems);
        let filter = options.take("roleFilter");
        if let Some((_, line)) = filter
            && (source != Source::Search || nested)
        {
            let message = "option `roleFilter` counts only with `roleSource` `search` and without `nestedGroups`";
            problems.add(options.file(), line, message);
        }
        let filter = read_filter(options, "roleFilter", filter, ("(member={0})", 2), problems);
        let primary = options.take_bool("includePrimaryGroup", true, problems);
        let as_service = take_role_search_as(options, directory, problems);
        let nested = if nested { Some(Filter::parse(IN_CHAIN, 1).ok()?) } else { None };
        let by_sid = Filter::parse("(objectSid={0})", 1).ok()?;
        let (base, filter) = (base?, filter?);
        let domain = domain.unwrap_or_else(|| base.clone());
        Some(Self { as_service, source, name, base, scope, filter, domain, nested, primary, by_sid })
    }

    /// The names of the groups of this person, all of them.
    ///
    /// # Errors
    /// `Unavailable` where the directory does not answer; `Login` where it does not tell all.
    pub async fn of(&self, asker: &mut Asker<'_>, person: &Entry) -> Result<BTreeSet<String>, LoginError> {
        let sid = person.values("objectSid").first().and_then(|bytes| Sid::new(bytes));
        let group = person.text("primaryGroupID").and_then(|id| id.parse().ok());
        let primary = sid.zip(group).and_then(|(sid, group)| sid.sibling(group));
        let mut names = match (self.source, &self.nested) {
            (Source::TokenGroups, _) => self.of_token(asker, person, primary.as_ref()).await?,
            (_, Some(in_chain)) => self.matching(asker, in_chain, &[person.dn.as_bytes()]).await?,
            (Source::MemberOf, None) => self.of_attribute(asker, person).await?,
            (Source::Search, None) => {
                let account = person.text("sAMAccountName").unwrap_or_default();
                self.matching(asker, &self.filter, &[person.dn.as_bytes(), account.as_bytes()]).await?
            }
        };
        if self.primary && self.source != Source::TokenGroups {
            names.extend(self.of_primary(asker, primary.as_ref()).await?);
        }
        // What could not be told from something else in a header or a log is no role.
        names.retain(|name| !name.trim().is_empty() && !name.chars().any(char::is_control));
        Ok(names)
    }

    /// The primary group, of which its members do not know in memberOf, nor it of them in member.
    async fn of_primary(&self, asker: &mut Asker<'_>, primary: Option<&Sid>) -> Result<BTreeSet<String>, LoginError> {
        let Some(sid) = primary else { return Err(incomplete("the primary group cannot be read")) };
        let attributes = [self.name.attribute()];
        let found = asker.search(&self.domain, Scope::Sub, (&self.by_sid, &[sid.as_bytes()]), &attributes, 2).await?;
        let Some(group) = found.entries.first() else {
            return Err(incomplete(&format!("the primary group {sid} is not under {}", self.domain)));
        };
        let mut names = BTreeSet::new();
        if self.is_in_scope(&group.dn) {
            names.extend(group.text(self.name.attribute()).map(str::to_owned));
        }
        if let Some(in_chain) = &self.nested {
            names.extend(self.matching(asker, in_chain, &[group.dn.as_bytes()]).await?);
        }
        Ok(names)
    }

    async fn of_attribute(&self, asker: &mut Asker<'_>, person: &Entry) -> Result<BTreeSet<String>, LoginError> {
        let mut member_of = Ranged::new("memberOf");
        while let Some(part) = member_of.next() {
            let attributes = own_attributes(asker, person, &part).await?;
            member_of.add(attributes).map_err(|error| incomplete(&error.to_string()))?;
        }
        let groups: Vec<Vec<u8>> = member_of.into_values();
        match self.name {
            RoleName::AccountName => self.named(asker, "distinguishedName", &groups).await,
            RoleName::CommonName => {
                let names = groups.iter().filter_map(|group| std::str::from_utf8(group).ok());
                let names = names.filter(|group| self.is_in_scope(group)).filter_map(dn::first);
                Ok(names.filter(|(attribute, _)| attribute == "cn").map(|(_, name)| name).collect())
            }
        }
    }

    /// All security groups, nested ones and the primary one too, as the directory itself works them out for a log-in.
    async fn of_token(
        &self,
        asker: &mut Asker<'_>,
        person: &Entry,
        primary: Option<&Sid>,
    ) -> Result<BTreeSet<String>, LoginError> {
        let attributes = own_attributes(asker, person, "tokenGroups").await?;
        let sids = attributes.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("tokenGroups"));
        let mut sids: Vec<Vec<u8>> = sids.flat_map(|(_, values)| values).collect();
        if sids.is_empty() {
            return Err(incomplete("attribute `tokenGroups` cannot be read"));
        }
        if !self.primary {
            sids.retain(|sid| Some(sid.as_slice()) != primary.map(Sid::as_bytes));
        }
        self.named(asker, "objectSid", &sids).await
    }

    /// The names of the groups with these values; those that are elsewhere are left out.
    async fn named(
        &self,
        asker: &mut Asker<'_>,
        attribute: &str,
        values: &[Vec<u8>],
    ) -> Result<BTreeSet<String>, LoginError> {
        let mut names = BTreeSet::new();
        for batch in values.chunks(BATCH) {
            let alternatives: String = (0..batch.len()).map(|place| format!("({attribute}={{{place}}})")).collect();
            let filter = Filter::parse(&format!("(|{alternatives})"), batch.len()).map_err(|why| incomplete(&why))?;
            let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
            names.extend(self.matching(asker, &filter, &batch).await?);
        }
        Ok(names)
    }

    async fn matching(
        &self,
        asker: &mut Asker<'_>,
        filter: &Filter,
        values: &[&[u8]],
    ) -> Result<BTreeSet<String>, LoginError> {
        let attributes = [self.name.attribute()];
        let found = asker.search(&self.base, self.scope, (filter, values), &attributes, MAX_ROLES).await?;
        if let Some(why) = cut_off(&found) {
            return Err(incomplete(&why));
        }
        Ok(found.entries.iter().filter_map(|group| group.text(self.name.attribute())).map(str::to_owned).collect())
    }

    fn is_in_scope(&self, group: &str) -> bool {
        let depth = |name: &str| dn::key(name).map(|key| if key.is_empty() { 0 } else { 1 + key.matches(',').count() });
        let below = depth(group).zip(depth(&self.base)).and_then(|(group, base)| group.checked_sub(base));
        let deep_enough = match self.scope {
            Scope::Base => below == Some(0),
            Scope::One => below == Some(1),
            Scope::Sub => true,
        };
        deep_enough && dn::is_within(group, &self.base)
    }
}

fn take_role_search_as(options: &mut Options, directory: Option<&Directory>, problems: &mut Problems) -> bool {
    let Some((value, line)) = options.take("roleSearchAs") else { return false };
    match value.trim() {
        "user" => return false,
        "service" if directory.is_none_or(Directory::has_search_account) => return true,
        "service" => problems.add(options.file(), line, "option `roleSearchAs`: `service` needs `bindDn`"),
        other => {
            problems.add(options.file(), line, format!("option `roleSearchAs`: `{other}` is not user or service"));
        }
    }
    false
}

/// An attribute of the person that is had only by looking at the entry itself.
async fn own_attributes(
    asker: &mut Asker<'_>,
    person: &Entry,
    attribute: &str,
) -> Result<Vec<(String, Vec<Vec<u8>>)>, LoginError> {
    let any = Filter::parse("(objectClass=*)", 0).map_err(|why| incomplete(&why))?;
    let found = asker.search(&person.dn, Scope::Base, (&any, &[]), &[attribute], 1).await?;
    let entry = found.entries.into_iter().next().ok_or_else(|| incomplete("the entry cannot be read any more"))?;
    Ok(entry.attributes)
}

/// Some groups are not all groups: a rule may ask for somebody who is not in one.
fn incomplete(why: &str) -> LoginError {
    LoginError::new(ErrorKind::Login, format!("not all groups can be told: {why}"))
}
