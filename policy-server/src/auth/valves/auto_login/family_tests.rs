//! The rotation, step by step and against a simulated browser.

use std::collections::BTreeMap;

use super::*;

const GRACE: i64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Logged in, and given this generation.
    Next(i64),
    /// Logged in, and given nothing.
    Keep,
    Late,
    Unknown,
    Stolen,
}

fn log_in(rotation: &mut Rotation, number: i64, now: i64) -> Said {
    match rotation.present(number, now, GRACE) {
        Presented::Good(_) => rotation.renew(number, vec![], now, GRACE).map_or(Said::Keep, Said::Next),
        Presented::Late => Said::Late,
        Presented::Unknown => Said::Unknown,
        Presented::Stolen => Said::Stolen,
    }
}

/// Which generation is shown when, in turn, and what is said.
#[test]
fn a_generation_counts_until_the_next_is_shown() {
    use Said::{Keep, Late, Next, Stolen, Unknown};
    for steps in [
        // Each one follows the other.
        vec![(1, 0, Next(2)), (2, 100, Next(3)), (3, 200, Next(4))],
        // Twenty tabs, then the next.
        vec![(1, 0, Next(2)), (1, 0, Keep), (1, 29, Keep), (2, 50, Next(3)), (2, 51, Keep)],
        // Lost answers.
        vec![(1, 0, Next(2)), (1, 30, Next(3)), (1, 60, Next(4)), (4, 70, Next(5)), (5, 100, Next(6))],
        // A copy that is used after its time; right after it, nobody is to blame.
        vec![
            (1, 0, Next(2)),
            (2, 100, Next(3)),
            (1, 129, Late),
            (1, 130, Stolen),
            (3, 200, Next(4)),
            (1, 201, Late),
            (2, 230, Stolen),
        ],
        // What got lost comes back: the browser has it after all, or somebody else.
        vec![(1, 0, Next(2)), (1, 30, Next(3)), (2, 31, Unknown), (3, 32, Next(4)), (2, 33, Unknown), (1, 34, Late)],
        // What never was.
        vec![(0, 0, Unknown), (-1, 0, Unknown), (2, 0, Unknown), (i64::MAX, 0, Unknown), (i64::MIN, 0, Unknown)],
        // A clock that goes back.
        vec![(1, 100, Next(2)), (1, 0, Keep), (2, 0, Next(3)), (1, -5, Late)],
    ] {
        let mut rotation = Rotation::new(vec![], 0);
        for (number, now, expected) in &steps {
            assert_eq!(log_in(&mut rotation, *number, *now), *expected, "{number} at {now}: {steps:?}");
        }
    }
}

#[test]
fn a_login_that_others_overtook_gives_no_cookie() {
    let mut rotation = Rotation::new(vec![], 0);
    assert_eq!(rotation.renew(1, vec![], 0, GRACE), Some(2));
    assert_eq!(rotation.renew(2, vec![], 1, GRACE), Some(3));
    let before = rotation.clone();
    // It showed the first one before the second was shown, and its login took longer.
    assert_eq!(rotation.renew(1, vec![], 100, GRACE), None);
    assert_eq!(rotation, before);
}

