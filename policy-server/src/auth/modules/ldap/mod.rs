//! `LdapLoginModule`: users of an LDAP directory.
//!
//! The person is found by a search or by the pattern of their name; the password is proved by a bind, by a compare, or
//! here, by the digest that the directory hands out. A connection that was bound as a user serves that login alone.

mod options;
mod people;
mod recheck;
mod roles;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use super::common::{Common, within};
use super::pace::Pace;
use super::{LoginContext, LoginModule, Recheck, Services};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::{Attributes, ModuleIdentity};
use crate::digest::pool::{DigestPool, Overloaded};
use crate::digest::{Decoys, Policy};
use crate::directory::UserDirectory;
use crate::directory::ldap::{Connection, Directory, Entry, Search, dn, ppolicy};

use options::{Lookup, Method, Settings};
use roles::Searcher;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.LdapLoginModule";

/// Values of a password attribute that are tried.
const MAX_DIGESTS: usize = 8;
/// Longer names, roles and values are not taken over. In bytes.
const MAX_TEXT: usize = 1_024;
const NAMESPACE: &str = "ldap";

struct LdapLoginModule {
    directory: Directory,
    settings: Settings,
    digests: DigestPool,
    decoys: Decoys,
    pace: Pace,
    common: Common,
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let host = options.line_of("host");
    let directory = Directory::take(options, false, problems);
    let settings = Settings::take(options, directory.as_ref(), problems);
    let directory = directory?;
    if directory.endpoints().is_empty() {
        problems.add(options.file(), host, "option `host` is missing");
        return None;
    }
    services.warn_of_clear_text(options, host, &directory);
    let digests = services.shared.digests.clone();
    let (settings, decoys, pace) = (settings?, Decoys::default(), Pace::default());
    Some(Box::new(LdapLoginModule { directory, settings, digests, decoys, pace, common }))
}

/// A name is not that of one person.
struct NotFound {
    error: LoginError,
    why: Why,
}

enum Why {
    /// This server, a URL, knows nobody of this name.
    Nobody { server: String },
    /// So does one that did not look everywhere.
    NotAll,
    /// Somebody, but several, or somewhere else.
    Unfit,
}

fn failed(detail: impl Into<String>) -> LoginError {
    LoginError::new(ErrorKind::FailedLogin, detail)
}

/// The directory holds something that nobody can make a login of.
fn unfit(detail: impl Into<String>) -> LoginError {
    LoginError::new(ErrorKind::Login, detail)
}

impl LdapLoginModule {
    async fn authenticate(&self, name: &str, password: &Secret, begun: Instant) -> Result<ModuleIdentity, LoginError> {
        let refused = |error: &LoginError| self.refused(error, begun);
        let (entry, mut bound) = match (&self.settings.lookup, &self.settings.method) {
            (Lookup::Pattern(pattern), Method::Bind) => {
                let dn = pattern.with(name);
                let mut connection = self.directory.connect().await?;
                let bound = self.bind(&mut connection, &dn, password).await;
                bound.inspect_err(refused).map_err(|error| self.masked(error))?;
                let entry = self.read_own(&mut connection, &dn).await?;
                (entry, Some(connection))
            }
            (_, method) => {
                let entry = match self.find(name).await? {
                    Ok(entry) => entry,
                    Err(not_found) => {
                        self.waste(method, name, password).await;
                        return Err(not_found.error);
                    }
                };
                let bound = self.prove(&entry, name, password).await;
                let bound = bound.inspect_err(refused).map_err(|error| self.masked(error))?;
                (entry, bound)
            }
        };
        verdict::account(&entry, self.settings.policy_at_login())?;
        let mut searcher = match bound.as_mut().filter(|_| self.settings.roles.as_user()) {
            Some(connection) => Searcher::User(connection),
            None => Searcher::Service(&self.directory),
        };
        self.identity(&entry, name, &mut searcher).await
    }

    /// Proves that the password is that of the entry; the connection, where the proof was a bind.
    async fn prove(&self, entry: &Entry, name: &str, password: &Secret) -> Result<Option<Connection>, LoginError> {
        let attribute = &self.settings.password_attribute;
        match self.settings.method {
            Method::Bind => {
                let mut connection = self.directory.connect().await?;
                self.bind(&mut connection, &entry.dn, password).await?;
                Ok(Some(connection))
            }
            Method::Compare => match self.directory.compare(&entry.dn, attribute, password.expose()).await? {
                Some(true) => Ok(None),
                answer => {
                    let what = if answer.is_some() { "does not have this value" } else { "is not there" };
                    Err(failed(format!("compare: {attribute} of {} {what}", entry.dn)))
                }
            },
            Method::Retrieve(policy) => {
                let right = self.check_digests(entry, name, password, policy).await?;
                if right { Ok(None) } else { Err(failed(format!("no value of {attribute} of {} matches", entry.dn))) }
            }
        }
    }

