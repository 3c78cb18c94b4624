//! Logging in and out, and what is asked for at a login.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::{Client, Identity};
use crate::secret::{self, Secret};

/// `POST /agent/v1/login`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginRequest {
    pub request_id: String,
    /// Host name of the site at which the form was posted, lower case, without the port.
    pub host: String,
    pub domain: String,
    pub entry: String,
    /// Callback values by name, without the `cams_cb_` prefix.
    #[serde(with = "secret::on_the_wire_map")]
    pub callbacks: BTreeMap<String, Secret>,
    /// The session the browser had before; it ends when the login succeeds, so that no session survives a login.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub previous_session: Option<Secret>,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum LoginResponse {
    Success {
        /// The value of the session cookie. Only its SHA-256 is stored.
        #[serde(with = "secret::on_the_wire")]
        session: Secret,
        identity: Identity,
    },
    Failure {
        /// One of [`crate::names::code`].
        code: u16,
        /// Class name of the exception, as in `login-exception.properties`.
        exception: String,
        /// The text configured for it.
        message: String,
        /// The entry's `camsLoginUrl`, where the form came from; absent means the agent's built-in page.
        #[serde(default)]
        login_url: Option<String>,
        /// Seconds until another attempt counts: too many failed before. Absent where it may be made at once.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// A newer server said something this agent does not know. It means that nobody logged in.
    #[serde(other)]
    Unknown,
}

/// What the form of a login entry asks for. A user name and a password always come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryForm {
    /// What is asked besides, in order.
    #[serde(default)]
    pub fields: Vec<FormField>,
    /// Whether people may ask to be remembered.
    #[serde(default)]
    pub remember_me: bool,
}

/// One thing to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormField {
    /// Name of the callback; the form field is `cams_cb_` and this.
    pub name: String,
    /// What to write beside the input.
    pub label: String,
    pub required: bool,
    /// Whether what is typed must not be shown.
    pub secret: bool,
    /// Characters of the longest answer.
    pub max_length: usize,
    pub input_mode: InputMode,
}

/// Which keyboard a phone offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputMode {
    Numeric,
    Tel,
    Email,
    /// Also whatever a newer server may say.
    #[serde(other)]
    Text,
}

impl InputMode {
    pub const ALL: [Self; 4] = [Self::Text, Self::Numeric, Self::Tel, Self::Email];

    /// As HTML spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Numeric => "numeric",
            Self::Tel => "tel",
            Self::Email => "email",
        }
    }
}

/// `POST /agent/v1/logout`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogoutRequest {
    pub request_id: String,
    #[serde(with = "secret::on_the_wire")]
    pub session: Secret,
    pub client: Client,
}

/// Answered whether or not there was such a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogoutResponse {}
