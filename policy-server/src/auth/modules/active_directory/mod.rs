//! `ActiveDirectoryLoginModule`: people of a Windows domain, asked by LDAP.
//!
//! The directory decides on passwords: each is proved by a bind as the entry whose identity is given out, so a name that
//! belongs to two accounts logs in neither as the other. A password is never fetched or compared, and never sent to a
//! server that was not configured or named by the domain's DNS.

mod account;
mod identifier;
mod locator;
mod name;
mod options;
mod people;
mod range;
mod roles;
mod search;
mod srv;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use super::common::{Common, within};
use super::pace::Pace;
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::{Attributes, ModuleIdentity};
use crate::directory::UserDirectory;
use crate::directory::ldap::{Connection, Directory, Entry, Filter, Scope, message};
use account::State;
use locator::Locator;
use name::{Name, Naming};
use roles::Roles;
use search::Asker;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.ActiveDirectoryLoginModule";

/// Nobody waits for a recheck, so it may take longer than a login. Somebody in thousands of groups has many steps.
const RECHECK: Duration = Duration::from_secs(60);

struct ActiveDirectoryLoginModule {
    common: Common,
    directory: Directory,
    /// Where no hosts are configured.
    locator: Option<Locator>,
    naming: Naming,
    bind_mode: BindMode,
    people: People,
    roles: Roles,
    pace: Pace,
}

/// How a password is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindMode {
    /// By the name as typed; the entry is searched for afterwards, by its owner.
    Principal,
    /// By the entry that the search account found.
    Search,
}

/// Where people are.
struct People {
    base: String,
    scope: Scope,
    /// By sAMAccountName, with whatever else an admin demands of those who may log in.
    by_account: Filter,
    by_principal: Filter,
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let module = ActiveDirectoryLoginModule::take(options, services, problems)?;
    Some(Box::new(module))
}

impl ActiveDirectoryLoginModule {
    async fn authenticate(&self, typed: &str, password: &Secret, now: Timestamp) -> Result<ModuleIdentity, LoginError> {
        let name = self.naming.read(typed).map_err(|why| LoginError::new(ErrorKind::FailedLogin, why))?;
        if let Some(locator) = &self.locator {
            locator.locate(&self.directory).await?;
        }
        let (mut connection, entry) = match self.bind_mode {
            BindMode::Principal => self.bind_and_find(&name, password).await?,
            BindMode::Search => self.find_and_bind(&name, password).await?,
        };
        let mut asker = match self.roles.as_service {
            true => Asker::Service(&self.directory),
            false => Asker::User(&mut connection),
        };
        self.identity(&mut asker, &entry, now).await
    }

    async fn bind_and_find(&self, name: &Name, password: &Secret) -> Result<(Connection, Entry), LoginError> {
        let bind_name = self.naming.bind_name(name);
        let bind_name = bind_name
            .ok_or_else(|| LoginError::new(ErrorKind::Login, "neither `domain` nor `netbiosDomain` is set"))?;
        let mut connection = self.directory.connect().await?;
        bind(&mut connection, &bind_name, password).await?;
        let mut asker = Asker::User(&mut connection);
        let entry = self.find(&mut asker, name).await?;
        // The name of the bind may be the userPrincipalName of one account and the sAMAccountName of another.
        bind(&mut connection, &entry.dn, password).await?;
        Ok((connection, entry))
    }

    async fn find_and_bind(&self, name: &Name, password: &Secret) -> Result<(Connection, Entry), LoginError> {
        let entry = self.find(&mut Asker::Service(&self.directory), name).await?;
        let mut connection = self.directory.connect().await?;
        bind(&mut connection, &entry.dn, password).await?;
        Ok((connection, entry))
    }

    /// The one entry of this name.
    async fn find(&self, asker: &mut Asker<'_>, name: &Name) -> Result<Entry, LoginError> {
        match name {
            Name::Account(account) => self.find_account(asker, account).await,
            Name::Principal(principal) => match self.only(asker, &self.people.by_principal, principal).await? {
                // What an admin demands of people is written for the account's name, and holds for each form of it.
                Some(owner) => {
                    let account = owner.text("sAMAccountName").ok_or_else(|| unreadable("sAMAccountName"))?;
                    let entry = self.find_account(asker, account).await?;
                    if entry.values("objectGUID") != owner.values("objectGUID") {
                        let detail =
                            format!("the account name `{account}` is of two people: {}, {}", owner.dn, entry.dn);
                        return Err(LoginError::new(ErrorKind::FailedLogin, detail));
                    }
                    Ok(entry)
                }
                None => match self.naming.implicit_account(principal) {
                    Some(account) => self.find_account(asker, account).await,
                    None => Err(unknown(principal)),
                },
            },
        }
    }

    async fn find_account(&self, asker: &mut Asker<'_>, account: &str) -> Result<Entry, LoginError> {
        self.only(asker, &self.people.by_account, account).await?.ok_or_else(|| self.nobody(account))
    }

    fn nobody(&self, account: &str) -> LoginError {
        let People { base, by_account, .. } = &self.people;
        let detail = format!("search under {base} with {} found nothing", by_account.show(&[account]));
        LoginError::new(ErrorKind::FailedLogin, detail)
    }

