//! What others are told about certificates of ours: the revocation list of each issuer, and the answers of its OCSP
//! responder. Both are signed with the issuer's own key.
//!
//! Revoking is not done here. It is in the store, and counts in the next list and the next answer that anybody gets.

mod bounds;
mod limit;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::PublicKeyData;
use tokio::sync::Mutex;
use x509_parser::parse_x509_certificate;

use crate::config::cams_conf::JamiConf;
use crate::pki::crl::{List, Reason};
use crate::pki::ocsp::{Issuer, OcspError, Refusal, Request, Status, Times};
use crate::pki::{AccountAuthority, OpenedAccounts, OrganisationCa, PkiError};
use crate::store::{KeptList, SealedAuthority, Standing, Store, StoreError};
use crate::token::KeyRing;
pub(crate) use bounds::Allowances;
use bounds::{Answers, Busy, CERTIFICATES, Clients, Lists, NAMES, Signing};
pub(crate) use limit::Rate;

/// An OCSP answer counts for so long, in seconds, and is given again for a part of it.
const ANSWER_SECONDS: i64 = 300;
const GIVEN_AGAIN: u64 = 5;
/// Clocks of servers that share a store may differ by so much, in seconds.
const CLOCKS: i64 = 60;
/// Lists that are made at the same time; more issuers share a turn.
const TURNS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Ocsp(#[from] OcspError),
}

/// Somebody of ours who issues certificates.
enum Authority {
    Organisation(Box<OrganisationCa>),
    Account(Arc<AccountAuthority>),
}

impl Authority {
    fn sign_list(&self, list: &List<'_>) -> Result<Vec<u8>, PkiError> {
        match self {
            Self::Organisation(ca) => list.sign(ca.issuer(), ca.certificate_der()),
            Self::Account(account) => list.sign(account.issuer(), account.certificate_der()),
        }
    }

    fn answer(&self, request: &Request, statuses: &[Status], times: Times) -> Result<Vec<u8>, OcspError> {
        match self {
            Self::Organisation(ca) => {
                let issuer = Issuer { name: ca.subject_der(), key: ca.key().der_bytes() };
                request.answer(statuses, issuer, times, ca.key())
            }
            Self::Account(account) => {
                let issuer = Issuer { name: account.subject_der(), key: account.key().der_bytes() };
                request.answer(statuses, issuer, times, account.key())
            }
        }
    }
}

/// One whose key is not open. To open it is a part of signing, and for the threads that sign.
enum Sealed {
    Organisation(SealedAuthority),
    Account { id: String, certificate: Vec<u8>, sealed: Vec<u8> },
}

impl Sealed {
    fn open(&self, keys: &KeyRing, opened: &OpenedAccounts) -> Result<Authority, PkiError> {
        Ok(match self {
            Self::Organisation(found) => Authority::Organisation(Box::new(OrganisationCa::open(found.clone(), keys)?)),
            Self::Account { id, certificate, sealed } => Authority::Account(opened.open(id, sealed, certificate)?),
        })
    }

    /// Whether the request is about certificates of this one, as its own certificate says.
    fn is_asked(&self, request: &Request) -> Result<bool, PkiError> {
        let (Self::Organisation(SealedAuthority { certificate, .. }) | Self::Account { certificate, .. }) = self;
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| PkiError::BrokenCertificate)?;
        let (name, key) = (certificate.subject().as_raw(), &*certificate.public_key().subject_public_key.data);
        Ok(request.is_about(Issuer { name, key }))
    }
}

/// Lists and answers, for as long as the process lives.
pub struct Revocation {
    store: Store,
    keys: KeyRing,
    opened: Arc<OpenedAccounts>,
    /// From one list to its next update, in seconds.
    lifetime: i64,
    signing: Signing,
    clients: Clients,
    /// The same for names, which are asked for by the same strangers.
    names: Clients,
    answers: Answers,
    lists: Lists,
    turns: [Mutex<()>; TURNS],
}

impl Revocation {
    pub fn new(store: Store, keys: KeyRing, opened: Arc<OpenedAccounts>, conf: &JamiConf) -> Self {
        let lifetime = i64::try_from(conf.crl_lifetime.as_secs()).unwrap_or(i64::MAX);
        let (signing, clients, answers, lists) =
            (Signing::new(), Clients::new(CERTIFICATES), Answers::new(), Lists::default());
        let names = Clients::new(NAMES);
        Self { store, keys, opened, lifetime, signing, clients, names, answers, lists, turns: Default::default() }
    }

    /// Whether this client may ask once more what anybody may ask; counts it if so.
    pub fn may_ask(&self, client: IpAddr) -> bool {
        self.clients.allow(client)
    }

    /// The same for a name, or whose an id is.
    pub fn may_ask_for_names(&self, client: IpAddr) -> bool {
        self.names.allow(client)
    }

    /// The list of the issuer with this id, which has every revocation that came before the question; `None` where there is no
    /// such issuer.
    ///
    /// # Errors
    /// The store is away, its keys cannot be opened, or too much is being signed.
    pub async fn list(&self, issuer: &str, now: Timestamp) -> Result<Option<KeptList>, RevocationError> {
        let now = now.as_second();
        if !is_id(issuer) {
            return Ok(None);
        }
        if let Some(kept) = self.fresh(issuer, now).await? {
            return Ok(Some(kept));
        }
        // Whom nobody knows waits for nobody, and keeps nobody waiting.
        let Some(authority) = self.authority(issuer).await? else { return Ok(None) };
        let turn = issuer.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % TURNS;
        let _turn = match self.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        // Whoever had the turn before may have made it.
        if let Some(kept) = self.fresh(issuer, now).await? {
            return Ok(Some(kept));
        }
        self.make_list(issuer, authority, now).await.map(Some)
    }

