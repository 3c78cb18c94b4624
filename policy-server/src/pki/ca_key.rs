//! The organisation's own key: RSA where we made it, RSA or ECDSA where it was imported. No other file needs to know which.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::{PkiError, RsaKey};

/// A private key that signs certificates. It never shows: there is no `Debug`.
pub enum CaKey {
    Rsa(RsaKey),
    /// P-256 with SHA-256 or P-384 with SHA-384.
    Ecdsa(Box<KeyPair>),
}

impl CaKey {
    /// # Errors
    /// [`PkiError::BadKey`] for any other kind of key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        let not_rsa = match RsaKey::from_pkcs8(der) {
            Ok(key) => return Ok(Self::Rsa(key)),
            Err(error) => error,
        };
        let known = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384];
        let pair = KeyPair::try_from(der).ok().filter(|pair| known.contains(&pair.algorithm()));
        pair.map(|pair| Self::Ecdsa(Box::new(pair))).ok_or(not_rsa)
    }

    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        match self {
            Self::Rsa(key) => key.to_pkcs8(),
            Self::Ecdsa(pair) => Ok(Zeroizing::new(pair.serialize_der())),
        }
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.der_bytes(),
            Self::Ecdsa(pair) => pair.as_ref().der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa(key) => PublicKeyData::algorithm(key),
            Self::Ecdsa(pair) => PublicKeyData::algorithm(pair.as_ref()),
        }
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Rsa(key) => key.sign(message),
            Self::Ecdsa(pair) => pair.as_ref().sign(message),
        }
    }
}