    /// Where strangers are not to learn that an account is locked.
    fn masked(&self, error: LoginError) -> LoginError {
        let mask = self.settings.mask_locked && error.kind == ErrorKind::AccountLocked;
        if mask { failed(error.detail) } else { error }
    }

    /// What this server does of the work, where there is nobody whose password could be wrong. The time that a directory
    /// takes for its part is up to [`Pace`].
    async fn waste(&self, method: &Method, name: &str, password: &Secret) {
        if let Method::Retrieve(policy) = method {
            _ = self.verify(name, None, password, *policy).await;
        }
    }

    fn refused(&self, error: &LoginError, begun: Instant) {
        if error.refuses() {
            self.pace.refused(begun);
        }
    }

    async fn bind(&self, connection: &mut Connection, dn: &str, password: &Secret) -> Result<(), LoginError> {
        let outcome = connection.bind(dn, password, self.settings.use_password_policy).await?;
        let policy = ppolicy::of(&outcome).map_err(|error| unfit(format!("the password policy of {dn}: {error}")))?;
        if let Some(policy) = policy.filter(|policy| self.common.debug() && *policy != Default::default()) {
            tracing::info!(class = CLASS, dn, ?policy, "login module: password policy");
        }
        verdict::bind(dn, &outcome, policy).map_err(|error| error.about(connection.server()))
    }

