//! The grants the agent remembers, so that not every request costs a question. It knows no rule of its own but one: a
//! grant is found again only by everything that was asked, and by nothing once it was forgotten.
//!
//! Token -> session -> grants. The key of a grant contains a number of its session and one of the whole memory; another
//! number makes everything unreachable that was kept under the old one, at once and however much it was.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use shared_proto::check::{CheckRequest, CheckResponse, Decision, Identity, SessionStanding};
use shared_proto::event::{LeaseResponse, Line, PublicMap};
use shared_proto::login::EntryForm;
use shared_proto::secret::Secret;

use crate::memory::{Broken, Effect, Rules, Ticket};
use crate::public;

/// Sessions whose grants are kept.
const MAX_SESSIONS: u64 = 100_000;
/// Grants of one session; with more it starts anew.
const MAX_PER_SESSION: usize = 512;
/// Bytes of all grants together, about.
const MAX_WEIGHT: u64 = 64 * 1024 * 1024;
/// What a grant takes besides the texts in it.
const GRANT_WEIGHT: usize = 512;
/// The number of those without a session.
const ANONYMOUS: u64 = 0;

/// What is remembered, and whether it counts. Shared by all requests; no lock is held while anything is waited for.
#[derive(Debug)]
pub struct Memory {
    /// The agent's security domain: nothing else is kept.
    domain: String,
    /// Held for reading while a grant is kept or found, and for writing while a line of the stream is applied: a change
    /// comes wholly before or wholly after. Poisoned, it gives nothing any more.
    state: RwLock<State>,
    /// By the SHA-256 of a token, the public id of its session.
    tokens: Cache<[u8; 32], Arc<str>>,
    sessions: Cache<Arc<str>, Arc<Shelf>>,
    grants: Cache<[u8; 32], Arc<Grant>>,
    shelves: AtomicU64,
    public: ArcSwapOption<PublicMap>,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    generation: u64,
    /// The map of what is public came over this stream. A server sends it before the change that made it, so it is never
    /// older than what the stream has come to.
    shown: bool,
}

/// The grants of one session.
#[derive(Debug)]
struct Shelf {
    number: u64,
    kept: AtomicUsize,
}

#[derive(Debug)]
struct Grant {
    until: Instant,
    answer: CheckResponse,
}

impl Memory {
    /// For the agent's security domain; `lease` is how long a lease runs.
    pub fn new(domain: &str, lease: Duration) -> Self {
        let weigh = |_: &[u8; 32], grant: &Arc<Grant>| u32::try_from(weight(&grant.answer)).unwrap_or(u32::MAX);
        Self {
            domain: domain.to_owned(),
            state: RwLock::new(State { rules: Rules::new(lease), generation: 0, shown: false }),
            tokens: Cache::new(MAX_SESSIONS),
            sessions: Cache::new(MAX_SESSIONS),
            grants: Cache::builder().max_capacity(MAX_WEIGHT).weigher(weigh).build(),
            shelves: AtomicU64::new(ANONYMOUS + 1),
            public: ArcSwapOption::empty(),
        }
    }

    /// The remembered grant, under a live lease and within its time.
    pub fn recall(&self, question: &CheckRequest, now: Instant) -> Option<CheckResponse> {
        let state = self.state.read().ok()?;
        if !state.rules.is_live(now) {
            return None;
        }
        let shelf = match &question.session {
            None => ANONYMOUS,
            Some(token) => self.sessions.get(&self.tokens.get(&hash(token))?)?.number,
        };
        let grant = self.grants.get(&key(state.generation, shelf, question))?;
        (now < grant.until).then(|| grant.answer.clone())
    }

    /// To be taken before a question is asked whose answer may be kept.
    pub fn ticket(&self) -> Option<Ticket> {
        Some(self.state.read().ok()?.rules.ticket())
    }

    /// Keeps a grant that `server` gave, if it may be kept. Other decisions are not: the server writes them down.
    pub fn keep(&self, ticket: Ticket, server: usize, question: &CheckRequest, answer: &CheckResponse, now: Instant) {
        let until = now.checked_add(Duration::from_millis(answer.remember_ms));
        let Some(until) = until.filter(|_| answer.remember_ms > 0 && answer.decision == Decision::Granted) else {
            return;
        };
        let Ok(state) = self.state.read() else { return };
        if question.domain != self.domain || !state.rules.may_keep(ticket, server, answer) {
            return;
        }
        let shelf = match (&question.session, answer.session, &answer.identity) {
            (None, SessionStanding::None, None) => ANONYMOUS,
            (Some(token), SessionStanding::Live, Some(identity)) if identity.domain == self.domain => {
                self.shelf(token, identity)
            }
            _ => return,
        };
        let grant = Grant { until, answer: answer.clone() };
        self.grants.insert(key(state.generation, shelf, question), Arc::new(grant));
    }

    /// The number of a session's shelf with room for one more.
    fn shelf(&self, token: &Secret, identity: &Identity) -> u64 {
        let id: Arc<str> = identity.session_id.as_str().into();
        self.tokens.insert(hash(token), id.clone());
        let has_room = |shelf: &Arc<Shelf>| shelf.kept.fetch_add(1, Ordering::Relaxed) < MAX_PER_SESSION;
        if let Some(shelf) = self.sessions.get(&id).filter(has_room) {
            return shelf.number;
        }
        let number = self.shelves.fetch_add(1, Ordering::Relaxed);
        self.sessions.insert(id, Arc::new(Shelf { number, kept: AtomicUsize::new(1) }));
        number
    }