    /// The answer to an OCSP request (RFC 6960) about certificates of the issuer with this id; `None` where there is no such
    /// issuer.
    ///
    /// # Errors
    /// As [`Revocation::list`], save that who asks too much, and whoever asks when too much is signed, is told to try later.
    pub async fn answer(
        &self,
        issuer: &str,
        request: &[u8],
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, RevocationError> {
        if !self.may_ask(client) {
            return Ok(Some(Refusal::TryLater.to_der()));
        }
        let request = match Request::read(request) {
            Ok(request) => request,
            Err(refusal) => return Ok(Some(refusal.to_der())),
        };
        if !is_id(issuer) {
            return Ok(None);
        }
        let Some(authority) = self.authority(issuer).await? else { return Ok(None) };
        if !authority.is_asked(&request)? {
            return Ok(Some(Refusal::Unauthorized.to_der()));
        }
        let statuses = self.statuses(issuer, &request).await?;
        // With the statuses in it: a revocation makes another key, and what was true before it is not found any more.
        let key = request.repeatable().map(|key| format!("{issuer} {statuses:?} ").into_bytes().into_iter().chain(key));
        let key: Option<Vec<u8>> = key.map(Iterator::collect);
        if let Some(answer) = key.as_deref().and_then(|key| self.answers.get(key)) {
            return Ok(Some(answer));
        }
        let time = ANSWER_SECONDS.min(self.lifetime);
        let times = Times { made: now.as_second(), next_update: now.as_second() + time };
        let (keys, opened) = (self.keys.clone(), Arc::clone(&self.opened));
        let sign = move || {
            let authority = authority.open(&keys, &opened)?;
            Ok::<_, RevocationError>(authority.answer(&request, &statuses, times)?)
        };
        let signed = self.signing.run(sign).await;
        let answer = match signed {
            Ok(answer) => answer?,
            Err(Busy) => return Ok(Some(Refusal::TryLater.to_der())),
        };
        if let Some(key) = key {
            let time = std::time::Duration::from_secs(time.unsigned_abs() / GIVEN_AGAIN);
            self.answers.keep(key, &answer, time);
        }
        Ok(Some(answer))
    }

    /// The newest list, where nothing was revoked since and half of its time has not gone by.
    async fn fresh(&self, issuer: &str, now: i64) -> Result<Option<KeptList>, StoreError> {
        let is_fresh = |kept: &KeptList| is_fresh(kept, self.lifetime, now);
        let Some(head) = self.store.list_head(issuer).await?.filter(is_fresh) else { return Ok(None) };
        if let Some(list) = self.lists.get(issuer, &head) {
            return Ok(Some(KeptList { list, ..head }));
        }
        let kept = self.store.kept_list(issuer).await?.filter(is_fresh);
        if let Some(kept) = &kept {
            self.lists.keep(issuer, kept);
        }
        Ok(kept)
    }

    async fn make_list(&self, issuer: &str, authority: Sealed, now: i64) -> Result<KeptList, RevocationError> {
        let authority = Arc::new(authority);
        loop {
            let former = self.store.revocation_list(issuer).await?;
            // RFC 5280, section 3.3: an expired certificate stays in one more list.
            let revoked = self.store.revoked(issuer, now.saturating_sub(self.lifetime)).await?;
            let (number, next_update) = (former.number + 1, now.saturating_add(self.lifetime));
            let (authority, keys, opened) = (Arc::clone(&authority), self.keys.clone(), Arc::clone(&self.opened));
            let sign = move || {
                let list = List { number, this_update: now, next_update, revoked: &revoked };
                authority.open(&keys, &opened)?.sign_list(&list)
            };
            let new = KeptList { number, list: self.signing.run(sign).await??, next_update, stale: 0 };
            if self.store.publish_list(issuer, &new, former.stale).await? {
                return Ok(new);
            }
            // Another server was quicker.
            if let Some(kept) = self.fresh(issuer, now).await? {
                return Ok(kept);
            }
        }
    }

    async fn statuses(&self, issuer: &str, request: &Request) -> Result<Vec<Status>, StoreError> {
        let mut statuses = Vec::new();
        for serial in request.serials() {
            let standing = match serial {
                Some(serial) => self.store.standing(issuer, &serial).await?,
                None => None,
            };
            statuses.push(match standing {
                None => Status::Unknown,
                Some(Standing { revoked: None, .. }) => Status::Good,
                Some(Standing { revoked: Some(since), reason }) => {
                    Status::Revoked { since, reason: Reason::of(reason) }
                }
            });
        }
        Ok(statuses)
    }

    async fn authority(&self, id: &str) -> Result<Option<Sealed>, StoreError> {
        if let Some(found) = self.store.authority(id).await? {
            return Ok(Some(Sealed::Organisation(found)));
        }
        let found = self.store.sealed_account(id).await?;
        Ok(found.map(|(certificate, sealed)| Sealed::Account { id: id.to_owned(), certificate, sealed }))
    }
}

/// SHA-1 in hexadecimal.
fn is_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A list also counts for no longer than it would by the setting of today.
fn is_fresh(kept: &KeptList, lifetime: i64, now: i64) -> bool {
    let left = kept.next_update.saturating_sub(now);
    kept.number > 0 && kept.stale == 0 && left > lifetime / 2 && left <= lifetime.saturating_add(CLOCKS)
}

#[cfg(test)]
mod tests;
