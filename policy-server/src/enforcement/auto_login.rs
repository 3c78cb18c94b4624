//! Browsers that are remembered: how one comes to be, logs in by itself, and is forgotten.
//!
//! An automatic login is a login: the whole stack runs with what was typed once, through the same valves. A cookie opens
//! nothing that this does not open.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_proto::check::Client;
use shared_proto::login::{AutoLoginRequest, AutoLoginResponse, Remember};
use shared_proto::names::notice;
use shared_proto::secret::Secret;

use super::login::TOO_MANY;
use super::{CROWDED_OUT, EnforcementError, LOGOUT, Reach, authorise};
use crate::agents::{Capability, Registered};
use crate::audit::{Detail, Kind};
use crate::auth::modules::Remembered;
use crate::auth::pipeline::{LoginEntry, LoginRun};
use crate::auth::subject::Subject;
use crate::auth::valve::LoginAttempt;
use crate::auth::valves::auto_login::family::{Family, Presented, Seen};
use crate::auth::valves::auto_login::{AutoLogin, Login, Ticket};
use crate::session::{Opened, Opening, Session, SessionError};
use crate::store::{Fate, StoreError};
use crate::token::SealError;
use crate::wire::{Domain, Server};

const BY_COOKIE: &str = "a remembered browser";

impl From<StoreError> for EnforcementError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<SealError> for EnforcementError {
    fn from(error: SealError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Somebody asked to be remembered, and will be.
pub(super) struct Wish<'a> {
    auto: &'a AutoLogin,
    entry: &'a LoginEntry,
    answers: BTreeMap<String, Secret>,
    series: String,
}

impl<'a> Wish<'a> {
    /// `None` where nobody asked, or where the cookie could not be used: a code that counts once is not typed again by
    /// itself.
    pub fn of(
        domain: &'a Domain,
        entry: &'a LoginEntry,
        answers: &BTreeMap<String, Secret>,
        subject: &Subject,
    ) -> Result<Option<Self>, SealError> {
        let Some(auto) = domain.logins.auto_login().filter(|_| entry.handler.asks_to_be_remembered(answers)) else {
            return Ok(None);
        };
        let mut factors =
            subject.proofs.iter().filter_map(|proof| entry.modules.get(proof.module)?.module.second_factor());
        if factors.any(|factor| !factor.remembered_browser) {
            return Ok(None);
        }
        let answers = entry.handler.worth_keeping(answers);
        Ok(Some(Self { auto, entry, answers, series: AutoLogin::new_series()? }))
    }

    pub fn series(&self) -> &str {
        &self.series
    }

    /// Where it fails, the person is logged in all the same. Nobody is remembered whose session ended meanwhile.
    pub async fn fulfil(self, server: &Server, session: &Session, client: &Client, now: i64) -> Option<Remember> {
        let login = Login { entry: &self.entry.name, subject: &session.subject, answers: &self.answers, client };
        let kept = async {
            let (family, remember) = self.auto.begin(&self.series, &login, now)?;
            let is_kept = server.store.add_family(&family, &session.id).await?;
            Ok::<_, EnforcementError>(is_kept.then_some(remember))
        };
        kept.await.inspect_err(|error| tracing::error!(%error, "a browser cannot be remembered")).ok().flatten()
    }
}

/// A browser without a session that shows a cookie.
struct Visit<'a> {
    server: &'a Server,
    agent: &'a Registered,
    request: &'a AutoLoginRequest,
    domain: &'a Domain,
    auto: &'a AutoLogin,
    ticket: Ticket,
}

/// Logs in with what was typed when the browser was remembered. In a task of its own, as [`super::login`].
pub async fn autologin(
    server: Arc<Server>,
    agent: Registered,
    request: AutoLoginRequest,
) -> Result<AutoLoginResponse, EnforcementError> {
    tokio::spawn(async move { visit(&server, &agent, &request).await }).await?
}

async fn visit(
    server: &Server,
    agent: &Registered,
    request: &AutoLoginRequest,
) -> Result<AutoLoginResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    let now = server.now().as_second();
    let opened = domain.logins.auto_login().and_then(|auto| Some((auto, auto.open(&request.cookie, now)?)));
    let Some((auto, ticket)) = opened else { return Ok(useless()) };
    Visit { server, agent, request, domain, auto, ticket }.answer(now).await
}

fn useless() -> AutoLoginResponse {
    AutoLoginResponse::Refused { notice: None }
}

