//! Follows what happens at one policy server at a time, the first that is up: its stream of events, and the lease that
//! proves that the stream is not stale. It carries both to [`crate::cache`]; what they mean is decided in
//! [`crate::memory`].
//!
//! Anything odd ends the stream, and with it everything that is remembered; then the next one begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use shared_proto::event::{LEASE_SECONDS, LeaseRequest, LeaseResponse, Line, RENEW_SECONDS};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cache::Memory;
use crate::client::LinkError;
use crate::client_auth::Handshakes;
use crate::connection::{Sender, Standing, Unanswered};
use crate::decisions::Decisions;
use crate::memory::{Broken, Effect};
use crate::open::OpenRequests;
use crate::recheck;

const EVENTS: &str = "https://cams-policy-server/agent/v1/events?epoch=&after=0";
const LEASE: &str = "https://cams-policy-server/agent/v1/lease";

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 1024 * 1024;
/// For the head of the stream's response.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// How long a lease runs and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub lease: Duration,
    pub renew: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease: Duration::from_secs(LEASE_SECONDS), renew: Duration::from_secs(RENEW_SECONDS) }
    }
}

/// The tasks that keep memory and open requests true; they end when it is dropped.
#[derive(Debug)]
pub struct Following {
    _tasks: JoinSet<()>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the stream cannot be believed: {0}")]
    Broken(#[from] Broken),
    #[error("a line of the stream is too long")]
    TooLong,
    #[error("the stream ended")]
    Over,
    #[error("the lease could not be renewed")]
    NoLease,
    #[error("there is no randomness")]
    NoNonce,
    #[error("a server that is to be preferred is up again")]
    Preferred,
}

struct Feed {
    servers: Vec<watch::Receiver<Standing>>,
    memory: Arc<Memory>,
    open: Arc<OpenRequests>,
    handshakes: Arc<Handshakes>,
    timing: Timing,
}

impl Following {
    /// Begins to follow, on the current runtime.
    pub fn start(decisions: &Arc<Decisions>, handshakes: &Arc<Handshakes>, timing: Timing) -> Self {
        let feed = Feed {
            servers: decisions.link.servers().to_vec(),
            memory: decisions.memory.clone(),
            open: decisions.open.clone(),
            handshakes: handshakes.clone(),
            timing,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(feed.follow());
        tasks.spawn(recheck::ask_again(decisions.clone()));
        tasks.spawn(recheck::watch(decisions.clone()));
        Self { _tasks: tasks }
    }
}

impl Feed {
    async fn follow(self) {
        let mut delay = FIRST_DELAY;
        let mut complaint = String::new();
        loop {
            let Some((server, sender)) = self.first_up(self.servers.len()) else {
                sleep(FIRST_DELAY).await;
                continue;
            };
            let Err(end) = self.attend(server, &sender).await;
            let was_good = self.memory.is_live(Instant::now());
            match &end {
                End::Link(LinkError::Refused { status: 401 | 403, .. }) => {
                    self.memory.disown();
                    self.handshakes.trust(&[]);
                    // What was granted to an agent that may not ask any more ends now, not with its last lease.
                    self.open.doubt_all(Instant::now());
                }
                _ => self.memory.end(),
            }
            let end = end.to_string();
            if was_good || complaint != end {
                tracing::warn!(server = server + 1, "lost the events of the policy server: {end}");
                complaint = end;
            }
            delay = if was_good { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
            sleep(delay).await;
        }
    }

    /// The first of the first `count` servers that is up.
    fn first_up(&self, count: usize) -> Option<(usize, Sender)> {
        let up =
            |(number, server): (usize, &watch::Receiver<Standing>)| Some((number, server.borrow().sender()?.clone()));
        self.servers.iter().take(count).enumerate().find_map(up)
    }

    /// Follows one server until something ends it.
    async fn attend(&self, server: usize, sender: &Sender) -> Result<std::convert::Infallible, End> {
        let stream = timeout(OPEN_LIMIT, sender.get(EVENTS)).await.map_err(|_| LinkError::Timeout)?;
        let stream = stream.map_err(|unanswered| unanswered.error)?;
        self.memory.begin(server);
        tokio::select! {
            end = self.read(stream) => end,
            end = self.renew(server, sender) => end,
        }
    }

    async fn read(&self, mut stream: Incoming) -> Result<std::convert::Infallible, End> {
        let mut lines = Lines::default();
        loop {
            let frame = stream.frame().await.ok_or(End::Over)?;
            let frame = frame.map_err(|error| LinkError::Broken(error.to_string()))?;
            lines.push(&frame.into_data().unwrap_or_default());
            while let Some(line) = lines.next()? {
                self.apply(serde_json::from_slice(&line).map_err(LinkError::from)?)?;
            }
        }
    }

    /// What is remembered goes before what is open: a question that is asked again must not find the old answer.
    fn apply(&self, line: Line) -> Result<(), Broken> {
        let effect = self.memory.apply(line)?;
        let now = Instant::now();
        match effect {
            Effect::Everything | Effect::Domain(_) => self.open.doubt_all(now),
            Effect::SessionEnded(session) => self.open.session_ended(&session, now),
            Effect::SessionChanged(session) => self.open.doubt_session(&session, now),
            Effect::Authorities(authorities) => self.handshakes.trust(&authorities),
            Effect::Nothing | Effect::Public(_) => {}
        }
        Ok(())
    }

    async fn renew(&self, server: usize, sender: &Sender) -> Result<std::convert::Infallible, End> {
        let mut last_held = Instant::now();
        loop {
            let sent = Instant::now();
            let answer = self.lease(sender, sent).await?;
            let now = Instant::now();
            self.memory.answer_lease(answer, now);
            sleep((sent + self.timing.renew).saturating_duration_since(now)).await;
            let now = Instant::now();
            if self.memory.is_live(now) {
                last_held = now;
            } else if now >= last_held + self.timing.lease {
                return Err(End::NoLease);
            }
            if self.first_up(server).is_some() {
                return Err(End::Preferred);
            }
        }
    }

    async fn lease(&self, sender: &Sender, sent: Instant) -> Result<LeaseResponse, End> {
        let nonce = nonce().ok_or(End::NoNonce)?;
        self.memory.ask_lease(nonce.clone(), sent);
        let question = serde_json::to_vec(&LeaseRequest { nonce }).map_err(LinkError::from)?;
        let answer = timeout(self.timing.lease, sender.post(LEASE, question.into())).await;
        let answer = answer.map_err(|_| LinkError::Timeout)?.map_err(|Unanswered { error, .. }| error)?;
        Ok(serde_json::from_slice(&answer).map_err(LinkError::from)?)
    }
}

/// 128 random bits in hexadecimal.
fn nonce() -> Option<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).ok()?;
    Some(format!("{:032x}", u128::from_ne_bytes(bits)))
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    unread: BytesMut,
    /// How much of it is known to hold no end of a line.
    seen: usize,
}

impl Lines {
    fn push(&mut self, bytes: &Bytes) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    fn next(&mut self) -> Result<Option<Bytes>, End> {
        let end = self.unread.iter().skip(self.seen).position(|b| *b == b'\n').map(|at| self.seen + at);
        let length = end.unwrap_or(self.unread.len());
        if length > MAX_LINE {
            return Err(End::TooLong);
        }
        self.seen = if end.is_some() { 0 } else { length };
        Ok(end.map(|end| {
            let line = self.unread.split_to(end).freeze();
            self.unread.advance(1);
            line
        }))
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
