//! `$5$` and `$6$`: `$6$[rounds=N$]salt$hash`, the SHA-crypt of Ulrich Drepper.
//!
//! Like libxcrypt, a number of rounds out of range is refused, not moved into it.

use sha_crypt::{Params, sha256_crypt, sha512_crypt};

use super::super::decimal;
use super::{encode, same};

const DEFAULT_ROUNDS: u32 = 5000;
/// About half a second; the format itself allows a thousand times more.
const MAX_ROUNDS: u32 = 1_000_000;
const MAX_SALT: usize = 16;
/// Which byte of the digest goes where.
const SHA256_ORDER: [usize; 32] = [
    20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28, 18, 29, 19, 9, 30,
    31,
];
const SHA512_ORDER: [usize; 64] = [
    42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8, 50, 51, 30, 9, 10,
    52, 31, 32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58, 37, 38, 17, 59, 60, 39, 18, 19, 61, 40,
    41, 20, 62, 63,
];

pub(super) fn check_sha256(value: &str, password: &[u8]) -> Option<bool> {
    let (rounds, salt, expected) = parse(value.strip_prefix("$5$")?)?;
    let digest = sha256_crypt(password, salt.as_bytes(), rounds);
    compare(&digest, &SHA256_ORDER, expected)
}

pub(super) fn check_sha512(value: &str, password: &[u8]) -> Option<bool> {
    let (rounds, salt, expected) = parse(value.strip_prefix("$6$")?)?;
    let digest = sha512_crypt(password, salt.as_bytes(), rounds);
    compare(&digest, &SHA512_ORDER, expected)
}

/// A new `$6$` string.
pub(in super::super) fn sha512(password: &[u8], salt: &str, rounds: u32) -> Option<String> {
    let digest = sha512_crypt(password, salt.as_bytes(), Params::new(rounds).ok()?);
    Some(format!("$6$rounds={rounds}${salt}${}", encode(&ordered(&digest, &SHA512_ORDER))))
}

fn parse(text: &str) -> Option<(Params, &str, &str)> {
    let (rounds, text) = match text.strip_prefix("rounds=") {
        Some(text) => text.split_once('$').and_then(|(rounds, text)| Some((decimal(rounds)?, text)))?,
        None => (DEFAULT_ROUNDS, text),
    };
    let (salt, expected) = text.split_once('$').filter(|(salt, _)| salt.len() <= MAX_SALT)?;
    let rounds = Params::new(rounds).ok().filter(|_| rounds <= MAX_ROUNDS)?;
    Some((rounds, salt, expected))
}

fn compare(digest: &[u8], order: &[usize], expected: &str) -> Option<bool> {
    Some(same(encode(&ordered(digest, order)).as_bytes(), expected.as_bytes()))
}

fn ordered(digest: &[u8], order: &[usize]) -> Vec<u8> {
    order.iter().filter_map(|&index| digest.get(index).copied()).collect()
}
