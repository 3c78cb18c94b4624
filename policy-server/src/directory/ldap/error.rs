//! What can go wrong with a directory. None of it is a verdict on a password.

use super::ber::Malformed;
use super::message::Unreadable;

#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// No host took the connection; why, for each of them.
    #[error("no directory server can be reached: {0}")]
    Unreachable(String),
    #[error("too many connections to the directory are open; try again")]
    Busy,
    #[error("{server}: no answer in time (`connectTimeout`, `readTimeout`)")]
    Timeout { server: String },
    #[error("{server}: {error}")]
    Io { server: String, error: std::io::Error },
    #[error("{server}: what it answered is not LDAP, or is too large: {what}")]
    Protocol { server: String, what: &'static str },
    /// An operation ended with a result code that is no answer to what was asked.
    #[error("{server}: {operation} refused: {name} ({code}){}{text}", if text.is_empty() { "" } else { ": " })]
    Refused { server: String, operation: String, code: i64, name: &'static str, text: String },
    #[error("the search account (`bindDn`, `bindPassword`) cannot log in: {0}")]
    SearchAccount(String),
    #[error("refusing to bind without a name or without a password")]
    EmptyBind,
}

/// What goes wrong on a connection, which knows its server.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Protocol(&'static str),
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Protocol("malformed message")
    }
}

impl From<Unreadable> for Fault {
    fn from(why: Unreadable) -> Self {
        Self::Protocol(match why {
            Unreadable::Malformed => "malformed message",
            Unreadable::TooLarge => "the answer is too large",
        })
    }
}

impl From<tokio::time::error::Elapsed> for Fault {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Timeout
    }
}

impl Fault {
    pub fn at(self, server: &str) -> LdapError {
        let server = server.to_owned();
        match self {
            Self::Io(error) => LdapError::Io { server, error },
            Self::Timeout => LdapError::Timeout { server },
            Self::Protocol(what) => LdapError::Protocol { server, what },
        }
    }
}

/// The name of a result code (RFC 4511, appendix A.2), for logs.
pub fn code_name(code: i64) -> &'static str {
    match code {
        0 => "success",
        1 => "operations error",
        2 => "protocol error",
        3 => "time limit exceeded",
        4 => "size limit exceeded",
        7 => "authentication method not supported",
        8 => "stronger authentication required",
        10 => "referral",
        11 => "administrative limit exceeded",
        12 => "unavailable critical extension",
        13 => "confidentiality required",
        16 => "no such attribute",
        17 => "undefined attribute type",
        18 => "inappropriate matching",
        19 => "constraint violation",
        21 => "invalid attribute syntax",
        32 => "no such object",
        34 => "invalid DN syntax",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwilling to perform",
        _ => "other",
    }
}
