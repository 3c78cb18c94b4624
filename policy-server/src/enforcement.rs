//! What a registered web agent may ask: decisions, logins, logouts.
//!
//! Every operation first asks whether the agent may act for that domain, entry and host; nothing is decided before. An
//! error is never a grant: it is a refusal that the agent turns into 503.

mod account;
mod auto_login;
mod elsewhere;
mod handover;
mod hello;
mod login;
mod parked;

pub use account::{account, end_of_account};
pub use auto_login::autologin;
use auto_login::{end_family, end_family_for, forget_browser};
pub use handover::{hand_over, redeem};
pub use hello::hello;
pub use login::login;
pub use parked::{park, take_parked};
use shared_proto::assertion::AssertionKeyResponse;
use shared_proto::check::{CertificateStanding, CheckRequest, CheckResponse, Client, Decision, SessionStanding};
use shared_proto::login::{LogoutRequest, LogoutResponse};
use shared_proto::secret::Secret;
use tokio::task::JoinError;

use crate::access::{self, Outcome, Who};
use crate::agents::{Capability, Registered};
use crate::audit::{Detail, Kind};
use crate::auth::pipeline::{Depth, RecheckRun};
use crate::pki::PkiError;
use crate::session::{Found, Session, SessionError, Shown, TokenHash, rules};
use crate::store::Position;
use crate::wire::{Domain, Loaded, Server};

/// Why a session ended that met its idle limit or its lifetime.
pub(crate) const EXPIRED: &str = "its time was over";
const LOGOUT: &str = "logout";
/// Why a session ended that stood in the way of another one.
const CROWDED_OUT: &str = "a newer session of the person took its place";

#[derive(Debug, thiserror::Error)]
pub enum EnforcementError {
    /// The agent oversteps what it is registered for.
    #[error("refused: {0}")]
    NotAllowed(String),
    /// Something of ours failed. The cause is for our log only.
    #[error("the policy server cannot answer this now")]
    Unavailable(#[from] SessionError),
    /// A change that is in force here is not in the event log yet: nothing may be remembered for now.
    #[error("a change is not in the event log yet")]
    Unsettled,
    #[error("the policy server has no assertion key to give now")]
    NoKey(#[from] PkiError),
    #[error("the login was given up")]
    GivenUp(#[from] JoinError),
}

/// The one place where an agent's reach is checked.
fn authorise<'a>(
    server: &Server,
    loaded: &'a Loaded,
    agent: &Registered,
    request: &Reach<'_>,
) -> Result<&'a Domain, EnforcementError> {
    let refusal = agent.rights.refusal(Capability::Enforce, request.domain, request.entry, request.host);
    let domain = loaded.domains.get(request.domain);
    match (refusal, domain) {
        (None, Some(domain)) if domain.entry(request.entry).is_some() => Ok(domain),
        (refusal, _) => {
            let reason = refusal.unwrap_or_else(|| {
                format!("there is no login entry `{}` in a security domain `{}` here", request.entry, request.domain)
            });
            server.audit.record(
                Kind::AgentRefused,
                Detail {
                    request_id: Some(request.request_id),
                    agent: Some(&agent.name),
                    domain: Some(request.domain),
                    entry: Some(request.entry),
                    url: Some(request.host),
                    reason: Some(&reason),
                    ..Detail::default()
                },
            );
            Err(EnforcementError::NotAllowed(reason))
        }
    }
}

struct Reach<'a> {
    request_id: &'a str,
    domain: &'a str,
    entry: &'a str,
    host: &'a str,
}

