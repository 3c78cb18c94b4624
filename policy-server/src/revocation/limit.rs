//! How often one client may ask: so many at once, and so many a second in the long run. Pure.

/// Questions that somebody who was quiet may ask at once, and how long each counts, in milliseconds.
const BURST: i64 = 50;
const COST: i64 = 200;

/// What is left to one client: the moment at which all of it will be there again, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance(i64);

impl Allowance {
    /// Whether a question may be asked now; counts it if so.
    pub fn take(&mut self, now: i64) -> bool {
        let full = self.0.max(now) + COST;
        let allowed = full - now <= BURST * COST;
        if allowed {
            self.0 = full;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_five_a_second() {
        let mut allowance = Allowance::default();
        let mut ask = |now: i64, times: usize| (0..times).filter(|_| allowance.take(now)).count();
        for (now, asked, allowed) in [
            (1_000_000, 60, 50),
            (1_000_100, 1, 0),
            (1_001_000, 10, 5),
            // A clock that goes back gives nothing, and takes nothing for good.
            (1_000_500, 10, 0),
            (1_011_000, 60, 50),
            (9_000_000, 60, 50),
        ] {
            assert_eq!(ask(now, asked), allowed, "{now}");
        }
    }
}
