//! The organisation's certificate authority: it vouches for the accounts of people. Its key is sealed in the store. A former
//! one issues nothing any more and stays what it issued is trusted by.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{DnType, Issuer, PublicKeyData};

use super::issue::{Profile, Signer, backdated, params, set_serial, set_validity, subject, with_uid};
use super::{CaKey, Issued, PkiError, RsaKey, Urls, key_id};
use crate::store::{NewAuthority, SealedAuthority, Store};
use crate::token::{KeyRing, Purpose};

/// Accounts are authorities, and below them there is none.
const BELOW: u8 = 1;

pub struct OrganisationCa {
    signer: Signer<CaKey>,
}

impl OrganisationCa {
    /// One that signs itself, with an RSA key of 4096 bits: takes a second or two, not for a thread that serves requests.
    /// It is nothing but a value until it is [kept](Self::keep).
    pub fn create(name: &str, organisation: Option<&str>, years: u8, now: Timestamp) -> Result<Self, PkiError> {
        let key = RsaKey::generate()?;
        let mut name = subject(name);
        if let Some(organisation) = organisation {
            name.push(DnType::OrganizationName, organisation);
        }
        let mut params = params(with_uid(name, &key.id()), &key, Profile::Authority(BELOW));
        set_serial(&mut params)?;
        let end = now.to_zoned(TimeZone::UTC).saturating_add(i64::from(years).years());
        set_validity(&mut params, backdated(now), end.timestamp().as_second());
        let certificate = params.self_signed(&key)?.der().to_vec();
        Self::new(CaKey::Rsa(key), certificate)
    }

    /// From a certificate (DER) and its key. That the certificate is fit for an authority was checked when it was imported.
    ///
    /// # Errors
    /// [`PkiError::BrokenCertificate`] unless they belong together.
    pub fn new(key: CaKey, certificate: Vec<u8>) -> Result<Self, PkiError> {
        Ok(Self { signer: Signer::new(key, certificate)? })
    }

    /// Keeps it in the store, from now on as the current one in the place of the one with the number `former` (0: of none);
    /// false where that one is not the current one, or this one is there already.
    pub async fn keep(&self, store: &Store, keys: &KeyRing, former: i64, now: Timestamp) -> Result<bool, PkiError> {
        let sealed = keys.seal(&purpose(self.id()), &self.key().to_pkcs8()?)?;
        let new = NewAuthority { id: self.id(), certificate: self.certificate_der(), sealed: &sealed };
        Ok(store.add_authority(&new, former, now.as_second()).await?)
    }

    /// The one that issues, if there is any.
    pub async fn current(store: &Store, keys: &KeyRing) -> Result<Option<Self>, PkiError> {
        store.current_authority().await?.map(|found| Self::open(found, keys)).transpose()
    }

    /// One of all there were.
    pub async fn load(store: &Store, keys: &KeyRing, id: &str) -> Result<Option<Self>, PkiError> {
        store.authority(id).await?.map(|found| Self::open(found, keys)).transpose()
    }

    /// Opens its key, which takes a moment.
    pub fn open(found: SealedAuthority, keys: &KeyRing) -> Result<Self, PkiError> {
        let key = keys.open(&purpose(&found.id), &found.sealed).map_err(|_| PkiError::WrongKey)?;
        Self::new(CaKey::from_pkcs8(&key)?, found.certificate)
    }

    /// SHA-1 of the public key, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.signer.id
    }

    pub fn certificate_der(&self) -> &[u8] {
        &self.signer.certificate
    }

    /// The last second it is valid.
    pub fn not_after(&self) -> i64 {
        self.signer.not_after
    }

    /// DER of the Name in its certificate.
    pub fn subject_der(&self) -> &[u8] {
        &self.signer.subject
    }

    pub fn key(&self) -> &CaKey {
        self.signer.issuer.key()
    }

    /// For its revocation lists.
    pub fn issuer(&self) -> &Issuer<'static, CaKey> {
        &self.signer.issuer
    }

    /// A certificate for a person's account key. Its subject's UID is the Jami ID, its CN the user's name, which is cut after
    /// 64 characters.
    ///
    /// # Errors
    /// [`PkiError::NotValidNow`] where the own certificate, or the time asked for, is over.
    pub fn issue_account(
        &self,
        user: &str,
        key: &RsaKey,
        not_after: i64,
        now: Timestamp,
        urls: &Urls,
    ) -> Result<Issued, PkiError> {
        let id = key.id();
        if key_id(&self.key().subject_public_key_info()) == id {
            return Err(PkiError::OwnKey);
        }
        self.signer.issue(with_uid(subject(user), &id), key, Profile::Authority(BELOW - 1), (now, not_after), urls)
    }
}

fn purpose(id: &str) -> Purpose {
    Purpose::new(&["organisation-ca", id])
}
