//! Jami devices: whose they are, how they enrol, what their tokens open. HTTP knows this module, and this module nothing of
//! HTTP.
//!
//! A device belongs to an account, and an account to a person whom a login proved. An error is never a certificate and never
//! a token.

pub mod account;
pub mod blueprint;
pub mod enrol;
pub mod identity;
pub mod login;
pub mod merge;
pub mod receipt;
pub mod revoke;
pub mod search;
pub mod sync;
pub mod token;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shared_proto::secret::Secret;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinError;

pub use account::{Account, Device, Holding, Standing};
pub use identity::Identity;

use crate::audit::Detail;
use crate::config::cams_conf::JamiConf;
use crate::digest::Overloaded;
use crate::pki::{OpenedAccounts, OrganisationCa, PkiError, SpareKeys, Urls};
use crate::store::{Store, StoreError};
use crate::token::KeyRing;
use crate::wire::{Domain, Loaded};

/// The way a request came: through which agent, and for which login entry, which the agent may use.
#[derive(Clone)]
pub struct Asker {
    /// The configuration that the request began with.
    pub loaded: Arc<Loaded>,
    pub domain: String,
    pub entry: String,
    pub agent: String,
    pub client: IpAddr,
    pub request_id: String,
}

impl Asker {
    pub fn domain(&self) -> Result<&Domain, DeviceError> {
        let gone = || DeviceError::Refused("the security domain is gone from the configuration".to_owned());
        self.loaded.domains.get(&self.domain).ok_or_else(gone)
    }

    /// For the audit log.
    pub fn detail(&self) -> Detail<'_> {
        Detail {
            request_id: Some(&self.request_id),
            agent: Some(&self.agent),
            domain: Some(&self.domain),
            entry: Some(&self.entry),
            client: Some(self.client.to_string()),
            ..Detail::default()
        }
    }
}

/// What somebody typed.
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// Why a device gets nothing. The texts are for our logs; what the client is told says less.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("the login failed")]
    Credentials,
    #[error("too many failed logins: the next one counts in {0} s")]
    Throttled(u64),
    /// What was sent cannot be used by anybody.
    #[error("{0}")]
    Bad(String),
    /// Not for this person or device.
    #[error("{0}")]
    Refused(String),
    /// The device is revoked for ever.
    #[error("the device is revoked")]
    Revoked,
    /// Too many others are waiting as well.
    #[error("others are before it: it may come again in {0} s")]
    Busy(u64),
    /// No verdict: something that has to be asked cannot be, or is too busy.
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("the work was given up: {0}")]
    GivenUp(#[from] JoinError),
}

/// Held while somebody enrols a first device.
type Turn = tokio::sync::Mutex<()>;

/// What enrolments share.
pub struct Issuing {
    keys: KeyRing,
    urls: Urls,
    spare: SpareKeys,
    opened: Arc<OpenedAccounts>,
    /// The organisation CA that was current when it was last needed.
    authority: Mutex<Option<Arc<OrganisationCa>>>,
    /// First enrolments that are going on, by domain and name.
    turns: Mutex<BTreeMap<(String, String), Weak<Turn>>>,
}

impl Issuing {
    pub fn new(keys: KeyRing, conf: &JamiConf) -> Self {
        let urls = Urls { base: conf.revocation_url.clone() };
        let (spare, opened) = (SpareKeys::new(conf.spare_keys), Arc::new(OpenedAccounts::new(keys.clone())));
        Self { keys, urls, spare, opened, authority: Mutex::default(), turns: Mutex::default() }
    }

    /// Waits until nobody else enrols a first device under this name, and keeps others waiting as long as it is held.
    async fn turn(&self, domain: &str, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let entry = turns.entry((domain.to_owned(), key.to_owned())).or_default();
            entry.upgrade().unwrap_or_else(|| {
                let turn = Arc::default();
                *entry = Arc::downgrade(&turn);
                turn
            })
        };
        turn.lock_owned().await
    }

    /// The organisation CA, if there is one; keys for new accounts are made from now on.
    pub async fn authority(&self, store: &Store) -> Result<Option<Arc<OrganisationCa>>, PkiError> {
        let Some(current) = store.current_authority().await? else { return Ok(None) };
        self.spare.start();
        let kept = self.authority.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| kept.id() == current.id) {
            return Ok(Some(kept));
        }
        let opened = OrganisationCa::load(store, &self.keys, &current.id).await?.map(Arc::new);
        self.authority.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&opened);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests;
