//! What the devices of an account share: a device says what it has, and gets what all have together.
//!
//! Lists are read, merged and written as JSON beside the threads that serve requests, and outside of transactions: what was
//! merged is written only where nothing has changed meanwhile, and merged again where it has.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use super::merge::{Kind, Records, size};
use super::turns::Turns;
use crate::store::{Store, StoreError};

/// Records of one kind that an account has at most, removed ones among them.
pub const MAX_RECORDS: usize = 10_000;
/// Bytes of all of them: a device must be able to send back what it got.
pub const MAX_BYTES: usize = 4 << 20;
/// Other servers sync the same account at the same time; whoever has lost this often is told to come again.
const ATTEMPTS: usize = 16;

/// Each may hold a hundred megabytes while it reads the largest list there may be.
pub static TURNS: Turns = Turns::new(2);

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Nothing of what was sent is kept.
    #[error("an account has at most {MAX_RECORDS} {} of {MAX_BYTES} bytes together, removed ones among them", .0.name())]
    Full(Kind),
    #[error("there is no such account")]
    NoAccount,
    #[error("other servers change the same list all the time")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the work was given up: {0}")]
    GivenUp(#[from] JoinError),
}

/// The merged list, which is kept. A device that has nothing new waits for nobody. `now` is in milliseconds.
///
/// # Errors
/// See [`SyncError`].
pub async fn sync(store: &Store, account: &str, kind: Kind, sent: Records, now: i64) -> Result<Records, SyncError> {
    let sent = Arc::new(sent);
    for _ in 0..ATTEMPTS {
        let kept = store.jami_records(account, kind.name()).await?.ok_or(SyncError::NoAccount)?;
        let (revision, sent) = (kept.revision, Arc::clone(&sent));
        let merge = move || {
            let mut records = kept.read()?;
            let changed = kind.merge(&mut records, Records::clone(&sent), now);
            let fits = records.len() <= MAX_RECORDS && records.values().map(size).sum::<usize>() <= MAX_BYTES;
            if !(fits || changed.is_empty()) {
                return Err(SyncError::Full(kind));
            }
            let text = |key: String| records.get(&key).map(|record| (key, serde_json::to_string(record)));
            let text = changed.into_iter().filter_map(text);
            let text: Result<Vec<_>, _> = text.map(|(key, text)| Ok((key, text?))).collect();
            Ok((text.map_err(crate::store::corrupt_records)?, records))
        };
        let (changed, records) = spawn_blocking(merge).await??;
        if changed.is_empty() || store.change_jami_records(account, kind.name(), revision, &changed).await? {
            return Ok(records);
        }
    }
    Err(SyncError::Contended)
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
