//! Who is it: by name and password through the login stack and all that stands around it, or by a device's certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_proto::client_cert::ClientCert;
use shared_proto::secret::Secret;

use super::account::{Look, Standing, look};
use super::identity::{self, Bound, Identity, Verdict, decide, to_keep};
use super::token::{Scope, give, may_log_in};
use super::{Account, Asker, Credentials, DeviceError};
use crate::audit::{Detail, Kind};
use crate::auth::callback::{PASSWORD, USERNAME};
use crate::auth::pipeline::Depth;
use crate::auth::subject::Subject;
use crate::auth::valve::LoginAttempt;
use crate::pki::fingerprint;
use crate::store::{Shown, Store, StoreError};
use crate::wire::{Domain, Server};

/// How exactly it is known when a device was last there, in seconds.
const SEEN: i64 = 300;

/// What a login gives.
pub struct Ticket {
    pub token: Secret,
    pub scope: Scope,
}

/// By name and password. In a task of its own, as enrolment is: it comes to its end, and counts, also where nobody waits.
pub async fn by_password(server: Arc<Server>, asker: Asker, credentials: Credentials) -> Result<Ticket, DeviceError> {
    tokio::spawn(async move {
        let domain = asker.domain()?;
        let subject = prove(&server, &asker, domain, &credentials).await?;
        let user = subject.user.clone();
        let ticket = ticket_of_person(&server, &asker, subject).await;
        record(&server, Detail { user: Some(&user), ..asker.detail() }, &ticket);
        ticket
    })
    .await?
}

/// By the certificate that the client proved to hold in its handshake with the agent.
pub async fn by_certificate(server: &Server, asker: &Asker, certificate: &ClientCert) -> Result<Ticket, DeviceError> {
    let shown = server.store.jami_certificate(&fingerprint(certificate.der())).await?;
    let known = shown.filter(|shown| shown.certificate == certificate.der() && shown.account.domain == asker.domain);
    let Some(mut shown) = known else {
        let unknown = Err(DeviceError::Refused("no device of this security domain has this certificate".to_owned()));
        record(server, asker.detail(), &unknown);
        return unknown;
    };
    let ticket = ticket_of_device(server, asker, &mut shown).await;
    let (user, account) = (Some(&*shown.account.user), Some(&*shown.account.id));
    record(server, Detail { user, account, device: Some(&shown.device.id), ..asker.detail() }, &ticket);
    ticket
}

fn record(server: &Server, detail: Detail<'_>, ticket: &Result<Ticket, DeviceError>) {
    match ticket {
        Ok(_) => server.audit.record(Kind::JamiLogin, detail),
        Err(error) => {
            let reason = error.to_string();
            server.audit.record(Kind::JamiLoginFailed, Detail { reason: Some(&reason), ..detail });
        }
    }
}

async fn ticket_of_device(server: &Server, asker: &Asker, shown: &mut Shown) -> Result<Ticket, DeviceError> {
    let now = server.now().as_second();
    if shown.device.revoked.is_some() || shown.revoked.is_some() {
        return Err(DeviceError::Revoked);
    }
    if shown.not_after < now {
        return Err(DeviceError::Refused(
            "the certificate of the device is over: it must be enrolled again".to_owned(),
        ));
    }
    may_log_in(&shown.device.id)?;
    match look(server, asker.domain()?, &mut shown.account, Depth::Full).await? {
        Look::Stands => {}
        Look::Ended => {
            let why = format!(
                "the account is {}: see `cams user jami {}`",
                shown.account.standing.text(),
                shown.account.user
            );
            return Err(DeviceError::Refused(why));
        }
        Look::Unsure => {
            return Err(DeviceError::Unavailable("the directory cannot be asked about the account".to_owned()));
        }
    }
    if shown.device.last_seen <= now - SEEN {
        server.store.see_jami_device(&shown.device.id, now - SEEN, now).await?;
    }
    let (token, scope) = give(server, &shown.account, Some(&shown.device)).await?;
    Ok(Ticket { token, scope })
}

