//! `$y$params$salt$hash`, yescrypt, and `$7$`, classic scrypt, which yescrypt contains.

use yescrypt::{Mode, Params};

use super::{decode, encode, number, same};

/// Bytes: `128 * N * r`.
const MAX_MEMORY: u64 = 256 << 20;
/// Bytes of memory times lanes times passes: about two seconds.
const MAX_WORK: u64 = 1 << 30;
/// Block size times lanes; it drives memory and time outside the work above.
const MAX_LANE_BLOCKS: u64 = 4096;
/// yescrypt's extra passes; nothing in use asks for any.
const MAX_PASSES: u32 = 4;
const HASH_SIZE: usize = 32;
/// Bytes of a yescrypt salt.
const MAX_SALT: usize = 64;

/// What mkpasswd and Debian's PAM write: 16 MiB.
pub(in super::super) const YESCRYPT_PARAMS: &str = "j9T";

pub(super) fn check_yescrypt(value: &str, password: &[u8]) -> Option<bool> {
    let (params, rest) = value.strip_prefix("$y$")?.split_once('$')?;
    let (salt, expected) = rest.split_once('$')?;
    let salt = decode(salt).filter(|salt| salt.len() <= MAX_SALT)?;
    Some(same(yescrypt(params, &salt, password)?.as_bytes(), expected.as_bytes()))
}

/// The hash part of a `$y$` string.
pub(in super::super) fn yescrypt(params: &str, salt: &[u8], password: &[u8]) -> Option<String> {
    let parsed: Params = params.parse().ok()?;
    // The passes cannot be asked for: they are those with which the same parameters come out.
    let modes = [Mode::Rw, Mode::Worm, Mode::Classic];
    let passes = (0..=MAX_PASSES).find(|&passes| {
        let made = |mode| Params::new_with_all_params(mode, parsed.n(), parsed.r(), parsed.p(), passes, 0);
        modes.into_iter().any(|mode| made(mode) == Ok(parsed))
    })?;
    // The costs first: a parameter string that is out of all bounds cannot be written again.
    (bearable(&parsed, passes) && parsed.to_string() == params).then(|| hash(&parsed, salt, password)).flatten()
}

/// One digit for log2 N, five each for r and p, then the salt as it is up to the last `$`.
pub(super) fn check_scrypt(value: &str, password: &[u8]) -> Option<bool> {
    let (setting, expected) = value.strip_prefix("$7$")?.rsplit_once('$')?;
    let log_n = number(setting.get(..1)?)?;
    let (r, p) = (number(setting.get(1..6)?)?, number(setting.get(6..11)?)?);
    let n = 1u64.checked_shl(log_n).filter(|_| log_n > 0 && r > 0 && p > 0)?;
    let params = Params::new(Mode::Classic, n, r, p).ok().filter(|params| bearable(params, 0))?;
    Some(same(hash(&params, setting.get(11..)?.as_bytes(), password)?.as_bytes(), expected.as_bytes()))
}

fn bearable(params: &Params, passes: u32) -> bool {
    let (r, p) = (u64::from(params.r()), u64::from(params.p()));
    let memory = params.n().saturating_mul(128).saturating_mul(r);
    let work = memory.saturating_mul(p).saturating_mul(u64::from(passes) + 1);
    memory <= MAX_MEMORY && work <= MAX_WORK && r.saturating_mul(p) <= MAX_LANE_BLOCKS
}

fn hash(params: &Params, salt: &[u8], password: &[u8]) -> Option<String> {
    let mut hash = [0; HASH_SIZE];
    yescrypt::yescrypt(password, salt, params, &mut hash).ok()?;
    Some(encode(&hash))
}
