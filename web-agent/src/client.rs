//! The agent's side of the link: questions to the policy servers, tried in the order they are configured in.
//!
//! Whatever goes wrong is an error and never an answer, so the gate can only refuse (I6).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_proto::account::{AccountEndRequest, AccountEndResponse, AccountRequest, AccountResponse};
use shared_proto::assertion::{AssertionKeyRequest, AssertionKeyResponse};
use shared_proto::check::{CheckRequest, CheckResponse};
use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};
use shared_proto::hello::HelloRequest;
use shared_proto::login::{
    AutoLoginRequest, AutoLoginResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
};
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};
use shared_proto::report::{AuditRequest, AuditResponse};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::connection::{self, Sender, Standing, Unanswered};
use crate::pem::{self, KeyFiles, PemError};

const CHECK: &str = "https://cams-policy-server/agent/v1/check";
const LOGIN: &str = "https://cams-policy-server/agent/v1/login";
const AUTO_LOGIN: &str = "https://cams-policy-server/agent/v1/autologin";
const LOGOUT: &str = "https://cams-policy-server/agent/v1/logout";
const PARK: &str = "https://cams-policy-server/agent/v1/parked";
const TAKE_PARKED: &str = "https://cams-policy-server/agent/v1/parked/take";
const ACCOUNT: &str = "https://cams-policy-server/agent/v1/account";
const ACCOUNT_END: &str = "https://cams-policy-server/agent/v1/account/end";
const HANDOVER: &str = "https://cams-policy-server/agent/v1/handover";
const REDEEM: &str = "https://cams-policy-server/agent/v1/handover/redeem";

const ASSERTION_KEY: &str = "https://cams-policy-server/agent/v1/assertion-key";
const AUDIT: &str = "https://cams-policy-server/agent/v1/audit";

const LIMIT: Duration = Duration::from_secs(5);
/// A login asks directories that may be slow, and hashes a password.
const LOGIN_LIMIT: Duration = Duration::from_secs(15);

/// How long a question waits for a connection that is being made.
const WAIT: Duration = Duration::from_secs(2);

/// Where the policy servers are and who we are to them.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// `host:port`, in the order they are tried in.
    pub servers: Vec<String>,
    /// The authorities that may have issued a policy server's certificate.
    pub authorities: PathBuf,
    pub identity: KeyFiles,
    pub hello: HelloRequest,
}

impl LinkConfig {
    /// Reads the files once, for their errors: connections are made later and must not be the first to know.
    ///
    /// # Errors
    /// The file at fault.
    pub fn load(&self) -> Result<(), PemError> {
        self.identity.load()?;
        pem::authorities(&self.authorities).map(drop)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no policy server can be reached")]
    Down,
    #[error("the policy server did not answer in time")]
    Timeout,
    #[error("the policy server is overloaded")]
    Overloaded,
    #[error("the connection to the policy server broke: {0}")]
    Broken(String),
    #[error("the policy server refused ({status}): {error}")]
    Refused { status: u16, error: String },
    #[error("the answer of the policy server is too long")]
    TooLong,
    #[error("the message cannot be understood: {0}")]
    Message(#[from] serde_json::Error),
}

impl LinkError {
    /// Whether no server decided, as opposed to one that would not or could not be understood.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Down | Self::Timeout | Self::Overloaded | Self::Broken(_) => true,
            Self::Refused { .. } | Self::TooLong | Self::Message(_) => false,
        }
    }
}

/// An answer and which server gave it, counted from 0.
#[derive(Debug)]
pub struct Answered<A> {
    pub answer: A,
    pub server: usize,
}

/// Open connections to the policy servers; dropping it closes them.
#[derive(Debug)]
pub struct Link {
    servers: Vec<watch::Receiver<Standing>>,
}

/// What may be done about a question that a broken connection left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Asking twice changes nothing.
    Always,
    /// Only where the server certainly did not act on it.
    Unseen,
}

impl Link {
    /// Begins to connect to every server. Call it inside the runtime the connections shall live in.
    pub fn start(config: LinkConfig) -> Self {
        let config = Arc::new(config);
        let connect = |server: &String| {
            let (standing, seen) = watch::channel(Standing::Connecting);
            tokio::spawn(connection::maintain(server.clone(), config.clone(), standing));
            seen
        };
        Self { servers: config.servers.iter().map(connect).collect() }
    }

    /// Asks for a decision.
    ///
    /// # Errors
    /// Any: there is no decision, which means that the request must not pass.
    pub async fn check(&self, question: &CheckRequest) -> Result<Answered<CheckResponse>, LinkError> {
        self.ask(CHECK, question, Repeat::Always, LIMIT).await
    }

    /// Runs a login stack.
    ///
    /// # Errors
    /// Any: nobody is known to have logged in.
    pub async fn login(&self, question: &LoginRequest) -> Result<LoginResponse, LinkError> {
        self.ask(LOGIN, question, Repeat::Unseen, LOGIN_LIMIT).await.map(|answered| answered.answer)
    }