/// `position` was read before anything else about this request: see [`crate::events`].
pub async fn check(
    server: &Server,
    position: Position,
    agent: &Registered,
    request: &CheckRequest,
) -> Result<CheckResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    let (standing, session) = match &request.session {
        None => (SessionStanding::None, None),
        Some(token) => live_session(server, domain, token, &request.host, &request.client).await?,
    };
    let now = server.now();
    let who = session.as_ref().map(|session| Who {
        user: &session.subject.user,
        roles: &session.subject.roles,
        domain: &session.domain,
        entry: &session.entry,
        typed: session.typed(now.as_second()),
    });
    let question = access::Request {
        scheme: &request.scheme,
        host: &request.host,
        port: request.port,
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        domain: &request.domain,
        entry: &request.entry,
    };
    let decided = domain.policy.decide(&question, who.as_ref());
    let decision = match decided.outcome {
        Outcome::Granted => Decision::Granted,
        Outcome::Denied => Decision::Denied,
        Outcome::LoginRequired { entry } => login_required(domain, agent, entry),
    };
    let event = match decision {
        Decision::Granted => None,
        Decision::LoginRequired { .. } => Some(Kind::LoginRequired),
        Decision::Denied | Decision::Unknown => Some(Kind::AccessDenied),
    };
    if let Some(event) = event {
        let url = format!("{}://{}:{}{}", request.scheme, request.host, request.port, request.path);
        server.audit.record(
            event,
            Detail {
                request_id: Some(&request.request_id),
                agent: Some(&agent.name),
                domain: Some(&request.domain),
                user: session.as_ref().map(|session| session.subject.user.as_str()),
                session: session.as_ref().map(|session| session.id.as_str()),
                client: Some(request.client.address.to_string()),
                method: Some(&request.method),
                url: Some(&url),
                ..Detail::default()
            },
        );
    }
    let holds = decided.holds.map(|seconds| now.as_second().saturating_add_unsigned(seconds));
    let (client_cert, valid) = certificate(server, domain, agent, request).await?;
    let ends = session.as_ref().map(|session| session.ends).into_iter().chain(holds).chain(valid).min();
    Ok(CheckResponse {
        decision,
        session: standing,
        identity: session.as_ref().map(Session::identity),
        client_cert,
        policy_hash: domain.policy.hash().to_owned(),
        epoch: position.epoch,
        seq: position.seq,
        // Rules ask for nothing but the session, its age, the entry and the resource; the agent tells clients apart. One
        // that asked for more would have to say 0 here.
        remember_ms: rules::memory_ms(domain.limits.idle, ends, now.as_millisecond()),
    })
}

/// What the certificate is worth that the client proved to have, and until when: to be believed takes the capability (I4).
async fn certificate(
    server: &Server,
    domain: &Domain,
    agent: &Registered,
    request: &CheckRequest,
) -> Result<(CertificateStanding, Option<i64>), EnforcementError> {
    let may = agent.rights.capabilities.contains(&Capability::Jami);
    let Some(fingerprint) = request.client_cert.as_deref().filter(|_| may) else {
        return Ok((CertificateStanding::None, None));
    };
    let valid = server.certificate_holds(domain, fingerprint).await.map_err(SessionError::from)?;
    Ok((valid.map_or(CertificateStanding::None, |_| CertificateStanding::Live), valid))
}

/// A rule may demand an entry that this agent must not use; nobody can log in through it here.
fn login_required(domain: &Domain, agent: &Registered, entry: &str) -> Decision {
    match domain.entry(entry) {
        Some(found) if agent.rights.entries.iter().any(|known| known == entry) => Decision::LoginRequired {
            domain: domain.name.clone(),
            entry: entry.to_owned(),
            login_url: found.login_url.clone(),
        },
        _ => {
            tracing::warn!(agent = %agent.name, entry, "a rule demands a login entry the agent is not registered for: denied");
            Decision::Denied
        }
    }
}

/// The session of a token, its account looked at again: who is disabled or gone has no session, changed roles count.
/// Where the client's network is another one than the session is bound to, it has none, and none has ended. `host` is
/// where the token is shown.
async fn live_session(
    server: &Server,
    domain: &Domain,
    token: &Secret,
    host: &str,
    client: &Client,
) -> Result<(SessionStanding, Option<Session>), EnforcementError> {
    const ENDED: (SessionStanding, Option<Session>) = (SessionStanding::Ended, None);
    let now = server.now().as_second();
    let found = server.sessions.find(token, host, &domain.name, domain.limits, now).await?;
    let Shown { mut session, address } = match found {
        Found::Live(shown) => *shown,
        Found::Expired(session) => {
            server.record_end(&session, EXPIRED);
            return Ok(ENDED);
        }
        Found::Ended => return Ok(ENDED),
    };
    if !elsewhere::counts_for(server, domain, &session, &address, client) {
        return Ok((SessionStanding::None, None));
    }
    if !recheck(server, domain, &mut session, Depth::AtHand).await? {
        return Ok(ENDED);
    }
    server.sessions.keep(&mut session, domain.limits, now).await?;
    Ok((SessionStanding::Live, Some(session)))
}

