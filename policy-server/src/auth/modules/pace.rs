//! How long a directory takes to refuse a password, so that a user who does not exist can be made to wait as long.
//!
//! A bind of a known user costs the directory's digest and a journey over the network, which nothing here can imitate; so
//! an unknown user waits as long as one of the latest refusals took. Until there was one, a digest is computed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared_proto::secret::Secret;

use crate::digest::pool::DigestPool;
use crate::digest::{Decoys, Policy};

/// For [`Pace::hold`] until somebody logged in: more than most directories take.
const AT_FIRST: Duration = Duration::from_millis(250);
/// Refusals that are remembered: enough that what is chosen from them looks like them.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub struct Pace {
    refusals: Mutex<VecDeque<Duration>>,
}

impl Pace {
    /// A wrong password of a known user was refused; `asked` is when the directory was asked about it.
    pub fn refused(&self, asked: Instant) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() == REMEMBERED {
            refusals.pop_front();
        }
        refusals.push_back(asked.elapsed());
    }

    /// The password of a known user was right: that took a digest, too.
    pub fn accepted(&self, asked: Instant) {
        self.refused(asked);
    }

    /// For a refusal of which nobody knows whether there is such a user: it takes at least as long as nearly all the
    /// passwords of known users took, counted from `asked`.
    pub async fn hold(&self, asked: Instant) {
        tokio::time::sleep_until((asked + self.a_slow_one().unwrap_or(AT_FIRST)).into()).await;
    }

    /// Nine of ten took less: those few that took very long are not everybody's burden.
    fn a_slow_one(&self) -> Option<Duration> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = refusals.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 9 / 10).copied()
    }

    /// Takes as long as a refusal, counted from `found_nothing`: when the directory said that there is no such user.
    pub async fn wait(&self, found_nothing: Instant, digests: &DigestPool, password: &Secret) {
        match self.one_of_the_latest() {
            Some(took) => tokio::time::sleep_until((found_nothing + took).into()).await,
            // Overloaded: then everybody waits, and not for this.
            None => _ = digests.verify(&Decoys::default(), "", None, password.clone(), Policy::default()).await,
        }
    }

    fn one_of_the_latest(&self) -> Option<Duration> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the system has no randomness, always the oldest.
        let chosen = getrandom::u32().unwrap_or(0) as usize;
        refusals.get(chosen.checked_rem(refusals.len())?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_refusal_takes_as_long_as_a_slow_password_of_a_known_user() {
        let pace = Pace::default();
        let held = async |already: u64| {
            let started = tokio::time::Instant::now();
            pace.hold(started.into_std() - Duration::from_secs(already)).await;
            started.elapsed()
        };
        assert_eq!(held(0).await, AT_FIRST);
        for seconds in [3, 60, 2, 3, 3, 1, 3, 3, 9, 3, 3, 3] {
            pace.accepted(Instant::now() - Duration::from_secs(seconds));
        }
        for (already, expected) in [(0, 9), (1, 8), (9, 0), (20, 0)] {
            assert_eq!(held(already).await.as_secs(), expected, "{already}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_user_waits_as_long_as_a_refusal_took() {
        let (pace, digests) = (Pace::default(), DigestPool::new(1, 1));
        assert_eq!(pace.one_of_the_latest(), None);
        for _ in 0..2 * REMEMBERED {
            pace.refused(Instant::now() - Duration::from_secs(7));
        }
        assert_eq!(pace.refusals.lock().unwrap().len(), REMEMBERED);
        let started = tokio::time::Instant::now();
        pace.wait(started.into_std(), &digests, &Secret::from("x")).await;
        assert_eq!(started.elapsed().as_secs(), 7);
    }
}
