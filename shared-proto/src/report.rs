//! What an agent decided alone, told to the policy server afterwards for its audit log.
//!
//! Everything here comes from clients that may lie, through an agent that may be broken: the server escapes and cuts it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `POST /agent/v1/audit`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    pub events: Vec<AgentEvent>,
    /// Events that the agent could not keep since the last batch that arrived.
    #[serde(default)]
    pub dropped: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditResponse {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AgentEvent {
    RequestRefused(RefusedRequest),
    ConfigurationLoaded {
        old_hash: Option<String>,
        new_hash: String,
        /// What of it takes effect at the next start only; empty where all of it is in force.
        #[serde(default)]
        note: String,
    },
    ConfigurationRefused {
        old_hash: String,
        reason: String,
    },
    /// Of a newer agent.
    #[serde(other)]
    Unknown,
}

/// A request that was refused before anybody was asked about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRequest {
    pub request_id: String,
    /// The peer of the connection.
    pub client: Option<IpAddr>,
    pub method: String,
    /// As the client named it, escaped.
    pub host: String,
    /// Without the query; in canonical form, or escaped where it has none.
    pub path: String,
    pub status: u16,
    pub reason: String,
    /// When, in seconds since 1970-01-01T00:00:00Z, by the agent's clock.
    pub time: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_newer_agents_are_kept_apart() {
        let text =
            r#"{"events":[{"is":"quantum","x":1},{"is":"configuration-loaded","old_hash":null,"new_hash":"h"}]}"#;
        let request: AuditRequest = serde_json::from_str(text).unwrap();
        let loaded = AgentEvent::ConfigurationLoaded { old_hash: None, new_hash: "h".into(), note: String::new() };
        assert_eq!(request.events, [AgentEvent::Unknown, loaded]);
    }
}
