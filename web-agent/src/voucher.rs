//! Vouches for people to sites: fetches the agent's keys from the policy server, signs, and remembers for a while what it
//! signed. Without a key it signs nothing, and nothing is forwarded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shared_proto::assertion::{AssertionKeyResponse, LIFE_SECONDS};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::assertion::{Assertion, AssertionError, Claims, Keys};
use crate::client::{Link, LinkError};

/// Other agents' keys, the next key of this one and the end of the last one are learnt this late at most.
const REFRESH: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
/// How long a request waits for the first key, which comes right after the link is up.
const WAIT: Duration = Duration::from_secs(2);
/// Assertions that are remembered.
const REMEMBERED: usize = 20_000;

/// Everything the agent's requests share to have people vouched for.
#[derive(Debug)]
pub struct Voucher {
    keys: watch::Sender<Option<Arc<Keys>>>,
    made: Mutex<HashMap<(String, String), Made>>,
}

#[derive(Debug)]
struct Made {
    claims: Claims,
    assertion: Assertion,
    /// Half of its life, so that a site always has the other half left.
    until: i64,
}

impl Default for Voucher {
    fn default() -> Self {
        Self { keys: watch::Sender::new(None), made: Mutex::default() }
    }
}

impl Voucher {
    /// An assertion of these claims; `None` where there is no key to sign with.
    pub async fn assertion(&self, claims: Claims) -> Option<Assertion> {
        let now = now();
        if let Some(known) = self.remembered(&claims, now) {
            return Some(known);
        }
        let keys = self.keys().await?;
        match keys.sign(&claims, now) {
            Ok(assertion) => {
                self.remember(claims, assertion.clone(), now);
                Some(assertion)
            }
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        }
    }

    /// The JSON Web Key Set that a host shows; `None` where there is no key yet.
    pub async fn public_keys(&self, host: &str) -> Option<Value> {
        Some(self.keys().await?.public(host))
    }

    async fn keys(&self) -> Option<Arc<Keys>> {
        let mut keys = self.keys.subscribe();
        let known = timeout(WAIT, keys.wait_for(Option::is_some)).await.ok()?.ok()?;
        known.clone()
    }

    fn remembered(&self, claims: &Claims, now: i64) -> Option<Assertion> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.get(&key(claims)).filter(|made| now < made.until && made.claims == *claims)?;
        Some(known.assertion.clone())
    }

    fn remember(&self, claims: Claims, assertion: Assertion, now: i64) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= REMEMBERED {
            made.retain(|_, made| now < made.until);
        }
        if made.len() < REMEMBERED {
            made.insert(key(&claims), Made { claims, assertion, until: now + LIFE_SECONDS / 2 });
        }
    }

    /// Keeps the keys up to date for as long as it runs.
    pub async fn follow(self: Arc<Self>, link: Arc<Link>) {
        let mut complaint = String::new();
        loop {
            let (trouble, delay) = match link.assertion_key().await {
                Ok(given) => (self.take(given).err().map(|error| error.to_string()), REFRESH),
                // It was understood and will be refused again, which the server writes down each time.
                Err(error @ LinkError::Refused { .. }) => (Some(error.to_string()), REFRESH),
                Err(error) => (Some(error.to_string()), RETRY),
            };
            let trouble = trouble.unwrap_or_default();
            if !trouble.is_empty() && complaint != trouble {
                tracing::warn!("no new assertion key: {trouble}");
            }
            complaint = trouble;
            sleep(delay).await;
        }
    }

    fn take(&self, given: AssertionKeyResponse) -> Result<(), AssertionError> {
        self.keys.send_replace(Some(Arc::new(Keys::new(given)?)));
        Ok(())
    }
}

fn key(claims: &Claims) -> (String, String) {
    (claims.session_id.clone(), claims.audience.clone())
}

/// Seconds since 1970-01-01T00:00:00Z.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alice, assertion_key};

    fn voucher() -> Voucher {
        let voucher = Voucher::default();
        voucher.keys.send_replace(Some(Arc::new(Keys::new(assertion_key()).unwrap())));
        voucher
    }

    #[tokio::test]
    async fn an_assertion_is_used_again_for_the_same_claims_only() {
        let voucher = voucher();
        let claims = Claims::new("https://app.test".into(), &alice());
        let first = voucher.assertion(claims.clone()).await.unwrap();
        assert_eq!(voucher.assertion(claims.clone()).await.unwrap(), first);
        for other in [
            Claims { audience: "https://shop.test".into(), ..claims.clone() },
            Claims { session_id: "s2".into(), ..claims.clone() },
            Claims { roles: vec![], ..claims.clone() },
            Claims { user: "bob".into(), ..claims.clone() },
        ] {
            assert_ne!(voucher.assertion(other).await.unwrap(), first);
        }
    }

    #[test]
    fn half_of_its_life_is_left_to_the_site() {
        let voucher = voucher();
        let claims = Claims::new("https://app.test".into(), &alice());
        voucher.remember(claims.clone(), Assertion::new("t"), 1_000);
        assert!(voucher.remembered(&claims, 1_000 + LIFE_SECONDS / 2 - 1).is_some());
        assert!(voucher.remembered(&claims, 1_000 + LIFE_SECONDS / 2).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_key_nothing_is_signed() {
        let voucher = Voucher::default();
        assert!(voucher.assertion(Claims::new("https://app.test".into(), &alice())).await.is_none());
        assert!(voucher.public_keys("app.test").await.is_none());
    }
}
