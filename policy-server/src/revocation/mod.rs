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

use crate::config::cams_conf::JamiConf;
use crate::pki::crl::{List, Reason};
use crate::pki::ocsp::{Issuer, OcspError, Refusal, Request, Status, Times};
use crate::pki::{AccountAuthority, OrganisationCa, PkiError};
use crate::store::{KeptList, Standing, Store, StoreError};
use crate::token::KeyRing;
use bounds::{Answers, Busy, Clients, Signing};

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
    Organisation(OrganisationCa),
    Account(AccountAuthority),
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
            Self::Organisation(ca) => request.answer(statuses, self.issuer(), times, ca.key()),
            Self::Account(account) => request.answer(statuses, self.issuer(), times, account.key()),
        }
    }

    fn issuer(&self) -> Issuer<'_> {
        match self {
            Self::Organisation(ca) => Issuer { name: ca.subject_der(), key: ca.key().der_bytes() },
            Self::Account(account) => Issuer { name: account.subject_der(), key: account.key().der_bytes() },
        }
    }
}

/// Lists and answers, for as long as the process lives.
pub struct Revocation {
    store: Store,
    keys: KeyRing,
    /// From one list to its next update, in seconds.
    lifetime: i64,
    signing: Signing,
    clients: Clients,
    answers: Answers,
    turns: [Mutex<()>; TURNS],
}

impl Revocation {
    pub fn new(store: Store, keys: KeyRing, conf: &JamiConf) -> Self {
        let lifetime = i64::try_from(conf.crl_lifetime.as_secs()).unwrap_or(i64::MAX);
        let (signing, clients, answers) = (Signing::new(), Clients::new(), Answers::new());
        Self { store, keys, lifetime, signing, clients, answers, turns: Default::default() }
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
        let turn = issuer.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % TURNS;
        let _turn = match self.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        // Whoever had the turn before may have made it.
        if let Some(kept) = self.fresh(issuer, now).await? {
            return Ok(Some(kept));
        }
        let Some(authority) = self.authority(issuer).await? else { return Ok(None) };
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
        if !self.clients.allow(client) {
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
        if !request.is_about(authority.issuer()) {
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
        let signed = self.signing.run(move || authority.answer(&request, &statuses, times)).await;
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
        Ok(self.store.kept_list(issuer).await?.filter(|kept| is_fresh(kept, self.lifetime, now)))
    }

    async fn make_list(&self, issuer: &str, authority: Authority, now: i64) -> Result<KeptList, RevocationError> {
        let authority = Arc::new(authority);
        loop {
            let former = self.store.revocation_list(issuer).await?;
            // RFC 5280, section 3.3: an expired certificate stays in one more list.
            let revoked = self.store.revoked(issuer, now.saturating_sub(self.lifetime)).await?;
            let (number, next_update) = (former.number + 1, now.saturating_add(self.lifetime));
            let authority = Arc::clone(&authority);
            let sign = move || authority.sign_list(&List { number, this_update: now, next_update, revoked: &revoked });
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

    async fn authority(&self, id: &str) -> Result<Option<Authority>, PkiError> {
        if let Some(ca) = OrganisationCa::load(&self.store, &self.keys, id).await? {
            return Ok(Some(Authority::Organisation(ca)));
        }
        let Some((certificate, sealed)) = self.store.sealed_account(id).await? else { return Ok(None) };
        Ok(Some(Authority::Account(AccountAuthority::open(id, &sealed, certificate, &self.keys)?)))
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
