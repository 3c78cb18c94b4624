//! What happened at the policy server since: the stream that keeps an agent's memory honest, and the lease without which
//! that memory does not count.
//!
//! `GET /agent/v1/events?epoch=E&after=N` answers with one [`Line`] of JSON after the other, for as long as the agent
//! listens. Sequence numbers grow without gaps in the order in which changes were committed. An agent that was not told of
//! every change since `after` is told to start anew with [`Line::Reset`].
//!
//! `POST /agent/v1/lease` proves that the stream is not stale: the answer says how far the log goes, read from the
//! primary store after the nonce arrived.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::login::EntryForm;

/// How long a lease lasts, counted from the moment the agent *sent* the request.
pub const LEASE_SECONDS: u64 = 6;
/// How often an agent renews it.
pub const RENEW_SECONDS: u64 = 2;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Line {
    /// Forget everything; what follows goes on from here.
    Reset {
        epoch: String,
        seq: i64,
    },
    Event {
        seq: i64,
        change: Change,
    },
    /// Nothing happened for a while.
    Heartbeat,
    /// What everybody may know, whenever it changes and after a reset. Not an event: it has no number.
    Public {
        map: PublicMap,
    },
    /// The organisation CAs whose devices may show their certificates, as DER in base64, whenever they change and after a
    /// reset; for agents at which Jami devices enrol. Not an event: it has no number.
    Authorities {
        certificates: Vec<String>,
    },
    /// A newer server said something this agent does not know: start anew.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Change {
    /// By its public id, never by its token.
    SessionEnded { session: String },
    /// The account of this session is another one now: other roles, say. By its public id as well.
    SessionChanged { session: String },
    /// Every decision of this security domain may be another one now: users, roles or the policy changed.
    DomainChanged { domain: String },
    /// An agent was added, changed or removed.
    AgentsChanged,
    /// Means that everything may have changed.
    #[serde(other)]
    Unknown,
}

/// `POST /agent/v1/lease`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Random; comes back in the answer, so that no older answer can pass for this one's.
    pub nonce: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseResponse {
    pub nonce: String,
    pub epoch: String,
    /// How far the log goes. The lease counts once the agent has seen the stream up to here.
    pub seq: i64,
}

/// What everybody may know of a security domain, so that it goes on while no policy server answers: which requests are
/// granted to everybody without condition, and what the login pages ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicMap {
    pub domain: String,
    /// Of the policy it was taken from.
    pub policy_hash: String,
    /// Most specific pattern first; the first that matches a request speaks for it.
    pub patterns: Vec<PublicPattern>,
    /// By name, the login entries that the agent may use. Nothing where the server does not tell.
    #[serde(default)]
    pub forms: BTreeMap<String, EntryForm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicPattern {
    /// As `<resource-pattern>` of the policy has it.
    pub pattern: crate::pattern::ResourcePattern,
    /// Anything else than unconditional grant is false.
    pub public: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_kept_apart() {
        let line: Line = serde_json::from_str(r#"{"is":"quantum-leap","seq":1}"#).unwrap();
        assert_eq!(line, Line::Unknown);
        let line: Line =
            serde_json::from_str(r#"{"is":"event","seq":7,"change":{"is":"crl-changed","ca":"x"}}"#).unwrap();
        assert_eq!(line, Line::Event { seq: 7, change: Change::Unknown });
    }

    /// Older and newer servers, and what an agent makes of them.
    #[test]
    fn forms_may_be_absent_and_hold_news() {
        let read = |forms: &str| {
            let line = format!(r#"{{"is":"public","map":{{"domain":"d","policy_hash":"h","patterns":[]{forms}}}}}"#);
            let Line::Public { map } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            map.forms
        };
        assert_eq!(read(""), BTreeMap::new());
        let field =
            r#"{"name":"pin","label":"PIN","required":true,"secret":true,"max_length":9,"input_mode":"thought"}"#;
        let forms = read(&format!(r#","forms":{{"http":{{"new":1}},"strong":{{"fields":[{field}]}}}}"#));
        assert_eq!(forms["http"], EntryForm { fields: Vec::new(), remember_me: false });
        assert_eq!(forms["strong"].fields[0].input_mode, crate::login::InputMode::Text);
    }
}
