//! The lease: until when what the agent remembers may count. Pure: time comes in as a parameter.
//!
//! It runs from the moment the question for it was *sent*, so that no delay on the way makes it longer, and it counts
//! only once the stream of events has come as far as the server's answer says.

use std::time::{Duration, Instant};

use shared_proto::event::LeaseResponse;

/// How far the stream has come: every change up to `seq` is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub seq: i64,
}

/// A lease at one policy server, or the want of one.
#[derive(Debug)]
pub struct Lease {
    length: Duration,
    asked: Option<Asked>,
    /// Answers whose events have not come yet. Bounded: each is gone when its time is over.
    promised: Vec<Promise>,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Asked {
    nonce: String,
    sent: Instant,
}

#[derive(Debug)]
struct Promise {
    at: Position,
    until: Instant,
}

impl Lease {
    pub fn new(length: Duration) -> Self {
        Self { length, asked: None, promised: Vec::new(), until: None }
    }

    /// Notes the question that is about to be sent; an earlier one is not waited for any more.
    pub fn ask(&mut self, nonce: String, now: Instant) {
        self.asked = Some(Asked { nonce, sent: now });
    }

    /// Takes an answer. One that is not the answer to the last question is nothing.
    pub fn answer(&mut self, answer: LeaseResponse, position: Option<&Position>, now: Instant) {
        let Some(asked) = self.asked.take_if(|asked| asked.nonce == answer.nonce) else { return };
        self.promised.retain(|promise| now < promise.until);
        let at = Position { epoch: answer.epoch, seq: answer.seq };
        self.promised.push(Promise { at, until: asked.sent + self.length });
        if let Some(position) = position {
            self.reach(position);
        }
    }

    /// The stream has come to `position`: whatever was promised for it counts now.
    pub fn reach(&mut self, position: &Position) {
        let kept = self
            .promised
            .extract_if(.., |promise| promise.at.epoch == position.epoch && promise.at.seq <= position.seq);
        self.until = kept.map(|promise| promise.until).chain(self.until).max();
    }

    /// Until when it runs; that may be past. `None` where there never was one.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    pub fn is_live(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Gives it up, and every question for it.
    pub fn end(&mut self) {
        *self = Self::new(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: &str, seq: i64) -> Position {
        Position { epoch: epoch.to_owned(), seq }
    }

    fn answer(nonce: &str, epoch: &str, seq: i64) -> LeaseResponse {
        LeaseResponse { nonce: nonce.to_owned(), epoch: epoch.to_owned(), seq }
    }

    /// Asked at 0 ms with a lease of 6000 ms, answered at 3000 ms; the stream comes to `reached` at 4000 ms.
    #[test]
    fn it_counts_from_the_question_and_only_if_it_is_the_answer() {
        let cases = [
            // (answer, position then, position at 4000 ms, live at 3500, live at 5999, live at 6000)
            (answer("n", "e", 7), position("e", 7), position("e", 7), true, true, false),
            (answer("n", "e", 7), position("e", 9), position("e", 9), true, true, false),
            (answer("n", "e", 7), position("e", 6), position("e", 7), false, true, false),
            (answer("n", "e", 7), position("e", 6), position("e", 6), false, false, false),
            (answer("n", "f", 7), position("e", 7), position("e", 8), false, false, false),
            (answer("n", "f", 7), position("e", 7), position("f", 7), false, true, false),
            (answer("old", "e", 7), position("e", 7), position("e", 8), false, false, false),
        ];
        for (answer, then, reached, early, late, over) in cases {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let mut lease = Lease::new(Duration::from_secs(6));
            lease.ask("old".to_owned(), start);
            lease.ask("n".to_owned(), start);
            lease.answer(answer.clone(), Some(&then), at(3000));
            let live_early = lease.is_live(at(3500));
            lease.reach(&reached);
            let live = (live_early, lease.is_live(at(5999)), lease.is_live(at(6000)));
            assert_eq!(live, (early, late, over), "{answer:?} {then:?} {reached:?}");
        }
    }

    #[test]
    fn an_answer_counts_once_and_nothing_after_the_end() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut lease = Lease::new(Duration::from_secs(6));
        lease.ask("n".to_owned(), start);
        lease.answer(answer("n", "e", 1), Some(&position("e", 1)), at(1));
        lease.ask("m".to_owned(), at(5));
        lease.answer(answer("n", "e", 1), Some(&position("e", 1)), at(5));
        assert_eq!(lease.until(), Some(at(6)));
        lease.end();
        lease.answer(answer("m", "e", 1), Some(&position("e", 1)), at(5));
        assert!(!lease.is_live(at(5)));
    }

    /// A stream that lags by more than the time between two questions still holds the lease.
    #[test]
    fn promises_wait_side_by_side_and_do_not_pile_up() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut lease = Lease::new(Duration::from_secs(6));
        for s in 0..100 {
            lease.ask(s.to_string(), at(s));
            lease.answer(answer(&s.to_string(), "e", s as i64), None, at(s));
            assert!(lease.promised.len() <= 7, "{}", lease.promised.len());
            lease.reach(&position("e", s as i64 - 3));
            assert_eq!(lease.is_live(at(s)), s >= 3, "{s}");
        }
    }
}
