//! `{CRYPT}`: the strings of crypt(3), in the formats and with the strictness of libxcrypt.
//!
//! crypt(3) compares whole strings, so a value counts only in the one spelling that crypt(3) itself would write.

mod des;
mod md5;
mod scrypt;
mod sha;

use std::fmt;

use super::same;

pub(super) use scrypt::{YESCRYPT_PARAMS, yescrypt};
pub(super) use sha::sha512;

/// crypt(3) takes a C string, and libxcrypt one of fewer than 512 bytes.
pub(super) const MAX_PASSWORD: usize = 511;
/// log2 of bcrypt's rounds: about two seconds.
const MAX_BCRYPT_COST: u32 = 15;

/// A format of crypt(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crypt {
    /// Thirteen characters, eight bytes of password.
    Des,
    /// `_`, BSDi's extended DES.
    Bsdi,
    /// `$1$`.
    Md5,
    /// `$5$`.
    Sha256,
    /// `$6$`.
    Sha512,
    /// `$2a$`, `$2b$`, `$2y$`; 72 bytes of password.
    Bcrypt,
    /// `$y$`.
    Yescrypt,
    /// `$7$`.
    Scrypt,
}

impl Crypt {
    /// The format of a value, if it is a supported one; no format allows white space, control characters or `!*:;\`.
    pub(super) fn of(value: &str) -> Option<Self> {
        if !value.bytes().all(|byte| byte.is_ascii_graphic() && !b"!*:;\\".contains(&byte)) {
            return None;
        }
        match value.strip_prefix('$') {
            Some(rest) => match rest.split_once('$')?.0 {
                "1" => Some(Self::Md5),
                "5" => Some(Self::Sha256),
                "6" => Some(Self::Sha512),
                "2a" | "2b" | "2y" => Some(Self::Bcrypt),
                "y" => Some(Self::Yescrypt),
                "7" => Some(Self::Scrypt),
                _ => None,
            },
            None if value.starts_with('_') && value.len() == 20 => Some(Self::Bsdi),
            None if value.len() == 13 => Some(Self::Des),
            None => None,
        }
    }

    pub(super) fn is_legacy(self) -> bool {
        matches!(self, Self::Des | Self::Bsdi | Self::Md5)
    }
}

impl fmt::Display for Crypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des => "DES",
            Self::Bsdi => "BSDi DES",
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Bcrypt => "bcrypt",
            Self::Yescrypt => "yescrypt",
            Self::Scrypt => "scrypt",
        })
    }
}

pub(super) fn check(kind: Crypt, value: &str, password: &[u8]) -> Option<bool> {
    // A NUL would end the C string early, and bcrypt and DES cannot tell some passwords with NULs from others.
    if password.len() > MAX_PASSWORD || password.contains(&0) {
        return Some(false);
    }
    match kind {
        Crypt::Des => des::check(value, password),
        Crypt::Bsdi => des::check_bsdi(value, password),
        Crypt::Md5 => md5::check(value, password),
        Crypt::Sha256 => sha::check_sha256(value, password),
        Crypt::Sha512 => sha::check_sha512(value, password),
        Crypt::Bcrypt => check_bcrypt(value, password),
        Crypt::Yescrypt => scrypt::check_yescrypt(value, password),
        Crypt::Scrypt => scrypt::check_scrypt(value, password),
    }
}

/// The three versions differ only in which historic bugs they are free of; all are computed in the correct way.
fn check_bcrypt(value: &str, password: &[u8]) -> Option<bool> {
    let cost = value.get(4..6).filter(|cost| cost.bytes().all(|byte| byte.is_ascii_digit()))?;
    cost.parse().ok().filter(|cost: &u32| *cost <= MAX_BCRYPT_COST)?;
    bcrypt::verify(password, value).ok()
}

/// The alphabet of every format but bcrypt.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn digit(value: u64) -> char {
    ALPHABET.get((value & 63) as usize).copied().map_or('.', char::from)
}

fn value_of(digit: u8) -> Option<u32> {
    ALPHABET.iter().position(|&byte| byte == digit).and_then(|value| u32::try_from(value).ok())
}

/// A number of at most five digits, least significant first.
fn number(digits: &str) -> Option<u32> {
    digits.bytes().rev().try_fold(0u32, |sum, digit| Some(sum.checked_mul(64)? | value_of(digit)?))
}

/// Groups of three bytes, least significant first, as four digits.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let group = chunk.iter().rev().fold(0u64, |group, &byte| group << 8 | u64::from(byte));
            (0..=chunk.len()).map(move |index| digit(group >> (6 * index)))
        })
        .collect()
}

/// The inverse of [`encode`]; refuses what it would not have written.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for chunk in text.as_bytes().chunks(4) {
        let group = chunk.iter().rev().try_fold(0u32, |group, &digit| Some(group << 6 | value_of(digit)?))?;
        bytes.extend(group.to_le_bytes().iter().take(chunk.len() - 1));
    }
    (encode(&bytes) == text).then_some(bytes)
}
