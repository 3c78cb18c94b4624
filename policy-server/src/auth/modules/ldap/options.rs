//! The options of the module beside those of the directory: where people are, how a password is proved, what is read.

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::roles::{Groups, OwnRoles, Roles};
use super::verdict::PolicyCounts;
use super::{is_fit, unfit, verdict};
use crate::auth::error::LoginError;
use crate::digest::Policy;
use crate::directory::ldap::dn::{self, DnPattern};
use crate::directory::ldap::filter::is_description;
use crate::directory::ldap::{Directory, Entry, Filter, Scope, Search};

#[derive(Debug)]
pub enum Lookup {
    Search { base: String, scope: Scope, filter: Filter },
    Pattern(DnPattern),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Bind,
    Compare,
    /// Digests are checked here, by this policy.
    Retrieve(Policy),
}

#[derive(Debug)]
pub struct Settings {
    pub lookup: Lookup,
    pub method: Method,
    pub password_attribute: String,
    pub use_password_policy: bool,
    /// A bind that is refused because the account is locked looks as one with a wrong password.
    pub mask_locked: bool,
    pub roles: Roles,
    /// Attributes of the directory, and how they are called in the session.
    pub copied: Vec<(String, String)>,
    user_name: String,
    id: String,
    /// Aliases are followed, so an entry may be found outside of the base.
    aliases: bool,
}

/// Takes options and says where one is wrong.
struct Taker<'a> {
    options: &'a mut Options,
    problems: &'a mut Problems,
}

impl Settings {
    /// `None` with the reasons in `problems`.
    pub fn take(options: &mut Options, directory: Option<&Directory>, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let mut taker = Taker { options, problems };
        let lookup = taker.lookup();
        let has_account = directory.is_none_or(Directory::has_search_account);
        let method = taker.method(has_account);
        let user_name = taker.user_name(lookup.as_ref());
        let settings = Self {
            password_attribute: taker.attribute("passwordAttribute", Some("userPassword")).unwrap_or_default(),
            use_password_policy: taker.options.take_bool("usePasswordPolicy", true, taker.problems),
            mask_locked: taker.options.take_bool("maskLocked", false, taker.problems),
            roles: taker.roles(method),
            copied: taker.copied(),
            id: taker.attribute("idAttribute", Some("entryUUID")).unwrap_or_default(),
            aliases: directory.is_some_and(Directory::follows_aliases),
            user_name: user_name.unwrap_or_default(),
            lookup: lookup?,
            method,
        };
        (problems.len() == before).then_some(settings)
    }

    /// Whether the server itself makes what `idAttribute` names, as a UUID.
    pub fn has_uuids(&self) -> bool {
        ["entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID"].iter().any(|name| self.id.eq_ignore_ascii_case(name))
    }

    /// What is read of a person's entry.
    pub fn attributes(&self) -> Vec<&str> {
        let mut names = self.own_attributes();
        names.extend(verdict::ACCOUNT);
        names.extend(self.copied.iter().map(|(attribute, _)| attribute.as_str()));
        names.extend(self.roles.own.as_ref().map(|own| own.attribute.as_str()));
        if matches!(self.method, Method::Retrieve(_)) {
            names.push(&self.password_attribute);
        }
        names
    }

    /// Those that say whose entry it is.
    pub fn own_attributes(&self) -> Vec<&str> {
        vec![&self.user_name, &self.id]
    }

    pub fn user_name_attribute(&self) -> &str {
        &self.user_name
    }

    /// An entry without a name, or somewhere else, is not what was searched for: who bound with it would be nobody.
    pub fn may_be_at(&self, dn: &str, base: &str) -> bool {
        !dn.trim().is_empty() && (self.aliases || dn::is_within(dn, base))
    }

    /// What counts of the password policy once a password was proved.
    pub fn policy_at_login(&self) -> PolicyCounts {
        match (self.use_password_policy, self.method) {
            (false, _) => PolicyCounts::No,
            (true, Method::Bind) => PolicyCounts::WithoutPassingLocks,
            (true, Method::Compare | Method::Retrieve(_)) => PolicyCounts::Yes,
        }
    }

    /// What counts of it for somebody who is logged in.
    pub fn policy_at_recheck(&self) -> PolicyCounts {
        if self.use_password_policy { PolicyCounts::WithoutPassingLocks } else { PolicyCounts::No }
    }

    /// The name of a person, however it was typed: the value in the entry's own name, or else the first in the alphabet.
    /// Whether it is the person's alone is not known yet.
    pub fn user_name(&self, entry: &Entry) -> Result<String, LoginError> {
        let attribute = &self.user_name;
        let in_dn = dn::first(&entry.dn).filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let in_dn = in_dn.and_then(|(_, value)| entry.texts(attribute).find(|known| **known == value));
        let name = in_dn.or_else(|| entry.texts(attribute).min()).map(str::trim).filter(|name| is_fit(name));
        let name = name.ok_or_else(|| unfit(format!("{} has no {attribute} that can be read and used", entry.dn)))?;
        Ok(name.to_owned())
    }

