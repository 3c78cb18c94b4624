//! The memory against a simulated policy server: every message is delayed, some are lost, doubled or come in the wrong
//! order, servers change, epochs begin. Whatever happens, what is served from memory was true less than a lease ago.

use std::collections::{BTreeMap, BTreeSet};

use shared_proto::check::CertificateStanding;
use shared_proto::event::Change;

use super::*;
use crate::testing::{Random, alice, question};

const LEASE: Duration = Duration::from_millis(600);
const REMEMBER: u64 = 900;

/// What reaches the agent or the server at its time.
#[derive(Debug, Clone)]
enum Message {
    Line {
        stream: u64,
        line: Line,
    },
    /// Of a stream.
    End {
        stream: u64,
    },
    Connect,
    LeaseQuestion {
        nonce: String,
    },
    LeaseAnswer(LeaseResponse),
    Question {
        ticket: Ticket,
        question: Box<CheckRequest>,
    },
    Answer {
        ticket: Ticket,
        server: usize,
        question: Box<CheckRequest>,
        answer: Box<CheckResponse>,
    },
}

struct World {
    random: Random,
    start: Instant,
    /// Milliseconds since the start.
    now: u64,
    queue: BTreeMap<(u64, u64), Message>,
    sent: u64,
    memory: Memory,
    // The server:
    epoch: u64,
    seq: i64,
    /// Session -> when it ended.
    ended: BTreeMap<usize, u64>,
    sessions: usize,
    /// When each version of the domain's rules was replaced.
    versions: Vec<u64>,
    // The stream:
    stream: u64,
    last_line: u64,
    server: usize,
    // What the agent was told, or did itself:
    told_ended: BTreeSet<usize>,
    told_version: usize,
    /// Answer -> when it came.
    received: BTreeMap<String, u64>,
    nonces: u64,
    hits: usize,
    misses: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            start: Instant::now(),
            now: 0,
            queue: BTreeMap::new(),
            sent: 0,
            memory: Memory::new("system", LEASE),
            epoch: 0,
            seq: 0,
            ended: BTreeMap::new(),
            sessions: 3,
            versions: Vec::new(),
            stream: 0,
            last_line: 0,
            server: 0,
            told_ended: BTreeSet::new(),
            told_version: 0,
            received: BTreeMap::new(),
            nonces: 0,
            hits: 0,
            misses: 0,
        };
        world.send(0, Message::Connect);
        world
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn send(&mut self, at: u64, message: Message) {
        self.sent += 1;
        self.queue.insert((at, self.sent), message);
    }

    /// Mostly short, sometimes longer than a lease.
    fn delay(&mut self) -> u64 {
        let most = self.random.pick(&[3, 3, 3, 20, 100, 1500]);
        self.random.below(most) as u64
    }

    fn later(&mut self, message: Message) {
        let at = self.now + self.delay();
        self.send(at, message);
    }

    /// The stream keeps its order, but for faults.
    fn stream_line(&mut self, line: Line) {
        let at = self.last_line.max(self.now + self.delay());
        let message = Message::Line { stream: self.stream, line };
        match self.random.below(60) {
            0 => {}
            1 => self.later(message),
            2 => {
                self.send(at, message.clone());
                self.send(at, message);
            }
            _ => self.send(at, message),
        }
        self.last_line = at;
    }

    fn happen(&mut self, change: Change) {
        self.seq += 1;
        self.stream_line(Line::Event { seq: self.seq, change });
    }

    fn something_changes(&mut self) {
        match self.random.below(14) {
            0..=5 => {
                let session = self.random.below(self.sessions);
                self.end_session(session);
            }
            6..=8 => {
                self.versions.push(self.now);
                self.happen(Change::DomainChanged { domain: "system".into() });
            }
            9 => self.happen(Change::DomainChanged { domain: "other".into() }),
            10 => {
                self.versions.push(self.now);
                self.happen(Change::AgentsChanged);
            }
            11 => {
                self.epoch += 1;
                self.seq = self.random.below(5) as i64;
                self.send(self.now, Message::End { stream: self.stream });
            }
            12 => {
                let noise = self.random.pick(&[0, 1]);
                self.stream_line(if noise == 0 { Line::Heartbeat } else { Line::Unknown });
            }
            _ => self.later(Message::End { stream: self.stream }),
        }
    }

    fn end_session(&mut self, session: usize) {
        if self.ended.insert(session, self.now).is_none() {
            self.sessions += 1;
            self.happen(Change::SessionEnded { session: session.to_string() });
        }
    }

    fn agent_asks(&mut self) {
        let session = self.sessions - 1 - self.random.below(self.sessions.min(4));
        let token = session.to_string();
        let path = self.random.pick(&["/a", "/b"]);
        let question = question(path, self.random.pick(&[None, Some(token.as_str()), Some(token.as_str())]));
        match self.memory.recall(&question, self.instant()) {
            Some(answer) => self.judge(&question, &answer),
            None => {
                self.misses += 1;
                let ticket = self.memory.ticket().unwrap();
                self.later(Message::Question { ticket, question: Box::new(question) });
            }
        }
    }

    /// The property.
    fn judge(&mut self, question: &CheckRequest, answer: &CheckResponse) {
        self.hits += 1;
        let id = &answer.policy_hash;
        let parts: Vec<&str> = id.split('|').collect();
        let (version, path): (usize, &str) = (parts[0].parse().unwrap(), parts[1]);
        assert_eq!(path, question.path, "another request's answer");
        let lease = LEASE.as_millis() as u64;
        let token = question.session.as_ref().and_then(Secret::expose_str);
        assert_eq!(answer.identity.as_ref().map(|identity| identity.session_id.as_str()), token, "another's answer");
        if let Some(session) = token.map(|token| token.parse::<usize>().unwrap()) {
            assert!(!self.told_ended.contains(&session), "the agent was told that session {session} ended");
            let ended = self.ended.get(&session);
            assert!(ended.is_none_or(|ended| ended + lease > self.now), "session {session} ended at {ended:?}");
        }
        assert!(version >= self.told_version, "the agent was told that version {version} is old");
        let replaced = self.versions.get(version);
        assert!(replaced.is_none_or(|replaced| replaced + lease > self.now), "version {version}: {replaced:?}");
        assert!(self.received[id] + REMEMBER > self.now, "its time is over");
    }

    fn arrive(&mut self, message: Message) {
        match message {
            Message::Connect => {
                self.stream += 1;
                self.server = self.random.below(2);
                self.memory.begin(self.server);
                self.last_line = self.now;
                self.stream_line(Line::Reset { epoch: self.epoch.to_string(), seq: self.seq });
            }
            Message::End { stream } if stream == self.stream => self.reconnect(),
            Message::Line { stream, line } if stream == self.stream => self.read(line),
            Message::End { .. } | Message::Line { .. } => {}
            Message::LeaseQuestion { nonce } => {
                let answer = LeaseResponse { nonce, epoch: self.epoch.to_string(), seq: self.seq };
                if self.random.below(20) == 0 {
                    self.later(Message::LeaseAnswer(answer.clone()));
                }
                self.later(Message::LeaseAnswer(answer));
            }
            Message::LeaseAnswer(answer) => self.memory.answer_lease(answer, self.instant()),
            Message::Question { ticket, question } => self.answer(ticket, question),
            Message::Answer { ticket, server, question, answer } => {
                self.received.insert(answer.policy_hash.clone(), self.now);
                self.memory.keep(ticket, server, &question, &answer, self.instant());
            }
        }
    }

    fn read(&mut self, line: Line) {
        let change = match &line {
            Line::Event { change, .. } => Some(change.clone()),
            _ => None,
        };
        if self.memory.apply(line).is_err() {
            return self.reconnect();
        }
        match change {
            Some(Change::SessionEnded { session }) => drop(self.told_ended.insert(session.parse().unwrap())),
            Some(Change::DomainChanged { domain }) if domain == "system" => self.told_version += 1,
            Some(Change::AgentsChanged) => self.told_version += 1,
            _ => {}
        }
    }

    fn reconnect(&mut self) {
        self.memory.end();
        self.stream += 1;
        // What was lost with the stream is known after the next one's reset.
        self.told_version = self.versions.len();
        self.later(Message::Connect);
    }

    /// The log is read first, then what the decision rests on.
    fn answer(&mut self, ticket: Ticket, question: Box<CheckRequest>) {
        let (epoch, seq) = (self.epoch.to_string(), self.seq);
        if self.random.below(8) == 0 {
            self.something_changes();
        }
        let session = question.session.as_ref().and_then(Secret::expose_str).map(|token| token.parse().unwrap());
        let is_ended = session.is_some_and(|session: usize| self.ended.contains_key(&session));
        let identity = session.filter(|_| !is_ended).map(|id| Identity { session_id: id.to_string(), ..alice() });
        let standing = match (session, is_ended) {
            (None, _) => SessionStanding::None,
            (_, true) => SessionStanding::Ended,
            (_, false) => SessionStanding::Live,
        };
        let answer = CheckResponse {
            decision: self.random.pick(&[&Decision::Granted, &Decision::Granted, &Decision::Denied]).clone(),
            session: standing,
            identity,
            client_cert: CertificateStanding::None,
            policy_hash: format!("{}|{}|{}", self.versions.len(), question.path, self.sent),
            epoch,
            seq,
            remember_ms: self.random.pick(&[0, REMEMBER, REMEMBER]),
        };
        let server = if self.random.below(10) == 0 { 1 - self.server } else { self.server };
        self.later(Message::Answer { ticket, server, question, answer: Box::new(answer) });
    }

    fn logout(&mut self) {
        let session = self.sessions - 1 - self.random.below(self.sessions.min(4));
        // The server first, then the agent at the answer, without its own event.
        self.end_session(session);
        self.memory.forget(&Secret::from(session.to_string()));
        self.told_ended.insert(session);
    }

    fn run(&mut self, until: u64) {
        let mut next_lease = 0;
        while self.now < until {
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let message = entry.remove();
                self.arrive(message);
            }
            if self.now >= next_lease {
                next_lease = self.now + 200;
                self.nonces += 1;
                let nonce = self.nonces.to_string();
                self.memory.ask_lease(nonce.clone(), self.instant());
                self.later(Message::LeaseQuestion { nonce });
            }
            self.agent_asks();
            match self.random.below(400) {
                0..=5 => self.something_changes(),
                6 => self.logout(),
                _ => {}
            }
            self.now += 1 + self.random.below(3) as u64;
        }
    }
}

#[test]
fn what_is_served_from_memory_was_true_less_than_a_lease_ago() {
    let (mut hits, mut misses) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.run(6_000);
        hits += world.hits;
        misses += world.misses;
    }
    // Otherwise nothing was tested.
    assert!(hits > 5_000 && misses > 5_000, "{hits} {misses}");
}
