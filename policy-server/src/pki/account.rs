//! A person's account as the certificate authority of the person's devices.
//!
//! It is the same key for ever: its id is the Jami ID. Its certificate may be renewed.

use jiff::Timestamp;
use rcgen::{Issuer, PKCS_RSA_SHA512, PublicKeyData, SignatureAlgorithm};

use super::csr::DeviceKey;
use super::issue::{Profile, Signer, subject, with_uid};
use super::{Issued, PkiError, RsaKey, Urls};
use crate::token::{KeyRing, Purpose};

/// What a device's certificate calls it, as the client's own does.
const DEVICE: &str = "Jami device";

pub struct AccountAuthority {
    signer: Signer<RsaKey>,
}

impl AccountAuthority {
    /// # Errors
    /// [`PkiError::BrokenCertificate`] unless the certificate (DER) is one, and of this key.
    pub fn new(key: RsaKey, certificate: Vec<u8>) -> Result<Self, PkiError> {
        Ok(Self { signer: Signer::new(key, certificate)? })
    }

    /// Opens the key that [`seal_account_key`] sealed.
    pub fn open(id: &str, sealed: &[u8], certificate: Vec<u8>, keys: &KeyRing) -> Result<Self, PkiError> {
        Self::new(open_account_key(id, sealed, keys)?, certificate)
    }

    /// The Jami ID.
    pub fn id(&self) -> &str {
        &self.signer.id
    }

    pub fn key(&self) -> &RsaKey {
        self.signer.issuer.key()
    }

    pub fn certificate_der(&self) -> &[u8] {
        &self.signer.certificate
    }

    /// The last second its certificate is valid.
    pub fn not_after(&self) -> i64 {
        self.signer.not_after
    }

    /// DER of the Name in its certificate.
    pub fn subject_der(&self) -> &[u8] {
        &self.signer.subject
    }

    /// For its revocation lists.
    pub fn issuer(&self) -> &Issuer<'static, RsaKey> {
        &self.signer.issuer
    }

    /// RSASSA-PKCS1-v1_5 with SHA-512.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.key().sign_sha512(message)
    }

    /// A certificate for a device's key; of the request nothing else counts.
    ///
    /// # Errors
    /// [`PkiError::OwnKey`] for the account's own key; [`PkiError::NotValidNow`] where the account's certificate, or the time
    /// asked for, is over.
    pub fn issue_device(
        &self,
        device: &DeviceKey,
        not_after: i64,
        now: Timestamp,
        urls: &Urls,
    ) -> Result<Issued, PkiError> {
        if device.spki() == self.key().spki() {
            return Err(PkiError::OwnKey);
        }
        let name = with_uid(subject(DEVICE), &device.short_id());
        self.signer.issue(name, device, Profile::Device, (now, not_after), urls)
    }
}

impl PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        self.rsa_public_key()
    }

    /// Stands for the kind of key, the same with every hash.
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA512
    }
}

/// The key of a new account, as the store keeps it.
pub fn seal_account_key(key: &RsaKey, keys: &KeyRing) -> Result<Vec<u8>, PkiError> {
    Ok(keys.seal(&purpose(&key.id()), &key.to_pkcs8()?)?)
}

fn open_account_key(id: &str, sealed: &[u8], keys: &KeyRing) -> Result<RsaKey, PkiError> {
    RsaKey::from_pkcs8(&keys.open(&purpose(id), sealed).map_err(|_| PkiError::WrongKey)?)
}

fn purpose(id: &str) -> Purpose {
    Purpose::new(&["jami-account", id])
}
