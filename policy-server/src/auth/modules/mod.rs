//! Login modules: each asks one kind of user directory whether a name and password are right.
//!
//! A new module is one file and one line in [`TABLE`]. A module answers with an [`Outcome`]; what that means for the
//! login is the stack's business. It never caches a password and never says more than `FailedLogin` to somebody whose
//! password was wrong.

mod active_directory;
mod common;
mod ldap;
mod legacy;
mod local;
mod pace;
mod role_map;
mod sql;
pub mod totp;
mod xml;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::callback::Callbacks;
use super::error::{ErrorKind, LoginError};
use super::stack::Outcome;
use super::subject::ModuleIdentity;
use crate::config::domain::{LocalService, UsersFile};
use crate::digest::pool::DigestPool;
use crate::directory::UserDirectory;
use crate::directory::ldap::{Directory, LdapError};
use crate::directory::sql::{Database, Pools};
use crate::directory::xml_users::XmlUserRepository;
use crate::store::Store;
use crate::token::KeyRing;

/// What a module may look at.
#[derive(Debug)]
pub struct LoginContext<'a> {
    pub callbacks: &'a Callbacks,
    pub now: Timestamp,
    /// The user that earlier modules of the stack proved, as they named them.
    pub proved: Option<&'a str>,
    /// The browser is remembered, and this module's class was among those that were satisfied then.
    pub remembered: Option<&'a Remembered>,
}

/// A browser that was remembered after an earlier login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub user: String,
    /// Classes of the modules that accepted the person then.
    pub methods: BTreeSet<String>,
    /// When that was, in seconds since 1970.
    pub since: i64,
}

/// What a module demands of its entry that only adds to an earlier proof.
#[derive(Debug)]
pub struct SecondFactor {
    /// The further callback it checks.
    pub callback: String,
    pub codes: totp::Codes,
    /// Whether a remembered browser stands in for it.
    pub remembered_browser: bool,
}

#[async_trait]
pub trait LoginModule: Send + Sync {
    /// An unknown user must take as long as a wrong password.
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome;

    /// The longest that a login waits for the module's directory, all its steps and servers together.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// For a module that finds nobody by itself.
    fn second_factor(&self) -> Option<&SecondFactor> {
        None
    }

    /// Whether it vouches for nobody by itself: nothing is left where the modules before it take back their word.
    fn only_adds(&self) -> bool {
        self.second_factor().is_some()
    }

    /// For a module to which one person may have several names: which option ends that.
    fn loose_names(&self) -> Option<&'static str> {
        None
    }

    /// Whether its ids ([`ModuleIdentity::source_id`](super::subject::ModuleIdentity::source_id)) name one person for ever
    /// whichever directory of the kind is asked, as UUIDs do.
    fn has_worldwide_ids(&self) -> bool {
        false
    }

    /// For a module whose directory can be asked about a user without the password.
    fn recheck(&self) -> Option<&dyn Recheck> {
        None
    }

    /// For a module whose directory can be searched. It names people as the module does at a login.
    fn directory(&self) -> Option<&dyn UserDirectory> {
        None
    }
}

#[async_trait]
pub trait Recheck: Send + Sync {
    /// `user` as the module itself named the person at login.
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing;

    /// Whether the answer is at hand without asking over a network: then it is asked for with every request, others
    /// every few minutes.
    fn is_at_hand(&self) -> bool {
        false
    }
}

/// What a directory says about somebody who logged in earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It could not be asked; the text says why.
    Unknown(String),
    /// Could not log in any more: disabled, expired, or gone for certain.
    Gone(LoginError),
    /// Is not seen, by a directory that may show only some people to whoever asks: an account that lost rights, or a replica
    /// that was not filled again, tells of the others without an error.
    Absent(LoginError),
    Current(ModuleIdentity),
}

/// What the modules of every security domain share.
#[derive(Clone)]
pub struct Shared {
    pub digests: DigestPool,
    /// `None` where a configuration is only validated: a module that needs it is built all the same and can log nobody in.
    pub vault: Option<Vault>,
    /// Connections to the users' databases, kept from one configuration to the next.
    pub pools: Pools,
}

