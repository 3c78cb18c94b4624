//! The gate: decides what becomes of a request. A state machine without I/O: it asks questions, is given answers, and
//! ends in a [`Permit`] or a [`Reply`]. It must never turn an error or an unknown answer into a permit (I6).

pub mod permit;

use std::sync::Arc;

use serde_json::Value;
use shared_proto::check::{CheckRequest, CheckResponse};
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest};

use crate::head::{Connection, Head};
use crate::pages::Page;
use crate::permit::Permit;
use crate::site::GateConfig;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    Ask(Question),
    Forward(Permit),
    Respond(Reply),
}

/// What the gate needs to know; the first three go to the policy server.
#[derive(Debug)]
pub enum Question {
    Check(CheckRequest),
    Login(LoginRequest),
    Logout(LogoutRequest),
    /// The request's body, if it is no longer than `max` bytes.
    Body {
        max: usize,
    },
}

#[derive(Debug)]
pub enum Answer {
    Check(CheckResponse),
    Login(LoginResponse),
    Logout,
    Body(Vec<u8>),
    BodyTooLarge,
    /// No policy server could be reached, or it would not speak with us.
    LinkDown,
}

/// An answer of the agent itself.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: ReplyBody,
    /// The connection must not be used again.
    pub close: bool,
    pub audit: Audit,
}

#[derive(Debug)]
pub enum ReplyBody {
    Page(Page),
    Json(Value),
    Empty,
}

/// What happened, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub event: Event,
    pub reason: &'static str,
    pub user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The request itself was at fault.
    Refused,
    Denied,
    LoginRequired,
    /// A page of the agent was shown.
    Shown,
    LoginFailed,
    LoggedIn,
    LoggedOut,
    Unavailable,
}

/// One request on its way.
#[derive(Debug)]
pub struct Gate {
    config: Arc<GateConfig>,
}

impl Gate {
    /// Looks at a request. `request_id` ties the logs of agent and server together.
    pub fn start(config: &Arc<GateConfig>, _connection: &Connection, _head: &Head, _request_id: &str) -> (Self, Step) {
        (Self { config: Arc::clone(config) }, Step::Ask(Question::Body { max: 0 }))
    }

    /// Takes the answer to the last question.
    pub fn answer(&mut self, _answer: Answer) -> Step {
        Step::Ask(Question::Body { max: self.config.sites.len() })
    }
}
