//! What can be told of an RSA modulus by dividing it by small primes: that it has such a factor, or that a generator made
//! it whose keys can be factored. Says nothing about any other way in which a key can be bad.

/// No factor is smaller than this (NIST SP 800-89, section 5.3.3).
const SMALL: u64 = 752;
/// Primes of keys of 2048 bits and more that have the weakness are powers of the generator modulo all primes up to this.
const ROCA: u64 = 701;
const GENERATOR: u64 = 65_537;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weakness {
    SmallFactor,
    Roca,
}

/// The modulus is big-endian. That a sound one of 2048 bits looks as if it had ROCA happens once in more than 2^100.
pub(super) fn weakness(modulus: &[u8]) -> Option<Weakness> {
    let primes = (2..SMALL).filter(|number| is_prime(*number));
    let remainders: Vec<(u64, u64)> = primes.map(|prime| (prime, remainder(modulus, prime))).collect();
    if remainders.iter().any(|(_, rest)| *rest == 0) {
        return Some(Weakness::SmallFactor);
    }
    // Nemec and others, The Return of Coppersmith's Attack (CCS 2017), section 2.
    let has_print = |(prime, rest): &(u64, u64)| *prime > ROCA || is_generated(*rest, *prime);
    remainders.iter().all(has_print).then_some(Weakness::Roca)
}

fn is_prime(number: u64) -> bool {
    (2..number).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn remainder(number: &[u8], divisor: u64) -> u64 {
    number.chunks(4).fold(0, |rest, chunk| chunk.iter().fold(rest, |rest, byte| rest << 8 | u64::from(*byte)) % divisor)
}

/// Whether some power of the generator leaves this rest, which is not zero.
fn is_generated(rest: u64, prime: u64) -> bool {
    let next = |power: &u64| Some(power * GENERATOR % prime).filter(|power| *power != 1);
    std::iter::successors(Some(1 % prime), next).any(|power| power == rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_ordinary_numbers() {
        for number in [0_u64, 1, 255, 256, 65_537, 0xfedc_ba98_7654_3210, u64::MAX] {
            for length in 0..8 {
                let bytes = number.to_be_bytes();
                let (number, bytes) = (number & (u64::MAX >> (8 * length)), &bytes[length..]);
                for divisor in [2, 3, 7, 251, 701, 751] {
                    assert_eq!(remainder(bytes, divisor), number % divisor, "{number} {divisor}");
                }
            }
        }
    }

    #[test]
    fn primes_are_primes() {
        let primes: Vec<_> = (2..SMALL).filter(|number| is_prime(*number)).collect();
        assert_eq!((primes.len(), primes.first(), primes.last()), (133, Some(&2), Some(&751)));
    }

    #[test]
    fn powers_of_the_generator_are_found_and_nothing_else() {
        // 65537 is 1 modulo 2 and 4 modulo 13, whose powers are 1, 4, 3, 12, 9, 10.
        let found = |prime| (1..prime).filter(|rest| is_generated(*rest, prime)).collect::<Vec<_>>();
        assert_eq!((found(2), found(13)), (vec![1], vec![1, 3, 4, 9, 10, 12]));
    }
}
