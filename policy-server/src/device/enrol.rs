//! Enrolment: a person proves who it is, a device that it has a key, and the device gets a certificate from the person's
//! account.
//!
//! Everything is read and decided first, then signed, then written down at once; if what it was decided by is not so any
//! more, it is decided again. An answer is given only for what is written down.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pkcs8::LineEnding;
use pkcs8::der::pem;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::identity::{Identity, command};
use super::login::{Claims, Person, prove};
use super::receipt::{self, Receipt};
use super::{Account, Asker, Credentials, Device, DeviceError, Holding, Issuing, Standing, revoke};
use crate::audit::{Detail, Kind};
use crate::auth::subject::Subject;
use crate::pki::csr::{self, DeviceKey};
use crate::pki::{AccountAuthority, Issued, OpenedAccounts, OrganisationCa, PkiError, RsaKey, Urls, seal_account_key};
use crate::store::{Enrolled, Enrolment, Issue, Reason};
use crate::token::KeyRing;
use crate::wire::Server;

/// Two that enrol at once decide twice; whoever has lost this often is told to come again.
const ATTEMPTS: usize = 5;
/// How long somebody who enrols a first device waits for others of the name, and for a key.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds after which it is worth coming again then.
const AGAIN: u64 = 30;
/// Characters of a device's name.
const MAX_NAME: usize = 128;

/// What a device asks for.
pub struct Request {
    /// PEM.
    pub csr: String,
    pub device_name: String,
}

/// What a device gets.
pub struct Answer {
    /// PEM: of the device, of its account, of the organisation CA.
    pub chain: String,
    pub receipt: Receipt,
    /// What is known of the person.
    pub subject: Subject,
}

/// In a task of its own: it comes to its end, and counts, also where nobody waits.
pub async fn enrol(
    server: Arc<Server>,
    asker: Asker,
    credentials: Credentials,
    request: Request,
) -> Result<Answer, DeviceError> {
    tokio::spawn(async move {
        let domain = asker.domain()?;
        let person = prove(&server, &asker, domain, &credentials).await?;
        let user = person.subject.user.clone();
        let result = issue(&server, &asker, &person, &request).await;
        if let Err(error) = &result {
            let reason = error.to_string();
            let detail = Detail { user: Some(&user), reason: Some(&reason), ..asker.detail() };
            server.audit.record(Kind::DeviceRefused, detail);
        }
        result
    })
    .await?
}

async fn issue(server: &Arc<Server>, asker: &Asker, person: &Person, request: &Request) -> Result<Answer, DeviceError> {
    let key = csr::read(&request.csr).map_err(|error| DeviceError::Bad(error.to_string()))?;
    let no_authority = || {
        let what = "there is no organisation CA: run `cams ca create` or `cams ca import` at the policy server";
        DeviceError::Unavailable(what.to_owned())
    };
    let authority = server.issuing.authority(&server.store).await?.ok_or_else(no_authority)?;
    if server.store.is_jami_key(&key.short_id()).await? {
        return Err(DeviceError::Bad("the key is that of an account or a certificate authority".to_owned()));
    }
    let mut first = First::new(&server.issuing);
    for _ in 0..ATTEMPTS {
        let mut plan = Plan::make(server, asker, person, &key, &request.device_name, &authority).await?;
        if plan.was.is_none() && first.begin(&plan).await? {
            // Somebody else may have been quicker.
            plan = Plan::make(server, asker, person, &key, &request.device_name, &authority).await?;
        }
        let spare = if plan.was.is_none() { Some(first.key().await?) } else { None };
        let is_first = spare.is_some();
        let made = plan.sign(server, spare, key.clone(), Arc::clone(&authority)).await?;
        let written = server.store.enrol(&made.enrolment(server.conf.jami.devices_per_user)).await;
        if is_first && !matches!(written, Ok(Enrolled::Changed)) {
            // Written down, or nobody knows: it is never another person's.
            first.forget();
        }
        match written? {
            Enrolled::Done(revoked) => return Ok(made.answer(server, asker, &revoked)),
            Enrolled::TooMany => return Err(too_many(&asker.domain, &person.subject.user, server)),
            Enrolled::Changed => {}
        }
    }
    // What was tried so often may be what is in the way.
    first.forget();
    Err(DeviceError::Unavailable("others enrol for the same account all the time".to_owned()))
}