/// Looks at the account of a session again: ends the session where the account does not stand any more (then false), and
/// takes over what it is now.
pub(crate) async fn recheck(
    server: &Server,
    domain: &Domain,
    session: &mut Session,
    depth: Depth,
) -> Result<bool, EnforcementError> {
    let run = match domain.entry(&session.entry) {
        Some(entry) => entry.recheck(&session.subject, depth, server.now()).await,
        // An entry that is gone from the configuration vouches for nobody.
        None => {
            end(server, session, "its login entry is gone from the configuration").await?;
            return Ok(false);
        }
    };
    match run {
        RecheckRun::Current(subject) | RecheckRun::Unsure(subject) => {
            server.sessions.renew(session, subject).await?;
            Ok(true)
        }
        RecheckRun::Ended(error) => {
            end(server, session, &error.to_string()).await?;
            Ok(false)
        }
    }
}

async fn end(server: &Server, session: &Session, reason: &str) -> Result<(), EnforcementError> {
    if server.sessions.end(&session.id).await? {
        server.record_end(session, reason);
    }
    Ok(())
}

impl Server {
    pub(crate) fn record_end(&self, session: &Session, reason: &str) {
        self.audit.record(Kind::SessionEnded, Detail { reason: Some(reason), ..Detail::of(session) });
    }
}

/// Whether this agent may end this session. Its token says whose the session is, not which agent brings it.
fn may_end(agent: &Registered, session: &Session) -> bool {
    agent.rights.capabilities.contains(&Capability::Enforce) && agent.rights.domains.contains(&session.domain)
}

pub async fn logout(
    server: &Server,
    agent: &Registered,
    request: &LogoutRequest,
) -> Result<LogoutResponse, EnforcementError> {
    if let Some(token) = &request.session {
        end_by_token(server, agent, request, token).await?;
    }
    if let Some(cookie) = &request.remember {
        forget_browser(server, agent, cookie).await?;
    }
    Ok(LogoutResponse {})
}

async fn end_by_token(
    server: &Server,
    agent: &Registered,
    request: &LogoutRequest,
    token: &Secret,
) -> Result<(), EnforcementError> {
    let Some(session) = server.sessions.of_token(token, &request.host).await? else {
        return end_by_dead_token(server, agent, request, token).await;
    };
    let detail = Detail {
        request_id: Some(&request.request_id),
        agent: Some(&agent.name),
        client: Some(request.client.address.to_string()),
        ..Detail::of(&session)
    };
    if !may_end(agent, &session) {
        let reason = "it is not registered for the security domain of the session";
        server.audit.record(Kind::AgentRefused, Detail { reason: Some(reason), ..detail });
        return Err(EnforcementError::NotAllowed(reason.to_owned()));
    }
    if server.sessions.end(&session.id).await? {
        server.audit.record(Kind::Logout, detail);
    }
    if let Some(series) = &session.series {
        end_family(server, series, LOGOUT).await?;
    }
    Ok(())
}

/// The session is over, and its browser may have logged in by itself at another site since: that ends too.
async fn end_by_dead_token(
    server: &Server,
    agent: &Registered,
    request: &LogoutRequest,
    token: &Secret,
) -> Result<(), EnforcementError> {
    if !agent.rights.capabilities.contains(&Capability::Enforce) {
        return Ok(());
    }
    let (token, now) = (TokenHash::of(token), server.now().as_second());
    let Some(series) = server.store.ended_series(&token, &agent.rights.domains, now).await? else { return Ok(()) };
    let by = Detail {
        request_id: Some(&request.request_id),
        agent: Some(&agent.name),
        client: Some(request.client.address.to_string()),
        reason: Some(LOGOUT),
        ..Detail::default()
    };
    end_family_for(server, &series, &by).await
}

/// The key under which the agent vouches for people to its own sites.
pub async fn assertion_key(server: &Server, agent: &Registered) -> Result<AssertionKeyResponse, EnforcementError> {
    if !agent.rights.capabilities.contains(&Capability::Enforce) {
        return Err(EnforcementError::NotAllowed(format!("it lacks the capability `{}`", Capability::Enforce)));
    }
    Ok(server.assertions.of(agent, server.now().as_second()).await?)
}

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
