//! What a client is told where its request could not be passed on.

use pingora::{Error, ErrorSource, ErrorType};

use crate::gate::Reply;
use crate::head::Refusal;

/// As the engine would answer; 0 where nobody is left to answer to.
pub fn status_of(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (_, ErrorSource::Upstream) => 502,
        (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => 0,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    }
}

/// By a site.
pub fn failed(status: u16) -> Reply {
    let reason = match status {
        408 => "The request did not arrive in time.",
        500..=599 => "Please try again later.",
        _ => "The request cannot be understood.",
    };
    Reply::refused(Refusal::new(status, reason), true)
}

/// The clients of the API look at the status alone, and take 4xx for a verdict on their credentials.
pub fn failed_jami(status: u16) -> Reply {
    match status {
        500.. => Reply::jami_unavailable(),
        _ => Reply::refused(Refusal::new(status, "the request cannot be passed on"), false),
    }
}