    /// Applies the next line of the stream and says what it meant, for those who have something open.
    ///
    /// # Errors
    /// The stream cannot be believed; everything is forgotten.
    pub fn apply(&self, line: Line) -> Result<Effect, Broken> {
        let mut state = self.write();
        state.shown &= !matches!(line, Line::Reset { .. });
        let effect = state.rules.apply(line);
        match &effect {
            Err(_) | Ok(Effect::Everything) => self.forget_all(&mut state),
            Ok(Effect::Domain(domain)) if *domain == self.domain => self.forget_all(&mut state),
            Ok(Effect::SessionEnded(session) | Effect::SessionChanged(session)) => {
                self.sessions.invalidate(session.as_str());
            }
            Ok(Effect::Public(map)) if map.domain == self.domain => {
                self.public.store(Some(Arc::new(map.clone())));
                state.shown = true;
            }
            Ok(Effect::Domain(_) | Effect::Public(_)) => return Ok(Effect::Nothing),
            Ok(Effect::Nothing | Effect::Authorities(_)) => {}
        }
        effect
    }

    /// A stream of the server with this number begins.
    pub fn begin(&self, server: usize) {
        let mut state = self.write();
        state.rules.begin(server);
        self.forget_all(&mut state);
    }

    /// The stream is over.
    pub fn end(&self) {
        let mut state = self.write();
        state.rules.end();
        self.forget_all(&mut state);
    }

    /// The server does not know this agent any more: nothing may go on without it.
    pub fn disown(&self) {
        self.end();
        self.public.store(None);
    }

    /// Forgets the session of a token, and whatever is being answered meanwhile. Returns its public id, if known.
    pub fn forget(&self, token: &Secret) -> Option<Arc<str>> {
        let mut state = self.write();
        state.rules.distrust_answers_under_way();
        let session = self.tokens.remove(&hash(token))?;
        self.sessions.invalidate(&session);
        Some(session)
    }

    fn forget_all(&self, state: &mut State) {
        state.generation += 1;
        // Nothing leads to them any more; this only gives their room back.
        self.tokens.invalidate_all();
        self.sessions.invalidate_all();
        self.grants.invalidate_all();
    }

    pub fn ask_lease(&self, nonce: String, now: Instant) {
        self.write().rules.ask_lease(nonce, now);
    }

    pub fn answer_lease(&self, answer: LeaseResponse, now: Instant) {
        self.write().rules.answer_lease(answer, now);
    }

    /// Whether what is remembered counts.
    pub fn is_live(&self, now: Instant) -> bool {
        self.state.read().is_ok_and(|state| state.rules.is_live(now))
    }

    /// Until when open requests of a session stand.
    pub fn stands_until(&self) -> Option<Instant> {
        self.state.read().ok()?.rules.stands_until()
    }

    /// Whether the request is open to everybody, by the last map the policy server sent.
    pub fn is_public(&self, question: &CheckRequest) -> bool {
        self.public.load().as_ref().is_some_and(|map| map.domain == question.domain && public::is_public(map, question))
    }

    /// What the form of a login entry asks for, by the last map. While the policy server has not told of it: a name, a
    /// password, and the offer to remember.
    pub fn form(&self, entry: &str) -> EntryForm {
        let known = self.public.load().as_ref().and_then(|map| map.forms.get(entry).cloned());
        known.unwrap_or(EntryForm { fields: Vec::new(), remember_me: true })
    }

    /// The same by a map that is as true as a remembered grant: no older than the live lease says.
    pub fn is_surely_public(&self, question: &CheckRequest, now: Instant) -> bool {
        let is_fresh = |state: &State| state.shown && state.rules.is_live(now);
        self.state.read().is_ok_and(|state| is_fresh(&state) && self.is_public(question))
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        // Readers refuse what a panic left behind.
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

/// Everything a decision rests on, each part with its length, so that no two questions have one key.
fn key(generation: u64, shelf: u64, question: &CheckRequest) -> [u8; 32] {
    // Named one by one: a new field of the question must be thought about here.
    let CheckRequest {
        request_id: _,
        scheme,
        host,
        port,
        method,
        path,
        // No rule can look at the query.
        query: _,
        domain,
        entry,
        session,
        client_cert,
        client,
    } = question;
    let mut digest = Sha256::new();
    digest.update(generation.to_be_bytes());
    digest.update(shelf.to_be_bytes());
    digest.update(port.to_be_bytes());
    // The session itself chose the shelf. It may be bound to the network that it is shown from.
    let network = session.as_ref().map_or_else(String::new, |_| client.address.to_string());
    let certificate = client_cert.as_deref().unwrap_or_default();
    for part in [scheme, host, method, path, domain, entry, network.as_str(), certificate] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn weight(answer: &CheckResponse) -> usize {
    let identity = answer.identity.as_ref().map_or(0, |identity| {
        let roles: usize = identity.roles.iter().map(|role| role.len() + 32).sum();
        let values = identity.attributes.values().flatten();
        let attributes: usize = values.map(|(name, value)| name.len() + value.len() + 64).sum();
        identity.user.len() + roles + attributes
    });
    GRANT_WEIGHT + identity
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cache_simulation.rs"]
mod simulation;
