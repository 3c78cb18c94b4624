//! What people may see and end of their own: sessions and remembered browsers of one security domain.
//!
//! Whose they are is what the session says that asks, and nothing else in the request: another person's is not found.

use std::cmp::Reverse;
use std::sync::Arc;

use shared_proto::account::{
    Account, AccountEndRequest, AccountEndResponse, AccountRequest, AccountResponse, End, Place,
};

use super::auto_login::end_family_for;
use super::{EnforcementError, Reach, authorise, live_session};
use crate::agents::Registered;
use crate::audit::{Detail, Kind};
use crate::auth::valves::auto_login::family::Family;
use crate::session::{Filter, Session};
use crate::wire::{Domain, Loaded, Server};

const BY_OWNER: &str = "ended on the account page";

/// Sessions, and remembered browsers, that are told of; the rest is a number. An answer has to fit into a message.
const MAX_PLACES: usize = 100;

/// A person who shows a live session.
struct Owner<'a> {
    server: &'a Server,
    domain: &'a Domain,
    session: Session,
}

/// Lists what the person has.
pub async fn account(
    server: &Server,
    agent: &Registered,
    request: &AccountRequest,
) -> Result<AccountResponse, EnforcementError> {
    let loaded = server.loaded();
    let domain = reach(server, &loaded, agent, request)?;
    match Owner::of(server, domain, request).await? {
        Some(owner) => owner.list().await.map(AccountResponse::Account),
        None => match domain.entry(&request.entry) {
            Some(entry) => Ok(AccountResponse::LoginRequired { login_url: entry.login_url.clone() }),
            None => Err(EnforcementError::NotAllowed("there is no such login entry".to_owned())),
        },
    }
}

/// Ends some of it. In a task of its own, so that whoever leaves in the middle has ended everything all the same.
pub async fn end_of_account(
    server: Arc<Server>,
    agent: Registered,
    request: AccountEndRequest,
) -> Result<AccountEndResponse, EnforcementError> {
    tokio::spawn(async move {
        let loaded = server.loaded();
        let domain = reach(&server, &loaded, &agent, &request.asker)?;
        let Some(owner) = Owner::of(&server, domain, &request.asker).await? else {
            return Ok(AccountEndResponse::NoSession);
        };
        let by = Detail {
            request_id: Some(&request.asker.request_id),
            agent: Some(&agent.name),
            client: Some(request.asker.client.address.to_string()),
            reason: Some(BY_OWNER),
            ..Detail::default()
        };
        owner.end(&request.end, &by).await
    })
    .await?
}

fn reach<'a>(
    server: &Server,
    loaded: &'a Loaded,
    agent: &Registered,
    request: &AccountRequest,
) -> Result<&'a Domain, EnforcementError> {
    let AccountRequest { request_id, domain, entry, host, .. } = request;
    authorise(server, loaded, agent, &Reach { request_id, domain, entry, host })
}

impl<'a> Owner<'a> {
    async fn of(
        server: &'a Server,
        domain: &'a Domain,
        request: &AccountRequest,
    ) -> Result<Option<Self>, EnforcementError> {
        let Some(token) = &request.session else { return Ok(None) };
        let session = live_session(server, domain, token, &request.host, &request.client).await?.1;
        Ok(session.map(|session| Self { server, domain, session }))
    }

    async fn list(&self) -> Result<Account, EnforcementError> {
        let now = self.server.now().as_second();
        let sessions = self.server.sessions.live(&self.filter(None), |_| self.domain.limits.idle, now).await?;
        let browsers = self.browsers(now).await?;
        let browsers = browsers.iter().map(|family| self.browser(family, &sessions)).collect();
        let (browsers, more_browsers) = shown(browsers);
        let (sessions, more_sessions) = shown(sessions.into_iter().map(|session| self.place(session)).collect());
        Ok(Account { user: self.session.subject.user.clone(), sessions, more_sessions, browsers, more_browsers })
    }

