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
