//! Handing a session over from the host where people log in to another site of the cluster, whose cookies that host cannot
//! set: a code that counts once carries it through the browser.

use serde::{Deserialize, Serialize};

use crate::check::{Client, Identity};
use crate::secret::{self, Secret};

/// `POST /agent/v1/handover`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandoverRequest {
    pub request_id: String,
    /// Host name of the site where the session is, lower case, without the port.
    pub host: String,
    pub domain: String,
    /// The login entry that the other site asks for.
    pub entry: String,
    /// The session cookie of that site, where a login set it: what was handed over is not handed on.
    #[serde(with = "secret::on_the_wire")]
    pub session: Secret,
    /// Origin of the site that the session is for, as `https://host[:port]`.
    pub audience: String,
    /// The page that was wanted there: its path and query.
    pub target: String,
    /// SHA-256, in URL-safe base64, of what the browser keeps for that site.
    pub binding: String,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum HandoverResponse {
    Ready {
        /// Only its SHA-256 is stored.
        #[serde(with = "secret::on_the_wire")]
        code: Secret,
    },
    /// The session is over, or never was.
    NoSession,
    /// The session lives, and was not opened through this entry.
    OtherEntry,
    /// A newer server said something this agent does not know. It means that nothing is handed over.
    #[serde(other)]
    Unknown,
}

/// `POST /agent/v1/handover/redeem`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RedeemRequest {
    pub request_id: String,
    /// Host name of the site that was sent the code.
    pub host: String,
    pub domain: String,
    pub entry: String,
    /// Its origin, as in [`HandoverRequest`].
    pub audience: String,
    #[serde(with = "secret::on_the_wire")]
    pub code: Secret,
    /// As in [`HandoverRequest`]; empty where the browser keeps nothing.
    pub binding: String,
    /// The session the browser had here before; if it is another one, it ends.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub previous_session: Option<Secret>,
    /// The remember-me cookie the browser has here; if it is of another person, it is of no use any more.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub remember: Option<Secret>,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum RedeemResponse {
    Success {
        /// A value of the session cookie, of use at this host alone; the session itself is the same everywhere.
        #[serde(with = "secret::on_the_wire")]
        session: Secret,
        identity: Box<Identity>,
        /// The path and query that were handed over with it.
        target: String,
        /// The remember-me cookie was of another person: it is deleted.
        #[serde(default)]
        forget: bool,
    },
    /// The code is of no use here: the reason is in the audit log.
    Refused,
    /// A newer server said something this agent does not know. It means [`Self::Refused`].
    #[serde(other)]
    Unknown,
}
