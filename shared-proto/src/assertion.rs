//! The keys under which an agent vouches to its sites for who a person is. The policy server makes them, one after the
//! other for each agent; what an agent signs is a JSON Web Token (RFC 7519, ES256) in the header
//! [`crate::names::header::ASSERTION`].

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret};

/// How long an assertion counts, in seconds.
pub const LIFE_SECONDS: i64 = 60;

/// `POST /agent/v1/assertion-key`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionKeyRequest {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AssertionKeyResponse {
    /// `iss` of what the agent signs: `cams:CLUSTER:AGENT`.
    pub issuer: String,
    pub kid: String,
    /// ECDSA P-256, PKCS#8 DER in base64.
    #[serde(with = "secret::on_the_wire")]
    pub private_key: Secret,
    /// The agent must not sign under the key from then on. Seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
    /// What the agent's sites may believe: its own keys (the one that follows and the one before too), and those of
    /// other agents that serve the same hosts.
    pub public_keys: Vec<PublicKey>,
}

/// A point of the curve P-256, as a JSON Web Key has it (RFC 7518, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    pub kid: String,
    /// Base64url without padding.
    pub x: String,
    pub y: String,
    /// The only hosts at which it may be shown, lower case.
    pub hosts: Vec<String>,
}