impl Visit<'_> {
    async fn answer(&self, now: i64) -> Result<AutoLoginResponse, EnforcementError> {
        let Some(family) = self.server.store.family(&self.ticket.series).await? else { return Ok(useless()) };
        let sealed = match self.present(&family, now) {
            Presented::Good(sealed) => sealed,
            Presented::Late => return Ok(AutoLoginResponse::Unavailable),
            Presented::Unknown | Presented::Stolen => return self.give_up(now).await,
        };
        let Some(answers) = self.auto.answers(&self.ticket, sealed) else {
            return self.forget("what the store holds is not what the cookie opens").await;
        };
        let Some(entry) = self.domain.entry(&family.entry).filter(|entry| entry.handler.form().remember_me) else {
            return self.forget("its login entry remembers nobody any more").await;
        };
        let (name, host) = (&self.domain.name, &self.request.host);
        if self.agent.rights.refusal(Capability::Enforce, name, &entry.name, host).is_some() {
            return Ok(AutoLoginResponse::Unavailable);
        }
        let run = self.run(entry, &family, &answers).await;
        match run.result {
            Ok(subject) if subject.user == family.user => self.welcome(entry, &family, subject, &answers).await,
            Ok(_) => self.forget("the login names another person now").await,
            Err(_) if run.rejected => self.forget("the login was refused").await,
            Err(_) if run.unavailable => Ok(AutoLoginResponse::NoService),
            Err(_) => Ok(AutoLoginResponse::Unavailable),
        }
    }

    fn present<'a>(&self, family: &'a Family, now: i64) -> Presented<'a> {
        family.present(self.ticket.generation, now, self.auto.ends(family), self.auto.grace)
    }

    async fn run(&self, entry: &LoginEntry, family: &Family, answers: &BTreeMap<String, Secret>) -> LoginRun {
        let remembered =
            Remembered { user: family.user.clone(), methods: family.methods.clone(), since: family.created };
        let attempt = LoginAttempt {
            answers,
            client: self.request.client.address,
            now: self.server.now(),
            remembered: Some(&remembered),
        };
        let (run, notes) = self.domain.logins.login(entry, &attempt).await;
        let detail = self.detail(family);
        for note in &notes {
            self.server.audit.record(note.event, note.add_to(detail.clone()));
        }
        if let Err(error) = &run.result {
            let reason = format!("{BY_COOKIE}: {error}");
            self.server.audit.record(Kind::LoginFailed, Detail { reason: Some(&reason), ..detail });
        }
        run
    }

    /// Opens the session first and looks at the family afterwards: whoever ends the family ends the sessions that are
    /// there, and one that comes later finds it gone.
    async fn welcome(
        &self,
        entry: &LoginEntry,
        family: &Family,
        subject: Subject,
        answers: &BTreeMap<String, Secret>,
    ) -> Result<AutoLoginResponse, EnforcementError> {
        let now = self.server.now().as_second();
        let series = self.ticket.series.as_str();
        let opening = Opening {
            subject,
            domain: &self.domain.name,
            entry: &entry.name,
            client: &self.request.client,
            series: Some(series),
            remembered: true,
            replaces: None,
        };
        let fresh = self.auto.fresh(series, answers)?;
        let opened = self.server.sessions.open(opening, self.domain.limits, now).await?;
        let Opened::Session { token, session, ended } = opened else {
            self.server.audit.record(Kind::LoginFailed, Detail { reason: Some(TOO_MANY), ..self.detail(family) });
            return Ok(AutoLoginResponse::Unavailable);
        };
        ended.iter().for_each(|other| self.server.record_end(other, CROWDED_OUT));
        let renew = |family: Option<Family>| {
            let Some(mut family) = family.filter(|family| !family.stolen) else { return (Fate::Stays, None) };
            match family.rotation.renew(self.ticket.generation, fresh.sealed.clone(), now, self.auto.grace) {
                Some(number) => {
                    family.seen = Seen::new(&self.request.client, now);
                    (Fate::Changes(family.clone().into()), Some(Some((family, number))))
                }
                None => (Fate::Stays, Some(None)),
            }
        };
        let (renewed, _) = self.server.store.change_family(series, renew).await?;
        let Some(renewed) = renewed else {
            self.server.sessions.end(&session.id).await?;
            return Ok(useless());
        };
        let remember = renewed.map(|(family, number)| self.auto.next(&family, number, &fresh, now)).transpose()?;
        let detail = Detail {
            request_id: Some(&self.request.request_id),
            agent: Some(&self.agent.name),
            client: Some(self.request.client.address.to_string()),
            reason: Some(BY_COOKIE),
            ..Detail::of(&session)
        };
        self.server.audit.record(Kind::Login, detail);
        Ok(AutoLoginResponse::Success { session: token, identity: session.identity(), remember })
    }

    /// The cookie was of no use, or worse, when it was looked at.
    async fn give_up(&self, now: i64) -> Result<AutoLoginResponse, EnforcementError> {
        let decide = |found: Option<Family>| match found {
            None => (Fate::Stays, (useless(), None)),
            Some(family) => match self.present(&family, now) {
                Presented::Good(_) | Presented::Late => (Fate::Stays, (AutoLoginResponse::Unavailable, None)),
                Presented::Unknown => (Fate::Ends, (useless(), Some((Kind::RememberMeEnded, family)))),
                Presented::Stolen => {
                    let told = AutoLoginResponse::Refused { notice: Some(notice::STOLEN.to_owned()) };
                    match family.stolen {
                        true => (Fate::Stays, (told, None)),
                        false => (Fate::EndsInTheft, (told, Some((Kind::RememberMeTheft, family)))),
                    }
                }
            },
        };
        let ((answer, news), ended) = self.server.store.change_family(&self.ticket.series, decide).await?;
        if let Some((kind, family)) = news {
            let reason = match kind {
                Kind::RememberMeTheft => "a cookie was shown whose successor is in use",
                _ => "a cookie was shown that was replaced before it was used, or is too old",
            };
            self.server.audit.record(kind, Detail { reason: Some(reason), ..self.detail(&family) });
            ended.iter().for_each(|session| self.server.record_end(session, reason));
        }
        Ok(answer)
    }

    async fn forget(&self, reason: &str) -> Result<AutoLoginResponse, EnforcementError> {
        end_family(self.server, &self.ticket.series, reason).await?;
        Ok(useless())
    }

    fn detail<'a>(&'a self, family: &'a Family) -> Detail<'a> {
        Detail {
            request_id: Some(&self.request.request_id),
            agent: Some(&self.agent.name),
            client: Some(self.request.client.address.to_string()),
            ..Detail::of_family(family)
        }
    }
}

