//! LDAP directories, for every login module that asks one: hosts with failover, TLS, time-outs, limits, search account.
//!
//! A client of our own on purpose, see `docs/adr/013-ldap-client.md`. It follows no referrals, sends no password before
//! TLS is up where TLS was asked for, and never says whether a password is right: it hands out what the server answered.

mod ber;
mod connection;
pub mod dn;
mod endpoint;
mod error;
pub mod filter;
pub mod message;
mod options;
pub mod ppolicy;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared_proto::secret::Secret;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use connection::{Connection, Found, Settings};
pub use endpoint::{Endpoint, Security};
pub use error::{LdapError, code_name};
pub use filter::Filter;
pub use message::{Entry, Outcome, Scope, Search};

use connection::Home;
use message::DerefAliases;

/// To one directory at a time, so that a hanging one cannot take every socket of the process.
const MAX_CONNECTIONS: usize = 100;
/// A connection that nobody used for this long is not used again.
const IDLE: Duration = Duration::from_secs(30);

/// Who searches.
#[derive(Debug)]
pub struct Credentials {
    pub dn: String,
    pub password: Secret,
}

/// A directory that is served by one host or several alike.
#[derive(Debug)]
pub struct Directory {
    endpoints: ArcSwap<Vec<Endpoint>>,
    /// How hosts are reached whose URL does not say.
    security: Security,
    port: Option<u16>,
    settings: Settings,
    /// Without one, searches are anonymous.
    search_account: Option<Credentials>,
    /// Connections of the search account, never of a user.
    idle: Mutex<Vec<Connection>>,
    pool_size: usize,
    places: Arc<Semaphore>,
    /// The host that the next connection goes to first.
    prefer: Arc<AtomicUsize>,
}

impl Directory {
    /// The endpoint of a host that was found in some other way than in the option `host`.
    ///
    /// # Errors
    /// It is no host.
    pub fn endpoint(&self, host: &str) -> Result<Endpoint, String> {
        Endpoint::parse(host, self.security, self.port)
    }

    pub fn endpoints(&self) -> Arc<Vec<Endpoint>> {
        self.endpoints.load_full()
    }

    /// From now on the directory is served by these.
    pub fn move_to(&self, endpoints: Vec<Endpoint>) {
        self.endpoints.store(Arc::new(endpoints));
    }

    /// How long a login waits for it at most, all its steps and hosts together.
    pub fn patience(&self) -> Duration {
        self.settings.connect_timeout + self.settings.read_timeout
    }

    pub fn has_search_account(&self) -> bool {
        self.search_account.is_some()
    }

    /// How the search account binds.
    pub fn search_account(&self) -> Option<&str> {
        self.search_account.as_ref().map(|account| account.dn.as_str())
    }

    /// Whether the entry is that of the search account.
    pub fn is_search_account(&self, entry: &Entry) -> bool {
        let own = self.search_account().and_then(dn::key);
        own.is_some() && own == dn::key(&entry.dn)
    }

    /// Whether an entry may be found elsewhere than under the base.
    pub fn follows_aliases(&self) -> bool {
        self.settings.deref != DerefAliases::Never
    }

    /// A new connection to the first host that takes it, not bound yet. For binding as a user.
    ///
    /// # Errors
    /// No host took it.
    pub async fn connect(&self) -> Result<Connection, LdapError> {
        self.open(None).await
    }

    /// Searches as the search account.
    ///
    /// # Errors
    /// See [`Connection::search`]; or the search account cannot log in.
    pub async fn search(&self, search: &Search<'_>) -> Result<Found, LdapError> {
        let mut connection = self.searcher().await?;
        let found = connection.search(search).await;
        self.keep(connection);
        found
    }

    /// Compares as the search account.
    ///
    /// # Errors
    /// See [`Connection::compare`]; or the search account cannot log in.
    pub async fn compare(&self, dn: &str, attribute: &str, value: &[u8]) -> Result<Option<bool>, LdapError> {
        let mut connection = self.searcher().await?;
        let answer = connection.compare(dn, attribute, value).await;
        self.keep(connection);
        answer
    }

    /// A connection of the search account, for several searches of one server. To be given back with [`keep`](Self::keep).
    ///
    /// # Errors
    /// No host took it, or the search account cannot log in.
    pub async fn searcher(&self) -> Result<Connection, LdapError> {
        while let Some(mut connection) = self.idle().pop() {
            if connection.is_usable(IDLE) {
                return Ok(connection);
            }
        }
        self.open(self.search_account.as_ref()).await
    }

    /// For later searches, where the connection is still good.
    pub fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < self.pool_size && connection.is_usable(IDLE) {
            idle.push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries one host after the other, beginning with the one that was good last. Whoever comes after one that was not begins
    /// with the next, also where nobody waits for the end of this.
    async fn open(&self, account: Option<&Credentials>) -> Result<Connection, LdapError> {
        let endpoints = self.endpoints.load_full();
        let first = self.prefer.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for turn in 0..endpoints.len() {
            let host = first.wrapping_add(turn) % endpoints.len();
            let Some(endpoint) = endpoints.get(host) else { continue };
            match self.open_one(endpoint, host, account).await {
                Ok(connection) => {
                    self.prefer.store(host, Ordering::Relaxed);
                    return Ok(connection);
                }
                // Another server would say the same.
                Err(error @ (LdapError::SearchAccount(_) | LdapError::Busy)) => return Err(error),
                Err(error) => {
                    let next = host.wrapping_add(1);
                    _ = self.prefer.compare_exchange(host, next, Ordering::Relaxed, Ordering::Relaxed);
                    reasons.push(error.to_string());
                }
            }
        }
        Err(LdapError::Unreachable(if reasons.is_empty() { "no host is known".to_owned() } else { reasons.join("; ") }))
    }

    async fn open_one(
        &self,
        endpoint: &Endpoint,
        host: usize,
        account: Option<&Credentials>,
    ) -> Result<Connection, LdapError> {
        let place = timeout(self.settings.connect_timeout, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| LdapError::Busy)?.map_err(|_| LdapError::Busy)?;
        let home = Home { prefer: Arc::clone(&self.prefer), host, place };
        let mut connection = Connection::open(endpoint, &self.settings, home).await?;
        if let Some(Credentials { dn, password }) = account {
            let outcome = connection.bind(dn, password, false).await?;
            if outcome.code != message::SUCCESS {
                let error = connection.refused(format!("bind as {dn}"), outcome);
                return Err(LdapError::SearchAccount(error.to_string()));
            }
        }
        Ok(connection)
    }
}

#[cfg(test)]
mod tests;
