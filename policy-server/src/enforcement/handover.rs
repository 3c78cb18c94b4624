//! Single sign-on: a session that one site has is handed over to another site of the cluster by a code in an address.
//!
//! The code says nothing and counts once, for a minute, at one origin, in the browser that keeps what it is bound to. What
//! comes of it is another token for the very same session, good at that site alone: nobody is logged in by it who was not
//! before.

use shared_proto::authority::Authority;
use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};
use shared_proto::secret::Secret;

use super::auto_login::{end_family, family_of};
use super::login::REPLACED;
use super::{EnforcementError, Reach, authorise, end, live_session, may_end};
use crate::agents::{Capability, Registered};
use crate::audit::{Detail, Kind};
use crate::session::{Home, Session, TokenHash, new_token};
use crate::store::Handover;
use crate::wire::{Domain, Server};

/// Seconds in which a browser has to come back with the code.
const LIFE: i64 = 60;
/// No token that was handed over is good there.
const NO_HOST: &str = "";

/// Makes a code for the session.
pub async fn hand_over(
    server: &Server,
    agent: &Registered,
    request: &HandoverRequest,
) -> Result<HandoverResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    // Only what a login gave: a token that was itself handed over is good where it is, and no source of others.
    let Some(session) = live_session(server, domain, &request.session, NO_HOST, &request.client).await?.1 else {
        return Ok(HandoverResponse::NoSession);
    };
    if session.entry != request.entry {
        return Ok(HandoverResponse::OtherEntry);
    }
    let code = new_token()?;
    let handover = Handover {
        session: session.id,
        domain: session.domain,
        entry: session.entry,
        audience: request.audience.clone(),
        target: request.target.clone(),
        binding: request.binding.clone(),
        expires: server.now().as_second().saturating_add(LIFE),
    };
    let is_ready = server.store.add_handover(&TokenHash::of(&code), &handover).await?;
    Ok(if is_ready { HandoverResponse::Ready { code } } else { HandoverResponse::NoSession })
}

/// Takes a code. Whatever comes of it, it is of no use any more.
pub async fn redeem(
    server: &Server,
    agent: &Registered,
    request: &RedeemRequest,
) -> Result<RedeemResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    let detail = Detail {
        request_id: Some(&request.request_id),
        agent: Some(&agent.name),
        domain: Some(&request.domain),
        host: Some(&request.host),
        client: Some(request.client.address.to_string()),
        ..Detail::default()
    };
    let (token, session, target) = match take(server, domain, agent, request).await? {
        Ok(taken) => taken,
        Err(reason) => {
            server.audit.record(Kind::HandoverRefused, Detail { reason: Some(reason), ..detail });
            return Ok(RedeemResponse::Refused);
        }
    };
    let whose = Detail::of(&session);
    let detail = Detail { entry: whose.entry, user: whose.user, session: whose.session, ..detail };
    server.audit.record(Kind::SessionHandedOver, detail);
    end_previous(server, agent, request, &session).await?;
    let forget = end_remembered(server, domain, request, &session).await?;
    Ok(RedeemResponse::Success { session: token, identity: session.identity().into(), target, forget })
}

type Taken = Result<(Secret, Session, String), &'static str>;

async fn take(
    server: &Server,
    domain: &Domain,
    agent: &Registered,
    request: &RedeemRequest,
) -> Result<Taken, EnforcementError> {
    const OVER: &str = "its session is over";
    let now = server.now().as_second();
    let Some(handover) = server.store.take_handover(&TokenHash::of(&request.code)).await? else {
        return Ok(Err("there is no such code, or it was used"));
    };
    if let Some(reason) = misfit(&handover, agent, request, now) {
        return Ok(Err(reason));
    }
    let address = request.client.address.to_string();
    let home = Home { host: &request.host, address: &address };
    let Some(token) = server.sessions.another_token(&handover.session, &home, now).await? else { return Ok(Err(OVER)) };
    // Found as every request will find it, so that what is handed over is what counts.
    Ok(match live_session(server, domain, &token, &request.host, &request.client).await?.1 {
        Some(session) => Ok((token, session, handover.target)),
        None => Err(OVER),
    })
}

/// Why a code is not good for who shows it, if it is not.
fn misfit(handover: &Handover, agent: &Registered, request: &RedeemRequest, now: i64) -> Option<&'static str> {
    let host = handover.audience.split_once("://").and_then(|(_, authority)| Authority::parse(authority));
    let may_enter = agent.rights.refusal(Capability::Enforce, &handover.domain, &handover.entry, &request.host);
    if now >= handover.expires {
        Some("it is older than a minute")
    } else if handover.domain != request.domain {
        Some("it is of another security domain")
    } else if handover.audience != request.audience || host.is_none_or(|audience| audience.host != request.host) {
        Some("it is for another site")
    } else if handover.binding.is_empty() || handover.binding != request.binding {
        Some("it is for another browser, or the browser's cookies are of no use")
    } else if may_enter.is_some() {
        Some("the agent is not registered for its login entry")
    } else {
        None
    }
}

/// As with every login, the session that the browser had ends; not where it is the same one, as in two tabs at once.
async fn end_previous(
    server: &Server,
    agent: &Registered,
    request: &RedeemRequest,
    session: &Session,
) -> Result<(), EnforcementError> {
    let Some(token) = &request.previous_session else { return Ok(()) };
    match server.sessions.of_token(token, &request.host).await?.filter(|previous| previous.id != session.id) {
        Some(previous) if may_end(agent, &previous) => end(server, &previous, REPLACED).await,
        _ => Ok(()),
    }
}

/// As with every login, the browser is remembered for nobody else from now on. Whether it was.
async fn end_remembered(
    server: &Server,
    domain: &Domain,
    request: &RedeemRequest,
    session: &Session,
) -> Result<bool, EnforcementError> {
    let Some(cookie) = &request.remember else { return Ok(false) };
    let family = family_of(server, domain, cookie).await?.filter(|family| family.user != session.subject.user);
    let Some(family) = family else { return Ok(false) };
    end_family(server, &family.series, REPLACED).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
