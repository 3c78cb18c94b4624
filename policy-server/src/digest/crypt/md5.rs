//! `$1$salt$hash`, the MD5-based crypt of FreeBSD.

use md5::{Digest, Md5};

use super::{encode, same};

const ROUNDS: u32 = 1000;
const MAX_SALT: usize = 8;
const HASH_DIGITS: usize = 22;
/// Which byte of the digest goes where.
const ORDER: [usize; 16] = [12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];

pub(super) fn check(value: &str, password: &[u8]) -> Option<bool> {
    let (salt, expected) = value.strip_prefix("$1$")?.split_once('$')?;
    if salt.len() > MAX_SALT || expected.len() != HASH_DIGITS {
        return None;
    }
    let digest = md5_crypt(password, salt.as_bytes());
    let ordered: Vec<u8> = ORDER.iter().filter_map(|&index| digest.get(index).copied()).collect();
    Some(same(encode(&ordered).as_bytes(), expected.as_bytes()))
}

fn md5_crypt(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut hasher = Md5::new().chain_update(password).chain_update("$1$").chain_update(salt);
    hasher.update(inner.iter().copied().cycle().take(password.len()).collect::<Vec<u8>>());
    let mut length = password.len();
    while length > 0 {
        // Part of the algorithm by an old mistake: a zero byte, or the password's first byte, for each bit.
        hasher.update(if length & 1 == 1 { &[0] } else { password.get(..1).unwrap_or_default() });
        length >>= 1;
    }
    let mut digest = hasher.finalize();
    for round in 0..ROUNDS {
        let mut hasher = Md5::new();
        hasher.update(if round % 2 == 1 { password } else { &digest });
        if round % 3 != 0 {
            hasher.update(salt);
        }
        if round % 7 != 0 {
            hasher.update(password);
        }
        hasher.update(if round % 2 == 1 { &digest } else { password });
        digest = hasher.finalize();
    }
    digest.to_vec()
}
