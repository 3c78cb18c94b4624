//! When failed logins lock, and how long they delay. Pure: the moment is a parameter; times are seconds since 1970.
//!
//! An attempt is charged before its password is looked at, and settled afterwards, so that no number of attempts at once
//! gets more passwords looked at than the limit allows. What was charged and never settled counts as a failure.

use std::time::Duration;

/// A login takes less than this, or nobody waits for it any more.
pub const ABANDONED: i64 = 60;

/// Doublings of the shortest lock beyond which it cannot grow.
const MAX_DOUBLINGS: i64 = 32;

/// Further failures until a delay is at its longest.
pub const STEPS: u32 = 20;

/// What was never settled, or failed under several names, is no one name's.
const SEVERAL: i64 = 0;

/// When a user name and a network together are locked. Spans are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many failures lock; at least one.
    pub failures: i64,
    /// Counted from the first of them; then counting starts anew.
    pub window: i64,
    /// The first lock. Each that follows is twice as long.
    pub lock: i64,
    /// The longest lock, and how long after a lock the next one remembers it.
    pub lock_max: i64,
}

/// What is known of a user name and a network together. Nothing is all zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub failures: i64,
    /// Charged and not settled.
    pub pending: i64,
    /// When the first of these failures was.
    pub since: i64,
    /// When an attempt was last charged.
    pub charged: i64,
    /// The end of the lock, or of the last one; 0 where there was none.
    pub locked_until: i64,
    /// Locks one after the other.
    pub locks: i64,
    /// The one exact name, as a keyed hash, under which all of these failures and locks were; 0 where there were several.
    pub name: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The password may be looked at.
    Admitted,
    /// Not yet: so many others are being looked at that they could lock.
    Busy,
    /// For so many seconds more.
    Locked { remaining: i64 },
}

impl Limits {
    /// The seconds a lock lasts after so many before it.
    fn lock(&self, locks: i64) -> i64 {
        let factor = 1_i64 << locks.clamp(0, MAX_DOUBLINGS);
        self.lock.saturating_mul(factor).min(self.lock_max)
    }
}

impl Count {
    /// Whether an attempt may go on now. [`Admission::Admitted`] says nothing yet; [`Count::charge`] does.
    pub fn admission(self, now: i64, limits: &Limits) -> Admission {
        let count = self.aged(now, limits);
        if count.locked_until > now {
            Admission::Locked { remaining: count.locked_until - now }
        } else if count.failures + count.pending >= limits.failures {
            Admission::Busy
        } else {
            Admission::Admitted
        }
    }

    /// The count after an attempt that was admitted asks to begin.
    pub fn charge(self, now: i64, limits: &Limits) -> (Self, Admission) {
        let mut count = self.aged(now, limits);
        let admission = count.admission(now, limits);
        if admission == Admission::Admitted {
            count.pending += 1;
            count.charged = now;
        }
        (count, admission)
    }

    /// The charged attempt, under this exact name, failed. Whether this locked.
    pub fn failed(self, now: i64, name: i64, limits: &Limits) -> (Self, bool) {
        let mut count = self.aged(now, limits);
        count.pending = (count.pending - 1).max(0);
        let was_locked = count.locked_until > now;
        count.add(1, now, name, limits);
        (count, !was_locked && count.locked_until > now)
    }

    /// Nothing came of the charged attempt.
    pub fn refunded(self, now: i64, limits: &Limits) -> Self {
        let mut count = self.aged(now, limits);
        count.pending = (count.pending - 1).max(0);
        count
    }

    /// The charged attempt, under this exact name, was right: it forgets failures of that name alone, or whoever has an
    /// account whose name counts as a victim's could go on guessing for ever.
    pub fn succeeded(self, now: i64, name: i64, limits: &Limits) -> Self {
        let count = self.refunded(now, limits);
        let forgets = count.name == name && count.locked_until <= now;
        if !forgets {
            return count;
        }
        Self { pending: count.pending, charged: if count.pending == 0 { 0 } else { count.charged }, ..Self::default() }
    }

    /// From when on this says nothing any more.
    pub fn expires(&self, limits: &Limits) -> i64 {
        let failures = if self.failures > 0 { self.since + limits.window } else { 0 };
        // They may lock yet.
        let pending = if self.pending > 0 { self.charged + ABANDONED + limits.window + limits.lock_max } else { 0 };
        let lock = if self.locked_until > 0 { self.locked_until + limits.lock_max } else { 0 };
        failures.max(pending).max(lock)
    }

