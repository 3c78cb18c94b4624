//! `{PBKDF2…}` as passlib and OpenLDAP's pw-pbkdf2 write it, and `{ARGON2}` with the PHC string of the reference
//! implementation.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};
use base64::{Engine, engine::DecodePaddingMode};
use pbkdf2::pbkdf2_hmac;
use zeroize::Zeroize;

use super::{Hash, decimal, same};

/// Rounds of PBKDF2: three times what OWASP asks of SHA-256, about two seconds of SHA-512.
const MAX_PBKDF2_ROUNDS: u32 = 2_000_000;
/// KiB of memory an Argon2 digest may ask for: 256 MiB.
const MAX_ARGON2_MEMORY: u32 = 256 * 1024;
/// KiB times passes: one GiB written, about a second.
const MAX_ARGON2_WORK: u64 = 1024 * 1024;
const MAX_ARGON2_LANES: u32 = 64;
/// Bytes of an Argon2 salt or hash.
const MAX_ARGON2_FIELD: usize = 256;

/// passlib's ab64: `.` for `+`, no padding; both also read ordinary base64.
const AB64: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Blocks of 1 KiB that a [`Memory`] keeps: 32 MiB. Allocators give a larger piece back to the system as soon as it is
/// free; smaller ones they keep, and one for every thread that ever hashed.
const KEPT_BLOCKS: usize = 32 * 1024;

/// What Argon2 works in, kept from one hash to the next. Its content makes a password much cheaper to guess: whoever
/// keeps one wipes it when no hash follows that would write over it. Dropped, it is wiped.
#[derive(Debug, Default)]
pub struct Memory {
    blocks: Vec<Block>,
    /// So many of them may hold something.
    used: usize,
}

impl Memory {
    fn with<T>(&mut self, count: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        if count > KEPT_BLOCKS {
            return Self::default().run(count, work);
        }
        self.run(count, work)
    }

    fn run<T>(&mut self, count: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        if self.blocks.len() < count {
            self.wipe();
            // Not grown in place: there is nothing to copy.
            self.blocks = Vec::new();
            self.blocks.resize(count, Block::new());
        }
        self.used = self.used.max(count);
        work(self.blocks.get_mut(..count).unwrap_or_default())
    }

    pub fn wipe(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.blocks.iter_mut().take(used).for_each(Zeroize::zeroize);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.wipe();
    }
}

pub(super) fn check_pbkdf2(hash: Hash, value: &str, password: &[u8]) -> Option<bool> {
    let (rounds, rest) = value.split_once('$')?;
    let (salt, expected) = rest.split_once('$')?;
    let rounds = decimal(rounds).filter(|rounds| (1..=MAX_PBKDF2_ROUNDS).contains(rounds))?;
    let decode = |text: &str| AB64.decode(text.replace('.', "+")).ok();
    let salt = decode(salt)?;
    let expected = decode(expected).filter(|bytes| bytes.len() == hash.size())?;
    // HMAC fills its key with zeros: to it, NULs at the end of a password are not there.
    if password.ends_with(&[0]) {
        return Some(false);
    }
    Some(same(&pbkdf2(hash, rounds, &salt, password)?, &expected))
}

/// The key as long as the hash; `None` for the hashes that no label pairs with PBKDF2.
pub(super) fn pbkdf2(hash: Hash, rounds: u32, salt: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let mut key = vec![0; hash.size()];
    match hash {
        Hash::Sha1 => pbkdf2_hmac::<sha1::Sha1>(password, salt, rounds, &mut key),
        Hash::Sha256 => pbkdf2_hmac::<sha2::Sha256>(password, salt, rounds, &mut key),
        Hash::Sha512 => pbkdf2_hmac::<sha2::Sha512>(password, salt, rounds, &mut key),
        Hash::Md5 | Hash::Sha384 => return None,
    }
    Some(key)
}

pub(super) fn ab64(bytes: &[u8]) -> String {
    AB64.encode(bytes).replace('+', ".")
}

/// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`; without `v=` it is version 1.0, as the reference implementation has it.
pub(super) fn check_argon2(value: &str, password: &[u8], memory: &mut Memory) -> Option<bool> {
    let (algorithm, rest) = value.strip_prefix('$')?.split_once('$')?;
    let algorithm = match algorithm {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return None,
    };
    let (version, rest) = match rest.strip_prefix("v=") {
        Some(rest) => {
            let (version, rest) = rest.split_once('$')?;
            (Version::try_from(decimal(version)?).ok()?, rest)
        }
        None => (Version::V0x10, rest),
    };
    let (costs, rest) = rest.split_once('$')?;
    let (salt, expected) = rest.split_once('$')?;
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() <= MAX_ARGON2_FIELD);
    let (salt, expected) = (decode(salt)?, decode(expected)?);
    let params = argon2_params(costs, expected.len())?;
    let mut actual = vec![0; expected.len()];
    memory.with(params.block_count(), |blocks| {
        let argon2 = Argon2::new(algorithm, version, params);
        argon2.hash_password_into_with_memory(password, &salt, &mut actual, blocks).ok()
    })?;
    Some(same(&actual, &expected))
}

fn argon2_params(costs: &str, size: usize) -> Option<Params> {
    let (memory, rest) = costs.strip_prefix("m=")?.split_once(",t=")?;
    let (passes, lanes) = rest.split_once(",p=")?;
    let (memory, passes, lanes) = (decimal(memory)?, decimal(passes)?, decimal(lanes)?);
    let bearable = memory <= MAX_ARGON2_MEMORY
        && lanes <= MAX_ARGON2_LANES
        && u64::from(memory) * u64::from(passes) <= MAX_ARGON2_WORK;
    bearable.then(|| Params::new(memory, passes, lanes, Some(size)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_wiped_whatever_was_hashed_in_it() {
        let mut memory = Memory::default();
        let is_clean = |memory: &Memory| memory.blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0));
        for costs in [64, 16, 128, 8] {
            let stored = format!("$argon2id$v=19$m={costs},t=1,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA");
            assert_eq!(check_argon2(&stored, b"x", &mut memory), Some(false));
            assert!(!is_clean(&memory), "{costs}");
        }
        memory.wipe();
        assert!(is_clean(&memory) && memory.blocks.len() == 128);
    }
}
