//! Posted forms that are kept for their sender: the session had ended when they came.

use serde::{Deserialize, Serialize};

use crate::check::Client;
use crate::secret::{self, Secret};

/// `POST /agent/v1/parked`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParkRequest {
    pub request_id: String,
    /// Host name of the site, lower case, without the port.
    pub host: String,
    pub domain: String,
    pub entry: String,
    /// The session that ended: whoever had it gets the form back.
    #[serde(with = "secret::on_the_wire")]
    pub session: Secret,
    /// What the browser has for forms that are kept already.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub browser: Option<Secret>,
    /// Scheme, host and port of the site.
    pub origin: String,
    /// The path and query that the form was sent to.
    pub target: String,
    /// As it came.
    #[serde(with = "secret::on_the_wire")]
    pub body: Secret,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum ParkResponse {
    Kept {
        /// Names the form; it opens nothing without the rest.
        id: String,
        /// The value of a cookie without which the form is not given back.
        #[serde(with = "secret::on_the_wire")]
        browser: Secret,
        /// For how long the form, and so the cookie, is kept.
        max_age_seconds: u64,
    },
    /// It is not kept: nobody knows whose it is. Also whatever a newer server may say.
    #[serde(other)]
    Unknown,
}

/// `POST /agent/v1/parked/take`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeRequest {
    pub request_id: String,
    /// As in [`ParkRequest`].
    pub host: String,
    pub domain: String,
    pub entry: String,
    pub origin: String,
    pub id: String,
    #[serde(default, with = "secret::on_the_wire_option")]
    pub session: Option<Secret>,
    #[serde(default, with = "secret::on_the_wire_option")]
    pub browser: Option<Secret>,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum TakeResponse {
    /// It is not kept any more.
    Form {
        target: String,
        #[serde(with = "secret::on_the_wire")]
        body: Secret,
    },
    /// There is no live session.
    LoginRequired { domain: String, entry: String, login_url: String },
    /// There is no such form, or it is somebody else's: no difference is shown. Also whatever a newer server may say.
    #[serde(other)]
    Gone,
}
