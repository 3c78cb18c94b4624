//! Stored passwords: whatever stands in a directory costs what it may, and matches nothing but its password.

use policy_server::digest::{Label, MAX_PASSWORD, Policy, label, verify};

/// The stored value up to the first line feed, then the password.
pub fn digests(data: &[u8]) {
    let (stored, password) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, b"password".as_slice()),
    };
    let Ok(stored) = std::str::from_utf8(stored) else { return };
    let label = label(stored);
    let (strict, lenient) = (Policy { allow_cleartext: false }, Policy { allow_cleartext: true });
    assert!(!verify(stored, &[b'x'; MAX_PASSWORD + 1], lenient));
    if !label.is_usable() {
        assert!(!verify(stored, password, lenient), "a value that is not usable matched");
        return;
    }
    if label == Label::ClearText {
        assert!(!verify(stored, password, strict), "a stored clear text matched although it must not");
        return;
    }
    if is_cheap(stored) && verify(stored, password, strict) {
        // DES looks at eight bytes and bcrypt at 72, so the change is at the front.
        let mut other = password.to_owned();
        match other.first_mut() {
            Some(first) => *first ^= 1,
            None => other.push(b'x'),
        }
        assert!(!verify(stored, &other, strict), "two passwords match");
    }
}

/// Whether a run has the time for it. The caps allow up to two seconds each, which are tested elsewhere.
fn is_cheap(stored: &str) -> bool {
    let stored = stored.to_ascii_lowercase();
    let numbers = stored.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
    let bare = Some(stored.as_str()).filter(|stored| stored.starts_with('$') && !stored.starts_with("$argon2"));
    match stored.strip_prefix("{crypt}").or(bare) {
        // A digit of the base-64 alphabet names the costs of these.
        Some(value) if value.starts_with(['_']) => value.get(1..5).is_some_and(|rounds| rounds.ends_with("..")),
        Some(value) if value.starts_with("$y$") || value.starts_with("$7$") => false,
        Some(value) if value.starts_with("$2") => value.get(4..6).is_some_and(|cost| cost <= "05"),
        Some(value) if value.starts_with(['$']) => value.strip_prefix("$5$rounds=").is_none_or(|rest| rest.len() < 4),
        Some(_) => true,
        None if stored.starts_with("{argon2}") || stored.starts_with("$argon2") => costs(&stored) <= 64,
        None if stored.starts_with("{pbkdf2") => numbers.max().is_none_or(|number| number <= 1000),
        None => true,
    }
}

/// The product of `m=`, `t=` and `p=`; a value without them is refused before it costs anything.
fn costs(stored: &str) -> u64 {
    let cost = |name: &str| {
        let (_, rest) = stored.split_once(name)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    ["m=", "t=", "p="].into_iter().filter_map(cost).fold(1, u64::saturating_mul)
}