fn too_many(domain: &str, user: &str, server: &Server) -> DeviceError {
    let (quota, show) = (server.conf.jami.devices_per_user, command(domain, user, ""));
    tracing::warn!(
        domain,
        user,
        quota,
        "a device is refused: revoke those that are not used any more (`{show}`), or raise `cams.jami.devices.per.user`"
    );
    DeviceError::Refused(format!("the account has {quota} devices already"))
}

/// A first enrolment: one for each name at a time, with one key that goes back where it is not used.
struct First<'a> {
    issuing: &'a Issuing,
    end: Instant,
    turn: Option<OwnedMutexGuard<()>>,
    /// As PKCS#8.
    key: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> First<'a> {
    fn new(issuing: &'a Issuing) -> Self {
        Self { issuing, end: Instant::now() + PATIENCE, turn: None, key: None }
    }

    /// False where its turn is now already.
    async fn begin(&mut self, plan: &Plan) -> Result<bool, DeviceError> {
        if self.turn.is_some() {
            return Ok(false);
        }
        let turn = self.issuing.turn(&plan.domain, &plan.key);
        self.turn = Some(timeout_at(self.end, turn).await.map_err(|_| DeviceError::Busy(AGAIN))?);
        Ok(true)
    }

    async fn key(&mut self) -> Result<RsaKey, DeviceError> {
        let key = match &self.key {
            Some(der) => der,
            None => {
                let key =
                    timeout_at(self.end, self.issuing.spare.take()).await.map_err(|_| DeviceError::Busy(AGAIN))??;
                self.key.insert(key.to_pkcs8()?)
            }
        };
        Ok(RsaKey::from_pkcs8(key)?)
    }

    fn forget(&mut self) {
        self.key = None;
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take().and_then(|der| RsaKey::from_pkcs8(&der).ok()) {
            self.issuing.spare.give_back(key);
        }
    }
}

/// What is to be done, by what the store says.
struct Plan {
    now: Timestamp,
    /// What its name is compared by.
    key: String,
    domain: String,
    entry: String,
    subject: Subject,
    identity: Identity,
    was: Option<(Account, Holding)>,
    loses_name: Option<Account>,
    device: Device,
    is_new_device: bool,
    /// The certificate that the device has.
    issue: Option<Issue>,
    /// The account needs another certificate.
    renew: bool,
}

impl Plan {
    async fn make(
        server: &Server,
        asker: &Asker,
        person: &Person,
        key: &DeviceKey,
        name: &str,
        authority: &OrganisationCa,
    ) -> Result<Self, DeviceError> {
        let Claims { key: name_key, own, renamed, loses_name } = Claims::find(server, asker, person).await?;
        let now = server.now();
        let was = match own {
            Some(account) => {
                let held = holding(server, &account).await?;
                Some((account, held))
            }
            None => None,
        };
        let account = was.as_ref().map(|(account, _)| account.id.as_str());
        let found = server.store.jami_device(&key.id()).await?;
        let issue = check_device(server, account, found.as_ref()).await?;
        let renew = was.as_ref().is_none_or(|(_, held)| {
            renamed || held.authority != authority.id() || !is_fresh(held.issued, held.not_after, now.as_second())
        });
        let is_new_device = found.is_none();
        let device = Device {
            id: key.id(),
            account: account.unwrap_or_default().to_owned(),
            name: device_name(name),
            created: now.as_second(),
            last_seen: now.as_second(),
            revoked: None,
            reason: String::new(),
        };
        let (domain, entry, key) = (asker.domain.clone(), asker.entry.clone(), name_key);
        let (subject, identity) = (person.subject.clone(), person.proved.identity.clone());
        Ok(Self { now, key, domain, entry, subject, identity, was, loses_name, device, is_new_device, issue, renew })
    }

