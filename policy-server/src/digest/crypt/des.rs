//! The DES-based crypts: the traditional one (two characters of salt) and BSDi's (`_`, rounds, salt).
//!
//! DES with a salt that swaps bits of its expansion, which no DES library offers; FIPS 46-3 has the tables. Table
//! look-ups depend on the password, as in every crypt(3): these are formats to migrate from.

use super::{digit, number, same};

const DES_ROUNDS: u32 = 25;
/// Of the 16,777,215 the format allows: about a second, and 138 times its usual 7,250.
const MAX_BSDI_ROUNDS: u32 = 1_000_000;

const IP: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32,
    24, 16, 8, 57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47,
    39, 31, 23, 15, 7,
];
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21,
    61, 29, 36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9,
    49, 17, 57, 25,
];
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36, 63, 55,
    47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30,
    40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4,
    25,
];
const SHIFTS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
/// Four rows of sixteen each, as hexadecimal digits: column 0 is the most significant one.
const S: [[u64; 4]; 8] = [
    [0xe4d1_2fb8_3a6c_5907, 0x0f74_e2d1_a6cb_9538, 0x41e8_d62b_fc97_3a50, 0xfc82_4917_5b3e_a06d],
    [0xf18e_6b34_972d_c05a, 0x3d47_f28e_c01a_69b5, 0x0e7b_a4d1_58c6_932f, 0xd8a1_3f42_b67c_05e9],
    [0xa09e_63f5_1dc7_b428, 0xd709_346a_285e_cbf1, 0xd649_8f30_b12c_5ae7, 0x1ad0_6987_4fe3_b52c],
    [0x7de3_069a_1285_bc4f, 0xd8b5_6f03_472c_1ae9, 0xa690_cb7d_f13e_5284, 0x3f06_a1d8_945b_c72e],
    [0x2c41_7ab6_853f_d0e9, 0xeb2c_47d1_50fa_3986, 0x421b_ad78_f9c5_630e, 0xb8c7_1e2d_6f09_a453],
    [0xc1af_9268_0d34_e75b, 0xaf42_7c95_61de_0b38, 0x9ef5_28c3_704a_1db6, 0x432c_95fa_be17_608d],
    [0x4b2e_f08d_3c97_5a61, 0xd0b7_491a_e35c_2f86, 0x14bd_c37e_af68_0592, 0x6bd8_14a7_950f_e23c],
    [0xd284_6fb1_a93e_50c7, 0x1fd8_a374_c56b_0e92, 0x7b41_9ce2_06ad_f358, 0x21e7_4a8d_fc90_356b],
];

pub(super) fn check(value: &str, password: &[u8]) -> Option<bool> {
    let (salt, expected) = value.split_at_checked(2)?;
    Some(hash_equals(key(password), number(salt)?, DES_ROUNDS, expected))
}

pub(super) fn check_bsdi(value: &str, password: &[u8]) -> Option<bool> {
    let (rounds, rest) = value.strip_prefix('_')?.split_at_checked(4)?;
    let (salt, expected) = rest.split_at_checked(4)?;
    let rounds = number(rounds).filter(|rounds| *rounds <= MAX_BSDI_ROUNDS)?;
    let mut blocks = password.chunks(8).map(key);
    let first = blocks.next().unwrap_or(0);
    let key = blocks.fold(first, |folded, next| encrypt(folded, folded, 0, 1) ^ next);
    // Zero rounds means one, as in libxcrypt.
    Some(hash_equals(key, number(salt)?, rounds.max(1), expected))
}

/// Seven bits of each of the first eight bytes; the lowest bit is DES's unused parity.
fn key(password: &[u8]) -> u64 {
    password.iter().chain(&[0; 8]).take(8).fold(0, |key, &byte| key << 8 | u64::from(byte << 1))
}

fn hash_equals(key: u64, salt: u32, rounds: u32, expected: &str) -> bool {
    let block = u128::from(encrypt(0, key, salt, rounds)) << 2;
    let actual: String = (0..11).rev().map(|index| digit((block >> (6 * index) & 63) as u64)).collect();
    same(actual.as_bytes(), expected.as_bytes())
}

/// DES, `rounds` times over. The initial and final permutations between two of them cancel out.
fn encrypt(block: u64, key: u64, salt: u32, rounds: u32) -> u64 {
    let keys = schedule(key);
    // The first bit of the salt goes with the first, that is the most significant, bit of the expansion.
    let swap = u64::from(salt.reverse_bits() >> 8);
    let permuted = permute(block, 64, &IP);
    let (mut left, mut right) = (permuted >> 32, permuted & 0xffff_ffff);
    for _ in 0..rounds {
        for key in keys {
            (left, right) = (right, left ^ feistel(right, key, swap));
        }
        (left, right) = (right, left);
    }
    permute(left << 32 | right, 64, &FP)
}

fn schedule(key: u64) -> [u64; 16] {
    const HALF: u64 = (1 << 28) - 1;
    let rotate = |half: u64, by: u32| (half << by | half >> (28 - by)) & HALF;
    let chosen = permute(key, 64, &PC1);
    let (mut left, mut right) = (chosen >> 28, chosen & HALF);
    SHIFTS.map(|by| {
        (left, right) = (rotate(left, by), rotate(right, by));
        permute(left << 28 | right, 56, &PC2)
    })
}

fn feistel(half: u64, key: u64, swap: u64) -> u64 {
    // The expansion: eight groups of six bits that overlap by two, also around the ends.
    let ring = (half & 1) << 33 | half << 1 | half >> 31;
    let expanded = (0..8).fold(0, |bits, group| bits << 6 | (ring >> (28 - 4 * group) & 63));
    let swapped = (expanded >> 24 ^ expanded) & swap;
    let mixed = expanded ^ (swapped << 24 | swapped) ^ key;
    let substituted = S.iter().enumerate().fold(0, |bits, (index, rows)| {
        let six = mixed >> (42 - 6 * index) & 63;
        let row = rows.get((six >> 4 & 2 | six & 1) as usize).copied().unwrap_or_default();
        bits << 4 | (row >> (60 - 4 * (six >> 1 & 15)) & 15)
    });
    permute(substituted, 32, &P)
}

/// Collects bits by their numbers, which count from 1 at the most significant of `width` bits.
fn permute(input: u64, width: u8, table: &[u8]) -> u64 {
    table.iter().fold(0, |output, &bit| output << 1 | (input >> (width - bit) & 1))
}
