//! Sealing: AES-256-GCM under a ring of keys, bound to what the sealed value is for.
//!
//! A sealed value opens only with the key it names and for the purpose it was sealed for: the purpose is the
//! additional authenticated data, so a value moved to another record, user or field does not open.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key as AesKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const NONCE: usize = 12;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Deliberately one error for a bad tag, an unknown key and a malformed value: the difference would be an oracle.
    #[error("the sealed value cannot be opened with the configured keys")]
    Unusable,
    #[error("the key is not 32 bytes in base64")]
    BadKey,
    #[error("the system's random number generator failed")]
    Random,
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

/// As many random letters and digits, none of which can be mistaken for another; five bits each.
pub fn readable(length: usize) -> Result<String, SealError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut random).map_err(|_| SealError::Random)?;
    Ok(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).map(|c| char::from(*c)).collect())
}

/// A 256-bit key and the id that sealed values name it by.
#[derive(Clone)]
pub struct Key {
    id: [u8; KEY_ID],
    bytes: Zeroizing<[u8; 32]>,
}

impl Key {
    pub fn generate() -> Result<Self, SealError> {
        Ok(Self::from_bytes(random()?))
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::new().chain_update(b"cams key id").chain_update(bytes).finalize().into();
        let mut id = [0; KEY_ID];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// # Errors
    /// [`SealError::BadKey`] unless `text` is 32 bytes in base64.
    pub fn from_base64(text: &[u8]) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim_ascii()).map_err(|_| SealError::BadKey)?);
        Ok(Self::from_bytes(bytes.as_slice().try_into().map_err(|_| SealError::BadKey)?))
    }

    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_slice()))
    }

    /// Eight bytes of a hash of the key, in hexadecimal: safe to show.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&AesKey::<Aes256Gcm>::from(*self.bytes))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// What a sealed value is for. Parts are length-prefixed, so no two lists of parts read the same.
#[derive(Debug, Clone)]
pub struct Purpose(Vec<u8>);

impl Purpose {
    pub fn new(parts: &[&str]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(bytes)
    }
}

/// The key that seals, and older ones that still open.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: Key,
    previous: Vec<Key>,
}

impl KeyRing {
    pub fn new(current: Key, previous: Vec<Key>) -> Self {
        Self { current, previous }
    }

    /// version ‖ key id ‖ nonce ‖ ciphertext and tag. The nonce is random: 2^32 values under one key keep the chance of
    /// a repeated one below 2^-32 (NIST SP 800-38D, section 8.3).
    pub fn seal(&self, purpose: &Purpose, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = random::<NONCE>()?;
        let sealed = self
            .current
            .cipher()
            .encrypt(&nonce.into(), Payload { msg: plain, aad: &aad(purpose, &self.current) })
            .map_err(|_| SealError::Unusable)?;
        Ok([&[VERSION], self.current.id.as_slice(), &nonce, &sealed].concat())
    }

    /// Says nothing of the text to whoever lacks the current key, and the same of the same text for the same purpose.
    pub fn keyed_hash(&self, purpose: &Purpose, text: &[u8]) -> [u8; 32] {
        let key =
            Zeroizing::new(hmac(self.current.bytes.as_slice(), &[b"cams keyed hash", purpose.0.as_slice()].concat()));
        hmac(key.as_slice(), text)
    }

    pub fn open(&self, purpose: &Purpose, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::Unusable)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID>().ok_or(SealError::Unusable)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Unusable)?;
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        let key = keys.find(|key| key.id == *id).ok_or(SealError::Unusable)?;
        key.cipher()
            .decrypt(&(*nonce).into(), Payload { msg: text, aad: &aad(purpose, key) })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Unusable)
    }
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A block of the hash; no key here is longer.
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&(*block).into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The version and key id are authenticated with the purpose.
fn aad(purpose: &Purpose, key: &Key) -> Vec<u8> {
    [&[VERSION], key.id.as_slice(), &purpose.0].concat()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new(Key::from_bytes([1; 32]), vec![Key::from_bytes([2; 32])])
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_only() {
        let purpose = Purpose::new(&["agent-ca", "1"]);
        let sealed = ring().seal(&purpose, b"secret").unwrap();
        assert_eq!(ring().open(&purpose, &sealed).unwrap().as_slice(), b"secret");
        for other in [vec!["agent-ca", "2"], vec!["agent-ca1"], vec!["agent-ca", "1", ""], vec![]] {
            assert_eq!(ring().open(&Purpose::new(&other), &sealed).unwrap_err(), SealError::Unusable);
        }
    }

    #[test]
    fn no_nonce_is_used_twice() {
        const COUNT: usize = 1_000_000;
        let (ring, purpose) = (ring(), Purpose::new(&["p"]));
        let start = 1 + KEY_ID;
        let nonce = |_| -> [u8; NONCE] { ring.seal(&purpose, b"").unwrap()[start..start + NONCE].try_into().unwrap() };
        let mut nonces: Vec<_> = (0..COUNT).map(nonce).collect();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), COUNT);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused_alike() {
        let purpose = Purpose::new(&["p"]);
        let sealed = ring().seal(&purpose, b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring().open(&purpose, &changed).unwrap_err(), SealError::Unusable, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(ring().open(&purpose, &sealed[..length]).unwrap_err(), SealError::Unusable);
        }
    }

    /// RFC 4231, case 2.
    #[test]
    fn a_keyed_hash_depends_on_key_purpose_and_text() {
        let jefe = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&jefe), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let purpose = Purpose::new(&["p"]);
        let hash = ring().keyed_hash(&purpose, b"x");
        assert_eq!(hash, ring().keyed_hash(&purpose, b"x"));
        let other_key = KeyRing::new(Key::from_bytes([2; 32]), vec![]);
        assert_ne!(hash, other_key.keyed_hash(&purpose, b"x"));
        assert_ne!(hash, ring().keyed_hash(&Purpose::new(&["q"]), b"x"));
        assert_ne!(hash, ring().keyed_hash(&purpose, b"y"));
    }

    #[test]
    fn previous_keys_open_but_do_not_seal() {
        let purpose = Purpose::new(&["p"]);
        let old = KeyRing::new(Key::from_bytes([2; 32]), vec![]);
        let sealed_by_old = old.seal(&purpose, b"x").unwrap();
        assert!(ring().open(&purpose, &sealed_by_old).is_ok());
        assert!(old.open(&purpose, &ring().seal(&purpose, b"x").unwrap()).is_err());
    }

    #[test]
    fn keys_read_back_and_never_show() {
        let key = Key::from_bytes([7; 32]);
        let again = Key::from_base64(key.to_base64().as_bytes()).unwrap();
        assert_eq!(again.id(), key.id());
        assert_eq!(format!("{key:?}"), format!("Key({})", key.id()));
        for bad in ["", "AAAA", "not base64!"] {
            assert_eq!(Key::from_base64(bad.as_bytes()).unwrap_err(), SealError::BadKey);
        }
    }
}
