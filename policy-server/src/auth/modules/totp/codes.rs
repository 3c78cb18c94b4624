//! The codes of RFC 6238: of which kind they are, which one counts at a moment, and what an authenticator app is told
//! of them. Pure.

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

/// What kind of codes people's devices show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    algorithm: Algorithm,
    digits: u8,
    /// Seconds of a time step.
    period: u64,
    /// Time steps by which a device's clock may be wrong.
    skew: u16,
}

/// What a device is told when a person is enrolled. It holds the secret: to be shown once.
pub struct Invitation {
    /// `otpauth://totp/…`, as authenticator apps read it from a QR code.
    pub uri: Zeroizing<String>,
    /// The secret alone, in base32, for typing.
    pub secret: Zeroizing<String>,
}

impl Codes {
    pub fn take(options: &mut Options, problems: &mut Problems) -> Self {
        let algorithm = options.take_parsed("algorithm", Algorithm::SHA1, "SHA1, SHA256 or SHA512", problems);
        let mut number = |name: &str, default, least: u64, most| {
            let line = options.line_of(name);
            let number = options.take_parsed(name, default, "a number", problems);
            if !(least..=most).contains(&number) {
                problems.add(options.file(), line, format!("option `{name}`: write {least} to {most}"));
            }
            number
        };
        let (digits, period, skew) =
            (number("digits", 6, 6, 8), number("period", 30, 15, 300), number("skew", 1, 0, 4));
        // What is out of range was reported, and is never used.
        Self { algorithm, digits: u8::try_from(digits).unwrap_or(6), period, skew: u16::try_from(skew).unwrap_or(0) }
    }

    /// Bytes of a secret: as many as the hash has (RFC 6238, section 5.1).
    pub fn secret_length(&self) -> usize {
        match self.algorithm {
            Algorithm::SHA256 => 32,
            Algorithm::SHA512 => 64,
            _ => 20,
        }
    }

    /// The time step of which this is the code, if that is now or within the skew. `now` is in seconds since 1970. Blanks
    /// within the code are for people.
    pub fn step_of(&self, secret: &[u8], code: &str, now: i64) -> Option<i64> {
        let code: String = code.split_whitespace().collect();
        let step = self.totp(secret)?.check(&code, u64::try_from(now).ok()?)?;
        i64::try_from(step).ok()
    }

    /// `None` where issuer or account cannot stand in such an address: a colon parts them.
    pub fn invite(&self, secret: &[u8], issuer: &str, account: &str) -> Option<Invitation> {
        let named = self.builder(secret).with_issuer(Some(issuer)).with_account_name(account);
        let totp = named.build().ok().filter(|_| !issuer.is_empty() && !account.is_empty())?;
        let uri = Zeroizing::new(totp.to_url().ok()?);
        Some(Invitation { uri, secret: Zeroizing::new(totp.secret().to_base32()) })
    }

    fn totp(&self, secret: &[u8]) -> Option<Totp> {
        self.builder(secret).build().ok()
    }

    fn builder(&self, secret: &[u8]) -> Builder {
        Builder::new()
            .with_algorithm(self.algorithm)
            .with_digits(self.digits)
            .with_step_duration(self.period)
            .with_skew(self.skew)
            .with_secret(Secret::from(secret))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn codes(text: &str) -> (Codes, String) {
        let mut problems = Problems::default();
        let mut options = Options::from_properties(Path::new("t"), text, &mut problems);
        let codes = Codes::take(&mut options, &mut problems);
        options.finish(&mut problems);
        (codes, problems.to_string())
    }

    /// RFC 6238, appendix B: seconds since 1970, and the codes with SHA-1, SHA-256 and SHA-512.
    const VECTORS: [(i64, [&str; 3]); 6] = [
        (59, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, ["69279037", "90698825", "38618901"]),
        (20_000_000_000, ["65353130", "77737706", "47863826"]),
    ];

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (place, algorithm) in ["SHA1", "SHA256", "SHA512"].iter().enumerate() {
            let (codes, problems) = codes(&format!("algorithm={algorithm}\ndigits=8\nskew=0"));
            assert_eq!(problems, "");
            let secret: Vec<u8> = b"1234567890".iter().copied().cycle().take(codes.secret_length()).collect();
            for (now, expected) in VECTORS {
                let step = now / 30;
                let code = expected[place];
                for (at, found) in [(now, Some(step)), (step * 30 - 1, None), (step * 30 + 30, None), (-now, None)] {
                    assert_eq!(codes.step_of(&secret, code, at), found, "{algorithm} {now} {at}");
                }
                assert_eq!(codes.step_of(&secret, &format!(" {} {} ", &code[..4], &code[4..]), now), Some(step));
                for wrong in
                    ["", &code[1..], &format!("{code}0"), &code.replace(&code[..1], "x"), &format!("+{}", &code[1..])]
                {
                    assert_eq!(codes.step_of(&secret, wrong, now), None, "{wrong}");
                }
            }
        }
    }

    #[test]
    fn a_clock_may_be_wrong_by_the_skew() {
        for skew in 0..=4 {
            let (codes, _) = codes(&format!("digits=8\nskew={skew}"));
            let (now, [code, ..]) = VECTORS[3];
            for late in -5..=5_i64 {
                let found = codes.step_of(b"12345678901234567890", code, now + late * 30);
                assert_eq!(found.is_some(), late.abs() <= skew, "skew {skew}, {late} steps late");
                assert!(found.is_none_or(|step| step == now / 30), "the step is the code's own");
            }
        }
    }

    #[test]
    fn what_makes_no_good_codes_is_refused() {
        for (text, expected) in [
            ("algorithm=MD5", "t:1: property `algorithm`: `MD5` is not SHA1, SHA256 or SHA512"),
            ("digits=5", "t:1: option `digits`: write 6 to 8"),
            ("digits=9", "t:1: option `digits`: write 6 to 8"),
            ("digits=six", "t:1: property `digits`: `six` is not a number"),
            ("period=0", "t:1: option `period`: write 15 to 300"),
            ("skew=5", "t:1: option `skew`: write 0 to 4"),
            ("skew=-1", "t:1: property `skew`: `-1` is not a number"),
            ("diggits=6", "t:1: unknown property `diggits`, did you mean `digits`?"),
        ] {
            assert_eq!(codes(text).1, expected);
        }
    }

    #[test]
    fn an_app_is_told_all_it_needs() {
        let (codes, _) = codes("algorithm=SHA256\ndigits=8\nperiod=60");
        let secret = [7; 32];
        let invitation = codes.invite(&secret, "My Site", "alice@example.org").unwrap();
        let known = Totp::from_url(&*invitation.uri).unwrap();
        assert_eq!((known.issuer(), known.account_name()), (Some("My Site"), "alice@example.org"));
        assert_eq!((known.algorithm(), known.digits(), known.step()), (Algorithm::SHA256, 8, 60));
        assert_eq!(
            (known.secret().as_bytes(), known.secret().to_base32()),
            (secret.as_slice(), invitation.secret.to_string())
        );
        for (issuer, account) in [("a:b", "alice"), ("Cams", "a:b"), ("", "alice"), ("Cams", "")] {
            assert!(codes.invite(&secret, issuer, account).is_none(), "{issuer} {account}");
        }
    }
}