/// Ends a family and its sessions. What is known of a theft stays.
pub(super) async fn end_family(server: &Server, series: &str, reason: &str) -> Result<(), EnforcementError> {
    end_family_for(server, series, &Detail { reason: Some(reason), ..Detail::default() }).await
}

/// The same, and the audit log says at whose request.
pub(super) async fn end_family_for(server: &Server, series: &str, by: &Detail<'_>) -> Result<(), EnforcementError> {
    let decide = |found: Option<Family>| match found.filter(|family| !family.stolen) {
        Some(family) => (Fate::Ends, Some(family)),
        None => (Fate::Stays, None),
    };
    let (family, ended) = server.store.change_family(series, decide).await.map_err(SessionError::from)?;
    if let Some(family) = family {
        server.audit.record(Kind::RememberMeEnded, Detail::of_family(&family).by(by));
    }
    for session in &ended {
        server.audit.record(Kind::SessionEnded, Detail::of(session).by(by));
    }
    Ok(())
}

/// The remembered browser that this cookie, whichever generation, belongs to.
pub(super) async fn family_of(
    server: &Server,
    domain: &Domain,
    cookie: &Secret,
) -> Result<Option<Family>, EnforcementError> {
    let ticket = domain.logins.auto_login().and_then(|auto| auto.open(cookie, server.now().as_second()));
    match ticket {
        Some(ticket) => Ok(server.store.family(&ticket.series).await?),
        None => Ok(None),
    }
}

/// For a logout: forgets the browser that this cookie, whichever generation, belongs to.
pub(super) async fn forget_browser(
    server: &Server,
    agent: &Registered,
    cookie: &Secret,
) -> Result<(), EnforcementError> {
    if !agent.rights.capabilities.contains(&Capability::Enforce) {
        return Ok(());
    }
    let (loaded, now) = (server.loaded(), server.now().as_second());
    let domains = agent.rights.domains.iter().filter_map(|name| loaded.domains.get(name));
    let mut tickets = domains.filter_map(|domain| domain.logins.auto_login()?.open(cookie, now));
    match tickets.next() {
        Some(ticket) => end_family(server, &ticket.series, LOGOUT).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
