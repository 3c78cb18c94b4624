//! Which kind of value is stored: the label, and for `{CRYPT}` the prefix after it. Never shows any part of the value.

use std::fmt;

use super::{Crypt, Hash};

/// The kind of a stored password, for dispatch and for warnings when a user repository is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// No label, or `{CLEARTEXT}`.
    ClearText,
    /// An unsalted hash: `{MD5}`, `{SHA}`, `{SHA256}`…
    Plain(Hash),
    /// A salted hash: `{SMD5}`, `{SSHA}`, `{SSHA256}`…
    Salted(Hash),
    Pbkdf2(Hash),
    Argon2,
    Crypt(Crypt),
    /// Empty, a marker of a locked account, or a `{CRYPT}` value in no supported format: no password matches it.
    Unusable,
    /// A label nobody here knows: no password matches it.
    Unknown,
    /// No label, and in the form of crypt(3), but none that is known here: no password matches it.
    UnknownCrypt,
}

/// What shadow files and their imitations put in place of a password.
const LOCKED: [&str; 8] = ["", "*", "!", "!!", "x", "*0", "*1", "*LK*"];

const LABELS: [(&str, Label); 16] = [
    ("CLEARTEXT", Label::ClearText),
    ("MD5", Label::Plain(Hash::Md5)),
    ("SHA", Label::Plain(Hash::Sha1)),
    ("SHA256", Label::Plain(Hash::Sha256)),
    ("SHA384", Label::Plain(Hash::Sha384)),
    ("SHA512", Label::Plain(Hash::Sha512)),
    ("SMD5", Label::Salted(Hash::Md5)),
    ("SSHA", Label::Salted(Hash::Sha1)),
    ("SSHA256", Label::Salted(Hash::Sha256)),
    ("SSHA384", Label::Salted(Hash::Sha384)),
    ("SSHA512", Label::Salted(Hash::Sha512)),
    ("PBKDF2", Label::Pbkdf2(Hash::Sha1)),
    ("PBKDF2-SHA1", Label::Pbkdf2(Hash::Sha1)),
    ("PBKDF2-SHA256", Label::Pbkdf2(Hash::Sha256)),
    ("PBKDF2-SHA512", Label::Pbkdf2(Hash::Sha512)),
    ("ARGON2", Label::Argon2),
];

/// The kind of a stored value.
#[must_use]
pub fn label(stored: &str) -> Label {
    split(stored).0
}

/// The kind of a stored value and what follows its label. As in OpenLDAP, labels ignore case, and `{`, something, `}`
/// is a label even where nobody knows it. Without a label, `$id$…` says by itself what it is; anything else is clear text.
pub(super) fn split(stored: &str) -> (Label, &str) {
    let Some((name, value)) =
        stored.strip_prefix('{').and_then(|rest| rest.split_once('}')).filter(|(name, _)| !name.is_empty())
    else {
        return (unlabelled(stored), stored);
    };
    if name.eq_ignore_ascii_case("CRYPT") {
        return (Crypt::of(value).map_or(Label::Unusable, Label::Crypt), value);
    }
    match LABELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, Label::ClearText)) => (clear_text(value), value),
        Some((_, label)) => (*label, value),
        None => (Label::Unknown, value),
    }
}

/// Whoever stole a digest must not log in with it, so what looks like one of crypt(3) is never clear text.
fn unlabelled(stored: &str) -> Label {
    // How shadow files lock an account.
    let value = stored.trim_start_matches(['!', '*']);
    let id = value.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(id, _)| id);
    let is_id =
        |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_,=".contains(&byte));
    match id.filter(is_id) {
        None => clear_text(stored),
        Some(_) if value.len() < stored.len() => Label::Unusable,
        Some("argon2id" | "argon2i" | "argon2d") => Label::Argon2,
        Some(_) => Crypt::of(value).map_or(Label::UnknownCrypt, Label::Crypt),
    }
}

fn clear_text(value: &str) -> Label {
    if LOCKED.contains(&value) { Label::Unusable } else { Label::ClearText }
}

impl Label {
    /// Whether a stolen value gives its password away for little or nothing; replace it when its owner logs in next.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        match self {
            Self::ClearText | Self::Plain(_) | Self::Salted(_) => true,
            Self::Crypt(kind) => kind.is_legacy(),
            Self::Pbkdf2(_) | Self::Argon2 | Self::Unusable | Self::Unknown | Self::UnknownCrypt => false,
        }
    }

    /// Whether some password may match a value of this kind.
    #[must_use]
    pub fn is_usable(self) -> bool {
        !matches!(self, Self::Unusable | Self::Unknown | Self::UnknownCrypt)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClearText => f.write_str("clear text"),
            Self::Unusable => f.write_str("locked or malformed"),
            Self::Unknown => f.write_str("an unknown label"),
            Self::UnknownCrypt => f.write_str(
                "a `$…$` string of crypt(3) of no known scheme, or malformed (a clear-text password like that needs \
                 {CLEARTEXT})",
            ),
            Self::Crypt(kind) => write!(f, "{{CRYPT}} ({kind})"),
            // PBKDF2 comes first in the table under its bare name, which means SHA-1.
            known => match LABELS.iter().find(|(_, label)| label == known) {
                Some((name, _)) => write!(f, "{{{name}}}"),
                None => Err(fmt::Error),
            },
        }
    }
}
