//! The first words on the link: versions, and whether what the agent is configured for is what it is registered for.

use serde::{Deserialize, Serialize};

/// `POST /agent/v1/hello`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloRequest {
    pub protocol: u32,
    /// The agent's own version, for the logs.
    pub version: String,
    pub cluster: String,
    pub domain: String,
    pub entry: String,
    /// Host names of the sites the agent serves.
    pub hosts: Vec<String>,
    /// Those at which Jami devices enrol, and the login entry of their credentials.
    #[serde(default)]
    pub jami_hosts: Vec<String>,
    #[serde(default)]
    pub jami_entry: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloResponse {
    pub protocol: u32,
    pub version: String,
    pub server: String,
    pub cluster: String,
    /// The name this agent is registered under.
    pub agent: String,
    /// What the agent is configured for but may not do, in words for its admin; empty when all is well.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The body of every refusal on the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkError {
    pub error: String,
}