#[test]
fn what_was_handed_out_in_vain_is_remembered_within_bounds() {
    let mut rotation = Rotation::new(vec![], 0);
    let (mut now, mut last) = (0, 1);
    for _ in 0..10 * MAX_SKIPPED {
        now += GRACE;
        let next = rotation.renew(1, vec![], now, GRACE).unwrap();
        assert!(next > last, "a number is given once");
        last = next;
    }
    assert_eq!(rotation.skipped.len(), MAX_SKIPPED);
    assert_eq!(log_in(&mut rotation, last, now), Said::Next(last + 1));
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// What is under way to its time.
#[derive(Debug, Clone, Copy)]
enum Message {
    /// A browser asks, with what it has now.
    Send,
    /// The server looks at the cookie.
    Arrive { number: i64 },
    /// The login stack is done.
    Done { number: i64 },
    /// The browser is given a cookie.
    Answer { number: i64 },
}

/// One browser with many tabs against one family.
struct World {
    random: Random,
    queue: BTreeMap<(i64, u64), Message>,
    sent: u64,
    rotation: Rotation,
    cookie: Option<i64>,
    logins: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random(seed);
        let rotation = Rotation::new(vec![], 0);
        Self { random, queue: BTreeMap::new(), sent: 0, rotation, cookie: Some(1), logins: 0 }
    }

    fn send(&mut self, at: i64, message: Message) {
        self.sent += 1;
        self.queue.insert((at, self.sent), message);
    }

    /// Runs until nothing is under way; whether somebody was called a thief. The browser forgets a cookie that is refused.
    fn run(&mut self, slowest_answer: i64) -> bool {
        while let Some(((now, _), message)) = self.queue.pop_first() {
            match message {
                Message::Send => {
                    let Some(number) = self.cookie else { continue };
                    let at = now + self.random.below(GRACE / 3);
                    self.send(at, Message::Arrive { number });
                }
                Message::Arrive { number } => match self.rotation.present(number, now, GRACE) {
                    Presented::Good(_) => {
                        let at = now + self.random.below(GRACE / 3);
                        self.send(at, Message::Done { number });
                    }
                    Presented::Late => {}
                    Presented::Unknown => self.cookie = None,
                    Presented::Stolen => return true,
                },
                Message::Done { number } => {
                    // Some logins find the directory down.
                    if self.random.below(10) == 0 {
                        continue;
                    }
                    self.logins += 1;
                    // A quarter of the answers get lost.
                    if let Some(number) = self.rotation.renew(number, vec![], now, GRACE)
                        && self.random.below(4) > 0
                    {
                        let at = now + self.random.below(slowest_answer);
                        self.send(at, Message::Answer { number });
                    }
                }
                Message::Answer { number } => self.cookie = Some(number),
            }
        }
        false
    }

    fn visits(&mut self, from: i64) -> i64 {
        let mut at = from;
        for _ in 0..40 {
            at += [0, 1, 5, GRACE, 500][usize::try_from(self.random.below(5)).unwrap()];
            for _ in 0..=self.random.below(5) {
                self.send(at, Message::Send);
            }
        }
        at
    }
}

#[test]
fn an_honest_browser_is_never_called_a_thief() {
    let (mut logins, mut kept) = (0, 0);
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.visits(0);
        // A question, its login and its answer take less than the grace; every other browser also gets answers long after.
        let slowest_answer = if seed % 2 == 0 { GRACE / 3 } else { 10 * GRACE };
        assert!(!world.run(slowest_answer), "seed {seed}: {:?}", world.rotation);
        logins += world.logins;
        kept += usize::from(world.cookie.is_some());
        if seed % 2 == 0 {
            assert!(world.cookie.is_some(), "seed {seed}: lost answers cost the cookie: {:?}", world.rotation);
        }
    }
    assert!(logins > 50_000 && kept > 1_000, "{logins} {kept}");
}

/// After a copy was made, two use the family, each with what it has. It cannot go on for both.
#[test]
fn a_family_with_two_holders_ends() {
    let (mut called, mut seen) = (0, 0);
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.visits(0);
        world.run(GRACE / 3);
        let Some(cookie) = world.cookie else { continue };
        seen += 1;
        let mut holders = [cookie, cookie];
        let mut now = 1_000_000;
        let mut outcome = None;
        for _ in 0..50 {
            now += 2 * GRACE;
            let who = usize::try_from(world.random.below(2)).unwrap();
            match log_in(&mut world.rotation, holders[who], now) {
                Said::Next(next) => holders[who] = next,
                Said::Keep | Said::Late => {}
                ended => {
                    outcome = Some(ended);
                    break;
                }
            }
        }
        assert!(outcome.is_some(), "seed {seed}: {:?}", world.rotation);
        called += usize::from(outcome == Some(Said::Stolen));
    }
    assert!(seen > 1_000 && called > seen / 4, "{called} of {seen}");
}
