//! When the agent may remember a decision, and when what it remembers counts. Pure: time comes in as a parameter; what
//! is remembered, and how, is the business of [`crate::cache`].
//!
//! A decision may be kept only where every change that it does not know yet will still come over the stream. What is
//! kept counts only under a live lease (I5). Whatever is odd about the stream makes all of it worthless.

use std::time::{Duration, Instant};

use shared_proto::check::CheckResponse;
use shared_proto::event::{Change, LeaseResponse, Line, PublicMap};

use crate::lease::{Lease, Position};

/// What a line of the stream means for those who keep something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// Anything may be another decision now.
    Everything,
    Domain(String),
    /// By its public id.
    SessionEnded(String),
    /// By its public id.
    SessionChanged(String),
    Public(PublicMap),
    /// The organisation CAs, as DER in base64.
    Authorities(Vec<String>),
}

/// The stream cannot be believed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("events are missing, or come in the wrong order")]
    Gap,
    #[error("it says something this agent does not know")]
    Unknown,
}

/// Handed out before a question is asked, and shown with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The stream of one policy server at a time, and the lease that goes with it.
#[derive(Debug)]
pub struct Rules {
    lease: Lease,
    /// Which server is followed; `None` between two streams.
    server: Option<usize>,
    /// `None` before the first [`Line::Reset`] of a stream.
    position: Option<Position>,
    /// Until when a grant under any lease so far stands.
    stands_until: Option<Instant>,
    /// Grows where this agent itself ended a session: answers to earlier questions may not know it.
    tickets: u64,
}

impl Rules {
    pub fn new(lease: Duration) -> Self {
        Self { lease: Lease::new(lease), server: None, position: None, stands_until: None, tickets: 0 }
    }

    /// A stream begins. Lease and position of another one are not its own.
    pub fn begin(&mut self, server: usize) {
        self.end();
        self.server = Some(server);
    }

    /// The stream is over: nothing is known from here on.
    pub fn end(&mut self) {
        self.lease.end();
        self.server = None;
        self.position = None;
    }

    /// Takes the next line of the stream.
    ///
    /// # Errors
    /// The stream is over; what was remembered is worthless.
    pub fn apply(&mut self, line: Line) -> Result<Effect, Broken> {
        let effect = self.follow(line);
        match &effect {
            Ok(_) => self.reach(),
            Err(_) => self.end(),
        }
        effect
    }

    fn follow(&mut self, line: Line) -> Result<Effect, Broken> {
        match line {
            Line::Reset { epoch, seq } => {
                // What was promised about the numbers so far says nothing about the new ones.
                if self.position.replace(Position { epoch, seq }).is_some() {
                    self.lease.end();
                }
                Ok(Effect::Everything)
            }
            Line::Event { seq, change } => {
                let position = self.position.as_mut().ok_or(Broken::Gap)?;
                if position.seq.checked_add(1) != Some(seq) {
                    return Err(Broken::Gap);
                }
                position.seq = seq;
                match change {
                    Change::SessionEnded { session } => Ok(Effect::SessionEnded(session)),
                    Change::SessionChanged { session } => Ok(Effect::SessionChanged(session)),
                    Change::DomainChanged { domain } => Ok(Effect::Domain(domain)),
                    Change::AgentsChanged => Ok(Effect::Everything),
                    Change::Unknown => Err(Broken::Unknown),
                }
            }
            Line::Heartbeat => Ok(Effect::Nothing),
            Line::Authorities { certificates } => Ok(Effect::Authorities(certificates)),
            Line::Public { map } => Ok(Effect::Public(map)),
            Line::Unknown => Err(Broken::Unknown),
        }
    }

    /// A question for the lease is about to be sent.
    pub fn ask_lease(&mut self, nonce: String, now: Instant) {
        self.lease.ask(nonce, now);
    }

    pub fn answer_lease(&mut self, answer: LeaseResponse, now: Instant) {
        self.lease.answer(answer, self.position.as_ref(), now);
        self.reach();
    }

    fn reach(&mut self) {
        if let Some(position) = &self.position {
            self.lease.reach(position);
        }
        self.stands_until = self.stands_until.max(self.lease.until());
    }

    /// Whether what is remembered counts.
    pub fn is_live(&self, now: Instant) -> bool {
        self.position.is_some() && self.lease.is_live(now)
    }

    /// Until when open requests stand that were granted before. It outlives the stream, the memory does not.
    pub fn stands_until(&self) -> Option<Instant> {
        self.stands_until
    }

    pub fn ticket(&self) -> Ticket {
        Ticket(self.tickets)
    }

    /// This agent ends a session itself and does not wait to be told.
    pub fn distrust_answers_under_way(&mut self) {
        self.tickets += 1;
    }

    /// Whether the answer of `server` to a question asked with `ticket` may be kept: every change it does not know is
    /// still to come.
    pub fn may_keep(&self, ticket: Ticket, server: usize, answer: &CheckResponse) -> bool {
        let is_covered = |position: &Position| answer.epoch == position.epoch && answer.seq >= position.seq;
        ticket == self.ticket() && self.server == Some(server) && self.position.as_ref().is_some_and(is_covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(6);

    fn reset(epoch: &str, seq: i64) -> Line {
        Line::Reset { epoch: epoch.to_owned(), seq }
    }

    fn answer(nonce: &str) -> LeaseResponse {
        LeaseResponse { nonce: nonce.to_owned(), epoch: "e".to_owned(), seq: 1 }
    }

    fn followed(now: Instant) -> Rules {
        let mut rules = Rules::new(LEASE);
        rules.begin(0);
        rules.apply(reset("e", 1)).unwrap();
        rules.ask_lease("n".to_owned(), now);
        rules.answer_lease(answer("n"), now);
        assert!(rules.is_live(now));
        rules
    }

    /// With each of these it must be proved anew that the stream is not stale; what is open stands as long as before.
    #[test]
    fn a_lease_goes_with_its_stream() {
        let ends: [fn(&mut Rules); 6] = [
            |rules| rules.end(),
            |rules| rules.begin(1),
            |rules| drop(rules.apply(Line::Unknown)),
            |rules| drop(rules.apply(Line::Event { seq: 3, change: Change::AgentsChanged })),
            |rules| drop(rules.apply(reset("e", 1))),
            |rules| drop(rules.apply(reset("f", 1))),
        ];
        for (number, end) in ends.iter().enumerate() {
            let now = Instant::now();
            let mut rules = followed(now);
            rules.ask_lease("late".to_owned(), now);
            end(&mut rules);
            assert!(!rules.is_live(now), "{number}");
            rules.begin(0);
            rules.apply(reset("e", 1)).unwrap();
            rules.answer_lease(answer("late"), now);
            assert!(!rules.is_live(now), "{number}");
            assert_eq!(rules.stands_until(), Some(now + LEASE), "{number}");
        }
    }

    #[test]
    fn a_stream_begins_with_a_reset() {
        let mut rules = Rules::new(LEASE);
        rules.begin(0);
        let early = rules.apply(Line::Event { seq: 1, change: Change::AgentsChanged });
        assert_eq!(early, Err(Broken::Gap));
        let now = Instant::now();
        rules.begin(0);
        rules.ask_lease("n".to_owned(), now);
        rules.answer_lease(answer("n"), now);
        assert!(!rules.is_live(now));
        rules.apply(reset("e", 1)).unwrap();
        assert!(rules.is_live(now));
    }
}