    pub fn source_id(&self, entry: &Entry) -> Option<String> {
        let id = entry.values(&self.id).first()?;
        Some(std::str::from_utf8(id).map_or_else(|_| crate::token::hex(id), str::to_owned))
    }
}

/// One entry by its name.
pub fn entry<'a>(dn: &'a str, attributes: &'a [&'a str]) -> Search<'a> {
    let filter = Filter::present("objectClass").encode::<&str>(&[]);
    Search { base: dn, scope: Scope::Base, filter, attributes, limit: 1 }
}

impl Taker<'_> {
    fn problem(&mut self, line: usize, name: &str, message: impl std::fmt::Display) {
        self.problems.add(self.options.file(), line, format!("option `{name}`: {message}"));
    }

    /// The name of an attribute.
    fn attribute(&mut self, name: &str, default: Option<&str>) -> Option<String> {
        let Some((text, line)) = self.options.take(name) else { return default.map(str::to_owned) };
        let text = text.trim();
        if !is_description(text) {
            self.problem(line, name, format!("`{text}` is not an attribute"));
        }
        Some(text.to_owned())
    }

    fn filter(&mut self, name: &str, default: &str, arguments: usize) -> Option<(Filter, usize)> {
        let (text, line) = self.options.take(name).unwrap_or_else(|| (default.to_owned(), self.options.line()));
        let filter = Filter::parse(&text, arguments).and_then(|filter| {
            let uses = (0..arguments).any(|argument| filter.uses(argument));
            if uses { Ok(filter) } else { Err(format!("`{text}` is the same for everybody: {{0}} is missing")) }
        });
        filter.map_err(|message| self.problem(line, name, message)).ok().map(|filter| (filter, line))
    }

    fn dn(&mut self, name: &str) -> Option<String> {
        let (text, line) = self.options.take(name)?;
        if dn::key(&text).is_none() || text.trim().is_empty() {
            self.problem(line, name, format!("`{text}` is not a name such as ou=people,dc=example,dc=org"));
            return None;
        }
        Some(text.trim().to_owned())
    }

    fn scope(&mut self, name: &str) -> Scope {
        self.options.take_parsed(name, Scope::One, "base, one or sub", self.problems)
    }

    fn lookup(&mut self) -> Option<Lookup> {
        let Some((pattern, line)) = self.options.take("userDnPattern") else {
            if !self.options.has("userBaseDn") {
                let message = "option `userBaseDn` is missing (or `userDnPattern`)";
                self.problems.add(self.options.file(), self.options.line(), message);
            }
            let base = self.dn("userBaseDn");
            let scope = self.scope("userScope");
            let filter = self.filter("userFilter", "(uid={0})", 1);
            return Some(Lookup::Search { base: base?, scope, filter: filter?.0 });
        };
        for name in ["userBaseDn", "userScope", "userFilter"] {
            if let Some((_, line)) = self.options.take(name) {
                self.problem(line, name, "nothing is searched with `userDnPattern`: keep one");
            }
        }
        let pattern = DnPattern::parse(pattern.trim()).map_err(|message| self.problem(line, "userDnPattern", message));
        pattern.ok().map(Lookup::Pattern)
    }

    fn method(&mut self, has_account: bool) -> Method {
        let line = self.options.line_of("authMethod");
        let cleartext = self.options.line_of("allowCleartext");
        let name = self.options.take_string("authMethod").unwrap_or_else(|| "bind".to_owned());
        let given = self.options.has("allowCleartext");
        let policy = Policy { allow_cleartext: self.options.take_bool("allowCleartext", false, self.problems) };
        let method = match name.trim() {
            "bind" => Method::Bind,
            "compare" => Method::Compare,
            "retrieve" => Method::Retrieve(policy),
            other => {
                self.problem(line, "authMethod", format!("`{other}` is not bind, compare or retrieve"));
                return Method::Bind;
            }
        };
        if given && method != Method::Retrieve(policy) {
            self.problem(cleartext, "allowCleartext", "only for `authMethod` retrieve: otherwise the directory checks");
        }
        if !has_account && method == Method::Retrieve(policy) {
            let message = "retrieve needs `bindDn`: a directory that shows digests to everybody must not be relied on";
            self.problem(line, "authMethod", message);
        }
        method
    }

    /// A recheck looks people up by the name they got, so the lookup must be by that very attribute.
    fn user_name(&mut self, lookup: Option<&Lookup>) -> Option<String> {
        let line = self.options.line_of("userNameAttribute");
        let given = self.attribute("userNameAttribute", None);
        let (compared, where_from) = match lookup? {
            Lookup::Search { filter, .. } => {
                (filter.compared_with(0).into_iter().map(str::to_owned).collect(), "userFilter")
            }
            Lookup::Pattern(pattern) => (pattern.attribute().into_iter().collect::<Vec<_>>(), "userDnPattern"),
        };
        match given {
            Some(given) if compared.iter().any(|known| known.eq_ignore_ascii_case(&given)) => Some(given),
            Some(given) => {
                let message =
                    format!("`{where_from}` does not compare `{given}` with {{0}}, so nobody could be found again");
                self.problem(line, "userNameAttribute", message);
                None
            }
            None => {
                let first = compared.into_iter().next();
                if first.is_none() {
                    self.problem(line, where_from, "no attribute is compared with {0} alone, as in (uid={0})");
                }
                first
            }
        }
    }

    fn roles(&mut self, method: Method) -> Roles {
        let attribute = self.attribute("userRoleAttribute", None);
        let is_dn = self.options.take_bool("userRoleAttributeIsDn", true, self.problems);
        let line = self.options.line_of("userRoleBaseDn");
        let base = self.dn("userRoleBaseDn");
        if base.is_some() && !(attribute.is_some() && is_dn) {
            self.problem(line, "userRoleBaseDn", "only for `userRoleAttribute` with names of groups");
        }
        let groups = self.groups(method);
        let base = base.or_else(|| groups.as_ref().map(|groups| groups.base.clone()));
        let own = attribute.map(|attribute| OwnRoles { attribute, is_dn, base });
        Roles { groups, own }
    }

    fn groups(&mut self, method: Method) -> Option<Groups> {
        const OTHERS: [&str; 6] =
            ["roleScope", "roleFilter", "roleAttribute", "roleSearchAs", "roleNested", "roleNestedMaxDepth"];
        if !self.options.has("roleBaseDn") {
            for name in OTHERS {
                if let Some((_, line)) = self.options.take(name) {
                    self.problem(line, name, "no groups are searched without `roleBaseDn`");
                }
            }
            // For the list of what is known.
            self.options.take("roleBaseDn");
            return None;
        }
        let base = self.dn("roleBaseDn");
        let scope = self.scope("roleScope");
        let filter = self.filter("roleFilter", "(uniqueMember={0})", 2);
        let attribute = self.attribute("roleAttribute", Some("cn")).unwrap_or_default();
        let as_user = self.search_as(method);
        let line = self.options.line_of("roleNested");
        let nested = self.options.take_bool("roleNested", false, self.problems);
        let depth_line = self.options.line_of("roleNestedMaxDepth");
        let depth = self.options.take_parsed("roleNestedMaxDepth", 5_usize, "a number", self.problems);
        if !(1..=20).contains(&depth) {
            self.problem(depth_line, "roleNestedMaxDepth", "from 1 to 20");
        }
        let (filter, _) = filter?;
        if nested && !filter.uses(0) {
            self.problem(line, "roleNested", "`roleFilter` needs {0}, which is then the name of a group");
        }
        Some(Groups { base: base?, scope, filter, attribute, as_user, depth: if nested { depth } else { 0 } })
    }

    fn search_as(&mut self, method: Method) -> bool {
        let usual = if method == Method::Bind { "user" } else { "service" };
        let (text, line) = self.options.take("roleSearchAs").unwrap_or_else(|| (usual.to_owned(), 0));
        match text.trim() {
            "user" if method == Method::Bind => true,
            "user" => {
                self.problem(line, "roleSearchAs", "nobody is bound as the user unless `authMethod` is bind");
                true
            }
            "service" => false,
            other => {
                self.problem(line, "roleSearchAs", format!("`{other}` is not user or service"));
                false
            }
        }
    }

    /// `mail,givenName=first`: attributes of the directory, some under another name.
    fn copied(&mut self) -> Vec<(String, String)> {
        let Some((text, line)) = self.options.take("attributes") else { return Vec::new() };
        let mut copied: Vec<(String, String)> = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (attribute, name) = word.split_once('=').unwrap_or((word, word));
            let (attribute, name) = (attribute.trim(), name.trim());
            let is_header = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !is_description(attribute) || !is_header {
                self.problem(line, "attributes", format!("`{word}`: write attribute, or attribute=name"));
            } else if copied.iter().any(|(_, known)| known.eq_ignore_ascii_case(name)) {
                self.problem(line, "attributes", format!("`{name}` is there twice"));
            }
            copied.push((attribute.to_owned(), name.to_owned()));
        }
        copied
    }
}
