//! One agent's stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use shared_proto::event::{Line, PublicMap};
use tokio::sync::watch;
use tokio::time::Instant;

use super::may_listen;
use crate::agents::{Capability, Registered};
use crate::enforcement::EnforcementError;
use crate::session::SessionError;
use crate::store::{Event, Position, StoreError};
use crate::wire::Server;

/// After this much silence a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often the agent's registration and the policies are looked at, whatever the log says.
const LOOK: Duration = Duration::from_secs(1);
/// Events that are read at once; nothing more is kept for a reader that is slow.
const BATCH: usize = 256;

/// The lines for one agent, made only as fast as they are taken.
pub struct Feed {
    server: Arc<Server>,
    agent: Registered,
    /// Wakes this stream up.
    head: watch::Receiver<Position>,
    stop: watch::Receiver<bool>,
    /// How far the agent has been told.
    told: Position,
    /// The hash of the configuration whose public maps the agent has.
    shown: String,
    /// The ids of the organisation CAs that the agent knows of; `None` before it was told.
    authorities: Option<Vec<String>>,
    lines: VecDeque<Line>,
    more: bool,
    looked: Instant,
    spoke: Instant,
}

impl Feed {
    /// A stream that goes on after `told`, for as long as the agent is registered and until `stop` turns true.
    pub async fn open(
        server: Arc<Server>,
        agent: Registered,
        told: Position,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, EnforcementError> {
        may_listen(&agent)?;
        let (head, now) = (server.head.subscribe(), Instant::now());
        let (shown, authorities, lines) = (String::new(), None, VecDeque::new());
        let mut feed =
            Self { server, agent, head, stop, told, shown, authorities, lines, more: false, looked: now, spoke: now };
        if feed.read().await.map_err(SessionError::from)? {
            return Ok(feed);
        }
        Err(EnforcementError::NotAllowed("it is not registered any more".to_owned()))
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.spoke = Instant::now();
                return Some(line);
            }
            if !self.more && !self.wait().await {
                return None;
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(agent = %self.agent.name, "the agent was removed: its event stream ends");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(agent = %self.agent.name, %error, "an event stream ends");
                    return None;
                }
            }
            if self.lines.is_empty() && self.spoke.elapsed() >= HEARTBEAT {
                self.lines.push_back(Line::Heartbeat);
            }
        }
    }

    /// Waits until there may be something to say; false when the server stops.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            moved = self.head.changed() => moved.is_ok(),
            _ = self.stop.wait_for(|stop| *stop) => false,
            () = tokio::time::sleep_until((self.looked + LOOK).min(self.spoke + HEARTBEAT)) => true,
        }
    }

    /// Reads what there is to say; false where the agent is not registered any more.
    async fn read(&mut self) -> Result<bool, StoreError> {
        self.looked = Instant::now();
        // Before the log is read: what comes later wakes us up again.
        self.head.mark_unchanged();
        let head = self.server.store.position().await?;
        let events = self.server.store.events_after(self.told.seq, BATCH as i64).await?;
        self.more = events.len() == BATCH;
        if !continues(&self.told, &head, &events) {
            self.shown.clear();
            self.authorities = None;
            self.more = false;
            self.lines.push_back(Line::Reset { epoch: head.epoch.clone(), seq: head.seq });
            self.told = head;
            self.show_public();
        } else {
            self.show_public();
            self.told.seq = events.last().map_or(self.told.seq, |event| event.seq);
            self.lines.extend(events.into_iter().map(|Event { seq, change }| Line::Event { seq, change }));
        }
        self.show_authorities().await?;
        // After the events: a removal among them is seen here.
        let registered = self.server.store.agent_by_fingerprint(&self.agent.fingerprint).await?;
        Ok(registered.is_some_and(|agent| agent == self.agent))
    }

    /// The public maps, unless the agent has those of the configuration in force.
    fn show_public(&mut self) {
        let loaded = self.server.loaded();
        if self.shown == loaded.hash {
            return;
        }
        for name in &self.agent.rights.domains {
            let mut map = loaded.domains.get(name).map_or_else(|| nothing_public(name), |domain| domain.public.clone());
            map.forms.retain(|entry, _| self.agent.rights.entries.contains(entry));
            self.lines.push_back(Line::Public { map });
        }
        self.shown.clone_from(&loaded.hash);
    }
}

impl Feed {
    /// The organisation CAs, unless the agent has them or has no business with them.
    async fn show_authorities(&mut self) -> Result<(), StoreError> {
        if !self.agent.rights.capabilities.contains(&Capability::Jami) {
            return Ok(());
        }
        let known = self.authorities.as_deref().unwrap_or_default();
        let other = self.server.store.other_authorities(known).await?;
        // An agent that was told nothing yet is told of none.
        if other.is_some() || self.authorities.is_none() {
            let (ids, certificates) = other.unwrap_or_default().into_iter().unzip();
            self.authorities = Some(ids);
            self.lines.push_back(Line::Authorities { certificates });
        }
        Ok(())
    }
}

/// Of a domain that is not here (any more).
fn nothing_public(domain: &str) -> PublicMap {
    PublicMap { domain: domain.to_owned(), policy_hash: String::new(), patterns: Vec::new(), forms: BTreeMap::new() }
}

/// Whether these events, read after the head, are all that happened since `told`.
fn continues(told: &Position, head: &Position, events: &[Event]) -> bool {
    let reaches = if events.is_empty() { head.seq == told.seq } else { head.seq >= told.seq };
    let unbroken = events.iter().zip(told.seq.saturating_add(1)..).all(|(event, seq)| event.seq == seq);
    told.epoch == head.epoch && reaches && unbroken
}

#[cfg(test)]
mod tests {
    use shared_proto::event::Change;

    use super::*;

    #[test]
    fn a_stream_goes_on_only_where_nothing_is_missing() {
        let at = |epoch: &str, seq| Position { epoch: epoch.to_owned(), seq };
        for (told, head, events, expected) in [
            (at("e", 5), at("e", 5), &[][..], true),
            (at("e", 5), at("e", 7), &[6, 7], true),
            // Written after the head was read.
            (at("e", 5), at("e", 5), &[6], true),
            (at("e", 0), at("e", 0), &[], true),
            (at("e", 5), at("f", 5), &[], false),
            (at("e", 5), at("f", 7), &[6, 7], false),
            (at("", 0), at("e", 0), &[], false),
            // The future, a trimmed log, a hole.
            (at("e", 9), at("e", 7), &[], false),
            (at("e", 5), at("e", 7), &[], false),
            (at("e", 5), at("e", 9), &[7, 8, 9], false),
            (at("e", 5), at("e", 9), &[6, 8, 9], false),
            (at("e", -3), at("e", 9), &[1, 2], false),
            (at("e", i64::MAX), at("e", 9), &[], false),
        ] {
            let events: Vec<_> = events.iter().map(|seq| Event { seq: *seq, change: Change::AgentsChanged }).collect();
            assert_eq!(continues(&told, &head, &events), expected, "{told:?} {head:?} {events:?}");
        }
    }
}
