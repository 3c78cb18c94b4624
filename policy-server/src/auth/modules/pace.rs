//! Makes every refusal of a directory take equally long, so that the time does not tell whose name exists.
//!
//! A wrong password of somebody who exists costs the directory's digest and journeys over the network, which nothing here
//! can imitate; an unknown name, or a locked account, costs less. So every refusal waits until the slowest one of lately
//! would have been over, and nobody can bring quick ones about to make that shorter.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No refusal takes less: longer than most directories need, and nothing that somebody who mistyped notices.
const FLOOR: Duration = Duration::from_millis(50);
/// No refusal waits longer, for a directory that was slow once. The agent waits 15 s for a login.
const CAP: Duration = Duration::from_secs(5);
/// What was slow counts for one to two of these, and for as long as nobody who exists is refused.
const WINDOW: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Pace(Mutex<Windows>);

#[derive(Debug)]
struct Windows {
    since: Instant,
    slowest: Duration,
    slowest_before: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Windows { since: Instant::now(), slowest: FLOOR, slowest_before: FLOOR }))
    }
}

impl Pace {
    /// The directory refused somebody who exists, or may exist; `begun` is when the login did.
    pub fn refused(&self, begun: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(begun.elapsed(), Instant::now());
    }

    /// Ends when any refusal of a login that began then would end.
    pub async fn even_out(&self, begun: Instant) {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner).target();
        tokio::time::sleep_until((begun + target).into()).await;
    }
}

impl Windows {
    fn note(&mut self, took: Duration, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.slowest_before, self.slowest) = (now, self.slowest, FLOOR);
        }
        self.slowest = self.slowest.max(took);
    }

    fn target(&self) -> Duration {
        self.slowest.max(self.slowest_before).min(CAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals: when in milliseconds, how long they took, and what any takes from then on.
    #[test]
    fn the_slowest_of_lately_counts_and_quick_ones_change_nothing() {
        let window = WINDOW.as_millis() as u64;
        let start = Instant::now();
        let mut windows = Windows { since: start, slowest: FLOOR, slowest_before: FLOOR };
        assert_eq!(windows.target(), FLOOR);
        for (at, took, expected) in [
            (0, 1, 50),
            (1, 400, 400),
            (2, 1, 400),
            (3, 300, 400),
            (window - 1, 1, 400),
            (window, 60, 400),
            (2 * window - 1, 1, 400),
            (2 * window, 1, 60),
            (9 * window, 70, 70),
            (10 * window, 60_000, 5_000),
        ] {
            windows.note(Duration::from_millis(took), start + Duration::from_millis(at));
            assert_eq!(windows.target().as_millis(), expected, "{at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_known_and_unknown_people_end_together() {
        let pace = Pace::default();
        let begun = tokio::time::Instant::now();
        pace.even_out(begun.into_std()).await;
        assert_eq!(begun.elapsed(), FLOOR);
        let asked = Instant::now() - Duration::from_secs(2);
        pace.refused(asked);
        let begun = tokio::time::Instant::now();
        pace.even_out(begun.into_std()).await;
        assert_eq!(begun.elapsed().as_secs(), 2);
    }
}
