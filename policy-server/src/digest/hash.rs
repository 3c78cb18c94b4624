//! The fast hashes of RFC 2307 and OpenLDAP's pw-sha2: base64 of the digest, with the salt behind it if there is one.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::Digest;

use super::same;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn digest(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            D::new().chain_update(password).chain_update(salt).finalize().to_vec()
        }
        match self {
            Self::Md5 => of::<md5::Md5>(password, salt),
            Self::Sha1 => of::<sha1::Sha1>(password, salt),
            Self::Sha256 => of::<sha2::Sha256>(password, salt),
            Self::Sha384 => of::<sha2::Sha384>(password, salt),
            Self::Sha512 => of::<sha2::Sha512>(password, salt),
        }
    }

    /// Bytes of a digest.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

pub(super) fn check_plain(hash: Hash, value: &str, password: &[u8]) -> Option<bool> {
    let expected = decode(value).filter(|bytes| bytes.len() == hash.size())?;
    Some(same(&hash.digest(password, b""), &expected))
}

pub(super) fn check_salted(hash: Hash, value: &str, password: &[u8]) -> Option<bool> {
    let bytes = decode(value)?;
    let (expected, salt) = bytes.split_at_checked(hash.size()).filter(|(_, salt)| !salt.is_empty())?;
    Some(same(&hash.digest(password, salt), expected))
}

/// Padded, canonical base64; white space is skipped as OpenLDAP does, for columns of fixed width and folded lines.
fn decode(value: &str) -> Option<Vec<u8>> {
    let dense: Vec<u8> = value.bytes().filter(|byte| !matches!(byte, b' ' | b'\t'..=b'\r')).collect();
    STANDARD.decode(dense).ok()
}