    async fn end(&self, end: &End, by: &Detail<'_>) -> Result<AccountEndResponse, EnforcementError> {
        // A browser that is remembered would log in again, so it goes first; so do its sessions.
        let (series, rest) = match end {
            End::Session { id } => {
                let filter = self.filter(Some(id));
                let Some(found) = self.server.sessions.list(&filter).await?.pop() else {
                    return Ok(AccountEndResponse::NotFound);
                };
                (found.series.into_iter().collect(), Some(filter))
            }
            End::Browser { id } => {
                let browsers = self.browsers(self.server.now().as_second()).await?;
                if !browsers.iter().any(|family| family.series == *id) {
                    return Ok(AccountEndResponse::NotFound);
                }
                (vec![id.clone()], None)
            }
            End::Everything => {
                let families = self.families().await?;
                (families.into_iter().map(|family| family.series).collect(), Some(self.filter(None)))
            }
            End::Unknown => return Ok(AccountEndResponse::NotFound),
        };
        for series in &series {
            end_family_for(self.server, series, by).await?;
        }
        let mut own = self.session.series.as_ref().is_some_and(|own| series.contains(own));
        for session in self.sessions(rest).await? {
            own |= session.id == self.session.id;
            if self.server.sessions.end(&session.id).await? {
                self.server.audit.record(Kind::SessionEnded, Detail::of(&session).by(by));
            }
            // A login adds its browser after its session, and only while that is there.
            if let Some(series) = &session.series {
                end_family_for(self.server, series, by).await?;
            }
        }
        Ok(AccountEndResponse::Ended { own })
    }

    /// The person's sessions in this domain, or the one of them with this id.
    fn filter(&self, id: Option<&str>) -> Filter {
        Filter {
            id: id.map(str::to_owned),
            domain: Some(self.domain.name.clone()),
            user: Some(self.session.subject.user.clone()),
        }
    }

    async fn sessions(&self, filter: Option<Filter>) -> Result<Vec<Session>, EnforcementError> {
        match filter {
            Some(filter) => Ok(self.server.sessions.list(&filter).await?),
            None => Ok(Vec::new()),
        }
    }

    async fn families(&self) -> Result<Vec<Family>, EnforcementError> {
        Ok(self.server.store.families_of(Some(&self.domain.name), &self.session.subject.user).await?)
    }

    /// Those that could log in.
    async fn browsers(&self, now: i64) -> Result<Vec<Family>, EnforcementError> {
        let mut families = self.families().await?;
        families.retain(|family| !family.stolen && now < self.ends(family));
        Ok(families)
    }

    fn ends(&self, family: &Family) -> i64 {
        self.domain.logins.auto_login().map_or(family.expires, |auto| auto.ends(family))
    }

    fn place(&self, session: Session) -> Place {
        Place {
            current: session.id == self.session.id,
            id: session.id,
            remembered: session.remembered,
            created: session.created,
            last_used: session.last_used,
            ends: session.ends,
            address: session.address,
            user_agent: session.user_agent,
        }
    }

    /// A browser that is remembered was last used when any of its sessions was.
    fn browser(&self, family: &Family, sessions: &[Session]) -> Place {
        let of_it = sessions.iter().filter(|session| session.series.as_ref() == Some(&family.series));
        Place {
            id: family.series.clone(),
            current: self.session.series.as_ref() == Some(&family.series),
            remembered: true,
            created: family.created,
            last_used: of_it.map(|session| session.last_used).fold(family.seen.at, i64::max),
            ends: self.ends(family),
            address: family.seen.address.clone(),
            user_agent: family.seen.user_agent.clone(),
        }
    }
}

/// Those that are told of, and how many more there are.
fn shown(mut places: Vec<Place>) -> (Vec<Place>, usize) {
    places.sort_by_key(|place| (!place.current, Reverse(place.last_used)));
    let more = places.len().saturating_sub(MAX_PLACES);
    places.truncate(MAX_PLACES);
    (places, more)
}

#[cfg(test)]
mod tests;
