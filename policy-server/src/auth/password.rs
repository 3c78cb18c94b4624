//! Which new passwords are taken: long enough, and not among those that are tried first. Pure.
//!
//! After NIST SP 800-63B: a length, a list of common passwords, and no rules about kinds of characters, which only make
//! people write `Password1!`. What was accepted once is never judged again at a login.

use std::time::Duration;

use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::digest::MAX_PASSWORD;
use crate::directory::person::{Name, fold};

/// In lower case.
const COMMON: &str = include_str!("password/common.txt");
/// A part this short, or a common password, does not get better by being repeated.
const SHORT_PART: usize = 4;

/// What a security domain demands of the passwords in its built-in directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// In characters.
    pub minimum_length: usize,
    /// After this long a password has to be changed.
    pub maximum_age: Option<Duration>,
    /// How many passwords a new one must differ from, the present one included.
    pub history: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { minimum_length: 12, maximum_age: None, history: 0 }
    }
}

/// Why a password is not taken. Never shows any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    #[error("it is shorter than {0} characters")]
    Short(usize),
    #[error("it is longer than {MAX_PASSWORD} bytes")]
    Long,
    #[error("it holds control characters or is not UTF-8: no login form could send it")]
    Untypable,
    #[error("it is the user's name")]
    Name,
    #[error("it is one of those that people choose most often")]
    Common,
    #[error("it repeats the same few characters, or only counts on")]
    Regular,
    #[error("it is one of the last {0}")]
    Used(usize),
}

impl PasswordPolicy {
    /// What is wrong with a new password of this user, former ones aside.
    pub fn weakness(&self, password: &Secret, user: &Name) -> Option<Weakness> {
        if password.expose().len() > MAX_PASSWORD {
            return Some(Weakness::Long);
        }
        let Some(text) = password.expose_str().filter(|text| !text.chars().any(char::is_control)) else {
            return Some(Weakness::Untypable);
        };
        // A person who typed blanks around it would never know.
        if text.trim().chars().count() < self.minimum_length {
            return Some(Weakness::Short(self.minimum_length));
        }
        let folded = Zeroizing::new(fold(text));
        let letters: Zeroizing<Vec<char>> = Zeroizing::new(folded.chars().collect());
        let part = letters.get(..period(&letters)).unwrap_or_default();
        let part_text = Zeroizing::new(part.iter().collect::<String>());
        if *part_text == user.key() {
            return Some(Weakness::Name);
        }
        if is_common(&part_text) {
            return Some(Weakness::Common);
        }
        (part.len() < SHORT_PART || counts_on(part)).then_some(Weakness::Regular)
    }
}

fn is_common(password: &str) -> bool {
    let lists = COMMON.lines().filter(|line| !line.starts_with('#'));
    lists.flat_map(str::split_ascii_whitespace).any(|common| common == password)
}

/// The length of the shortest beginning that makes up the whole by being repeated.
fn period(letters: &[char]) -> usize {
    let repeats = |length: &usize| letters.iter().zip(letters.iter().skip(*length)).all(|(a, b)| a == b);
    (1..letters.len()).filter(|length| letters.len().is_multiple_of(*length)).find(repeats).unwrap_or(letters.len())
}

/// `abcdefghijkl`, `987654321098`: each character is the one after, or before, the one that stands before it.
fn counts_on(letters: &[char]) -> bool {
    let step = |from: char, to: char| match (from, to) {
        ('9', '0') => 1,
        ('0', '9') => -1,
        _ => i64::from(u32::from(to)) - i64::from(u32::from(from)),
    };
    let steps = || letters.iter().zip(letters.iter().skip(1)).map(|(from, to)| step(*from, *to));
    steps().all(|step| step == 1) || steps().all(|step| step == -1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &PasswordPolicy, password: &str, expected: Option<Weakness>) {
        let user: Name = "Zoë.Längenfeld".parse().unwrap();
        assert_eq!(policy.weakness(&Secret::from(password), &user), expected, "{password:?}");
    }

    #[test]
    fn length_counts_and_kinds_of_characters_do_not() {
        let policy = PasswordPolicy::default();
        for (password, expected) in [
            ("correct horse", None),
            ("elevenchars", Some(Weakness::Short(12))),
            ("twelve chars", None),
            ("éééàààüüüööö", None),
            ("éééàààüüüöö", Some(Weakness::Short(12))),
            ("           x           ", Some(Weakness::Short(12))),
            ("", Some(Weakness::Short(12))),
            ("tab\tin the middle", Some(Weakness::Untypable)),
            ("a line of its own\n", Some(Weakness::Untypable)),
        ] {
            check(&policy, password, expected);
        }
        check(&policy, &"pass phrase ".repeat(400), Some(Weakness::Long));
        assert_eq!(
            policy.weakness(&Secret::new(*b"twelve \xff bytes"), &"a".parse().unwrap()),
            Some(Weakness::Untypable)
        );
    }

    #[test]
    fn what_is_tried_first_is_not_taken() {
        let policy = PasswordPolicy { minimum_length: 8, ..PasswordPolicy::default() };
        for common in COMMON.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_ascii_whitespace) {
            assert!(common.len() >= 8 && common == fold(common), "{common}");
        }
        for common in ["password1", "1qaz2wsx3edc", "leavemealone", "sonyericsson"] {
            for spelling in [common.to_owned(), common.to_uppercase(), common.repeat(2), common.repeat(3)] {
                check(&policy, &spelling, Some(Weakness::Common));
            }
            check(&policy, &format!("{common} of mine"), None);
        }
        for regular in
            ["zzzzzzzzzzzz", "xyzxyzxyzxyz", "0-0-0-0-0-0-", "abcdefghijklmnop", "567890123456", "210987654321"]
        {
            check(&policy, regular, Some(Weakness::Regular));
        }
        for name in ["Zoë.Längenfeld", "ZOË.LÄNGENFELD", "zoë.längenfeldzoë.längenfeld", "Zoe\u{308}.La\u{308}ngenfeld"]
        {
            check(&policy, name, Some(Weakness::Name));
        }
        check(&policy, "zoë.längenfeld+1", None);
    }
}
