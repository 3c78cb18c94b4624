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
    /// What the threads work with, until they are started.
    idle: Mutex<Option<(Receiver<()>, channel::UnboundedSender<Made>)>>,
}

impl SpareKeys {
    /// So many are kept at hand; one at least.
    pub fn new(spare: usize) -> Self {
        let (orders, next) = mpsc::channel();
        let (done, made) = channel::unbounded_channel();
        Self { spare: spare.max(1), orders, made: tokio::sync::Mutex::new(made), idle: Mutex::new(Some((next, done))) }
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
        self.start();
        let taken = self.made.lock().await.recv().await;
        // Only now: however many come and go again while they wait, no more keys are made than are taken.
        self.order();
        taken.unwrap_or(Err(PkiError::KeyGeneration))
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