    /// Whether it is one of the entry's passwords.
    async fn check_digests(
        &self,
        entry: &Entry,
        name: &str,
        password: &Secret,
        policy: Policy,
    ) -> Result<bool, LoginError> {
        let stored = entry.texts(&self.settings.password_attribute).take(MAX_DIGESTS);
        let stored: Vec<Option<String>> = stored.map(|value| Some(value.to_owned())).collect();
        // Without any it is as with somebody who does not exist.
        for stored in if stored.is_empty() { vec![None] } else { stored } {
            if self.verify(name, stored, password, policy).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn verify(
        &self,
        name: &str,
        stored: Option<String>,
        password: &Secret,
        policy: Policy,
    ) -> Result<bool, LoginError> {
        let checked = self.digests.verify(&self.decoys, name, stored, password.clone(), policy).await;
        checked.map_err(|overloaded: Overloaded| LoginError::new(ErrorKind::Unavailable, overloaded.to_string()))
    }

    /// Whose search it was, where a directory shows everybody something else.
    fn searcher(&self) -> &'static str {
        if self.directory.has_search_account() { "the search account" } else { "an anonymous search" }
    }

    /// The one entry of this name; the inner error is for a name that is not one entry's.
    async fn find(&self, name: &str) -> Result<Result<Entry, NotFound>, LoginError> {
        let attributes = self.settings.attributes();
        let (base, what, search) = match &self.settings.lookup {
            Lookup::Search { base, scope, filter } => {
                let what = format!("search under {base} with {}", filter.show(&[name]));
                let filter = filter.encode(&[name]);
                (base.clone(), what, Search { base, scope: *scope, filter, attributes: &attributes, limit: 2 })
            }
            Lookup::Pattern(pattern) => {
                let dn = pattern.with(name);
                return self.read(&dn, &attributes).await;
            }
        };
        let found = self.directory.search(&search).await?;
        let what = format!("{}: {what}", found.server);
        if found.base_missing {
            return Err(unfit(format!("{what}: the base is not there, or {} may not read it", self.searcher())));
        }
        let references = match found.references {
            0 => String::new(),
            n => format!(" ({n} referrals to other servers were not followed)"),
        };
        let not_found = |detail: String, why| Err(NotFound { error: failed(detail), why });
        let mut entries = found.entries;
        Ok(match (entries.pop(), entries.len(), found.incomplete) {
            (None, _, incomplete) => {
                let all = found.references == 0 && !incomplete;
                let why = if all { Why::Nobody { server: found.server } } else { Why::NotAll };
                not_found(format!("{what} found nothing for {}{references}", self.searcher()), why)
            }
            (Some(entry), 0, false) if self.settings.may_be_at(&entry.dn, &base) => Ok(entry),
            (Some(entry), 0, false) => not_found(format!("{what} found {}, which is not there", entry.dn), Why::Unfit),
            (_, others, _) => {
                tracing::warn!(class = CLASS, what, "more than one entry matches: nobody can log in by this name");
                let why = if others == 0 { Why::NotAll } else { Why::Unfit };
                not_found(format!("{what}: more than one entry matches"), why)
            }
        })
    }

    /// The entry of this very name, as the search account.
    async fn read(&self, dn: &str, attributes: &[&str]) -> Result<Result<Entry, NotFound>, LoginError> {
        let found = self.directory.search(&options::entry(dn, attributes)).await?;
        let error = failed(format!("{}: there is no entry {dn} for {}", found.server, self.searcher()));
        let all = found.references == 0 && !found.incomplete;
        let why = if all { Why::Nobody { server: found.server } } else { Why::NotAll };
        Ok(the_one(found.entries, dn).ok_or(NotFound { error, why }))
    }

    /// The entry of this very name, as that user. That the bound name is that of the entry is checked on the way.
    async fn read_own(&self, connection: &mut Connection, dn: &str) -> Result<Entry, LoginError> {
        let attributes = self.settings.attributes();
        let found = connection.search(&options::entry(dn, &attributes)).await?;
        let blind = || unfit(format!("{}: {dn} logged in and may not read its own entry", found.server));
        the_one(found.entries, dn).ok_or_else(blind)
    }

    /// The name of this person and of nobody else, who was found by `found_by`: who may write values into the own entry
    /// could write those of others.
    async fn user_name(&self, entry: &Entry, found_by: &str) -> Result<String, LoginError> {
        let user = self.settings.user_name(entry)?;
        let own = match &self.settings.lookup {
            Lookup::Pattern(pattern) => dn::key(&pattern.with(&user)) == dn::key(&entry.dn),
            Lookup::Search { .. } if user == found_by => true,
            Lookup::Search { .. } => self.find(&user).await?.is_ok_and(|found| {
                dn::key(&found.dn) == dn::key(&entry.dn)
                    && self.settings.source_id(&found) == self.settings.source_id(entry)
            }),
        };
        let foreign = || unfit(format!("{} would be called `{user}`, which does not find this entry alone", entry.dn));
        own.then_some(user.clone()).ok_or_else(foreign)
    }

    async fn identity(
        &self,
        entry: &Entry,
        found_by: &str,
        searcher: &mut Searcher<'_>,
    ) -> Result<ModuleIdentity, LoginError> {
        let user = self.user_name(entry, found_by).await?;
        let roles = self.settings.roles.of(searcher, entry, &user).await?;
        Ok(ModuleIdentity {
            class: CLASS,
            credential: None,
            source_id: self.settings.source_id(entry),
            roles: self.common.roles(&roles),
            attributes: self.user_attributes(entry),
            user,
        })
    }

    fn user_attributes(&self, entry: &Entry) -> Attributes {
        let mut named = BTreeMap::new();
        for (attribute, name) in &self.settings.copied {
            let values: BTreeSet<&str> = entry.texts(attribute).filter(|value| is_fit(value)).collect();
            if !values.is_empty() {
                named.insert(name.clone(), values.into_iter().collect::<Vec<_>>().join(","));
            }
        }
        if named.is_empty() { Attributes::new() } else { [(NAMESPACE.to_owned(), named)].into() }
    }
}

/// The entry, if it is the only one and has the name that was asked for.
fn the_one(mut entries: Vec<Entry>, dn: &str) -> Option<Entry> {
    let entry = entries.pop().filter(|_| entries.is_empty())?;
    (dn::key(&entry.dn)? == dn::key(dn)?).then_some(entry)
}

/// Whether a directory's text may become part of a session: one line, not long.
fn is_fit(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

#[async_trait]
impl LoginModule for LdapLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let name = self.common.user_name(cx.callbacks.username());
        let begun = Instant::now();
        let login = self.authenticate(&name, cx.callbacks.password(), begun);
        let outcome = match within(self.patience(), login).await {
            Ok(identity) => Outcome::Succeed(identity),
            Err(error) => Outcome::Fail(error),
        };
        if let Outcome::Fail(error) = &outcome
            && error.kind != ErrorKind::Unavailable
        {
            self.pace.even_out(begun).await;
        }
        self.common.trace(CLASS, &name, &outcome);
        outcome
    }

    fn patience(&self) -> Duration {
        self.directory.patience()
    }

    fn has_worldwide_ids(&self) -> bool {
        self.settings.has_uuids()
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        self.directory.has_search_account().then_some(self)
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        self.directory.has_search_account().then_some(self)
    }
}
