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
    /// The remember-me cookie the browser had before. When the login succeeds, it is of no use any more where another one
    /// takes its place, another person logged in, or `forget` says so.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub remember: Option<Secret>,
    /// The agent deletes that cookie unless it gets another one.
    #[serde(default)]
    pub forget: bool,
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
        /// What the browser may log in with from now on; absent where nobody asked for it or it is not offered.
        #[serde(default)]
        remember: Option<Remember>,
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

/// The remember-me cookie a browser is to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remember {
    #[serde(with = "secret::on_the_wire")]
    pub cookie: Secret,
    /// The server refuses it after that, whatever the browser does.
    pub max_age_seconds: u64,
}

/// `POST /agent/v1/autologin`: a browser without a session, but with a remember-me cookie.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AutoLoginRequest {
    pub request_id: String,
    /// As in [`LoginRequest`].
    pub host: String,
    pub domain: String,
    pub entry: String,
    #[serde(with = "secret::on_the_wire")]
    pub cookie: Secret,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AutoLoginResponse {
    Success {
        #[serde(with = "secret::on_the_wire")]
        session: Secret,
        identity: Identity,
        /// Takes the place of the cookie that was sent; absent: the browser keeps the one it has.
        #[serde(default)]
        remember: Option<Remember>,
    },
    /// The cookie is of no use any more: it is deleted, and the login page shown.
    Refused {
        /// What the person is to be told: one of [`crate::names::notice`].
        #[serde(default)]
        notice: Option<String>,
    },
    /// Nobody is logged in by this cookie now, but it may be good: it is kept, and the login page shown.
    Unavailable,
    /// Nobody can be logged in now: a directory is down, or the server has no capacity left. The cookie is kept, and the
    /// person asked to come back (503).
    NoService,
    /// A newer server said something this agent does not know. It means [`Self::Unavailable`].
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
    /// As in [`LoginRequest`]. An older agent does not say it: tokens of hand-overs then end nothing.
    #[serde(default)]
    pub host: String,
    #[serde(default, with = "secret::on_the_wire_option")]
    pub session: Option<Secret>,
    /// The remember-me cookie: it and all that it was made from or into are of no use any more, also without a session.
    #[serde(default, with = "secret::on_the_wire_option")]
    pub remember: Option<Secret>,
    pub client: Client,
}

/// Answered whether or not there was such a session or cookie.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogoutResponse {}
