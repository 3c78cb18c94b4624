//! Costly work, one after the other for each account, and little of it at once for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as Queue, OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Accounts that have work at once, with those that wait; and who may wait for the work of the same account.
const ACCOUNTS: usize = 64;
const WAITING: usize = 4;
/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how many seconds it is worth another try.
pub const AGAIN: u64 = 2;

/// Others are at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the same is being done too often at once; try again")]
pub struct Busy;

/// Whose turn it is.
pub struct Turns {
    places: Semaphore,
    queues: Mutex<BTreeMap<String, Weak<Queue<()>>>>,
}

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _account: OwnedMutexGuard<()>,
    _place: SemaphorePermit<'static>,
}

impl Turns {
    pub const fn new(at_once: usize) -> Self {
        Self { places: Semaphore::const_new(at_once), queues: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for the account's turn, unless too many wait for it.
    pub async fn take(&'static self, account: &str) -> Result<Turn, Busy> {
        let queue = self.queue(account)?;
        let wait = async {
            let _account = queue.lock_owned().await;
            Ok(Turn { _account, _place: self.places.acquire().await.map_err(|_| Busy)? })
        };
        timeout(PATIENCE, wait).await.map_err(|_| Busy)?
    }

    /// The account's turn, if nobody has it.
    pub fn try_take(&'static self, account: &str) -> Result<Turn, Busy> {
        let _account = self.queue(account)?.try_lock_owned().map_err(|_| Busy)?;
        Ok(Turn { _account, _place: self.places.try_acquire().map_err(|_| Busy)? })
    }

    /// Who has the turn or waits for it holds the queue.
    fn queue(&self, account: &str) -> Result<Arc<Queue<()>>, Busy> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let known = queues.get(account).and_then(Weak::upgrade);
        if known.is_none() && queues.len() >= ACCOUNTS {
            return Err(Busy);
        }
        let queue = known.unwrap_or_default();
        // This one, the one that has the turn, and those that wait.
        if Arc::strong_count(&queue) > 1 + WAITING {
            return Err(Busy);
        }
        queues.insert(account.to_owned(), Arc::downgrade(&queue));
        Ok(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_has_one_turn_and_all_together_few() {
        static TURNS: Turns = Turns::new(2);
        let (a, b) = (TURNS.try_take("a").unwrap(), TURNS.take("b").await.unwrap());
        assert_eq!(TURNS.try_take("a").unwrap_err(), Busy, "its turn");
        assert_eq!(TURNS.try_take("c").unwrap_err(), Busy, "no place");
        drop(b);
        let c = TURNS.try_take("c").unwrap();
        let next = tokio::spawn(TURNS.take("a"));
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        drop((a, c));
        drop(next.await.unwrap().unwrap());
        drop(TURNS.try_take("a").unwrap());
    }

    #[tokio::test]
    async fn few_wait() {
        static TURNS: Turns = Turns::new(1);
        let turn = TURNS.try_take("a").unwrap();
        let waiting: Vec<_> = (0..WAITING).map(|_| tokio::spawn(TURNS.take("a"))).collect();
        tokio::task::yield_now().await;
        assert_eq!(TURNS.take("a").await.unwrap_err(), Busy);
        let others: Vec<_> = (1..ACCOUNTS).map(|other| TURNS.queue(&other.to_string()).unwrap()).collect();
        assert_eq!(TURNS.queue("another").unwrap_err(), Busy);
        drop((turn, others));
        for turn in waiting {
            drop(turn.await.unwrap().unwrap());
        }
        assert!(TURNS.queue("another").is_ok());
    }
}
