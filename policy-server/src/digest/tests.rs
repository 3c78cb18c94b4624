//! Digests made by other programs, and what hostile values may do: nothing.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    stored: String,
    password_hex: String,
    expect: bool,
    allow_cleartext: bool,
}

impl Vector {
    fn password(&self) -> Vec<u8> {
        let digits: Vec<u32> = self.password_hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }

    fn policy(&self) -> Policy {
        Policy { allow_cleartext: self.allow_cleartext }
    }
}

const CLEAR: Policy = Policy { allow_cleartext: true };

fn vectors() -> Vec<Vector> {
    let files =
        [include_str!("../../../tests/data/passwords.json"), include_str!("../../../tests/data/passwords-crypt.json")];
    files.iter().flat_map(|text| serde_json::from_str::<Vectors>(text).unwrap().vectors).collect()
}

#[test]
fn vectors_of_other_programs() {
    let wrong: Vec<String> = vectors()
        .into_iter()
        .filter(|vector| verify(&vector.stored, &vector.password(), vector.policy()) != vector.expect)
        .map(|vector| vector.id)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(vectors().len() > 250);
}

/// Every positive vector stops matching when its password changes where the format looks at it.
#[test]
fn other_passwords_never_match() {
    for vector in vectors().into_iter().filter(|vector| vector.expect) {
        let mut password = vector.password();
        match password.first_mut() {
            Some(first) => *first ^= 1,
            None => password.push(b'x'),
        }
        assert!(!verify(&vector.stored, &password, vector.policy()), "{}", vector.id);
    }
}

#[test]
fn a_nul_neither_truncates_nor_repeats() {
    for vector in vectors().into_iter().filter(|vector| vector.expect) {
        let password = vector.password();
        for tail in [&b"\0"[..], b"\0tail", &[b"\0", &password[..]].concat()] {
            let with_nul = [&password[..], tail].concat();
            assert!(!verify(&vector.stored, &with_nul, vector.policy()), "{}", vector.id);
        }
    }
}