/// For somebody who has enrolled before: there is no account without a device.
async fn ticket_of_person(server: &Server, asker: &Asker, subject: Subject) -> Result<Ticket, DeviceError> {
    let proved = Identity::of(&subject);
    let claims = Claims::find(&server.store, &asker.domain, &subject.user, &proved).await?;
    let mut account = match claims.verdict {
        Verdict::Named => claims.named,
        Verdict::Renamed | Verdict::RenamedInPlace => claims.known,
        Verdict::New | Verdict::InPlace => None,
        Verdict::Unclear => return Err(unclear(asker.domain()?, &subject.user)),
    }
    .ok_or_else(|| DeviceError::Refused("the person has no Jami account yet: a device must be enrolled".to_owned()))?;
    // It is proved anew, whatever it was bound to before: an administrator may have said that it is the same person.
    account.identity = proved;
    account.entry.clone_from(&asker.entry);
    account.subject = subject;
    if !server.store.bind_jami_account(&account).await? {
        return Err(DeviceError::Unavailable("the account has changed meanwhile".to_owned()));
    }
    if account.standing != Standing::Stands {
        server.audit.record(Kind::JamiAccountResumed, Detail::of_account(&account));
    }
    let (token, scope) = give(server, &account, None).await?;
    Ok(Ticket { token, scope })
}

/// The accounts that may be a person's, and which of them is.
pub(super) struct Claims {
    /// What the person's name is compared by.
    pub key: String,
    /// The account of the name.
    pub named: Option<Account>,
    /// The account of the id.
    pub known: Option<Account>,
    pub verdict: Verdict,
}

impl Claims {
    pub(super) async fn find(store: &Store, domain: &str, user: &str, proved: &Identity) -> Result<Self, DeviceError> {
        let bad = || DeviceError::Refused("the user name holds what no other person should be shown".to_owned());
        let key = identity::key(user).ok_or_else(bad)?;
        let named = store.jami_account_by_name(domain, &key).await?;
        let is_own = named.as_ref().is_some_and(|named| named.identity == *proved);
        let known = match !is_own && proved.is_worldwide() {
            true => store.jami_account_by_identity(domain, proved).await?,
            false => None,
        };
        let verdict = decide(proved, user, named.as_ref().map(bound), known.as_ref().map(bound));
        Ok(Self { key, named, known, verdict })
    }
}

fn bound(account: &Account) -> Bound<'_> {
    Bound { user: &account.user, identity: &account.identity, seen_gone: account.standing == Standing::SeenGone }
}

pub(super) fn unclear(domain: &Domain, user: &str) -> DeviceError {
    tracing::warn!(
        domain = domain.name,
        user,
        "the Jami account of this name is bound to another user source: if it is the same person, run \
         `cams user jami {user} --relink`, if it is another one, `cams user jami {user} --release`"
    );
    DeviceError::Refused("the account of this name is bound to another user source".to_owned())
}

/// Whoever typed this, by the login stack and all valves around it; written down as every login is.
pub(super) async fn prove(
    server: &Server,
    asker: &Asker,
    domain: &Domain,
    credentials: &Credentials,
) -> Result<Subject, DeviceError> {
    let gone = || DeviceError::Refused("the login entry is gone from the configuration".to_owned());
    let entry = domain.entry(&asker.entry).ok_or_else(gone)?;
    let typed = [(USERNAME, Secret::from(credentials.user.as_str())), (PASSWORD, credentials.password.clone())];
    let answers: BTreeMap<_, _> = typed.into_iter().map(|(name, answer)| (name.to_owned(), answer)).collect();
    let attempt = LoginAttempt { answers: &answers, client: asker.client, now: server.now(), remembered: None };
    let detail = Detail { user: Some(&credentials.user), ..asker.detail() };
    let (run, notes) = domain.logins.login(entry, &attempt).await;
    for note in &notes {
        server.audit.record(note.event, note.add_to(detail.clone()));
    }
    let error = match run.result {
        Ok(subject) => {
            server.audit.record(Kind::Login, Detail { user: Some(&subject.user), ..detail });
            return Ok(to_keep(subject));
        }
        Err(error) => error,
    };
    let reason = error.to_string();
    server.audit.record(Kind::LoginFailed, Detail { reason: Some(&reason), ..detail });
    Err(match error.retry_after() {
        Some(seconds) => DeviceError::Throttled(seconds),
        None if run.unavailable => DeviceError::Unavailable(reason),
        None => DeviceError::Credentials,
    })
}

impl Server {
    /// Whether a certificate is that of a device which is enrolled and not revoked and whose account stands, and until
    /// when it is valid.
    pub(crate) async fn certificate_holds(
        &self,
        domain: &Domain,
        fingerprint: &str,
    ) -> Result<Option<i64>, StoreError> {
        let Some(mut shown) = self.store.jami_certificate(fingerprint).await? else { return Ok(None) };
        let revoked = shown.device.revoked.or(shown.revoked).is_some();
        if revoked || shown.not_after < self.now().as_second() || shown.account.domain != domain.name {
            return Ok(None);
        }
        let stands = look(self, domain, &mut shown.account, Depth::AtHand).await? != Look::Ended;
        Ok(stands.then_some(shown.not_after))
    }
}
