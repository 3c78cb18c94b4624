//! Says in the log, once for each user, that a password is kept in a form that is cheap to guess.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::digest::label;

#[derive(Debug, Default)]
pub struct Legacy {
    told: Mutex<BTreeSet<String>>,
}

impl Legacy {
    /// Whether this digest should be replaced by a better one; where it should, the log has said so.
    pub fn is(&self, class: &'static str, user: &str, stored: &str) -> bool {
        let is_legacy = label(stored).is_legacy();
        if is_legacy && self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned()) {
            tracing::warn!(
                class,
                user,
                "the stored password is in a form that is cheap to guess (see docs/password-digests.md)"
            );
        }
        is_legacy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_digests_are_told_of_once() {
        let legacy = Legacy::default();
        for (stored, expected) in [
            ("{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==", true),
            ("{CRYPT}$1$salt$hash", true),
            ("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", false),
        ] {
            assert_eq!([legacy.is("c", "u", stored), legacy.is("c", "u", stored)], [expected; 2], "{stored}");
        }
        assert_eq!(legacy.told.lock().unwrap().len(), 1);
    }
}
