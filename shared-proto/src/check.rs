//! "May this request pass?": the question a web agent asks for each request, and the answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret};

/// Who asks, as the agent sees the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub address: IpAddr,
    #[serde(default)]
    pub user_agent: String,
}

/// `POST /agent/v1/check`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Ties the agent's and the server's logs together.
    pub request_id: String,
    pub scheme: String,
    /// Host name of the site, lower case, without the port.
    pub host: String,
    pub port: u16,
    pub method: String,
    /// The path that will be forwarded, byte for byte, without the query.
    pub path: String,
    #[serde(default)]
    pub query: Option<String>,
    /// The security domain and login entry this site demands.
    pub domain: String,
    pub entry: String,
    /// The value of the session cookie, where there is exactly one.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub session: Option<Secret>,
    /// At a site where Jami devices enrol: SHA-256, in hexadecimal, of the certificate that the client proved to hold.
    #[serde(default)]
    pub client_cert: Option<String>,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckResponse {
    pub decision: Decision,
    /// What became of the session cookie the request carried.
    pub session: SessionStanding,
    /// Who the session belongs to; on a granted request this is what the site is told.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// What the certificate is worth that the request named; only a live one is shown to the site.
    #[serde(default)]
    pub client_cert: CertificateStanding,
    /// SHA-256, in hexadecimal, of the access control policy this was decided by.
    pub policy_hash: String,
    /// How far the event log went, read before anything the decision rests on. The agent may remember the decision only
    /// if its stream has not gone further, and only under a live lease of the same epoch.
    #[serde(default)]
    pub epoch: String,
    #[serde(default)]
    pub seq: i64,
    /// For how long the decision may be remembered at most, in milliseconds from its receipt; 0 means not at all.
    #[serde(default)]
    pub remember_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Decision {
    Granted,
    Denied,
    LoginRequired {
        domain: String,
        entry: String,
        /// The entry's `camsLoginUrl`: absolute, or relative to the site.
        login_url: String,
    },
    /// A newer server said something this agent does not know. It means deny.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionStanding {
    /// The request carried none.
    None,
    Live,
    /// Ended, expired or never ours: the agent deletes the cookie.
    Ended,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateStanding {
    /// Of a device that is enrolled and not revoked, whose account stands.
    Live,
    /// None was named, or nobody vouches for it (any more).
    #[default]
    #[serde(other)]
    None,
}

/// A person with a live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub user: String,
    pub roles: Vec<String>,
    pub domain: String,
    pub entry: String,
    /// Names the session in logs and towards sites; it opens nothing.
    pub session_id: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub session_created: i64,
    /// namespace -> name -> value
    #[serde(default)]
    pub attributes: BTreeMap<String, BTreeMap<String, String>>,
    /// A remembered browser logged in by itself: nobody typed anything for this session.
    #[serde(default)]
    pub remembered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_unknown_variants_are_kept_apart() {
        let text = r#"{"decision":{"is":"teleport","to":"x"},"session":"quantum","policy_hash":"h","new":1}"#;
        let response: CheckResponse = serde_json::from_str(text).unwrap();
        assert_eq!(response.decision, Decision::Unknown);
        assert_eq!(response.session, SessionStanding::Unknown);
        assert_eq!(response.identity, None);
    }

    #[test]
    fn a_decision_survives_the_link() {
        let decision = Decision::LoginRequired { domain: "d".into(), entry: "e".into(), login_url: "/u".into() };
        let text = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
    }
}
