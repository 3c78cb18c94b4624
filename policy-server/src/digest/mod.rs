//! Password digests of the `{LABEL}value` kind, as directories and user files hold them.
//!
//! Pure but for [`pool`]: randomness comes in as a parameter. Nothing here may panic on a stored value, match a
//! malformed one, or let a stored value or a password name the price: every cost parameter has a cap, beyond which the
//! value counts as malformed. `docs/password-digests.md` lists labels and caps for administrators.

mod create;
mod crypt;
mod decoys;
mod fingerprint;
mod hash;
mod kdf;
mod label;
pub mod pool;
#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq;

pub use create::{DigestError, SALT, Scheme, UnknownScheme, create};
pub use crypt::Crypt;
pub use decoys::Decoys;
pub use fingerprint::fingerprint;
pub use hash::Hash;
use kdf::Memory;
pub use label::{Label, label};
pub(crate) use pool::give_way;
pub use pool::{DigestPool, Overloaded};

/// Bytes of a password that are looked at; a longer one never matches and is not hashed.
pub const MAX_PASSWORD: usize = 4096;

/// What an administrator decided about stored passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether a stored clear-text password counts at all.
    pub allow_cleartext: bool,
}

/// Whether the password is the one the stored value was made from. A malformed, locked, unknown or too costly stored
/// value never is. Costs as much as the stored value asks for: call it through a [`DigestPool`] in a server.
#[must_use]
pub fn verify(stored: &str, password: &[u8], policy: Policy) -> bool {
    check(stored, password, policy, &mut Memory::default()).unwrap_or(false)
}

/// As [`verify`], but `None` where the stored value can match no password, so that nothing was hashed.
fn check(stored: &str, password: &[u8], policy: Policy, memory: &mut Memory) -> Option<bool> {
    if password.len() > MAX_PASSWORD {
        return Some(false);
    }
    let (label, value) = label::split(stored);
    match label {
        Label::ClearText => policy.allow_cleartext.then(|| same(value.as_bytes(), password)),
        Label::Plain(hash) => hash::check_plain(hash, value, password),
        Label::Salted(hash) => hash::check_salted(hash, value, password),
        Label::Pbkdf2(hash) => kdf::check_pbkdf2(hash, value, password),
        Label::Argon2 => kdf::check_argon2(value, password, memory),
        Label::Crypt(kind) => crypt::check(kind, value, password),
        Label::Unusable | Label::Unknown | Label::UnknownCrypt => None,
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// A number as the digest formats write it: digits, no sign, no leading zero.
fn decimal(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}
