//! Account keys made ahead, on threads of their own with a low priority: making one takes a second or two of a processor,
//! and a person who enrols a first device does not wait for it while there are spare ones.
//!
//! Nothing is made before [`SpareKeys::start`]: without a certificate authority nobody enrols. Keys that are left when the
//! process ends are lost; they were nobody's.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc as channel;

use super::{PkiError, RsaKey};
use crate::digest::give_way;

type Made = Result<RsaKey, PkiError>;

/// A bounded number of keys at hand or in the making. The threads end when it is dropped.
pub struct SpareKeys {
    spare: usize,
    /// One for each key that is to be made: as many as are taken.
    orders: mpsc::Sender<()>,
    made: tokio::sync::Mutex<channel::UnboundedReceiver<Made>>,
    /// Taken and not used.
    returned: Mutex<Vec<RsaKey>>,
    /// What the threads work with, until they are started.
    idle: Mutex<Option<(Receiver<()>, channel::UnboundedSender<Made>)>>,
}

impl SpareKeys {
    /// So many are kept at hand; one at least.
    pub fn new(spare: usize) -> Self {
        let (orders, next) = mpsc::channel();
        let (done, made) = channel::unbounded_channel();
        let (made, idle) = (tokio::sync::Mutex::new(made), Mutex::new(Some((next, done))));
        Self { spare: spare.max(1), orders, made, returned: Mutex::default(), idle }
    }

    /// There is a certificate authority: keys will be needed. Does nothing the second time.
    pub fn start(&self) {
        let Some((next, done)) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let next = Arc::new(Mutex::new(next));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(self.spare);
        for _ in 0..threads {
            let (next, done) = (Arc::clone(&next), done.clone());
            if let Err(error) = thread::Builder::new().name("keys".to_owned()).spawn(move || make(&next, &done)) {
                tracing::error!(%error, "a thread that makes account keys cannot be started");
            }
        }
        (0..self.spare).for_each(|_| self.order());
    }

    /// A key nobody else has; waits where none is left. Whoever stops waiting loses none.
    ///
    /// # Errors
    /// [`PkiError::KeyGeneration`] where none can be made.
    pub async fn take(&self) -> Result<RsaKey, PkiError> {
        if let Some(key) = self.returned.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(key);
        }
        self.start();
        let taken = self.made.lock().await.recv().await;
        // Only now: however many come and go again while they wait, no more keys are made than are taken.
        self.order();
        taken.unwrap_or(Err(PkiError::KeyGeneration))
    }

    /// A key that was taken and of which nothing was written down: the next one gets it.
    pub fn give_back(&self, key: RsaKey) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    fn order(&self) {
        // Without threads nobody listens, and `take` says so.
        let _ = self.orders.send(());
    }
}

/// What each thread does until nobody wants keys any more.
fn make(next: &Mutex<Receiver<()>>, done: &channel::UnboundedSender<Made>) {
    give_way();
    loop {
        let ordered = next.lock().unwrap_or_else(PoisonError::into_inner).recv();
        if ordered.is_err() || done.send(RsaKey::generate()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    impl SpareKeys {
        /// With these instead of what the threads make.
        fn of(made: Vec<Made>) -> (Self, Receiver<()>) {
            let keys = Self::new(2);
            let (orders, sender) = keys.idle.lock().unwrap().take().unwrap();
            made.into_iter().for_each(|made| sender.send(made).unwrap());
            (keys, orders)
        }
    }

    #[tokio::test]
    async fn keys_are_made_once_they_are_needed_and_each_is_taken_once() {
        let keys = Arc::new(SpareKeys::new(0));
        assert!(keys.idle.lock().unwrap().is_some(), "nothing is made yet");
        let taking: Vec<_> = (0..3).map(|_| Arc::clone(&keys)).collect();
        let taking = taking.into_iter().map(|keys| tokio::spawn(async move { keys.take().await.unwrap().id() }));
        let mut taken = BTreeSet::new();
        for key in taking.collect::<Vec<_>>() {
            assert!(taken.insert(key.await.unwrap()));
        }
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_no_key_and_orders_none() {
        let (keys, orders) = SpareKeys::of(vec![]);
        let sender = {
            let (sender, made) = channel::unbounded_channel();
            *keys.made.lock().await = made;
            sender
        };
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::ZERO, keys.take()).await.is_err());
        }
        assert!(orders.try_recv().is_err(), "a hundred who left cost nothing");
        let key = RsaKey::small();
        let id = key.id();
        sender.send(Ok(key)).unwrap();
        assert_eq!(keys.take().await.unwrap().id(), id);
        assert_eq!(orders.try_iter().count(), 1, "one for the one that was taken");
        keys.give_back(RsaKey::small());
        assert!(keys.take().await.is_ok());
        assert_eq!(orders.try_iter().count(), 0, "what came back was ordered before");
    }

    #[tokio::test]
    async fn what_fails_is_an_error_and_is_tried_again() {
        let (keys, orders) = SpareKeys::of(vec![Err(PkiError::KeyGeneration), Ok(RsaKey::small())]);
        assert!(matches!(keys.take().await, Err(PkiError::KeyGeneration)));
        assert!(keys.take().await.is_ok());
        assert_eq!(orders.try_iter().count(), 2);
        drop(orders);
        assert!(matches!(keys.take().await, Err(PkiError::KeyGeneration)), "no thread is left");
    }

    #[test]
    fn no_more_are_made_than_were_ordered_and_the_threads_end() {
        let (order, next) = mpsc::channel();
        let (done, mut made) = channel::unbounded_channel();
        let next = Mutex::new(next);
        order.send(()).unwrap();
        drop(order);
        make(&next, &done);
        drop(done);
        assert!(made.blocking_recv().is_some_and(|key| key.is_ok()));
        assert!(made.blocking_recv().is_none());
    }
}
