//! The organisation's own key: RSA where we made it, RSA or ECDSA where it was imported. No other file needs to know which.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::{PkiError, RsaKey};

/// DER of the AlgorithmIdentifier of signatures (RFC 4055, section 5, and RFC 5758, section 3.2).
const RSA_SHA512: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00";
const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

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

    /// DER of the AlgorithmIdentifier that goes with what [`SigningKey::sign`] returns.
    pub fn signature_algorithm(&self) -> &'static [u8] {
        match self {
            Self::Rsa(_) => RSA_SHA512,
            Self::Ecdsa(pair) if pair.algorithm() == &PKCS_ECDSA_P256_SHA256 => ECDSA_SHA256,
            Self::Ecdsa(_) => ECDSA_SHA384,
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
