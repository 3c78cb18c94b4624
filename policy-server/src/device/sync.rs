//! What the devices of an account share: a device says what it has, and gets what all have together.

use super::merge::{Kind, Records, size};
use crate::store::{Store, StoreError};

/// Records of one kind that an account has at most, removed ones among them.
pub const MAX_RECORDS: usize = 10_000;
/// Bytes of all of them: a device must be able to send back what it got.
pub const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Nothing of what was sent is kept.
    #[error("an account has at most {MAX_RECORDS} {} of {MAX_BYTES} bytes together, removed ones among them", .0.name())]
    Full(Kind),
    #[error("there is no such account")]
    NoAccount,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The merged list, which is kept. A device that has nothing new waits for nobody.
///
/// # Errors
/// See [`SyncError`].
pub async fn sync(store: &Store, account: &str, kind: Kind, sent: Records) -> Result<Records, SyncError> {
    let mut known = store.jami_records(account, kind.name()).await?;
    if kind.merge(&mut known, sent.clone()).is_empty() {
        return Ok(known);
    }
    let merge = |kept: &mut Records| {
        let changed = kind.merge(kept, sent);
        let fits = kept.len() <= MAX_RECORDS && kept.values().map(size).sum::<usize>() <= MAX_BYTES;
        if fits { Ok(changed) } else { Err(SyncError::Full(kind)) }
    };
    store.change_jami_records(account, kind.name(), merge).await?.ok_or(SyncError::NoAccount)?
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
