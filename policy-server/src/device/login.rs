//! Who is it: by name and password through the login stack and all that stands around it, or by a device's certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared_proto::client_cert::ClientCert;
use shared_proto::secret::Secret;

use super::account::{Look, Standing, look, say_moved};
use super::identity::{self, Bound, Proved, Verdict, command, decide, naming, to_keep};
use super::token::{Scope, give, may_log_in};
use super::{Account, Asker, Credentials, DeviceError};
use crate::audit::{Detail, Kind};
use crate::auth::callback::{PASSWORD, USERNAME};
use crate::auth::error::ErrorKind;
use crate::auth::modules;
use crate::auth::pipeline::Depth;
use crate::auth::subject::Subject;
use crate::auth::valve::LoginAttempt;
use crate::pki::fingerprint;
use crate::store::{Shown, StoreError};
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
        let person = prove(&server, &asker, domain, &credentials).await?;
        let user = person.subject.user.clone();
        let ticket = ticket_of_person(&server, &asker, person).await;
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
            let (standing, show) =
                (shown.account.standing.text(), command(&shown.account.domain, &shown.account.user, ""));
            return Err(DeviceError::Refused(format!("the account is {standing}: see `{show}`")));
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
async fn ticket_of_person(server: &Server, asker: &Asker, person: Person) -> Result<Ticket, DeviceError> {
    let claims = Claims::find(server, asker, &person).await?;
    let none = || DeviceError::Refused("the person has no Jami account yet: a device must be enrolled".to_owned());
    let was = claims.own.ok_or_else(none)?;
    let (entry, standing) = (asker.entry.clone(), Standing::Stands);
    let account = Account { identity: person.proved.identity, entry, subject: person.subject, standing, ..was.clone() };
    if !server.store.bind_jami_account(&was, &account).await? {
        return Err(DeviceError::Unavailable("the account has changed meanwhile".to_owned()));
    }
    if was.standing != Standing::Stands {
        server.audit.record(Kind::JamiAccountResumed, Detail::of_account(&account));
    }
    let (token, scope) = give(server, &account, None).await?;
    Ok(Ticket { token, scope })
}

/// Somebody whom the login stack proved.
pub(super) struct Person {
    pub subject: Subject,
    pub proved: Proved,
    /// A module of the stack could not be asked: another one may know the person better.
    pub partly: bool,
}

/// Which account is a person's.
pub(super) struct Claims {
    /// What the person's name is compared by.
    pub key: String,
    pub own: Option<Account>,
    /// It is to take the name that the person has now.
    pub renamed: bool,
    /// The account of the person who had the name.
    pub loses_name: Option<Account>,
}

impl Claims {
    pub(super) async fn find(server: &Server, asker: &Asker, person: &Person) -> Result<Self, DeviceError> {
        let (store, domain, user, proved) = (&server.store, asker.domain()?, &person.subject.user, &person.proved);
        let bad = || DeviceError::Refused("the user name holds what no other person should be shown".to_owned());
        let key = identity::key(user).ok_or_else(bad)?;
        let named = store.jami_account_by_name(&domain.name, &key).await?;
        let is_own = named.as_ref().is_some_and(|named| named.identity == proved.identity);
        let known = match !is_own && proved.worldwide {
            true => store.jami_account_by_identity(&domain.name, &proved.identity).await?,
            false => None,
        };
        let verdict = decide(proved, user, named.as_ref().map(bound), known.as_ref().map(bound));
        if person.partly && !matches!(verdict, Verdict::Named | Verdict::Renamed) {
            let why = "a module of the login entry could not be asked who the person is";
            return Err(DeviceError::Unavailable(why.to_owned()));
        }
        let (own, renamed, loses_name) = match verdict {
            Verdict::New => (None, false, None),
            Verdict::Named => (named, false, None),
            Verdict::Renamed => (known, true, None),
            Verdict::InPlace => (None, false, Some(gone(server, domain, user, named).await?)),
            Verdict::RenamedInPlace => (known, true, Some(gone(server, domain, user, named).await?)),
            Verdict::Unclear => return Err(unclear(domain, user)),
            Verdict::Moved => {
                say_moved(&domain.name, user);
                return Err(DeviceError::Unavailable("the directory was configured anew".to_owned()));
            }
        };
        Ok(Self { key, own, renamed, loses_name })
    }
}

/// The account of the name, where the very directory that vouched for its person says now that this is another one, or
/// none. Everything of that person ends: anybody else's word would not be enough.
async fn gone(server: &Server, domain: &Domain, user: &str, named: Option<Account>) -> Result<Account, DeviceError> {
    let Some(account) = named else { return Err(unclear(domain, user)) };
    let (Some(entry), Some(proof)) = (domain.entry(&account.entry), account.identity.proof(&account.subject)) else {
        return Err(unclear(domain, user));
    };
    match entry.ask_again(proof, server.now()).await {
        Some(modules::Standing::Current(who)) if who.source_id.is_some() && who.source_id != proof.source_id => {
            Ok(account)
        }
        Some(modules::Standing::Gone(error)) if error.kind == ErrorKind::FailedLogin => Ok(account),
        Some(modules::Standing::Unknown(why)) => Err(DeviceError::Unavailable(why)),
        _ => Err(unclear(domain, user)),
    }
}

fn bound(account: &Account) -> Bound<'_> {
    let place = account.identity.proof(&account.subject).map_or("", |proof| &proof.settings);
    let seen_gone = account.standing == Standing::SeenGone;
    Bound { user: &account.user, identity: &account.identity, place, seen_gone }
}

fn unclear(domain: &Domain, user: &str) -> DeviceError {
    let [relink, release] = ["--relink", "--release"].map(|option| command(&domain.name, user, option));
    tracing::warn!(
        domain = domain.name,
        user,
        "the Jami account of this name is bound to another user source: if it is the same person, run `{relink}`, if it is \
         another one, `{release}`"
    );
    DeviceError::Refused("the account of this name is bound to another user source".to_owned())
}

/// Whoever typed this, by the login stack and all valves around it; written down as every login is.
pub(super) async fn prove(
    server: &Server,
    asker: &Asker,
    domain: &Domain,
    credentials: &Credentials,
) -> Result<Person, DeviceError> {
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
            let worldwide = naming(&subject).is_some_and(|proof| entry.has_worldwide_ids(proof));
            let proved = Proved::of(&subject, worldwide);
            return Ok(Person { subject: to_keep(subject), proved, partly: run.partly });
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
