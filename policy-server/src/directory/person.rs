//! Names and people, whatever directory they are in. Pure.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

/// Characters of a field of a profile.
const MAX_TEXT: usize = 256;
/// Bytes of what a name is compared by: an index takes no more.
const MAX_KEY: usize = 1024;

/// The name of a user or a group. Two that differ in case, or in how their characters are composed, are the same.
#[derive(Debug, Clone)]
pub struct Name {
    text: String,
    key: String,
}

/// Why a text is no name, or no field of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    #[error("it is empty")]
    Empty,
    #[error("it is too long")]
    Long,
    #[error("it has blanks around it")]
    Blanks,
    #[error("it holds control or invisible characters")]
    Invisible,
}

impl FromStr for Name {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let text = line(text)?;
        if text.is_empty() {
            return Err(BadText::Empty);
        }
        let key = fold(&text);
        if key.len() > MAX_KEY {
            return Err(BadText::Long);
        }
        Ok(Self { text, key })
    }
}

impl Name {
    /// As it was given, composed (NFC).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is compared by.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text of one line in which everything can be seen, composed (NFC); it may be empty.
///
/// # Errors
/// What is wrong with it.
pub fn line(text: &str) -> Result<String, BadText> {
    let text: String = text.nfc().collect();
    if text.chars().count() > MAX_TEXT {
        return Err(BadText::Long);
    }
    if text.trim() != text {
        return Err(BadText::Blanks);
    }
    if text.chars().any(is_invisible) {
        return Err(BadText::Invisible);
    }
    Ok(text)
}

/// Controls, and what has no width, breaks lines or turns the direction of the text (the `Default_Ignorable_Code_Point`s
/// of Unicode among it).
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// What texts are compared by that may differ in case and in the forms of their characters.
pub fn fold(text: &str) -> String {
    let upper = text.nfkc().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().collect()
}

/// What is known of a person besides the name. An empty text means nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    pub given_name: String,
    pub family_name: String,
    pub mail: String,
    pub phone: String,
    pub organisation: String,
}

impl Profile {
    pub fn full_name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name).trim().to_owned()
    }

    /// What a directory's attributes say of a person, by the names that are usual for them. `value` gives the value of an
    /// attribute whose name is in lower case, without hyphens and underscores. What does not fit into a field is left out.
    pub fn of<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let first = |names: &[&str]| {
            let mut fit = names.iter().filter_map(|name| line(value(name)?.trim()).ok());
            fit.find(|text| !text.is_empty()).unwrap_or_default()
        };
        let family_name = first(&["familyname", "sn", "surname", "lastname"]);
        let mut given_name = first(&["givenname", "firstname"]);
        if given_name.is_empty() && family_name.is_empty() {
            given_name = first(&["displayname", "fullname", "cn", "name"]);
        }
        let mail = first(&["mail", "email", "emailaddress"]);
        let phone = first(&["phone", "telephonenumber", "telephone"]);
        let organisation = first(&["organisation", "organization", "o", "company"]);
        Self { given_name, family_name, mail, phone, organisation }
    }
}

/// Whether a text that was folded is in what a search looks at. It looks at lines, so that it does not find the end of one
/// together with the start of the next.
pub fn is_found(folded: &str, name: &str, profile: &Profile) -> bool {
    searchable(name, profile).contains(folded)
}

/// What a search looks at.
pub fn searchable(name: &str, profile: &Profile) -> String {
    fold(&format!("{name}\n{}\n{}", profile.mail, profile.full_name()))
}

/// Somebody in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// What the directory knows the person by for ever: another person of the same name has another.
    pub id: String,
    pub name: String,
    #[serde(flatten)]
    pub profile: Profile,
    /// Whether the account may be used, as far as nothing has ended.
    pub enabled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, BadText> {
        text.parse::<Name>().map(|name| name.key().to_owned())
    }

    #[test]
    fn spellings_of_one_name_are_one() {
        for spellings in [
            &["alice", "Alice", "ALICE", "ａｌｉｃｅ"][..],
            &["zoë", "ZOË", "zoe\u{308}"],
            &["strauß", "STRAUSS", "strauss"],
            &["ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"],
            &["anna smith", "Anna Smith"],
        ] {
            for other in spellings {
                assert_eq!(key(other), key(spellings[0]), "{other}");
            }
        }
        assert_ne!(key("zoe"), key("zoë"));
        assert_eq!("Zoe\u{308}".parse::<Name>().unwrap().text(), "Zoë");
    }

    #[test]
    fn attributes_have_several_names() {
        let profile = |attributes: &[(&str, &str)]| {
            let found = |name: &str| attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            Profile::of(found)
        };
        let known = profile(&[("sn", "Ng"), ("givenname", " Ann "), ("cn", "X"), ("mail", "a@b"), ("o", "Acme")]);
        assert_eq!(
            (known.full_name().as_str(), known.mail.as_str(), known.organisation.as_str()),
            ("Ann Ng", "a@b", "Acme")
        );
        assert_eq!(profile(&[("cn", "Ann Ng")]).full_name(), "Ann Ng");
        assert_eq!(profile(&[("displayname", "Ann\0"), ("cn", "Ann"), ("mail", &"x".repeat(300))]).full_name(), "Ann");
        assert_eq!(profile(&[("displayname", "\u{202e}nnA")]), Profile::default());
    }

    #[test]
    fn names_can_be_seen() {
        for (text, expected) in [
            ("", BadText::Empty),
            (" alice", BadText::Blanks),
            ("alice\u{a0}", BadText::Blanks),
            ("al\nice", BadText::Invisible),
            ("al\0ice", BadText::Invisible),
            ("al\u{200b}ice", BadText::Invisible),
            ("\u{202e}ecila", BadText::Invisible),
            ("al\u{ad}ice", BadText::Invisible),
            ("al\u{61c}ice", BadText::Invisible),
            ("al\u{70f}ice", BadText::Invisible),
            ("al\u{fe0f}ice", BadText::Invisible),
        ] {
            assert_eq!(key(text), Err(expected), "{text:?}");
        }
        for long in ["x".repeat(257), "\u{fdfa}".repeat(50)] {
            assert_eq!(key(&long), Err(BadText::Long));
        }
        for good in ["alice", "o'neill", "alice@example.org", "姓名", "a,b;c%_!", &"é".repeat(256)] {
            assert!(key(good).is_ok(), "{good}");
        }
    }
}