impl Shared {
    pub fn new(digests: DigestPool, vault: Option<Vault>) -> Self {
        Self { digests, vault, pools: Pools::default() }
    }

    /// For what only validates a configuration.
    pub fn offline() -> Self {
        Self::new(DigestPool::new(1, 1), None)
    }
}

/// The store, and the keys that seal what is secret in it.
#[derive(Clone)]
pub struct Vault {
    pub store: Store,
    pub keys: KeyRing,
    pub cluster: String,
}

/// What the modules of a security domain share.
pub struct Services {
    pub shared: Shared,
    /// Name of the security domain.
    pub domain: String,
    /// By service id.
    pub users: BTreeMap<String, Arc<XmlUserRepository>>,
    pub local: Option<LocalService>,
    /// Pools of connections to databases, by service id.
    pub pools: BTreeMap<String, Database>,
    /// What works, but should not stay so.
    pub warnings: RefCell<Problems>,
}

impl Services {
    pub fn new(shared: Shared, domain: &str, users: BTreeMap<String, UsersFile>) -> Self {
        let repository = |UsersFile { path, users }| Arc::new(XmlUserRepository::new(path, users));
        let users = users.into_iter().map(|(id, file)| (id, repository(file))).collect();
        let (pools, warnings) = (BTreeMap::new(), RefCell::default());
        Self { shared, domain: domain.to_owned(), users, local: None, pools, warnings }
    }

    /// Where passwords go to directories on other machines so that the network can read them. `line` is that of `host`.
    pub fn warn_of_clear_text(&self, options: &Options, line: usize, directory: &Directory) {
        for endpoint in directory.endpoints().iter().filter(|endpoint| endpoint.shows_passwords()) {
            let message = format!("passwords go to {endpoint} in clear text: set `ssl` or `startTls`");
            self.warn(options.file(), line, message);
        }
    }

    pub fn warn(&self, file: &Path, line: usize, message: String) {
        self.warnings.borrow_mut().add(file, line, message);
    }
}

/// Takes its options and reports what is wrong with them; what it does not take is reported for it.
type Constructor = fn(&mut Options, &Services, &mut Problems) -> Option<Box<dyn LoginModule>>;

/// A class of login modules.
#[derive(Debug)]
pub struct ModuleKind {
    pub class: &'static str,
    construct: Constructor,
    /// Whether it can log nobody in without [`Shared::vault`].
    pub needs_store: bool,
}

static TABLE: &[ModuleKind] = &[
    ModuleKind { class: active_directory::CLASS, construct: active_directory::construct, needs_store: false },
    ModuleKind { class: ldap::CLASS, construct: ldap::construct, needs_store: false },
    ModuleKind { class: local::CLASS, construct: local::construct, needs_store: true },
    ModuleKind { class: role_map::CLASS, construct: role_map::construct, needs_store: false },
    ModuleKind { class: sql::CLASS, construct: sql::construct, needs_store: false },
    ModuleKind { class: totp::CLASS, construct: totp::construct, needs_store: true },
    ModuleKind { class: xml::CLASS, construct: xml::construct, needs_store: false },
];

pub fn find(class: &str) -> Option<&'static ModuleKind> {
    TABLE.iter().find(|kind| kind.class == class)
}

pub fn classes() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|kind| kind.class)
}

/// What went wrong with the directory is never a verdict on a password.
impl From<LdapError> for LoginError {
    fn from(error: LdapError) -> Self {
        Self::new(ErrorKind::Unavailable, error.to_string())
    }
}

impl ModuleKind {
    /// The module these options describe, or `None` with the reasons in `problems`.
    pub fn build(
        &self,
        mut options: Options,
        services: &Services,
        problems: &mut Problems,
    ) -> Option<Box<dyn LoginModule>> {
        let module = (self.construct)(&mut options, services, problems);
        options.finish(problems);
        module
    }
}
