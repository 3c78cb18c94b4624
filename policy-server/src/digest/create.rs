//! New digests. Costs follow OWASP's advice of 2025 for Argon2id, bcrypt and PBKDF2.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use thiserror::Error;

use super::{Hash, MAX_PASSWORD, crypt, kdf};

const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
const BCRYPT_COST: u32 = 12;
const BCRYPT_PASSWORD: usize = 72;
const SHA512_CRYPT_ROUNDS: u32 = 500_000;
/// Bytes of a new salt.
pub const SALT: usize = 16;
const HASH: usize = 32;

/// What [`create`] can make; the fast hashes are for directories that understand nothing better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    #[default]
    Argon2id,
    Yescrypt,
    Bcrypt,
    Sha512Crypt,
    Pbkdf2Sha256,
    Pbkdf2Sha512,
    Ssha,
    Ssha256,
    Ssha512,
}

/// Why there is no digest. Never names the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DigestError {
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than the {0} bytes that this scheme takes")]
    TooLong(usize),
    #[error("the password contains a NUL byte, which this scheme cannot take")]
    Nul,
    #[error("the hash function failed, probably for want of memory")]
    Failed,
}

/// The name given is none of a [`Scheme`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown scheme `{0}`; known are {known}", known = Scheme::names())]
pub struct UnknownScheme(String);

impl Scheme {
    pub const ALL: [Self; 9] = [
        Self::Argon2id,
        Self::Yescrypt,
        Self::Bcrypt,
        Self::Sha512Crypt,
        Self::Pbkdf2Sha256,
        Self::Pbkdf2Sha512,
        Self::Ssha,
        Self::Ssha256,
        Self::Ssha512,
    ];

    /// The label, or for `{CRYPT}` the format, as people type it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Argon2id => "ARGON2",
            Self::Yescrypt => "YESCRYPT",
            Self::Bcrypt => "BCRYPT",
            Self::Sha512Crypt => "SHA512-CRYPT",
            Self::Pbkdf2Sha256 => "PBKDF2-SHA256",
            Self::Pbkdf2Sha512 => "PBKDF2-SHA512",
            Self::Ssha => "SSHA",
            Self::Ssha256 => "SSHA256",
            Self::Ssha512 => "SSHA512",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Bytes of password beyond which the scheme would ignore or refuse some.
    fn limit(self) -> usize {
        match self {
            Self::Bcrypt => BCRYPT_PASSWORD,
            Self::Yescrypt | Self::Sha512Crypt => crypt::MAX_PASSWORD,
            _ => MAX_PASSWORD,
        }
    }

    /// Whether the password has a NUL where the check would refuse it.
    fn confuses_nul(self, password: &[u8]) -> bool {
        match self {
            Self::Yescrypt | Self::Bcrypt | Self::Sha512Crypt => password.contains(&0),
            Self::Pbkdf2Sha256 | Self::Pbkdf2Sha512 => password.ends_with(&[0]),
            Self::Argon2id | Self::Ssha | Self::Ssha256 | Self::Ssha512 => false,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = UnknownScheme;

    /// Ignores case and the braces of a label; `CRYPT` means SHA-512 crypt, which every crypt(3) has.
    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let name = match bare.to_ascii_uppercase().as_str() {
            "ARGON2ID" => Self::Argon2id.name(),
            "CRYPT" => Self::Sha512Crypt.name(),
            _ => bare,
        };
        let known = Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name));
        known.ok_or_else(|| UnknownScheme(text.to_owned()))
    }
}

/// A new digest with its label. The salt must come fresh from a cryptographic generator.
///
/// # Errors
/// Where the password is empty, or the scheme could not tell it from some other one.
pub fn create(scheme: Scheme, password: &[u8], salt: [u8; SALT]) -> Result<String, DigestError> {
    if password.is_empty() {
        return Err(DigestError::Empty);
    }
    if password.len() > scheme.limit() {
        return Err(DigestError::TooLong(scheme.limit()));
    }
    if scheme.confuses_nul(password) {
        return Err(DigestError::Nul);
    }
    match scheme {
        Scheme::Argon2id => argon2id(password, &salt),
        Scheme::Yescrypt => yescrypt(password, &salt),
        Scheme::Bcrypt => bcrypt(password, salt),
        Scheme::Sha512Crypt => sha512_crypt(password, &salt),
        Scheme::Pbkdf2Sha256 => pbkdf2(scheme, Hash::Sha256, 600_000, password, &salt),
        Scheme::Pbkdf2Sha512 => pbkdf2(scheme, Hash::Sha512, 210_000, password, &salt),
        Scheme::Ssha => Ok(salted(scheme, Hash::Sha1, password, &salt)),
        Scheme::Ssha256 => Ok(salted(scheme, Hash::Sha256, password, &salt)),
        Scheme::Ssha512 => Ok(salted(scheme, Hash::Sha512, password, &salt)),
    }
}

fn argon2id(password: &[u8], salt: &[u8]) -> Result<String, DigestError> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(HASH));
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| DigestError::Failed)?);
    let mut hash = [0; HASH];
    argon2.hash_password_into(password, salt, &mut hash).map_err(|_| DigestError::Failed)?;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(format!("{{ARGON2}}$argon2id$v=19$m={ARGON2_MEMORY_KIB},t={ARGON2_PASSES},p={ARGON2_LANES}${salt}${hash}"))
}

fn yescrypt(password: &[u8], salt: &[u8]) -> Result<String, DigestError> {
    let hash = crypt::yescrypt(crypt::YESCRYPT_PARAMS, salt, password).ok_or(DigestError::Failed)?;
    Ok(format!("{{CRYPT}}$y${}${}${hash}", crypt::YESCRYPT_PARAMS, crypt::encode(salt)))
}

fn bcrypt(password: &[u8], salt: [u8; SALT]) -> Result<String, DigestError> {
    let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt).map_err(|_| DigestError::Failed)?;
    Ok(format!("{{CRYPT}}{}", parts.format_for_version(bcrypt::Version::TwoB)))
}

/// The salt has room for sixteen characters, that is twelve bytes.
fn sha512_crypt(password: &[u8], salt: &[u8; SALT]) -> Result<String, DigestError> {
    let (salt, _) = salt.split_at(12);
    let digest = crypt::sha512(password, &crypt::encode(salt), SHA512_CRYPT_ROUNDS).ok_or(DigestError::Failed)?;
    Ok(format!("{{CRYPT}}{digest}"))
}

fn pbkdf2(scheme: Scheme, hash: Hash, rounds: u32, password: &[u8], salt: &[u8]) -> Result<String, DigestError> {
    let key = kdf::pbkdf2(hash, rounds, salt, password).ok_or(DigestError::Failed)?;
    Ok(format!("{{{scheme}}}{rounds}${}${}", kdf::ab64(salt), kdf::ab64(&key)))
}

fn salted(scheme: Scheme, hash: Hash, password: &[u8], salt: &[u8]) -> String {
    let bytes = [&hash.digest(password, salt), salt].concat();
    format!("{{{scheme}}}{}", STANDARD.encode(bytes))
}