/// Values that no password matches, least of all the empty one or themselves.
#[test]
fn values_that_match_nothing() {
    let sha512 = "AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.";
    let bcrypt = "5v3yKWr5HK4CEwIzJoT8.u8oU4kke2NcfqWGKMLi1uiOxwuVV6KwC";
    let yescrypt = "$4Manwqem/.Qn54wk2O74I/$Em.vcrWNu37c5wm/GSDVBEc2FlyxmJc0B3tgO7vR3k5";
    let argon2 = "cs6Z8x6jlPIe41wLoTQmxA$MG0A0J2AXnhy3EzegNWh+f5BxJR7y5kq91dpMLJOE6g";
    let mut values: Vec<String> = ["", "*", "!", "!!", "x", "*0", "*1", "*LK*"]
        .into_iter()
        .flat_map(|marker| ["", "{CRYPT}", "{CLEARTEXT}", "{SSHA}", "{ARGON2}"].map(|label| format!("{label}{marker}")))
        .collect();
    for crypt in [
        // Rounds: out of range, not canonical, beyond the cap.
        &format!("$6$rounds=999$saltstring${sha512}"),
        &format!("$6$rounds=05000$saltstring${sha512}"),
        &format!("$6$rounds=+5000$saltstring${sha512}"),
        &format!("$6$rounds=$saltstring${sha512}"),
        &format!("$6$rounds=999999999$saltstring${sha512}"),
        &format!("$6$rounds=4294972296$saltstring${sha512}"),
        &format!("$6$saltstring${sha512}$"),
        &format!("$6$saltstring${sha512} "),
        &format!("$6$saltstring$${sha512}"),
        &format!("$5$saltstring${sha512}"),
        &format!("$6$saltstringsaltstring${sha512}"),
        // Versions and costs of bcrypt that libxcrypt refuses, ignores or would take hours for.
        &format!("$2$05${bcrypt}"),
        &format!("$2x$05${bcrypt}"),
        &format!("$2c$05${bcrypt}"),
        &format!("$2b$+5${bcrypt}"),
        &format!("$2b$5${bcrypt}"),
        &format!("$2b$00${bcrypt}"),
        &format!("$2b$31${bcrypt}"),
        &format!("$2b$99${bcrypt}"),
        // yescrypt: gigabytes, N of 2^63, a string of parameters that goes on.
        &format!("$y$jFT{yescrypt}"),
        &format!("$y$jxxx{yescrypt}"),
        &format!("$y$jzzzzzz{yescrypt}"),
        &format!("$y$j9T.{yescrypt}"),
        &format!("$y$j9Tj{yescrypt}"),
        &format!("$y${yescrypt}"),
        "$7$z6....1....salt$LQf6YPAEK3HaEWHiQBrQ.v9jKZb9sKbEXWjGs15LJED",
        "$7$A.....1....salt$LQf6YPAEK3HaEWHiQBrQ.v9jKZb9sKbEXWjGs15LJED",
        "$7$A6.........salt$LQf6YPAEK3HaEWHiQBrQ.v9jKZb9sKbEXWjGs15LJED",
        "$7$Azzzzzzzzzzsalt$LQf6YPAEK3HaEWHiQBrQ.v9jKZb9sKbEXWjGs15LJED",
        "_zzzz....qv914M7v2rI",
        "ab",
        "abNANd1rDfiN",
        "abNANd1rDfiNcc",
        "$3$$8846f7eaee8fb117ad06bdd830b7586c",
    ] {
        values.push(format!("{{CRYPT}}{crypt}"));
    }
    for costs in [
        "m=4294967295,t=2,p=1",
        "m=1024,t=4294967295,p=1",
        "m=262144,t=5,p=1",
        "m=1024,t=2,p=65",
        "m=1024,t=0,p=1",
        "m=7,t=2,p=1",
        "m=8,t=2,p=2",
        "m=0,t=2,p=0",
        "m=01024,t=2,p=1",
        "t=2,m=1024,p=1",
        "m=1024,t=2",
        "m=1024,t=2,p=1,keyid=AAAA",
        "m=+1024,t=2,p=1",
        "m=4294968320,t=2,p=1",
    ] {
        values.push(format!("{{ARGON2}}$argon2id$v=19${costs}${argon2}"));
    }
    for value in ["$argon2x$v=19$m=1024,t=2,p=1$", "$argon2id$v=18$m=1024,t=2,p=1$", "argon2id$v=19$m=1024,t=2,p=1$"] {
        values.push(format!("{{ARGON2}}{value}{argon2}"));
    }
    for rounds in ["0", "", "010000", "+10000", "-1", "4294977296", "2000001", "1e4"] {
        values.push(format!("{{PBKDF2}}{rounds}$zTmHsHYuhZDSWmuN8f5fCw$Lvpb26U4/Nj5vy7B6J/18XKpnwA"));
    }
    // Wrong lengths, no salt, base64 that is unpadded or not canonical, hexadecimal.
    for value in [
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfR=",
        "{SHA}",
        "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
        "{ROT13}frperg",
        "{SHA-1}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{PBKDF2-MD5}1$c2FsdA$c2FsdA",
        "{ }x",
        "{SHA }x",
        // Without a label: schemes nobody knows, malformed, locked.
        "$9$salt$hash",
        "$ecret$1",
        "$3$$8846f7eaee8fb117ad06bdd830b7586c",
        "$md5,rounds=1$salt$$hash",
        "$pbkdf2-sha256$1000$c2FsdA$c2FsdA",
        "$6$salt$hash with a space",
        "$6$$",
        "$argon2id$secret",
        "!$6$saltstring$x",
        "!!$y$j9T$x$x",
        "*$9$x",
    ] {
        values.push(value.to_owned());
    }
    for value in values {
        let (_, bare) = label::split(&value);
        for password in ["secret", "", bare, &value] {
            assert!(!verify(&value, password.as_bytes(), CLEAR), "{value:?} matched {password:?}");
        }
    }
}

