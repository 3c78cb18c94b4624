//! RSA keys of ours: the organisation's CA and the key of every Jami account. `ring` cannot make them, so this file, and no
//! other, uses `aws-lc-rs`.
//!
//! All signatures are RSASSA-PKCS1-v1_5 with SHA-512 (RFC 8017, section 8.2), the only ones that Jami clients accept.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA512};
use rcgen::{PKCS_RSA_SHA512, PublicKeyData, SignatureAlgorithm, SigningKey};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PkiError;
use crate::token::hex;

/// A private key. It never shows: there is no `Debug`.
pub struct RsaKey {
    pair: KeyPair,
    /// The public key as DER of a SubjectPublicKeyInfo (RFC 5280, section 4.1), which all ids are hashes of.
    spki: Vec<u8>,
}

impl RsaKey {
    /// A new key of 4096 bits. That takes a second or two of a processor: not for a thread that serves requests.
    pub fn generate() -> Result<Self, PkiError> {
        Self::of(KeyPair::generate(KeySize::Rsa4096).map_err(|_| PkiError::KeyGeneration)?)
    }

    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        Self::of(KeyPair::from_pkcs8(der).map_err(|error| PkiError::BadKey(error.to_string()))?)
    }

    /// From an `RSAPrivateKey` (RFC 8017, appendix A.1.2).
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, PkiError> {
        Self::of(KeyPair::from_der(der).map_err(|error| PkiError::BadKey(error.to_string()))?)
    }

    fn of(pair: KeyPair) -> Result<Self, PkiError> {
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| PkiError::KeyGeneration)?;
        let spki = spki.as_ref().to_vec();
        Ok(Self { pair, spki })
    }

    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| PkiError::KeyGeneration)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub fn bits(&self) -> usize {
        self.pair.public_modulus_len() * 8
    }

    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-1 of the public key, in hexadecimal: of an account's key, the Jami ID.
    pub fn id(&self) -> String {
        key_id(&self.spki)
    }

    pub fn sign_sha512(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| PkiError::Signing)?;
        Ok(signature)
    }
}

impl PublicKeyData for RsaKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA512
    }
}

impl SigningKey for RsaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_sha512(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// SHA-1 of a SubjectPublicKeyInfo, in hexadecimal: how Jami names accounts, and devices in receipts.
pub fn key_id(spki: &[u8]) -> String {
    hex(&Sha1::digest(spki))
}

/// SHA-256 of a SubjectPublicKeyInfo, in hexadecimal: how Jami names devices everywhere else.
pub fn device_id(spki: &[u8]) -> String {
    hex(&Sha256::digest(spki))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;

    use super::*;

    impl RsaKey {
        /// One of 2048 bits, for tests that do not care: made in a fraction of the time.
        pub(crate) fn small() -> Self {
            Self::of(KeyPair::generate(KeySize::Rsa2048).unwrap()).unwrap()
        }

        /// As clients sign their requests.
        pub(crate) fn sign_sha256(&self, message: &[u8]) -> Vec<u8> {
            let mut signature = vec![0; self.pair.public_modulus_len()];
            self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }
    }

    #[test]
    fn a_key_comes_back_and_says_who_it_is() {
        let key = RsaKey::generate().unwrap();
        let again = RsaKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!((again.spki(), again.id(), again.bits()), (key.spki(), key.id(), 4096));
        assert_eq!(key.subject_public_key_info(), key.spki(), "rcgen writes the same public key");
        assert_eq!(key.sign_sha512(b"text").unwrap(), again.sign_sha512(b"text").unwrap());
        assert!(RsaKey::from_pkcs8(b"not a key").is_err());
    }
}
