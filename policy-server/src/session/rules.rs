//! How long a session lives. Pure: the time comes in.

use std::time::Duration;

/// What no event tells (an account whose last day ends, say) counts after this long.
const LONGEST_MEMORY_MS: i64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Live,
    Idle,
    Over,
}

/// Whether a session with these times is alive at `now` (all in seconds since 1970). A shortened idle limit counts at
/// once; `ends` was fixed at login.
pub fn standing(last_used: i64, ends: i64, idle: Duration, now: i64) -> Standing {
    if now >= ends {
        Standing::Over
    } else if now.saturating_sub(last_used) >= seconds(idle) {
        Standing::Idle
    } else {
        Standing::Live
    }
}

/// Whether the last use is old enough to be worth a write: a twentieth of the idle limit, at most a minute.
pub fn needs_touch(last_used: i64, idle: Duration, now: i64) -> bool {
    now.saturating_sub(last_used) >= (seconds(idle) / 20).clamp(1, 60)
}

pub fn end_of(created: i64, lifetime: Duration) -> i64 {
    created.saturating_add(seconds(lifetime))
}

/// A session last used at this time or before has been idle for too long.
pub fn idle_since(idle: Duration, now: i64) -> i64 {
    now.saturating_sub(seconds(idle))
}

/// For how long an agent may go on by a decision without asking again, in milliseconds. A request that does not ask is
/// not recorded as use of the session, so a twentieth of the idle limit at most, like [`needs_touch`]; and no longer than
/// the session lasts in any case (`ends`, in seconds since 1970; `now_ms` in milliseconds).
pub fn memory_ms(idle: Duration, ends: Option<i64>, now_ms: i64) -> u64 {
    let left = ends.map_or(i64::MAX, |ends| ends.saturating_mul(1_000).saturating_sub(now_ms));
    let idle = seconds(idle).saturating_mul(1_000) / 20;
    u64::try_from(left.min(idle).min(LONGEST_MEMORY_MS)).unwrap_or(0)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_at_the_first_limit_it_meets() {
        let idle = Duration::from_secs(100);
        for (last_used, ends, now, expected) in [
            (0, 1_000, 0, Standing::Live),
            (0, 1_000, 99, Standing::Live),
            (0, 1_000, 100, Standing::Idle),
            (950, 1_000, 999, Standing::Live),
            (950, 1_000, 1_000, Standing::Over),
            (0, 1_000, 5_000, Standing::Over),
            // A clock that went back keeps the session; it gains nothing beyond its limits.
            (500, 1_000, 100, Standing::Live),
        ] {
            assert_eq!(standing(last_used, ends, idle, now), expected, "{last_used} {ends} {now}");
        }
    }

    #[test]
    fn a_decision_is_not_remembered_beyond_what_it_rests_on() {
        for (idle, ends, now_ms, expected) in [
            (1_800, None, 0, 30_000),
            (100, None, 0, 5_000),
            (1, None, 0, 50),
            (1_800, Some(1_000), 0, 30_000),
            (1_800, Some(1_000), 999_001, 999),
            (1_800, Some(1_000), 1_000_000, 0),
            (1_800, Some(1_000), 2_000_000, 0),
            (u64::MAX, Some(i64::MAX), i64::MIN, 30_000),
        ] {
            assert_eq!(memory_ms(Duration::from_secs(idle), ends, now_ms), expected, "{idle} {ends:?} {now_ms}");
        }
    }

    #[test]
    fn touches_are_rarer_than_the_limit_by_far() {
        assert!(!needs_touch(0, Duration::from_secs(1_800), 59));
        assert!(needs_touch(0, Duration::from_secs(1_800), 60));
        assert!(needs_touch(0, Duration::from_secs(40), 2));
        assert!(needs_touch(0, Duration::from_secs(1), 1));
    }
}