#[test]
fn clear_text_needs_consent() {
    for (stored, password) in
        [("secret", "secret"), ("{CleartexT}secret", "secret"), ("{}secret", "{}secret"), ("{SSHAabc", "{SSHAabc")]
    {
        assert!(verify(stored, password.as_bytes(), CLEAR), "{stored}");
        assert!(!verify(stored, password.as_bytes(), Policy::default()), "{stored}");
        assert_eq!(label(stored).to_string(), "clear text");
        assert!(label(stored).is_legacy());
    }
}

/// As columns hold them that came from /etc/shadow, or from a library that writes PHC strings.
#[test]
fn crypt_strings_need_no_label() {
    let mut checked = 0;
    for vector in vectors() {
        let bare = vector.stored.strip_prefix("{CRYPT}").or(vector.stored.strip_prefix("{ARGON2}"));
        let Some(bare) = bare.filter(|bare| bare.starts_with('$')) else { continue };
        for policy in [CLEAR, Policy::default()] {
            assert_eq!(verify(bare, &vector.password(), policy), vector.expect, "{}", vector.id);
            assert!(!verify(bare, bare.as_bytes(), policy), "the stolen digest is no password: {}", vector.id);
        }
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
    for stored in ["$", "$$", "$5", "5$6$7", "$ 6$x", "pa$6$word", "$é$x", "!pass", "a!$6$x"] {
        assert!(verify(stored, stored.as_bytes(), CLEAR), "{stored} is no crypt string");
    }
    assert!(verify("{CLEARTEXT}$9$x", b"$9$x", CLEAR), "whoever says so means it");
}

#[test]
fn long_passwords_never_match() {
    let longest = "x".repeat(MAX_PASSWORD);
    let longer = "x".repeat(MAX_PASSWORD + 1);
    assert!(verify(&longest, longest.as_bytes(), CLEAR));
    assert!(!verify(&longer, longer.as_bytes(), CLEAR));
    assert_eq!(create(Scheme::Ssha, longer.as_bytes(), SALT_OF_TESTS), Err(DigestError::TooLong(MAX_PASSWORD)));
}

#[test]
fn labels_say_what_is_stored() {
    for (stored, shown, legacy) in [
        ("{sSHa}x", "{SSHA}", true),
        ("{SHA512}x", "{SHA512}", true),
        ("{PBKDF2-SHA512}x", "{PBKDF2-SHA512}", false),
        ("{ARGON2}x", "{ARGON2}", false),
        ("{crypt}abNANd1rDfiNc", "{CRYPT} (DES)", true),
        ("{CRYPT}$1$a$b", "{CRYPT} (MD5)", true),
        ("{CRYPT}$2y$a$b", "{CRYPT} (bcrypt)", false),
        ("{CRYPT}!$2y$a$b", "locked or malformed", false),
        ("", "locked or malformed", false),
        ("{ROT13}x", "an unknown label", false),
        ("$6$a$b", "{CRYPT} (SHA-512)", false),
        ("$1$a$b", "{CRYPT} (MD5)", true),
        ("$argon2id$a", "{ARGON2}", false),
        ("!$6$a$b", "locked or malformed", false),
    ] {
        assert_eq!((label(stored).to_string().as_str(), label(stored).is_legacy()), (shown, legacy), "{stored}");
        assert_eq!(label(stored).is_usable(), shown.starts_with('{'), "{stored}");
    }
}

#[test]
fn created_digests_match_their_password() {
    for scheme in Scheme::ALL {
        let digest = create(scheme, b"secret", SALT_OF_TESTS).unwrap();
        assert!(verify(&digest, b"secret", Policy::default()), "{digest}");
        assert_eq!(create(scheme, b"", SALT_OF_TESTS), Err(DigestError::Empty));
        for name in [scheme.to_string(), format!("{{{scheme}}}"), scheme.to_string().to_lowercase()] {
            assert_eq!(name.parse(), Ok(scheme));
        }
    }
    assert_eq!("argon2id".parse(), Ok(Scheme::default()));
    assert!("MD5".parse::<Scheme>().unwrap_err().to_string().contains("ARGON2, YESCRYPT"));
    for scheme in [Scheme::Bcrypt, Scheme::Yescrypt, Scheme::Sha512Crypt] {
        assert_eq!(create(scheme, b"a\0b", SALT_OF_TESTS), Err(DigestError::Nul));
    }
    assert_eq!(create(Scheme::Pbkdf2Sha256, b"a\0", SALT_OF_TESTS), Err(DigestError::Nul));
    let salted = |byte| create(Scheme::Ssha, b"secret", [byte; SALT]);
    assert_ne!(salted(1), salted(2));
    assert_eq!(create(Scheme::Bcrypt, &[b'x'; 73], SALT_OF_TESTS), Err(DigestError::TooLong(72)));
}

const SALT_OF_TESTS: [u8; SALT] = *b"0123456789abcdef";

/// xorshift64*: the same mutants in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn mutate(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let odd: Vec<char> = "$$$./+=,019zAj_{}*! \n\0é\u{7f}\u{10ffff}".chars().collect();
        for _ in 0..=self.below(3) {
            let at = self.below(chars.len().max(1)).min(chars.len());
            match self.below(6) {
                0 => chars.insert(at, self.pick(&odd)),
                1 => chars.truncate(at),
                2 => chars.extend_from_within(at..),
                _ if chars.is_empty() => {}
                3 => drop(chars.remove(at)),
                4 => chars[at] = self.pick(&odd),
                _ => chars[at] = char::from(b'!' + self.below(94) as u8),
            }
        }
        chars.into_iter().collect()
    }
}

