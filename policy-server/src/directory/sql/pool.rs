//! Connections to one database: how many at once, and which of them are kept for the next login. Not pure.
//!
//! Nothing is connected before somebody logs in, so that the server starts while the database is down. A connection
//! comes back only from whoever says that everything on it went well.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use shared_proto::secret::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connection, Credentials};
use super::statement::Statement;
use super::url::Location;
use super::{Row, SqlError};

/// How long a good-bye to the server may take.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// Which database, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    pub location: Location,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Relative files are below this folder.
    pub base: PathBuf,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let password = |target: &Self| target.password.as_ref().map(|password| password.expose().to_vec());
        (&self.location, &self.username, &self.base) == (&other.location, &other.username, &other.base)
            && password(self) == password(other)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections at once.
    pub max_connections: usize,
    /// So many of those that are kept stay however long nobody needs them.
    pub min_connections: usize,
    /// How many are kept at all: none, or as many as there are.
    pub keep: bool,
    /// How long to wait for one of them.
    pub acquire_timeout: Duration,
    pub idle_timeout: Duration,
    pub max_lifetime: Duration,
    pub test_before_acquire: bool,
    /// For each host.
    pub connect_timeout: Duration,
}

impl Settings {
    /// A connection for each login. Still not any number of them: a flood of logins is not to be one of connections.
    pub fn unpooled(connect_timeout: Duration) -> Self {
        Self { max_connections: 32, keep: false, connect_timeout, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 10,
            min_connections: 0,
            keep: true,
            acquire_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10 * 60),
            max_lifetime: Duration::from_secs(30 * 60),
            test_before_acquire: true,
            connect_timeout: Duration::from_secs(2),
        }
    }
}

/// A database that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    target: Target,
    settings: Settings,
    places: Arc<Semaphore>,
    /// The one used last is at the end.
    idle: Mutex<Vec<Idle>>,
    /// Whether somebody looks at the idle ones; changed under their lock.
    watched: AtomicBool,
}

struct Idle {
    connection: Connection,
    opened: Instant,
    used: Instant,
}

/// A connection in use. Dropped without [`Lease::finish`], it is closed.
pub struct Lease {
    database: Database,
    connection: Connection,
    opened: Instant,
    _place: OwnedSemaphorePermit,
}

impl Database {
    pub fn new(target: Target, settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self(Arc::new(Inner { target, settings, places, idle: Mutex::default(), watched: AtomicBool::default() }))
    }

    pub fn location(&self) -> &Location {
        &self.0.target.location
    }

    /// How long it takes at most to find out that none of the hosts takes a connection.
    pub fn patience(&self) -> Duration {
        let hosts = u32::try_from(self.location().hosts()).unwrap_or(u32::MAX);
        self.0.settings.connect_timeout.saturating_mul(hosts)
    }

    /// # Errors
    /// No place became free in time, or the database cannot be reached.
    pub async fn acquire(&self) -> Result<Lease, SqlError> {
        let settings = &self.0.settings;
        let place = timeout(settings.acquire_timeout, Arc::clone(&self.0.places).acquire_owned()).await;
        let place = place.map_err(|_| SqlError::Exhausted)?.map_err(|_| SqlError::Exhausted)?;
        let (connection, opened) = match self.kept().await {
            Some(kept) => (kept.connection, kept.opened),
            None => {
                let Target { location, username, password, base } = &self.0.target;
                let credentials = Credentials { username: username.as_deref(), password: password.as_ref() };
                let connection = Connection::open(location, credentials, base, settings.connect_timeout).await?;
                (connection, Instant::now())
            }
        };
        Ok(Lease { database: self.clone(), connection, opened, _place: place })
    }

    /// One that was kept and still answers.
    async fn kept(&self) -> Option<Idle> {
        let settings = &self.0.settings;
        loop {
            self.0.sweep();
            let mut kept = self.0.idle().pop()?;
            if !settings.test_before_acquire {
                return Some(kept);
            }
            match timeout(settings.connect_timeout, kept.connection.ping()).await {
                Ok(Ok(())) => return Some(kept),
                Ok(Err(_)) => {}
                // What cut this one off without a word has cut off the others too: nobody is to wait for each.
                Err(_) => self.0.idle().clear(),
            }
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is too old, and what was idle for too long.
    fn sweep(&self) {
        let mut idle = self.idle();
        let mut spare = idle.len().saturating_sub(self.settings.min_connections);
        let mut closed = Vec::new();
        // Those at the beginning have been idle for the longest.
        let all = std::mem::take(&mut *idle);
        for kept in all {
            let old = kept.opened.elapsed() >= self.settings.max_lifetime;
            let unused = spare > 0 && kept.used.elapsed() >= self.settings.idle_timeout;
            if old || unused {
                spare = spare.saturating_sub(1);
                closed.push(kept.connection);
            } else {
                idle.push(kept);
            }
        }
        drop(idle);
        closed.into_iter().for_each(close);
    }
}

impl Lease {
    pub async fn rows(
        &mut self,
        statement: &Statement,
        values: &[&str],
        max: usize,
        limit: Duration,
    ) -> Result<Vec<Row>, SqlError> {
        timeout(limit, self.connection.rows(statement, values, max)).await.map_err(|_| SqlError::Slow(limit))?
    }

    pub async fn command(&mut self, sql: &'static str) -> Result<(), SqlError> {
        self.connection.command(sql).await
    }

    /// Runs a change; how many rows it changed.
    pub async fn change(&mut self, statement: &Statement, values: &[&str]) -> Result<u64, SqlError> {
        self.connection.change(statement, values).await
    }

    /// Everything on this connection went well: it may serve somebody else.
    pub fn finish(self) {
        let Self { database, connection, opened, .. } = self;
        let inner = &database.0;
        if !inner.settings.keep || opened.elapsed() >= inner.settings.max_lifetime {
            return close(connection);
        }
        let mut idle = inner.idle();
        idle.push(Idle { connection, opened, used: Instant::now() });
        // Where nobody logs in any more, somebody has to look.
        if !inner.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(watch(Arc::downgrade(inner), inner.settings.idle_timeout));
        }
    }
}

/// Closes idle connections until as few are left as may stay.
async fn watch(inner: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.sweep();
        let idle = inner.idle();
        if idle.len() <= inner.settings.min_connections {
            inner.watched.store(false, Ordering::Relaxed);
            return;
        }
    }
}

fn close(connection: Connection) {
    tokio::spawn(timeout(GOOD_BYE, connection.close()));
}

/// The pools in use, by security domain and service id: a configuration that is read again goes on with those that it
/// did not change.
#[derive(Clone, Default)]
pub struct Pools(Arc<Mutex<Vec<Entry>>>);

struct Entry {
    domain: String,
    id: String,
    pool: Weak<Inner>,
}

impl Pools {
    /// The pool in use if it is the same, or a new one. The old one goes with the configuration that it belongs to.
    pub fn open(&self, domain: &str, id: &str, target: Target, settings: Settings) -> Database {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.pool.strong_count() > 0);
        let mut named = entries.iter().filter(|entry| entry.domain == domain && entry.id == id);
        let same = named
            .find_map(|entry| entry.pool.upgrade().filter(|pool| pool.target == target && pool.settings == settings));
        if let Some(pool) = same {
            return Database(pool);
        }
        let database = Database::new(target, settings);
        let pool = Arc::downgrade(&database.0);
        entries.push(Entry { domain: domain.to_owned(), id: id.to_owned(), pool });
        database
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
