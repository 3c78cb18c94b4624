//! The part of a scripted policy server that tells what happened: the stream of events and the lease.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::policy_server::Act;

/// A log of events; clones share it.
#[derive(Clone)]
pub struct Events(Arc<Mutex<Log>>);

struct Log {
    epoch: u64,
    seq: i64,
    stream: Option<UnboundedSender<Bytes>>,
    /// The stream stays open and says nothing more.
    silent: bool,
    held: Vec<Bytes>,
    /// Whether anything is answered at all.
    up: bool,
    public: Value,
    authorities: Value,
}

impl Events {
    pub fn new() -> Self {
        let public = json!({"is": "public", "map": {"domain": "system", "policy_hash": "h", "patterns": []}});
        Self(Arc::new(Mutex::new(Log {
            epoch: 1,
            seq: 0,
            stream: None,
            silent: false,
            held: Vec::new(),
            up: true,
            public,
            authorities: authorities(&[]),
        })))
    }

    /// The answer to a question about events or the lease.
    pub fn answer(&self, path: &str, question: &Value) -> Option<Act> {
        let mut log = self.0.lock().unwrap();
        match path {
            "/agent/v1/events" | "/agent/v1/lease" if !log.up => Some(Act::Answer(503, json!({"error": "down"}))),
            "/agent/v1/events" => {
                let (stream, lines) = unbounded_channel();
                log.stream = Some(stream);
                log.silent = false;
                let reset = json!({"is": "reset", "epoch": log.epoch.to_string(), "seq": log.seq});
                log.send(&reset);
                let public = log.public.clone();
                log.send(&public);
                let authorities = log.authorities.clone();
                log.send(&authorities);
                Some(Act::Stream(Arc::new(Mutex::new(lines))))
            }
            "/agent/v1/lease" => {
                let (epoch, seq) = (log.epoch.to_string(), log.seq);
                Some(Act::Answer(200, json!({"nonce": question["nonce"], "epoch": epoch, "seq": seq})))
            }
            _ => None,
        }
    }

    /// Adds to an answer how far the log goes and that it may be remembered.
    pub fn stamp(&self, answer: &mut Value) {
        let log = self.0.lock().unwrap();
        answer["epoch"] = json!(log.epoch.to_string());
        answer["seq"] = json!(log.seq);
        answer["remember_ms"] = json!(600_000);
    }

    pub fn happen(&self, change: Value) {
        let mut log = self.0.lock().unwrap();
        log.seq += 1;
        let event = json!({"is": "event", "seq": log.seq, "change": change});
        log.send(&event);
    }

    pub fn session_ended(&self, session: &str) {
        self.happen(json!({"is": "session-ended", "session": session}));
    }

    pub fn session_changed(&self, session: &str) {
        self.happen(json!({ "is": "session-changed", "session": session }));
    }

    pub fn domain_changed(&self) {
        self.happen(json!({"is": "domain-changed", "domain": "system"}));
    }

    /// What every stream says after its reset.
    pub fn public(&self, map: &shared_proto::event::PublicMap) {
        self.0.lock().unwrap().public = json!({"is": "public", "map": map});
    }

    /// The organisation CAs, in base64, from now on.
    pub fn authorities(&self, certificates: &[String]) {
        let mut log = self.0.lock().unwrap();
        log.authorities = authorities(certificates);
        let line = log.authorities.clone();
        log.send(&line);
    }

    /// From here on the stream is open and says nothing, until a new one begins.
    pub fn fall_silent(&self) {
        self.0.lock().unwrap().silent = true;
    }

    /// Says what was held back, in this order: `[1, 0]` turns two lines round.
    pub fn speak(&self, order: &[usize]) {
        let mut log = self.0.lock().unwrap();
        log.silent = false;
        let held = std::mem::take(&mut log.held);
        for at in order {
            log.pass(held[*at].clone());
        }
    }

    /// Ends the stream, and answers nothing more or again.
    pub fn set_up(&self, up: bool) {
        let mut log = self.0.lock().unwrap();
        log.up = up;
        log.stream = None;
    }

    /// A new log begins, as after the store was restored.
    pub fn new_epoch(&self) {
        let mut log = self.0.lock().unwrap();
        log.epoch += 1;
        log.seq = 0;
        log.stream = None;
    }
}

fn authorities(certificates: &[String]) -> Value {
    json!({ "is": "authorities", "certificates": certificates })
}

impl Log {
    fn send(&mut self, line: &Value) {
        let line = Bytes::from(format!("{line}\n"));
        if self.silent { self.held.push(line) } else { self.pass(line) }
    }

    fn pass(&mut self, line: Bytes) {
        if let Some(stream) = &self.stream {
            // An agent that is gone hears nothing.
            drop(stream.send(line));
        }
    }
}
