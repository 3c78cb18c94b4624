//! Accounts whose keys were opened a while ago, ready to sign again.
//!
//! To open a key, read it and sign with it for the first time costs two thirds of a signature of 4096 bits more than the
//! signature, and an enrolment needs three. What is remembered never stands for what the store says: it counts for exactly
//! the same sealed key and certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{AccountAuthority, PkiError};
use crate::token::KeyRing;

/// With about 16 KiB each.
const KEPT: usize = 512;

pub struct OpenedAccounts {
    keys: KeyRing,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    by_id: HashMap<String, Opened>,
    /// Counts uses.
    clock: u64,
}

struct Opened {
    sealed: Vec<u8>,
    account: Arc<AccountAuthority>,
    used: u64,
}

impl OpenedAccounts {
    pub fn new(keys: KeyRing) -> Self {
        Self { keys, recent: Mutex::default() }
    }

    /// As [`AccountAuthority::open`].
    pub fn open(&self, id: &str, sealed: &[u8], certificate: &[u8]) -> Result<Arc<AccountAuthority>, PkiError> {
        if let Some(account) = self.recent().find(id, sealed, certificate) {
            return Ok(account);
        }
        // Not under the lock: two at once open it twice.
        let account = Arc::new(AccountAuthority::open(id, sealed, certificate.to_vec(), &self.keys)?);
        self.recent().keep(id, sealed, &account);
        Ok(account)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn find(&mut self, id: &str, sealed: &[u8], certificate: &[u8]) -> Option<Arc<AccountAuthority>> {
        let found = self.by_id.get_mut(id)?;
        if found.sealed != sealed || found.account.certificate_der() != certificate {
            return None;
        }
        self.clock += 1;
        found.used = self.clock;
        Some(Arc::clone(&found.account))
    }

    fn keep(&mut self, id: &str, sealed: &[u8], account: &Arc<AccountAuthority>) {
        self.clock += 1;
        let opened = Opened { sealed: sealed.to_vec(), account: Arc::clone(account), used: self.clock };
        self.by_id.insert(id.to_owned(), opened);
        if self.by_id.len() > KEPT {
            let oldest = self.by_id.iter().min_by_key(|(_, opened)| opened.used).map(|(id, _)| id.clone());
            oldest.map(|id| self.by_id.remove(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pki::{CaKey, OrganisationCa, RsaKey, Urls, seal_account_key};
    use crate::token::Key;

    /// A sealed account key with two certificates.
    fn account(keys: &KeyRing) -> (String, Vec<u8>, [Vec<u8>; 2]) {
        let now = Timestamp::now();
        let certificate = include_bytes!("../../../tests/data/jami/authority.der").to_vec();
        let key = CaKey::from_pkcs8(include_bytes!("../../../tests/data/jami/authority.p8")).unwrap();
        let ca = OrganisationCa::new(key, certificate).unwrap();
        let key = RsaKey::small();
        let issue = || ca.issue_account("alice", &key, i64::MAX, now, &Urls::default()).unwrap().der;
        (key.id(), seal_account_key(&key, keys).unwrap(), [issue(), issue()])
    }

    #[test]
    fn what_is_remembered_counts_for_the_same_input_only() {
        let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
        let (id, sealed, [first, second]) = account(&keys);
        let opened = OpenedAccounts::new(keys.clone());
        let account = opened.open(&id, &sealed, &first).unwrap();
        assert_eq!(account.id(), id);
        assert!(Arc::ptr_eq(&account, &opened.open(&id, &sealed, &first).unwrap()));
        let renewed = opened.open(&id, &sealed, &second).unwrap();
        assert_eq!(renewed.certificate_der(), second);
        let again = seal_account_key(account.key(), &keys).unwrap();
        assert!(!Arc::ptr_eq(&renewed, &opened.open(&id, &again, &second).unwrap()));
        let mut broken = sealed.clone();
        broken[20] ^= 1;
        assert!(matches!(opened.open(&id, &broken, &second), Err(PkiError::WrongKey)));
        assert!(matches!(opened.open("other", &sealed, &second), Err(PkiError::WrongKey)));
    }

    #[test]
    fn the_least_recently_used_is_forgotten() {
        let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
        let (id, sealed, [certificate, _]) = account(&keys);
        let account = Arc::new(AccountAuthority::open(&id, &sealed, certificate.clone(), &keys).unwrap());
        let mut recent = Recent::default();
        for number in 0..KEPT {
            recent.keep(&number.to_string(), &sealed, &account);
        }
        assert!(recent.find("0", &sealed, &certificate).is_some());
        recent.keep("one more", &sealed, &account);
        assert_eq!(recent.by_id.len(), KEPT);
        let mut found = |id: &str| recent.find(id, &sealed, &certificate).is_some();
        assert_eq!((found("0"), found("1"), found("2"), found("one more")), (true, false, true, true));
    }
}
