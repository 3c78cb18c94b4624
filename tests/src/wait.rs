//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Waits until `condition` holds. Panics with `what` when it does not within `limit`.
pub async fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    within_async(limit, what, async || condition()).await;
}

/// As [`within`], for a condition that has to ask somebody.
pub async fn within_async(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
