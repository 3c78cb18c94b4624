//! Opening, finding and ending sessions.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared_proto::secret::Secret;

use super::rules::{self, Standing};
use super::sightings::Sightings;
use super::{Filter, Home, Limits, Opening, Session, SessionStore, Shown, TokenHash, Turn, user_agent};
use crate::auth::subject::Subject;
use crate::token::{self, SealError, hex};

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Random(#[from] token::SealError),
}

/// What became of a session token.
#[derive(Debug)]
pub enum Found {
    Live(Box<Shown>),
    /// Was live until now: it met one of its limits.
    Expired(Box<Session>),
    /// Ended, expired, or never ours: no difference is shown.
    Ended,
}

/// What came of a login that may have a session.
#[derive(Debug)]
pub enum Opened {
    /// With those that ended for it.
    Session { token: Secret, session: Box<Session>, ended: Vec<Session> },
    /// The person has as many as there may be.
    TooMany,
}

#[derive(Clone)]
pub struct SessionService {
    store: Arc<dyn SessionStore>,
    pub(crate) sightings: Arc<Sightings>,
}

impl SessionService {
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self { store, sightings: Arc::default() }
    }

    /// A new session under a new token: whatever token the browser held before is never taken over.
    pub async fn open(&self, opening: Opening<'_>, limits: Limits, now: i64) -> Result<Opened, SessionError> {
        let Opening { subject, domain, entry, client, series, remembered, replaces } = opening;
        let token = new_token()?;
        let session = Session {
            id: hex(&token::random::<16>()?),
            domain: domain.to_owned(),
            entry: entry.to_owned(),
            subject,
            created: now,
            last_used: now,
            rechecked: now,
            ends: rules::end_of(now, limits.lifetime),
            address: client.address.to_string(),
            user_agent: user_agent(client),
            series: series.map(str::to_owned),
            remembered,
        };
        let hash = TokenHash::of(&token);
        let ended = match limits.crowd {
            None => self.store.insert(&hash, &session).await.map(|()| Some(Vec::new()))?,
            Some(crowd) => {
                let turn = Turn { crowd, replaces, idle_since: rules::idle_since(limits.idle, now) };
                self.store.insert_in_turn(&hash, &session, &turn).await?
            }
        };
        Ok(match ended {
            Some(ended) => Opened::Session { token, session: session.into(), ended },
            None => Opened::TooMany,
        })
    }

    /// Another token for the same session, for this home alone; `None` where the session has ended.
    pub async fn another_token(&self, id: &str, home: &Home<'_>, now: i64) -> Result<Option<Secret>, SessionError> {
        let token = new_token()?;
        Ok(self.store.add_token(&TokenHash::of(&token), id, home, now).await?.then_some(token))
    }

    /// The live session of a token that is shown at this host, in this domain. One that is past its limits is ended on
    /// the way.
    pub async fn find(
        &self,
        token: &Secret,
        host: &str,
        domain: &str,
        limits: Limits,
        now: i64,
    ) -> Result<Found, SessionError> {
        let Some(shown) = self.store.find(&TokenHash::of(token), host).await? else { return Ok(Found::Ended) };
        let session = &shown.session;
        if session.domain != domain {
            return Ok(Found::Ended);
        }
        match rules::standing(session.last_used, session.ends, limits.idle, now) {
            Standing::Live => Ok(Found::Live(Box::new(shown))),
            Standing::Idle | Standing::Over => {
                let Shown { session, .. } = shown;
                let ended = self.store.delete(&session.id).await?;
                Ok(if ended { Found::Expired(Box::new(session)) } else { Found::Ended })
            }
        }
    }

    /// Records that the session was used; writes only when that is news.
    pub async fn keep(&self, session: &mut Session, limits: Limits, now: i64) -> Result<(), SessionError> {
        if !rules::needs_touch(session.last_used, limits.idle, now) {
            return Ok(());
        }
        session.last_used = session.last_used.max(now);
        self.store.touch(&session.id, session.last_used).await
    }

    /// Records what the account of a session is now; writes only when that is news.
    pub async fn renew(&self, session: &mut Session, current: Subject) -> Result<(), SessionError> {
        if current != session.subject {
            self.store.replace_subject(&session.id, &session.subject, &current).await?;
            session.subject = current;
        }
        Ok(())
    }

    /// At most so many of the domain's sessions whose accounts were not rechecked for so long. They count as rechecked
    /// from now on.
    pub async fn take_unchecked(
        &self,
        domain: &str,
        every: Duration,
        now: i64,
        limit: i64,
    ) -> Result<Vec<Session>, SessionError> {
        self.store.take_unchecked(domain, rules::idle_since(every, now), now, limit).await
    }

    /// Ends one session; false where it had ended already.
    pub async fn end(&self, id: &str) -> Result<bool, SessionError> {
        self.store.delete(id).await
    }

    /// The session of a token that is shown at this host, whatever its limits, for logging out.
    pub async fn of_token(&self, token: &Secret, host: &str) -> Result<Option<Session>, SessionError> {
        Ok(self.store.find(&TokenHash::of(token), host).await?.map(|shown| shown.session))
    }

    /// Ends the sessions that are past their limits and were not asked for since; those that it ended. `idle` tells
    /// the limit of a security domain.
    pub async fn purge(&self, idle: impl Fn(&str) -> Duration, now: i64) -> Result<Vec<Session>, SessionError> {
        let mut ended = Vec::new();
        for domain in self.store.domains().await? {
            for session in self.store.overdue(&domain, rules::idle_since(idle(&domain), now), now).await? {
                if self.store.delete(&session.id).await? {
                    ended.push(session);
                }
            }
        }
        Ok(ended)
    }

    /// The sessions that match and are within their limits, newest first.
    pub async fn live(
        &self,
        filter: &Filter,
        idle: impl Fn(&str) -> Duration,
        now: i64,
    ) -> Result<Vec<Session>, SessionError> {
        let mut sessions = self.store.list(filter).await?;
        sessions.retain(|session| {
            rules::standing(session.last_used, session.ends, idle(&session.domain), now) == Standing::Live
        });
        Ok(sessions)
    }

    /// Every session that matches, newest first; past its limits or not.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Session>, SessionError> {
        self.store.list(filter).await
    }
}

/// 256 random bits, as they stand in a cookie or an address.
pub fn new_token() -> Result<Secret, SealError> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(token::random::<32>()?)))
}