    /// The account as it is to be.
    fn account(&self) -> Account {
        let now = self.now.as_second();
        Account {
            id: self.device.account.clone(),
            domain: self.domain.clone(),
            user: self.subject.user.clone(),
            identity: self.identity.clone(),
            entry: self.entry.clone(),
            subject: self.subject.clone(),
            standing: Standing::Stands,
            created: self.was.as_ref().map_or(now, |(account, _)| account.created),
            rechecked: now,
        }
    }

    /// Where a signature or a key takes a while: on the threads that give way to everything else.
    async fn sign(
        self,
        server: &Server,
        spare: Option<RsaKey>,
        device: DeviceKey,
        authority: Arc<OrganisationCa>,
    ) -> Result<Made, DeviceError> {
        let (conf, urls, keys) = (&server.conf.jami, server.issuing.urls.clone(), server.issuing.keys.clone());
        let (account, device_lifetime) = (conf.account_lifetime, conf.device_lifetime);
        let opened = Arc::clone(&server.issuing.opened);
        let signer = Signer { urls, keys, opened, authority, account_lifetime: account, device_lifetime };
        Ok(server.shared.digests.lend(move || signer.sign(self, spare, &device)).await??)
    }
}

/// The key and certificate of an account that is there.
async fn holding(server: &Server, account: &Account) -> Result<Holding, DeviceError> {
    let lost =
        || DeviceError::Unavailable(format!("the certificate of the account {} is lost from the store", account.id));
    server.store.jami_holding(&account.id).await?.ok_or_else(lost)
}

/// The certificate of a device that is known already.
async fn check_device(
    server: &Server,
    account: Option<&str>,
    found: Option<&Device>,
) -> Result<Option<Issue>, DeviceError> {
    match (account, found) {
        (_, None) => Ok(None),
        (Some(account), Some(device)) if device.account == account => match device.revoked {
            Some(_) => Err(DeviceError::Refused("the key of the device is revoked: it needs a new one".to_owned())),
            None => Ok(server.store.jami_issue(account, &device.id).await?),
        },
        (_, Some(_)) => Err(DeviceError::Bad("the key is that of a device of another account".to_owned())),
    }
}

/// More than half of its life is left.
fn is_fresh(issued: i64, not_after: i64, now: i64) -> bool {
    not_after.saturating_sub(now).saturating_mul(2) > not_after.saturating_sub(issued)
}

/// One line to show to people.
fn device_name(name: &str) -> String {
    let shown = name.chars().filter(|c| !crate::directory::person::is_invisible(*c));
    shown.take(MAX_NAME).collect::<String>().trim().to_owned()
}

/// What is needed where signatures are made.
struct Signer {
    urls: Urls,
    keys: KeyRing,
    opened: Arc<OpenedAccounts>,
    authority: Arc<OrganisationCa>,
    account_lifetime: Duration,
    device_lifetime: Duration,
}

