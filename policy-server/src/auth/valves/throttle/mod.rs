//! `ThrottleAuthValve`: slows guessing down. Who fails too often under one user name from one network is locked out there,
//! and only there: failures from elsewhere can delay a person, never lock one out.
//!
//! It counts under every name alike, so that nothing it says tells whether there is such a user. What it keeps of a name
//! is a keyed hash, since people type passwords into the wrong field.

pub mod bucket;
pub mod rules;
mod settings;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::rules::{Admission, Count};
use self::settings::Settings;
use crate::audit;
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::modules::{Services, Vault};
use crate::auth::pipeline::LoginRun;
use crate::auth::valve::{AuthValve, LoginAttempt, Note};
use crate::directory::person;
use crate::store::{Pair, StoreError, Total};
use crate::token::{KeyRing, Purpose, hex};

pub const CLASS: &str = "com.cafesoft.security.engine.auth.ThrottleAuthValve";

/// Logins that may be waiting at once. One more does not wait, or is told to come back.
const WAITING: usize = 1_024;
/// Changes of the store, and looks at it, that are under way at once: others need its connections, too.
const WRITING: usize = 2;
const READING: usize = 3;
/// How long a login waits for others of its name and network, and between its looks at them.
const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

struct ThrottleAuthValve {
    /// `None` where a configuration is only validated.
    vault: Option<Vault>,
    domain: String,
    settings: Settings,
    waiting: Semaphore,
    writing: Semaphore,
    reading: Semaphore,
    /// New pairs since the store was last checked for too many.
    unchecked: AtomicI64,
}

pub fn construct(params: &mut Options, services: &Services, problems: &mut Problems) -> Box<dyn AuthValve> {
    let settings = Settings::take(params, problems);
    Box::new(ThrottleAuthValve {
        vault: services.shared.vault.clone(),
        domain: services.domain.clone(),
        waiting: Semaphore::new(WAITING),
        writing: Semaphore::new(WRITING),
        reading: Semaphore::new(READING),
        // The first new pair makes it look.
        unchecked: AtomicI64::new(settings.max_tracked),
        settings,
    })
}

/// The name under which failures of what was typed are counted.
pub fn keyed_bucket(keys: &KeyRing, typed: &str) -> String {
    hex(&keys.keyed_hash(&Purpose::new(&["login-failures"]), bucket::canonical(typed).as_bytes()))
}

/// The exact name, for [`Count`]: nobody but its owner logs in under it. Half a hash is enough: whoever looks for another
/// name with the same one does not know the key.
fn keyed_name(keys: &KeyRing, typed: &str) -> i64 {
    let hash = keys.keyed_hash(&Purpose::new(&["login-failures", "name"]), person::fold(typed.trim()).as_bytes());
    hash.first_chunk().map_or(0, |half| i64::from_be_bytes(*half))
}

#[async_trait]
impl AuthValve for ThrottleAuthValve {
    async fn before(&self, attempt: &LoginAttempt<'_>) -> Result<(), LoginError> {
        let Some(vault) = &self.vault else { return Err(unavailable("there is no store to count failures in")) };
        // No module is asked about nobody.
        let Some(pair) = self.pair(vault, attempt) else { return Ok(()) };
        self.admit(vault, &pair, attempt.now.as_second()).await
    }

    async fn after(&self, attempt: &LoginAttempt<'_>, run: &LoginRun) -> Option<Note> {
        let vault = self.vault.as_ref()?;
        let pair = self.pair(vault, attempt)?;
        let name = keyed_name(&vault.keys, attempt.typed_name()?);
        let settled = self.settle(vault, &pair, name, attempt.now.as_second(), run).await;
        settled.unwrap_or_else(|error| {
            // It stays charged, and counts as a failure in the end.
            tracing::error!(%error, "the outcome of a login cannot be counted");
            None
        })
    }
}

impl ThrottleAuthValve {
    fn pair(&self, vault: &Vault, attempt: &LoginAttempt<'_>) -> Option<Pair> {
        let bucket = keyed_bucket(&vault.keys, attempt.typed_name()?);
        let network = bucket::network(attempt.client, self.settings.ipv4_prefix, self.settings.ipv6_prefix);
        Some(Pair { domain: self.domain.clone(), bucket, network })
    }

