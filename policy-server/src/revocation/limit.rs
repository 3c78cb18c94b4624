//! How often somebody may do something: so many times at once, and so many in the long run. Pure.

/// Times that somebody who was quiet may do it at once, and how long each counts, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub burst: i64,
    pub cost: i64,
}

/// What is left to one of them: the moment at which all of it will be there again, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance(i64);

impl Allowance {
    /// Whether it may be done now; counts it if so.
    pub fn take(&mut self, rate: Rate, now: i64) -> bool {
        let full = self.0.max(now) + rate.cost;
        let allowed = full - now <= rate.burst * rate.cost;
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
        let mut ask =
            |now: i64, times: usize| (0..times).filter(|_| allowance.take(Rate { burst: 50, cost: 200 }, now)).count();
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