    /// Of somebody who logged in earlier, by one server.
    async fn look_up_again(&self, user: &str, now: Timestamp) -> Result<Standing, LoginError> {
        if let Some(locator) = &self.locator {
            locator.locate(&self.directory).await?;
        }
        let mut connection = self.directory.searcher().await?;
        let mut asker = Asker::User(&mut connection);
        let standing = match self.only(&mut asker, &self.people.by_account, user).await {
            Ok(Some(entry)) => self.identity(&mut asker, &entry, now).await.map(Standing::Current),
            Ok(None) if self.sees_somebody(&mut asker).await? => Ok(Standing::Absent(self.nobody(user))),
            Ok(None) => {
                let detail = format!("{}; but the search account sees nobody there at all", self.nobody(user).detail);
                Err(LoginError::new(ErrorKind::Unavailable, detail))
            }
            Err(error) => Err(error),
        };
        self.directory.keep(connection);
        standing
    }

    /// Whether the search account finds anybody but itself where people are. One that lost its rights finds nothing, without
    /// an error, and so does a server that has not got its data yet: nobody is gone on their word.
    async fn sees_somebody(&self, asker: &mut Asker<'_>) -> Result<bool, LoginError> {
        let People { base, scope, by_account, .. } = &self.people;
        let filter = by_account.for_anybody();
        let found = asker.search(base, *scope, (&filter, &[]), &["sAMAccountName"], 2).await?;
        let account = self.directory.search_account().map(name::account_of);
        let is_own = |entry: &Entry| {
            let named =
                entry.text("sAMAccountName").zip(account).is_some_and(|(one, own)| one.eq_ignore_ascii_case(own));
            named || self.directory.is_search_account(entry)
        };
        Ok(found.entries.iter().any(|entry| !is_own(entry)))
    }

    async fn only(&self, asker: &mut Asker<'_>, filter: &Filter, name: &str) -> Result<Option<Entry>, LoginError> {
        let People { base, scope, .. } = &self.people;
        let attributes: Vec<&str> =
            [&["sAMAccountName", "objectGUID", "objectSid", "primaryGroupID"][..], &account::ATTRIBUTES].concat();
        let found = asker.search(base, *scope, (filter, &[name.as_bytes()]), &attributes, 2).await?;
        let mut entries = found.entries.into_iter();
        if entries.len() == 0 && found.incomplete {
            let detail = format!("the directory gave up the search under {base} before it found anybody");
            return Err(LoginError::new(ErrorKind::Login, detail));
        }
        match (entries.next(), entries.next()) {
            (entry, None) if !found.incomplete => Ok(entry),
            _ => {
                let detail = format!("more than one entry under {base} matches {}", filter.show(&[name]));
                Err(LoginError::new(ErrorKind::FailedLogin, detail))
            }
        }
    }

    /// Who the entry is, if its account is good.
    async fn identity(
        &self,
        asker: &mut Asker<'_>,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<ModuleIdentity, LoginError> {
        State::read(|name| entry.text(name))?.check(now)?;
        let account = entry.text("sAMAccountName").ok_or_else(|| unreadable("sAMAccountName"))?;
        let guid = entry.values("objectGUID").first().and_then(|bytes| identifier::guid(bytes));
        Ok(ModuleIdentity {
            class: CLASS,
            user: self.common.user_name(account),
            credential: None,
            source_id: Some(guid.ok_or_else(|| unreadable("objectGUID"))?),
            roles: self.common.roles(&self.roles.of(asker, entry).await?),
            attributes: Attributes::new(),
        })
    }
}

/// A bind on an open connection. Only success is one: whatever else the directory says, nobody is logged in.
async fn bind(connection: &mut Connection, name: &str, password: &Secret) -> Result<(), LoginError> {
    let outcome = connection.bind(name, password, false).await?;
    match outcome.code {
        message::SUCCESS => Ok(()),
        message::INVALID_CREDENTIALS => Err(account::refused_bind(name, &outcome.text)),
        _ => Err(connection.refused(format!("bind as {name}"), outcome).into()),
    }
}

fn unknown(name: &str) -> LoginError {
    LoginError::new(ErrorKind::FailedLogin, format!("nobody has the userPrincipalName {name}"))
}

fn unreadable(attribute: &str) -> LoginError {
    LoginError::new(ErrorKind::Login, format!("attribute `{attribute}` of the entry cannot be read"))
}

#[async_trait]
impl LoginModule for ActiveDirectoryLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let name = self.common.user_name(cx.callbacks.username());
        let begun = Instant::now();
        let login = self.authenticate(&name, cx.callbacks.password(), cx.now);
        let outcome = match within(self.patience(), login).await {
            Ok(identity) => Outcome::Succeed(identity),
            Err(error) => Outcome::Fail(error),
        };
        if let Outcome::Fail(error) = &outcome
            && error.kind != ErrorKind::Unavailable
        {
            if error.refuses() {
                self.pace.refused(begun);
            }
            self.pace.even_out(begun).await;
        }
        self.common.trace(CLASS, &name, &outcome);
        outcome
    }

    fn patience(&self) -> Duration {
        self.directory.patience()
    }

    fn has_worldwide_ids(&self) -> bool {
        true
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        self.directory.has_search_account().then_some(self)
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        self.directory.has_search_account().then_some(self)
    }
}

#[async_trait]
impl Recheck for ActiveDirectoryLoginModule {
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing {
        match within(RECHECK, self.look_up_again(user, now)).await {
            Ok(standing) => standing,
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Login) => {
                Standing::Unknown(error.to_string())
            }
            Err(error) => Standing::Gone(error),
        }
    }
}

#[cfg(test)]
mod tests;