/// The spellings that are read alike, as one.
fn meaning(stored: &str) -> String {
    let (name, value) = stored.split_once('}').unwrap_or(("", stored));
    let value = match name.to_ascii_uppercase() {
        name if name.starts_with("{PBKDF2") => value.replace('.', "+").replace('=', ""),
        name if name == "{CRYPT" => value.replace("$2a$", "$2b$").replace("$2y$", "$2b$"),
        name if name.contains("MD5") || name.contains("SHA") => value.split_ascii_whitespace().collect(),
        _ => value.to_owned(),
    };
    format!("{}}}{value}", name.to_ascii_uppercase())
}

#[test]
fn mutants_neither_panic_nor_match() {
    let mut random = Random(0x5eed);
    for vector in vectors().into_iter().filter(|vector| vector.expect && !vector.allow_cleartext) {
        let password = vector.password();
        // The empty password is a weak key of DES, whose hash depends on no salt.
        let rounds = if password.is_empty() { 0 } else { 25 };
        for _ in 0..rounds {
            let mutant = random.mutate(&vector.stored);
            let _ = label(&mutant).to_string();
            if verify(&mutant, &password, Policy::default()) {
                assert_eq!(meaning(&mutant), meaning(&vector.stored), "{}", vector.id);
            }
        }
    }
}

#[test]
fn rubbish_behind_every_prefix_neither_panics_nor_matches() {
    let mut random = Random(42);
    let prefixes = [
        "{SHA}",
        "{SSHA}",
        "{PBKDF2}",
        "{PBKDF2-SHA512}1$",
        "{ARGON2}",
        "{ARGON2}$argon2d$v=16$m=64,t=1,p=1$",
        "{CRYPT}",
        "{CRYPT}_",
        "{CRYPT}$1$",
        "{CRYPT}$5$",
        "{CRYPT}$6$rounds=",
        "{CRYPT}$2b$04$",
        "{CRYPT}$y$",
        "{CRYPT}$7$",
        "{",
    ];
    for prefix in prefixes {
        for _ in 0..400 {
            let length = random.below(100);
            let alphabet = b"./019AZaz$$=,+ mtp";
            let rubbish: String = (0..length).map(|_| char::from(random.pick(alphabet))).collect();
            assert!(!verify(&format!("{prefix}{rubbish}"), b"secret", Policy::default()), "{prefix}{rubbish}");
        }
    }
}
