//! Logging in with what a person typed.

use std::sync::Arc;

use shared_proto::check::Identity;
use shared_proto::login::{LoginRequest, LoginResponse, Remember};
use shared_proto::names::code;
use shared_proto::secret::Secret;

use super::auto_login::{Wish, end_family, family_of};
use super::{CROWDED_OUT, EnforcementError, Reach, authorise, end, may_end};
use crate::agents::{Capability, Registered};
use crate::audit::{Detail, Kind};
use crate::auth::error::{LOGIN_EXCEPTION, TOO_MANY_SESSIONS};
use crate::auth::pipeline::LoginEntry;
use crate::auth::subject::Subject;
use crate::auth::valve::LoginAttempt;
use crate::session::{Opened, Opening};
use crate::wire::{Domain, Loaded, Server};

pub(super) const REPLACED: &str = "replaced by a new login";
pub(super) const TOO_MANY: &str = "the person has as many sessions as there may be";

/// In a task of its own: it comes to its end, and counts, also where the agent waits no more.
pub async fn login(
    server: Arc<Server>,
    agent: Registered,
    request: LoginRequest,
) -> Result<LoginResponse, EnforcementError> {
    tokio::spawn(async move { whole_login(&server, &agent, &request).await }).await?
}

async fn whole_login(
    server: &Server,
    agent: &Registered,
    request: &LoginRequest,
) -> Result<LoginResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = match authorise(server, &loaded, agent, &reach) {
        Ok(domain) => domain,
        Err(refused) => return bad_entry(&loaded, agent, &reach).ok_or(refused),
    };
    let Some(entry) = domain.entry(&request.entry) else {
        return Err(EnforcementError::NotAllowed("there is no such login entry".to_owned()));
    };
    let (answers, client) = (&request.callbacks, request.client.address);
    let attempt = LoginAttempt { answers, client, now: server.now(), remembered: None };
    let detail = Detail {
        request_id: Some(&request.request_id),
        agent: Some(&agent.name),
        domain: Some(&request.domain),
        entry: Some(&request.entry),
        user: attempt.typed_name(),
        client: Some(request.client.address.to_string()),
        ..Detail::default()
    };
    let (run, notes) = domain.logins.login(entry, &attempt).await;
    for note in &notes {
        server.audit.record(note.event, note.add_to(detail.clone()));
    }
    let subject = match run.result {
        Ok(subject) => subject,
        Err(error) => {
            let reason = error.to_string();
            server.audit.record(Kind::LoginFailed, Detail { reason: Some(&reason), ..detail });
            return Ok(LoginResponse::Failure {
                code: if run.unavailable { code::NO_SERVICE } else { error.code() },
                exception: error.class().to_owned(),
                message: domain.messages.text(error.class()).to_owned(),
                login_url: Some(entry.login_url.clone()),
                retry_after_seconds: error.retry_after(),
            });
        }
    };
    let user = subject.user.clone();
    let detail = Detail { user: Some(&user), ..detail };
    match open_session(server, agent, domain, entry, request, subject).await {
        Ok(Some((session, identity, remember))) => {
            server.audit.record(Kind::Login, Detail { session: Some(&identity.session_id), ..detail });
            Ok(LoginResponse::Success { session, identity, remember })
        }
        Ok(None) => {
            server.audit.record(Kind::LoginFailed, Detail { reason: Some(TOO_MANY), ..detail });
            Ok(LoginResponse::Failure {
                code: code::AUTHENTICATION_FAILED,
                exception: TOO_MANY_SESSIONS.to_owned(),
                message: domain.messages.text(TOO_MANY_SESSIONS).to_owned(),
                login_url: Some(entry.login_url.clone()),
                retry_after_seconds: None,
            })
        }
        Err(error) => {
            server.audit.record(Kind::LoginFailed, Detail { reason: Some("no session could be opened"), ..detail });
            Err(error)
        }
    }
}

/// Which entry to log in through is what the browser's form says: where nothing else is amiss, the agent is not at fault,
/// and the person is told.
fn bad_entry(loaded: &Loaded, agent: &Registered, request: &Reach<'_>) -> Option<LoginResponse> {
    let may_use =
        |entry: &String| agent.rights.refusal(Capability::Enforce, request.domain, entry, request.host).is_none();
    let only_the_entry = loaded.domains.contains_key(request.domain) && agent.rights.entries.iter().any(may_use);
    only_the_entry.then(|| LoginResponse::Failure {
        code: code::BAD_ENTRY,
        exception: LOGIN_EXCEPTION.to_owned(),
        message: "The login entry is not served here.".to_owned(),
        login_url: None,
        retry_after_seconds: None,
    })
}

/// A new session in place of the browser's former one: no session survives a login (no fixation). The old one ends last,
/// so that whoever gets no new one keeps it; a new one whose token is not handed out opens nothing. `None` where the
/// person has too many.
async fn open_session(
    server: &Server,
    agent: &Registered,
    domain: &Domain,
    entry: &LoginEntry,
    request: &LoginRequest,
    subject: Subject,
) -> Result<Option<(Secret, Identity, Option<Remember>)>, EnforcementError> {
    let now = server.now().as_second();
    let wish = Wish::of(domain, entry, &request.callbacks, &subject)?;
    let previous = match &request.previous_session {
        Some(token) => {
            server.sessions.of_token(token, &request.host).await?.filter(|previous| may_end(agent, previous))
        }
        None => None,
    };
    let remembered = match &request.remember {
        Some(cookie) => family_of(server, domain, cookie).await?,
        None => None,
    };
    // A browser is remembered for one person, and once. What it stays remembered by, a logout with the new session ends.
    let user = subject.user.clone();
    let gives_up = |former: &str| wish.is_some() || request.forget || former != user;
    let own = previous.as_ref().filter(|previous| previous.domain == domain.name && !gives_up(&previous.subject.user));
    let own = own.and_then(|previous| previous.series.as_deref());
    let shown = remembered.as_ref().filter(|family| !family.stolen && !gives_up(&family.user));
    let stays = own.or(shown.map(|family| family.series.as_str()));
    let opening = Opening {
        subject,
        domain: &domain.name,
        entry: &entry.name,
        client: &request.client,
        series: wish.as_ref().map(Wish::series).or(stays),
        remembered: false,
        replaces: previous.as_ref().map(|previous| previous.id.as_str()),
    };
    let Opened::Session { token, session, ended } = server.sessions.open(opening, domain.limits, now).await? else {
        return Ok(None);
    };
    for other in &ended {
        let is_former = previous.as_ref().is_some_and(|previous| previous.id == other.id);
        server.record_end(other, if is_former { REPLACED } else { CROWDED_OUT });
    }
    if let Some(previous) = &previous {
        end(server, previous, REPLACED).await?;
        if let Some(series) = &previous.series
            && gives_up(&previous.subject.user)
        {
            end_family(server, series, REPLACED).await?;
        }
    }
    if let Some(family) = remembered.filter(|family| gives_up(&family.user)) {
        end_family(server, &family.series, REPLACED).await?;
    }
    let remember = match wish {
        Some(wish) => wish.fulfil(server, &session, &request.client, now).await,
        None => None,
    };
    Ok(Some((token, session.identity(), remember)))
}
