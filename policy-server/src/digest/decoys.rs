//! What is hashed for a user who does not exist, so that the answer takes as long as for one who does.
//!
//! Digests of users who exist, one of each price: hashing one of them takes the time of a real check, whatever its
//! outcome. Which one a name gets depends on the name alone, so that a second try tells nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{Crypt, Label, label};

/// Prices that are kept; a directory that has more of them shows which users it does not have to whoever measures.
const MAX_PRICES: usize = 16;

/// The prices of one directory's digests.
#[derive(Debug, Default)]
pub struct Decoys(Mutex<BTreeMap<String, String>>);

impl Decoys {
    /// From now on this digest, of somebody who exists, is among those that are hashed.
    pub fn learn(&self, stored: &str) {
        let Some(price) = price(stored) else { return };
        let mut decoys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !decoys.contains_key(price) && decoys.len() < MAX_PRICES {
            decoys.insert(price.to_owned(), stored.to_owned());
        }
    }

    /// What to hash for somebody of this name; `None` before anything is known.
    pub(super) fn pick(&self, name: &str) -> Option<String> {
        let decoys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest: [u8; 32] = Sha256::digest(name).into();
        let place = usize::from(digest.first().copied()?).checked_rem(decoys.len())?;
        decoys.values().nth(place).cloned()
    }
}

/// The part of a digest that says what checking it costs; `None` where it is cheap to check, or cannot be.
fn price(stored: &str) -> Option<&str> {
    let without = |fields: usize| stored.rsplitn(fields + 1, '$').nth(fields);
    match label(stored) {
        Label::Pbkdf2(_) | Label::Argon2 => without(2),
        Label::Crypt(Crypt::Sha256 | Crypt::Sha512 | Crypt::Yescrypt) => without(2),
        Label::Crypt(Crypt::Bcrypt) => without(1),
        // Costs and salt are one field: one character for N, five each for r and p.
        Label::Crypt(Crypt::Scrypt) => stored.find("$7$").and_then(|start| stored.get(..start + "$7$".len() + 11)),
        Label::Crypt(Crypt::Des | Crypt::Bsdi | Crypt::Md5) => None,
        Label::ClearText | Label::Plain(_) | Label::Salted(_) => None,
        Label::Unusable | Label::Unknown | Label::UnknownCrypt => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_one_price_differ_in_salt_and_hash_alone() {
        for (stored, expected) in [
            ("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Some("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1")),
            ("{PBKDF2-SHA256}310000$c2FsdA$aGFzaA", Some("{PBKDF2-SHA256}310000")),
            ("{CRYPT}$2b$12$xxxxxxxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", Some("{CRYPT}$2b$12")),
            ("{CRYPT}$6$rounds=9000$salt$hash", Some("{CRYPT}$6$rounds=9000")),
            ("{CRYPT}$6$salt$hash", Some("{CRYPT}$6")),
            ("{CRYPT}$y$j9T$salt$hash", Some("{CRYPT}$y$j9T")),
            ("{CRYPT}$7$CU..../....salt$hash", Some("{CRYPT}$7$CU..../....")),
            ("{CRYPT}$1$salt$hash", None),
            ("$6$salt$hash", Some("$6")),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", Some("$argon2id$v=19$m=19456,t=2,p=1")),
            ("{CRYPT}!", None),
            ("{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==", None),
            ("secret", None),
        ] {
            assert_eq!(price(stored), expected, "{stored}");
        }
    }

    #[test]
    fn a_name_keeps_its_decoy_and_every_price_is_somebodys() {
        let decoys = Decoys::default();
        assert_eq!(decoys.pick("nobody"), None);
        for stored in ["{SSHA}x", "{CRYPT}$6$a$b", "{CRYPT}$6$c$d", "{PBKDF2}10$a$b"] {
            decoys.learn(stored);
        }
        let picked = |number: u32| decoys.pick(&format!("nobody {number}"));
        let all: std::collections::BTreeSet<_> = (0..64).map(|number| picked(number).unwrap()).collect();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["{CRYPT}$6$a$b", "{PBKDF2}10$a$b"]);
        assert!((0..64).all(|number| picked(number) == picked(number)));
        (0..100).for_each(|rounds| decoys.learn(&format!("{{PBKDF2}}{rounds}$a$b")));
        assert_eq!(decoys.0.lock().unwrap().len(), MAX_PRICES);
    }
}
