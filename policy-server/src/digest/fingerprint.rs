//! By what a session knows that the password it was opened with is another one now.

use sha2::{Digest, Sha256};

use super::{Label, label};
use crate::token::hex;

/// Of the hash that is kept: nobody chooses digests so that two look alike.
const BYTES: usize = 8;

/// Another one for every stored digest. `None` for what has no salt: it would help to guess the password; and for what
/// matches none.
#[must_use]
pub fn fingerprint(stored: &str) -> Option<String> {
    match label(stored) {
        Label::ClearText | Label::Plain(_) | Label::Unusable | Label::Unknown | Label::UnknownCrypt => None,
        Label::Salted(_) | Label::Pbkdf2(_) | Label::Argon2 | Label::Crypt(_) => {
            let hash = Sha256::new().chain_update("fingerprint\0").chain_update(stored).finalize();
            hash.get(..BYTES).map(hex)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_new_digest_shows_and_no_guess_is_confirmed() {
        let salted = ["{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==", "{SSHA}Y", "{ARGON2}$argon2id$x", "{PBKDF2}1"];
        let found: BTreeSet<_> = salted.iter().map(|stored| fingerprint(stored).unwrap()).collect();
        assert_eq!(found.len(), salted.len());
        assert!(found.iter().all(|print| print.len() == 2 * BYTES));
        for unsalted in ["secret", "{CLEARTEXT}secret", "{MD5}x", "{SHA256}x", "{CRYPT}!", "", "{NEW}x"] {
            assert_eq!(fingerprint(unsalted), None, "{unsalted}");
        }
    }
}
