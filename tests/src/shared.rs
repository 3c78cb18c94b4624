//! One server for all tests that run at the same time; it stops when the last of them lets go.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// The one that runs, or a new one; `None` where this machine has none.
    pub async fn get(&self, start: impl AsyncFnOnce() -> Option<T>) -> Option<Arc<T>> {
        let mut shared = self.0.lock().await;
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let started = Arc::new(start().await?);
        *shared = Arc::downgrade(&started);
        Some(started)
    }
}