    async fn admit(&self, vault: &Vault, pair: &Pair, now: i64) -> Result<(), LoginError> {
        let Settings { user_delay_after, user_delay_max, .. } = &self.settings;
        if let Admission::Locked { remaining } = self.look(vault, pair, now).await? {
            return Err(locked(pair.network, remaining));
        }
        let total = self.total(vault, pair, Total::User, now, *user_delay_after).await.map_err(failed)?;
        self.wait(rules::delay(total, *user_delay_after, *user_delay_max)).await;
        let end = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            // A change costs more than a look.
            let admission = match self.look(vault, pair, now).await? {
                Admission::Admitted => self.charge(vault, pair, now).await?,
                other => other,
            };
            match admission {
                Admission::Admitted => return Ok(()),
                Admission::Locked { remaining } => return Err(locked(pair.network, remaining)),
                Admission::Busy => {}
            }
            if Instant::now() >= end || !self.wait(pause).await {
                return Err(unavailable("too many logins of one user name from one network at once"));
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self, vault: &Vault, pair: &Pair, now: i64) -> Result<Admission, LoginError> {
        let _reading = self.reading.acquire().await;
        let count = vault.store.failures(pair).await.map_err(failed)?;
        Ok(count.admission(now, &self.settings.limits))
    }

    /// As exact as a delay after so many failures needs it.
    async fn total(&self, vault: &Vault, pair: &Pair, of: Total, now: i64, after: i64) -> Result<i64, StoreError> {
        let _reading = self.reading.acquire().await;
        let rows = after + i64::from(rules::STEPS);
        vault.store.total_failures(pair, of, now - self.settings.limits.window, rows).await
    }

    async fn charge(&self, vault: &Vault, pair: &Pair, now: i64) -> Result<Admission, LoginError> {
        let limits = &self.settings.limits;
        let charge = |count: Count| {
            let is_new = count == Count::default();
            let (count, admission) = count.charge(now, limits);
            (count, count.expires(limits), (admission, is_new))
        };
        let (admission, is_new) = self.change(vault, pair, charge).await.map_err(failed)?;
        if is_new {
            self.keep_bounded(vault).await;
        }
        Ok(admission)
    }

    async fn settle(
        &self,
        vault: &Vault,
        pair: &Pair,
        name: i64,
        now: i64,
        run: &LoginRun,
    ) -> Result<Option<Note>, StoreError> {
        let Settings { limits, network_delay_after, network_delay_max, .. } = &self.settings;
        if !run.refused || run.result.is_ok() {
            let settle = |count: Count| {
                let is_right = run.result.is_ok();
                let count = if is_right { count.succeeded(now, name, limits) } else { count.refunded(now, limits) };
                (count, count.expires(limits), ())
            };
            self.change(vault, pair, settle).await?;
            return Ok(None);
        }
        let fail = |count: Count| {
            let (count, locked) = count.failed(now, name, limits);
            (count, count.expires(limits), locked.then_some(count))
        };
        let locked = self.change(vault, pair, fail).await?;
        let total = self.total(vault, pair, Total::Network, now, *network_delay_after).await?;
        // Failures alone are delayed: whoever knows a password behind the same address does not wait.
        self.wait(rules::delay(total, *network_delay_after, *network_delay_max)).await;
        Ok(locked.map(|count| note(pair.network, count, now)))
    }

    async fn change<T>(
        &self,
        vault: &Vault,
        pair: &Pair,
        change: impl FnOnce(Count) -> (Count, i64, T),
    ) -> Result<T, StoreError> {
        // Like the others, it is never closed.
        let _writing = self.writing.acquire().await;
        vault.store.change_failures(pair, change).await
    }

    /// Sees to it that a flood of names does not fill the store.
    async fn keep_bounded(&self, vault: &Vault) {
        let most = self.settings.max_tracked;
        if self.unchecked.fetch_add(1, Ordering::Relaxed) < most / 8 {
            return;
        }
        self.unchecked.store(0, Ordering::Relaxed);
        if let Err(error) = vault.store.shrink_failures(&self.domain, most).await {
            tracing::error!(%error, "counts of failed logins cannot be forgotten");
        }
    }

    /// False where too many are waiting already: then it does not.
    async fn wait(&self, time: Duration) -> bool {
        if time.is_zero() {
            return true;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return false };
        tokio::time::sleep(time).await;
        true
    }
}

fn locked(network: IpNet, remaining: i64) -> LoginError {
    let retry_after = u64::try_from(remaining).unwrap_or(0).max(1);
    let detail = format!("no module was asked: the user name is locked for {network} for {retry_after} s more");
    LoginError::new(ErrorKind::MultipleFailedLogins { retry_after }, detail)
}

fn note(network: IpNet, count: Count, now: i64) -> Note {
    let seconds = count.locked_until - now;
    Note {
        event: audit::Kind::LoginLocked,
        network: network.to_string(),
        failures: count.failures,
        reason: format!("locked for {seconds} s"),
    }
}

fn unavailable(why: &str) -> LoginError {
    LoginError::new(ErrorKind::Unavailable, why)
}

fn failed(error: StoreError) -> LoginError {
    tracing::error!(%error, "failed logins cannot be counted");
    unavailable("failed logins cannot be counted")
}

#[cfg(test)]
mod tests;
