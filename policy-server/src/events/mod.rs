//! What agents are told without asking: the event stream, and the lease that proves it fresh.
//!
//! The log in the store is the truth; what wakes a stream up is a hint. A stream that cannot be sure of having told
//! everything says so with a reset, and one that cannot read the store or the register ends.
//!
//! # Why a stale decision is never the current one
//!
//! A check reads the log's position first, then the agent, the session, the account and the policy. A change of a
//! session, an agent or the built-in directory is committed together with its event: a check that missed the change has a
//! position before the event. Users of files and policies change in memory, *first* the content and *then* the event: a check that saw the old content read its
//! position before the swap, so before the event. A check between the two has the new content and an old position:
//! it is forgotten early, which harms nobody.

mod feed;

use std::sync::{Arc, PoisonError};

use shared_proto::event::{Change, LeaseRequest, LeaseResponse};

pub use feed::Feed;

use crate::agents::{Capability, Registered};
use crate::enforcement::EnforcementError;
use crate::session::SessionError;
use crate::wire::Server;

/// Follows the log for all streams of this server. Never ends.
pub async fn follow(server: Arc<Server>) {
    tokio::join!(server.store.listen(), watch(&server));
}

async fn watch(server: &Server) {
    let mut failing = false;
    loop {
        match server.store.position().await {
            Ok(position) => {
                server.head.send_if_modified(|known| {
                    let moved = *known != position;
                    *known = position;
                    moved
                });
                if std::mem::take(&mut failing) {
                    tracing::info!("the event log can be read again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the event log cannot be read");
                }
            }
        }
        server.store.stirred().await;
    }
}

/// Streams and leases are for agents that enforce: the others have no decisions to forget.
fn may_listen(agent: &Registered) -> Result<(), EnforcementError> {
    if agent.rights.capabilities.contains(&Capability::Enforce) {
        return Ok(());
    }
    Err(EnforcementError::NotAllowed(format!("it lacks the capability `{}`", Capability::Enforce)))
}

/// How far the log goes, read from the primary after the question arrived.
pub async fn lease(
    server: &Server,
    agent: &Registered,
    request: LeaseRequest,
) -> Result<LeaseResponse, EnforcementError> {
    may_listen(agent)?;
    if !server.owed.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return Err(EnforcementError::Unsettled);
    }
    let position = server.store.primary_position().await.map_err(SessionError::from)?;
    Ok(LeaseResponse { nonce: request.nonce, epoch: position.epoch, seq: position.seq })
}

impl Server {
    /// Notes that decisions of these security domains may be others now. Call it after the new content is in force.
    pub(crate) fn owe<'a>(&self, domains: impl IntoIterator<Item = &'a String>) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).extend(domains.into_iter().cloned());
    }

    /// Writes what is owed into the log; what cannot be written stays owed.
    pub(crate) async fn settle(&self) {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if owed.is_empty() {
            return;
        }
        let changes: Vec<_> = owed.iter().map(|domain| Change::DomainChanged { domain: domain.clone() }).collect();
        match self.store.append(&changes).await {
            // Nobody else owes while this runs: following the files and settling take turns.
            Ok(()) => self.owed.lock().unwrap_or_else(PoisonError::into_inner).retain(|domain| !owed.contains(domain)),
            Err(error) => tracing::error!(%error, "a change cannot be written into the event log"),
        }
    }
}