impl Signer {
    /// For an account that is there, with a certificate that is not half over: three signatures and no more.
    fn sign(self, mut plan: Plan, spare: Option<RsaKey>, device: &DeviceKey) -> Result<Made, PkiError> {
        let now = plan.now;
        let (issued, own, sealed) = match (&plan.was, spare) {
            (Some((_, held)), _) => {
                let open = |certificate: &[u8]| self.opened.open(&plan.device.account, &held.sealed, certificate);
                let own = open(&held.certificate)?;
                let issued = plan.renew.then(|| self.issue_account(&plan, own.key())).transpose()?;
                let own = issued.as_ref().map_or(Ok(own), |issued| open(&issued.der))?;
                (issued, own, held.sealed.clone())
            }
            (None, Some(key)) => {
                let (issued, sealed) = (self.issue_account(&plan, &key)?, seal_account_key(&key, &self.keys)?);
                let own = Arc::new(AccountAuthority::new(key, issued.der.clone())?);
                (Some(issued), own, sealed)
            }
            (None, None) => return Err(PkiError::KeyGeneration),
        };
        let end = end(now, self.device_lifetime);
        let is_good = |issue: &&Issue| {
            let held = plan.was.as_ref().filter(|_| issued.is_none()).map(|(_, held)| held);
            is_fresh(issue.issued, issue.not_after, now.as_second())
                && issue.not_after <= end
                && held.is_some_and(|held| issue.issued >= held.issued)
        };
        let kept = plan.issue.as_ref().filter(is_good).map(|issue| issue.certificate.clone());
        let certificate = match kept {
            Some(_) => None,
            None => Some(own.issue_device(device, end, now, &self.urls)?),
        };
        let leaf = certificate.as_ref().map_or(kept.unwrap_or_default(), |issued| issued.der.clone());
        let holding = Holding {
            authority: self.authority.id().to_owned(),
            certificate: own.certificate_der().to_vec(),
            sealed,
            issued: now.as_second(),
            not_after: own.not_after(),
        };
        let chain = [&leaf, &holding.certificate, self.authority.certificate_der()].map(to_pem).concat();
        let receipt = receipt::make(own.key(), device)?;
        own.id().clone_into(&mut plan.device.account);
        let (account, short_id) = (plan.account(), device.short_id());
        Ok(Made { account, plan, holding, issued, certificate, short_id, chain, receipt })
    }

    fn issue_account(&self, plan: &Plan, key: &RsaKey) -> Result<Issued, PkiError> {
        let end = end(plan.now, self.account_lifetime);
        self.authority.issue_account(&plan.subject.user, key, end, plan.now, &self.urls)
    }
}

fn end(now: Timestamp, lifetime: Duration) -> i64 {
    now.as_second().saturating_add_unsigned(lifetime.as_secs())
}

fn to_pem(der: &[u8]) -> String {
    pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// What is to be written down, and then given.
struct Made {
    plan: Plan,
    account: Account,
    holding: Holding,
    /// The certificate of the account, where it is a new one.
    issued: Option<Issued>,
    /// The certificate of the device, where it is a new one.
    certificate: Option<Issued>,
    short_id: String,
    chain: String,
    receipt: Receipt,
}

impl Made {
    fn enrolment(&self, quota: u32) -> Enrolment<'_> {
        let Self { plan, account, holding, issued, certificate, short_id, .. } = self;
        let former = plan.issue.as_ref().map(|issue| issue.serial.as_str());
        Enrolment {
            account,
            key: &plan.key,
            holding,
            account_certificate: issued.as_ref(),
            was: plan.was.as_ref().map(|(account, holding)| (account, holding)),
            loses_name: plan.loses_name.as_ref(),
            device: &plan.device,
            short_id,
            is_new_device: plan.is_new_device,
            device_certificate: certificate.as_ref().map(|issued| (issued, former)),
            quota,
            now: plan.now.as_second(),
        }
    }

    /// It is written down: `revoked` are the devices of the account that lost the name.
    fn answer(self, server: &Server, asker: &Asker, revoked: &[Device]) -> Answer {
        if let Some(other) = &self.plan.loses_name {
            let reason = Reason::NAME_OF_ANOTHER;
            let detail = Detail { reason: Some(reason.text), ..Detail::of_account(other) };
            server.audit.record(Kind::JamiAccountDetached, detail);
            for device in revoked {
                revoke::record(&server.audit, other, &device.id, &reason, asker.detail());
            }
        }
        if self.plan.was.as_ref().is_some_and(|(was, _)| was.standing != Standing::Stands) {
            server.audit.record(Kind::JamiAccountResumed, Detail::of_account(&self.account));
        }
        let (user, account) = (Some(&*self.account.user), Some(&*self.account.id));
        let detail = Detail { user, account, device: Some(&self.plan.device.id), ..asker.detail() };
        server.audit.record(Kind::DeviceEnrolled, detail);
        Answer { chain: self.chain, receipt: self.receipt, subject: self.account.subject }
    }
}