    /// Runs a login stack with what a browser is remembered by. Twice is as good as once: where the answer to the first
    /// was lost, the cookie that was sent is still good.
    ///
    /// # Errors
    /// Any: nobody is known to have logged in.
    pub async fn auto_login(&self, question: &AutoLoginRequest) -> Result<AutoLoginResponse, LinkError> {
        self.ask(AUTO_LOGIN, question, Repeat::Always, LOGIN_LIMIT).await.map(|answered| answered.answer)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// Any: the session may still live.
    pub async fn logout(&self, question: &LogoutRequest) -> Result<LogoutResponse, LinkError> {
        self.ask(LOGOUT, question, Repeat::Always, LIMIT).await.map(|answered| answered.answer)
    }

    /// Keeps a posted form.
    ///
    /// # Errors
    /// Any: it is not known to be kept.
    pub async fn park(&self, question: &ParkRequest) -> Result<ParkResponse, LinkError> {
        self.ask(PARK, question, Repeat::Unseen, LIMIT).await.map(|answered| answered.answer)
    }

    /// Gets a posted form back, which nobody gets a second time.
    ///
    /// # Errors
    /// Any: it may still be kept, or be lost.
    pub async fn take_parked(&self, question: &TakeRequest) -> Result<TakeResponse, LinkError> {
        self.ask(TAKE_PARKED, question, Repeat::Unseen, LIMIT).await.map(|answered| answered.answer)
    }

    /// Asks what a person has.
    ///
    /// # Errors
    /// Any: it is not known.
    pub async fn account(&self, question: &AccountRequest) -> Result<AccountResponse, LinkError> {
        Ok(self.ask(ACCOUNT, question, Repeat::Always, LIMIT).await?.answer)
    }

    /// Ends some of it. What the first try ended, the second does not find: the person looks at what is left anyway.
    ///
    /// # Errors
    /// Any: it may or may not have ended.
    pub async fn end_of_account(&self, question: &AccountEndRequest) -> Result<AccountEndResponse, LinkError> {
        Ok(self.ask(ACCOUNT_END, question, Repeat::Always, LIMIT).await?.answer)
    }

    /// Asks for a code with which a session goes to another site. A second code does no harm.
    ///
    /// # Errors
    /// Any: nothing is handed over.
    pub async fn hand_over(&self, question: &HandoverRequest) -> Result<HandoverResponse, LinkError> {
        self.ask(HANDOVER, question, Repeat::Always, LIMIT).await.map(|answered| answered.answer)
    }

    /// Takes a session for such a code, which counts once.
    ///
    /// # Errors
    /// Any: there is no session to be had for the code.
    pub async fn redeem(&self, question: &RedeemRequest) -> Result<RedeemResponse, LinkError> {
        self.ask(REDEEM, question, Repeat::Unseen, LIMIT).await.map(|answered| answered.answer)
    }

    /// How it stands with each server, in the order in which they are tried.
    pub fn servers(&self) -> &[watch::Receiver<Standing>] {
        &self.servers
    }

    /// Whether there is an open connection to any server.
    pub fn is_up(&self) -> bool {
        self.servers.iter().any(|server| server.borrow().sender().is_some())
    }

    /// Fetches the keys to vouch for people with.
    ///
    /// # Errors
    /// Any: the keys that are known go on.
    pub async fn assertion_key(&self) -> Result<AssertionKeyResponse, LinkError> {
        Ok(self.ask(ASSERTION_KEY, &AssertionKeyRequest {}, Repeat::Always, LIMIT).await?.answer)
    }

    /// Reports what the agent decided alone.
    ///
    /// # Errors
    /// Any: it may or may not be in the audit log.
    pub async fn report(&self, events: &AuditRequest) -> Result<AuditResponse, LinkError> {
        Ok(self.ask(AUDIT, events, Repeat::Unseen, LIMIT).await?.answer)
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        uri: &'static str,
        question: &Q,
        repeat: Repeat,
        limit: Duration,
    ) -> Result<Answered<A>, LinkError> {
        let question = Bytes::from(serde_json::to_vec(question)?);
        let answered = timeout(limit, self.post(uri, question, repeat)).await.map_err(|_| LinkError::Timeout)??;
        Ok(Answered { answer: serde_json::from_slice(&answered.answer)?, server: answered.server })
    }

    /// Asks the servers that are up; then those that may come up; then once more, for a connection that broke under the
    /// question.
    async fn post(&self, uri: &'static str, question: Bytes, repeat: Repeat) -> Result<Answered<Bytes>, LinkError> {
        let mut last = LinkError::Down;
        let mut tried = Vec::new();
        for wait in [false, true, true] {
            for (server, standing) in self.servers.iter().enumerate() {
                let Some(sender) = sender(standing, wait, &tried).await else { continue };
                tried.push(sender.id());
                match sender.post(uri, question.clone()).await {
                    Ok(answer) => return Ok(Answered { answer, server }),
                    Err(Unanswered { error, unseen }) if unseen || may_repeat(repeat, &error) => last = error,
                    Err(Unanswered { error, .. }) => return Err(error),
                }
            }
            if matches!(last, LinkError::Overloaded) {
                break;
            }
        }
        Err(last)
    }
}

fn may_repeat(repeat: Repeat, error: &LinkError) -> bool {
    repeat == Repeat::Always && matches!(error, LinkError::Broken(_))
}

/// The open connection to a server, if it was not tried before; with `wait` also the one that is being made.
async fn sender(server: &watch::Receiver<Standing>, wait: bool, tried: &[u64]) -> Option<Sender> {
    let usable = |sender: &Sender| !sender.is_closed() && !tried.contains(&sender.id());
    if let Standing::Up(sender) = &*server.borrow()
        && usable(sender)
    {
        return Some(sender.clone());
    }
    if !wait {
        return None;
    }
    let mut server = server.clone();
    // A connection that cannot be used is a loss that `maintain` is about to notice.
    let standing = server.wait_for(|standing| match standing {
        Standing::Connecting => false,
        Standing::Up(sender) => usable(sender),
        Standing::Down => true,
    });
    match &*timeout(WAIT, standing).await.ok()?.ok()? {
        Standing::Up(sender) => Some(sender.clone()),
        Standing::Connecting | Standing::Down => None,
    }
}

#[cfg(test)]
mod tests;
