//! The requests that are being served, so that those can be cut whose grant is over: tunnels, event streams, long polls,
//! downloads. It knows which they are and cuts them; whether one is still granted is asked elsewhere.
//!
//! A request is entered *before* it is decided on. Until it is known whose it is, every change is taken to be about it,
//! so none can slip through between decision and entry.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shared_proto::check::CheckRequest;
use tokio::sync::Notify;

tokio::task_local! {
    /// Set by [`crate::app`] around the serving of each request.
    pub static KILL: Kill;
}

/// Ends the serving of one request: its connection over HTTP/1.1, its stream over HTTP/2.
#[derive(Debug, Clone, Default)]
pub struct Kill(Arc<Notify>);

impl Kill {
    pub async fn killed(&self) {
        self.0.notified().await;
    }

    pub fn kill(&self) {
        // It is not lost on who does not listen yet.
        self.0.notify_one();
    }
}

/// All requests that are being served.
#[derive(Debug, Default)]
pub struct OpenRequests {
    inner: Mutex<Inner>,
    doubted: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: HashMap<u64, Entry>,
    /// Those to ask about again, the oldest doubt first.
    doubted: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    question: Arc<CheckRequest>,
    kill: Kill,
    grant: Option<Standing>,
    doubted: Option<Instant>,
}

/// What a granted request rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The public id of its session; `None` where it needs none.
    pub session: Option<String>,
    /// A certificate was shown to the site as that of a device in good standing.
    pub certificate: bool,
    /// How long a grant on a session, or with a certificate, lasts without a lease.
    pub until: Instant,
}

/// A request whose grant must be asked for again.
#[derive(Debug)]
pub struct Doubted {
    pub id: u64,
    pub question: Arc<CheckRequest>,
    pub session: Option<String>,
    pub certificate: bool,
    pub since: Instant,
}

/// One request; it is served no longer when this is dropped.
#[derive(Debug)]
pub struct Open {
    id: u64,
    all: Arc<OpenRequests>,
}

impl OpenRequests {
    /// Enters a request that is about to be decided on.
    pub fn enter(self: &Arc<Self>, question: Arc<CheckRequest>) -> Open {
        let kill = KILL.try_with(Kill::clone).unwrap_or_default();
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.open.insert(id, Entry { question, kill, grant: None, doubted: None });
        Open { id, all: self.clone() }
    }

    /// Cuts what stands on a session that is over.
    pub fn session_ended(&self, session: &str, now: Instant) {
        let mut inner = self.lock();
        for entry in inner.open.values_mut() {
            match &entry.grant {
                None => entry.doubted = entry.doubted.or(Some(now)),
                Some(grant) if grant.session.as_deref() == Some(session) => entry.cut("its session is over"),
                Some(_) => {}
            }
        }
    }

    /// Any decision may be another one now.
    pub fn doubt_all(&self, now: Instant) {
        self.doubt(now, |_| true);
    }

    /// Any decision on this session may be another one now.
    pub fn doubt_session(&self, session: &str, now: Instant) {
        self.doubt(now, |grant| grant.session.as_deref() == Some(session));
    }

    /// Doubts those grants, and all requests that are not decided on yet.
    fn doubt(&self, now: Instant, is_meant: impl Fn(&Standing) -> bool) {
        let mut inner = self.lock();
        let Inner { open, doubted, .. } = &mut *inner;
        let meant = open.iter_mut().filter(|(_, entry)| entry.grant.as_ref().is_none_or(&is_meant));
        for (id, entry) in meant {
            if entry.doubted.is_none() && entry.grant.is_some() {
                doubted.push_back(*id);
            }
            entry.doubted = entry.doubted.or(Some(now));
        }
        self.doubted.notify_one();
    }

    /// Cuts what stands on a session or a certificate without a lease: `leased` is until when there was one.
    pub fn cut_unleased(&self, leased: Option<Instant>, now: Instant) {
        let needs_lease = |grant: &Standing| grant.session.is_some() || grant.certificate;
        let is_over = |grant: &Standing| needs_lease(grant) && Some(grant.until).max(leased) <= Some(now);
        for entry in self.lock().open.values().filter(|entry| entry.grant.as_ref().is_some_and(is_over)) {
            entry.cut("no policy server vouches for it any more");
        }
    }

    /// Waits for the next request to ask about again. From then on a new change doubts it anew.
    pub async fn next_doubted(&self) -> Doubted {
        loop {
            let changed = self.doubted.notified();
            if let Some(doubted) = self.take_doubted() {
                return doubted;
            }
            changed.await;
        }
    }

    fn take_doubted(&self) -> Option<Doubted> {
        let mut inner = self.lock();
        while let Some(id) = inner.doubted.pop_front() {
            let Some(entry) = inner.open.get_mut(&id) else { continue };
            let (Some(since), Some(grant)) = (entry.doubted.take(), &entry.grant) else { continue };
            let Standing { session, certificate, .. } = grant.clone();
            return Some(Doubted { id, question: entry.question.clone(), session, certificate, since });
        }
        None
    }

    /// A doubted request is granted still.
    pub fn confirm(&self, id: u64, until: Instant) {
        if let Some(grant) = self.lock().open.get_mut(&id).and_then(|entry| entry.grant.as_mut()) {
            grant.until = until;
        }
    }

    /// A doubted request is not granted any more.
    pub fn cut(&self, id: u64) {
        if let Some(entry) = self.lock().open.get(&id) {
            entry.cut("it is not granted any more");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn cut(&self, reason: &str) {
        let session = self.grant.as_ref().and_then(|grant| grant.session.as_deref());
        tracing::info!(target: "audit", id = self.question.request_id, event = "Cut", reason, session);
        self.kill.kill();
    }
}

impl Open {
    /// It was granted. A change that came meanwhile makes it doubtful at once.
    pub fn settle(&self, standing: Standing) {
        let mut inner = self.all.lock();
        let Inner { open, doubted, .. } = &mut *inner;
        let Some(entry) = open.get_mut(&self.id) else { return };
        entry.grant = Some(standing);
        if entry.doubted.is_some() {
            doubted.push_back(self.id);
            self.all.doubted.notify_one();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.all.lock().open.remove(&self.id);
    }
}
