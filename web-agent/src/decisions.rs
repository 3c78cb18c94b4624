//! Where the answer to "may it pass?" comes from: from memory, where that counts, else from a policy server; and where no
//! server answers, what is open to everybody goes on without anybody's name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared_proto::account::{AccountEndRequest, AccountEndResponse};
use shared_proto::check::{CertificateStanding, CheckRequest, CheckResponse, Decision, SessionStanding};
use shared_proto::handover::{RedeemRequest, RedeemResponse};
use shared_proto::login::{AutoLoginRequest, AutoLoginResponse, LoginRequest, LoginResponse, LogoutRequest};
use tokio::time::timeout;

use crate::auto_login::AutoLogins;
use crate::cache::Memory;
use crate::client::{Answered, Link, LinkError};
use crate::open::{OpenRequests, Standing};

/// How long an answer is waited for where the map of what is public can stand in for it.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same for a request with a session or a certificate: the map knows nobody's name, and a link that is merely slow is
/// to cost none.
const PATIENCE_FOR_A_NAME: Duration = Duration::from_secs(1);

/// Answers what the gate asks.
#[derive(Debug)]
pub struct Decisions {
    pub link: Arc<Link>,
    pub memory: Arc<Memory>,
    pub open: Arc<OpenRequests>,
    pub auto_logins: Arc<AutoLogins>,
    /// How long a lease runs, and therefore how long a grant on a session lasts without one.
    pub lease: Duration,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Server,
    Memory,
    /// The map of what is public, in the absence of both.
    Public,
}

impl Source {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Memory => "memory",
            Self::Public => "public",
        }
    }
}

#[derive(Debug)]
pub struct Decided {
    pub answer: CheckResponse,
    pub source: Source,
    /// What a request rests on that is let through by it.
    pub standing: Standing,
}

impl Decisions {
    /// Decides about a request.
    ///
    /// # Errors
    /// There is no decision, which means that the request must not pass.
    pub async fn check(&self, question: &CheckRequest) -> Result<Decided, LinkError> {
        self.decide(question, self.patience(question)).await
    }

    /// Decides again about a request that is being served; nobody waits for it.
    ///
    /// # Errors
    /// There is no decision, which means that the request must not go on.
    pub async fn check_again(&self, question: &CheckRequest) -> Result<Decided, LinkError> {
        self.decide(question, None).await
    }

    /// How long an answer is waited for, if not as long as the link does: the map must be as good as an answer, or no
    /// server there to give one.
    fn patience(&self, question: &CheckRequest) -> Option<Duration> {
        let is_enough = self.memory.is_surely_public(question, Instant::now())
            || (!self.link.is_up() && self.memory.is_public(question));
        let is_somebody = question.session.is_some() || question.client_cert.is_some();
        is_enough.then_some(if is_somebody { PATIENCE_FOR_A_NAME } else { PATIENCE })
    }

    async fn decide(&self, question: &CheckRequest, patience: Option<Duration>) -> Result<Decided, LinkError> {
        let now = Instant::now();
        if let Some(answer) = self.memory.recall(question, now) {
            return Ok(decided(answer, Source::Memory, now));
        }
        let ticket = self.memory.ticket();
        let asking = self.link.check(question);
        let answered = match patience {
            Some(patience) => timeout(patience, asking).await.unwrap_or(Err(LinkError::Timeout)),
            None => asking.await,
        };
        match answered {
            Ok(Answered { answer, server }) => {
                if let Some(ticket) = ticket {
                    self.memory.keep(ticket, server, question, &answer, Instant::now());
                }
                Ok(decided(answer, Source::Server, now + self.lease))
            }
            Err(error) if error.is_silence() && self.memory.is_public(question) => {
                tracing::warn!(id = question.request_id, "served as a public page: {error}");
                Ok(decided(public(), Source::Public, now))
            }
            Err(error) => Err(error),
        }
    }

    /// Runs a login stack, which ends the session the browser had.
    ///
    /// # Errors
    /// Nobody is known to have logged in.
    pub async fn login(&self, question: &LoginRequest) -> Result<LoginResponse, LinkError> {
        let Some(previous) = &question.previous_session else { return self.link.login(question).await };
        let known = self.memory.forget(previous);
        let answer = self.link.login(question).await;
        let known = self.memory.forget(previous).or(known);
        if matches!(answer, Ok(LoginResponse::Success { .. })) {
            self.end(known);
        }
        answer
    }

    /// Logs in with the cookie of a remembered browser. Where no server answers, that says nothing about the cookie.
    pub async fn auto_login(&self, question: AutoLoginRequest) -> AutoLoginResponse {
        let (link, asked) = (self.link.clone(), question.clone());
        let attempt = async move {
            link.auto_login(&asked).await.unwrap_or_else(|error| {
                tracing::warn!(id = asked.request_id, "no answer from a policy server: {error}");
                AutoLoginResponse::NoService
            })
        };
        self.auto_logins.share(&question, attempt).await
    }

    /// Takes the session that was handed over, which ends another one that the browser had.
    ///
    /// # Errors
    /// There is no session to be had for the code.
    pub async fn redeem(&self, question: &RedeemRequest) -> Result<RedeemResponse, LinkError> {
        let answer = self.link.redeem(question).await;
        let known = question.previous_session.as_ref().and_then(|previous| self.memory.forget(previous));
        if let Ok(RedeemResponse::Success { identity, .. }) = &answer {
            self.end(known.filter(|session| **session != *identity.session_id));
        }
        answer
    }

    /// Ends a session, and what the browser is remembered by.
    ///
    /// # Errors
    /// The session may still live; here it is forgotten all the same.
    pub async fn logout(&self, question: &LogoutRequest) -> Result<(), LinkError> {
        let forget = || question.session.as_ref().and_then(|session| self.memory.forget(session));
        let known = forget();
        let answer = self.link.logout(question).await;
        // Once more: requests that ran meanwhile may have been answered and kept.
        self.end(forget().or(known));
        answer.map(drop)
    }

    /// Ends what somebody chose on the account page. The own session is over here at once; the others are by the
    /// server's event.
    ///
    /// # Errors
    /// It may or may not have ended.
    pub async fn end_of_account(&self, question: &AccountEndRequest) -> Result<AccountEndResponse, LinkError> {
        let answer = self.link.end_of_account(question).await;
        let known = question.asker.session.as_ref().and_then(|session| self.memory.forget(session));
        if matches!(answer, Ok(AccountEndResponse::Ended { own: true })) {
            self.end(known);
        }
        answer
    }

    /// Cuts at once what this agent knows to stand on a session; what it does not know, the server's event cuts.
    fn end(&self, session: Option<Arc<str>>) {
        if let Some(session) = session {
            self.open.session_ended(&session, Instant::now());
        }
    }
}

fn decided(answer: CheckResponse, source: Source, until: Instant) -> Decided {
    let session = answer.identity.as_ref().map(|identity| identity.session_id.clone());
    let certificate = answer.client_cert == CertificateStanding::Live;
    Decided { answer, source, standing: Standing { session, certificate, until } }
}

/// A grant to nobody in particular.
fn public() -> CheckResponse {
    CheckResponse {
        decision: Decision::Granted,
        session: SessionStanding::None,
        identity: None,
        client_cert: CertificateStanding::None,
        policy_hash: String::new(),
        epoch: String::new(),
        seq: 0,
        remember_ms: 0,
    }
}