    /// What is left of it now.
    fn aged(mut self, now: i64, limits: &Limits) -> Self {
        let abandoned = self.charged + ABANDONED;
        if self.pending > 0 && now >= abandoned {
            // As of then, whenever it is looked at.
            self.expire(abandoned, limits);
            let pending = std::mem::take(&mut self.pending);
            self.add(pending, abandoned, SEVERAL, limits);
        }
        self.expire(now, limits);
        self
    }

    fn expire(&mut self, now: i64, limits: &Limits) {
        let before_lock = self.since < self.locked_until;
        if now >= self.locked_until && (before_lock || now >= self.since + limits.window) {
            self.failures = 0;
        }
        if now >= self.locked_until + limits.lock_max {
            (self.locked_until, self.locks) = (0, 0);
        }
    }

    fn add(&mut self, failures: i64, now: i64, name: i64, limits: &Limits) {
        let is_first = self.failures == 0 && self.locks == 0;
        self.name = if is_first || self.name == name { name } else { SEVERAL };
        if self.failures == 0 {
            self.since = now;
        }
        self.failures += failures;
        if self.failures >= limits.failures && self.locked_until <= now {
            self.locked_until = now + limits.lock(self.locks);
            self.locks += 1;
        }
    }
}

/// How long to wait with so many failures: nothing up to `after`, then evenly more, `longest` at most.
pub fn delay(total: i64, after: i64, longest: Duration) -> Duration {
    let further = u32::try_from(total.saturating_sub(after).max(0)).unwrap_or(STEPS);
    longest * further.min(STEPS) / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { failures: 3, window: 100, lock: 60, lock_max: 200 };

    /// Logs in wrongly at these moments, one after the other; how each was admitted.
    fn fail_at(count: &mut Count, moments: &[i64]) -> Vec<Admission> {
        let fail = |now: &i64| {
            let (charged, admission) = count.charge(*now, &LIMITS);
            *count = charged;
            if admission == Admission::Admitted {
                *count = count.failed(*now, 7, &LIMITS).0;
            }
            admission
        };
        moments.iter().map(fail).collect()
    }

    #[test]
    fn the_last_failure_locks_and_locks_grow() {
        use Admission::{Admitted, Locked};
        let mut count = Count::default();
        assert_eq!(fail_at(&mut count, &[1000, 1001, 1002]), [Admitted; 3]);
        assert_eq!(fail_at(&mut count, &[1002, 1061]), [Locked { remaining: 60 }, Locked { remaining: 1 }]);
        assert_eq!(fail_at(&mut count, &[1062, 1063, 1064]), [Admitted; 3], "after the lock");
        assert_eq!(fail_at(&mut count, &[1065]), [Locked { remaining: 119 }], "twice as long");
        assert_eq!(fail_at(&mut count, &[1184, 1184, 1184, 1184])[3], Locked { remaining: 200 }, "the longest");
        assert_eq!(fail_at(&mut count, &[1384, 1384, 1384, 1384])[3], Locked { remaining: 200 }, "the longest again");
        let mut later = count;
        assert_eq!(fail_at(&mut later, &[1784, 1784, 1784, 1784])[3], Locked { remaining: 60 }, "long after the last");
        assert_eq!(count.expires(&LIMITS), 1784);
    }

    #[test]
    fn failures_count_within_the_window_alone() {
        use Admission::{Admitted, Locked};
        let mut count = Count::default();
        assert_eq!(fail_at(&mut count, &[1000, 1099, 1100, 1101]), [Admitted; 4], "a new window");
        assert_eq!(fail_at(&mut count, &[1102, 1103]), [Admitted, Locked { remaining: 59 }]);
        let lone = Count::default().failed(1000, 7, &LIMITS).0;
        assert_eq!(lone.expires(&LIMITS), 1100);
    }

    #[test]
    fn attempts_at_once_get_no_more_than_the_limit() {
        let mut count = Count::default();
        let mut admitted = 0;
        for _ in 0..200 {
            let (charged, admission) = count.charge(1000, &LIMITS);
            count = charged;
            admitted += usize::from(admission == Admission::Admitted);
            assert!(admission == Admission::Admitted || admission == Admission::Busy);
        }
        assert_eq!(admitted, 3);
        let (two, locked) = count.failed(1000, 7, &LIMITS);
        assert!(!locked && two.admission(1000, &LIMITS) == Admission::Busy);
        let refunded = two.refunded(1000, &LIMITS);
        assert_eq!(refunded.admission(1000, &LIMITS), Admission::Admitted);
        let (three, locked) = two.failed(1001, 7, &LIMITS).0.failed(1002, 7, &LIMITS);
        assert!(locked && three.admission(1002, &LIMITS) == Admission::Locked { remaining: 60 });
    }

    #[test]
    fn what_was_never_settled_was_a_failure() {
        let mut count = Count::default();
        for _ in 0..3 {
            count = count.charge(1000, &LIMITS).0;
        }
        assert_eq!(count.admission(1000 + ABANDONED - 1, &LIMITS), Admission::Busy);
        assert_eq!(count.admission(1000 + ABANDONED, &LIMITS), Admission::Locked { remaining: 60 });
        assert_eq!(
            count.admission(1000 + ABANDONED + 30, &LIMITS),
            Admission::Locked { remaining: 30 },
            "and no longer"
        );
        assert!(count.expires(&LIMITS) >= 1000 + ABANDONED + LIMITS.lock);
        let late = count.failed(1000 + ABANDONED, 7, &LIMITS).0;
        assert_eq!((late.pending, late.locks), (0, 1), "an answer that comes after all");
    }

    /// Whatever is done with counts, nothing opens a lock before its end but forgetting it.
    #[test]
    fn nothing_shortens_a_lock() {
        let locked = Count { failures: 3, since: 1000, locked_until: 1060, locks: 1, name: 7, ..Count::default() };
        for now in 1000..1060 {
            let changed = [
                locked.charge(now, &LIMITS).0,
                locked.failed(now, 7, &LIMITS).0,
                locked.refunded(now, &LIMITS),
                locked.succeeded(now, 7, &LIMITS),
            ];
            for count in changed {
                assert_eq!(count.admission(now, &LIMITS), Admission::Locked { remaining: 1060 - now });
            }
        }
    }

    /// Who failed before, and whether a success under the name 7 forgets it.
    #[test]
    fn a_success_forgets_its_own_failures_alone() {
        for (failures, forgets) in [
            (&[(1000, 7), (1001, 7)][..], true),
            (&[(1000, 7), (1001, 8)], false),
            (&[(1000, 8), (1001, 7)], false),
            (&[(1000, 8), (1001, 8)], false),
            // The lock of 8 is over, its failures with it.
            (&[(1000, 8), (1000, 8), (1000, 8), (1060, 7)], false),
            (&[(1000, 8), (1000, 8), (1000, 8)], false),
            (&[(1000, 7), (1000, 7), (1000, 7), (1060, 7)], true),
            (&[(900, 8), (1001, 7)], true),
        ] {
            let fail =
                |count: Count, (now, name): &(i64, i64)| count.charge(*now, &LIMITS).0.failed(*now, *name, &LIMITS).0;
            let before = failures.iter().fold(Count::default(), fail);
            let after = before.charge(1061, &LIMITS).0.succeeded(1061, 7, &LIMITS);
            assert_eq!(after == Count::default(), forgets, "{failures:?}: {after:?}");
            assert!(
                forgets
                    || (after.failures, after.locks, after.pending)
                        == (before.aged(1061, &LIMITS).failures, before.locks, 0)
            );
        }
        let others = Count::default().charge(1000, &LIMITS).0.charge(1001, &LIMITS).0.succeeded(1002, 7, &LIMITS);
        assert_eq!((others.pending, others.charged), (1, 1001), "what others began goes on");
        assert!(
            !others.aged(1061, &LIMITS).succeeded(1061, 7, &LIMITS).eq(&Count::default()),
            "abandoned: nobody's name"
        );
    }

    #[test]
    fn huge_values_stay_in_bounds() {
        let limits = Limits { failures: 1, window: 1, lock: i64::MAX / 4, lock_max: 3_153_600_000 };
        let count = Count { locks: i64::MAX - 1, locked_until: 1, ..Count::default() };
        assert_eq!(count.failed(1, 7, &limits).0.locked_until, 1 + limits.lock_max);
    }

    #[test]
    fn delays_grow_to_their_longest() {
        let longest = Duration::from_secs(2);
        for (total, millis) in
            [(0, 0), (20, 0), (21, 100), (30, 1000), (40, 2000), (41, 2000), (i64::MAX, 2000), (i64::MIN, 0)]
        {
            assert_eq!(delay(total, 20, longest), Duration::from_millis(millis), "{total}");
        }
        assert_eq!(delay(i64::MAX, 0, Duration::ZERO), Duration::ZERO);
    }
}
