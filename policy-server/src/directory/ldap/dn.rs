//! Distinguished names as text (RFC 4514). Pure.

use std::fmt::Write;

/// One `attribute=value`, the value unescaped. An RDN may hold several.
type Ava = (String, Vec<u8>);

/// A value as a name spells it.
pub fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (place, c) in value.chars().enumerate() {
        let edge = place == 0 && matches!(c, ' ' | '#') || place == last && c == ' ';
        if edge || c.is_control() || matches!(c, '"' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') {
            for byte in c.to_string().bytes() {
                // Writing to a string does not fail.
                let _ = write!(out, "\\{byte:02x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A form in which two spellings of one name are the same text, whatever the case of their values: most attributes that
/// names are made of do not care about it. `None` where it is not a name.
pub fn key(dn: &str) -> Option<String> {
    let names = parse(dn)?.into_iter().map(|rdn| {
        let mut avas: Vec<String> = rdn
            .into_iter()
            .map(|(attribute, value)| {
                let value = String::from_utf8_lossy(&value).to_lowercase();
                format!("{}={}", attribute, escape(&value.split_whitespace().collect::<Vec<_>>().join(" ")))
            })
            .collect();
        avas.sort();
        avas.join("+")
    });
    Some(names.collect::<Vec<_>>().join(","))
}

/// Whether `dn` is `base` or stands below it.
pub fn is_within(dn: &str, base: &str) -> bool {
    match (key(dn), key(base)) {
        (Some(dn), Some(base)) => base.is_empty() || dn == base || dn.ends_with(&format!(",{base}")),
        _ => false,
    }
}

/// The first attribute of the name and its value, if that is text.
pub fn first(dn: &str) -> Option<(String, String)> {
    let (attribute, value) = parse(dn)?.into_iter().next()?.into_iter().next()?;
    Some((attribute, String::from_utf8(value).ok()?))
}

/// From the leaf to the root. Attributes in lower case.
fn parse(dn: &str) -> Option<Vec<Vec<Ava>>> {
    if dn.trim().is_empty() {
        return Some(Vec::new());
    }
    let (mut names, mut rdn) = (Vec::new(), Vec::new());
    let mut rest = dn;
    loop {
        let (attribute, after) = rest.split_once('=')?;
        let attribute = attribute.trim();
        if !super::filter::is_description(attribute) {
            return None;
        }
        let (value, end) = value(after)?;
        rdn.push((attribute.to_ascii_lowercase(), value));
        let mut chars = end.chars();
        match chars.next() {
            None => {
                names.push(rdn);
                return Some(names);
            }
            Some('+') => {}
            Some(_) => names.push(std::mem::take(&mut rdn)),
        }
        rest = chars.as_str();
    }
}

/// The value at the beginning of `text`, and what follows: nothing, or something that begins with `,`, `;` or `+`.
fn value(text: &str) -> Option<(Vec<u8>, &str)> {
    let text = text.trim_start_matches(' ');
    let end = |rest: &str| rest.is_empty() || rest.starts_with([',', ';', '+']);
    // The BER of a value that is no text: no user or group is named by that.
    if text.starts_with('#') {
        return None;
    }
    // How much of the value cannot be trailing space.
    let (mut value, mut kept, mut rest) = (Vec::new(), 0, text);
    while let Some(c) = rest.chars().next().filter(|_| !end(rest)) {
        rest = rest.get(c.len_utf8()..)?;
        if c == '\\' {
            let digits = rest.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let escaped = rest.chars().next()?;
            match byte {
                Some(byte) => value.push(byte),
                None => value.extend_from_slice(escaped.to_string().as_bytes()),
            }
            rest = rest.get(if byte.is_some() { 2 } else { escaped.len_utf8() }..)?;
            kept = value.len();
        } else {
            value.extend_from_slice(c.to_string().as_bytes());
            kept = if c == ' ' { kept } else { value.len() };
        }
    }
    value.truncate(kept);
    Some((value, rest))
}

/// A name with `{0}` in it, to be replaced by an escaped value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnPattern(String);

impl DnPattern {
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pattern = Self(text.to_owned());
        if pattern.attribute().is_none() {
            return Err(format!("`{text}` is not a name that begins as in `uid={{0}},ou=people,dc=example,dc=org`"));
        }
        match text.matches("{0}").count() {
            1 => Ok(pattern),
            _ => Err(format!("`{text}`: `{{0}}` must be there once")),
        }
    }

    pub fn with(&self, value: &str) -> String {
        self.0.replacen("{0}", &escape(value), 1)
    }

    /// What all names of the pattern stand directly below.
    pub fn parent(&self) -> &str {
        let mut rest = self.0.as_str();
        while let Some((_, end)) = rest.split_once('=').and_then(|(_, after)| value(after)) {
            match end.strip_prefix('+') {
                Some(more) => rest = more,
                None => return end.get(1..).unwrap_or_default().trim_start(),
            }
        }
        ""
    }

    /// The attribute whose value `{0}` is. `None` where it is not the first of the name.
    pub fn attribute(&self) -> Option<String> {
        first(&self.0).filter(|(_, value)| value == "{0}").map(|(attribute, _)| attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let pattern = DnPattern::parse("uid={0},ou=people,dc=example,dc=test").unwrap();
        assert_eq!(pattern.attribute().as_deref(), Some("uid"));
        let names =
            ["alice", " a", "a ", " ", "  ", "#a", "a#", "a,ou=x", "a+cn=b", "a\"<>;=\\", "a\0b", "ä, b", "{0}"];
        for name in names {
            let dn = pattern.with(name);
            let parsed = parse(&dn).unwrap();
            assert_eq!(parsed.len(), 4, "{dn}");
            assert_eq!(parsed[0], [("uid".to_owned(), name.as_bytes().to_vec())], "{dn}");
            assert!(is_within(&dn, "OU=People, DC=Example,dc=test"), "{dn}");
        }
        for (pattern, parent) in [
            ("uid={0},ou=people,dc=test", "ou=people,dc=test"),
            ("uid={0}+cn=a\\,b=c, ou=people", "ou=people"),
            ("uid={0}", ""),
        ] {
            assert_eq!(DnPattern::parse(pattern).unwrap().parent(), parent, "{pattern}");
        }
        for wrong in ["", "uid=x,dc=test", "ou=people,uid={0}", "uid={0}x,dc=test", "{0}", "uid={0},ou={0}"] {
            assert!(DnPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spellings_of_one_name_have_one_key() {
        for (one, other, same) in [
            ("uid=alice,dc=test", "UID=Alice, DC=TEST", true),
            ("uid=a\\2cb,dc=test", "uid=a\\,b,dc=test", true),
            ("cn=a+sn=b,dc=test", "sn=b+cn=a;dc=test", true),
            ("cn=a  b ,dc=test", "cn=a b,dc=test", true),
            ("cn=a\\ ,dc=test", "cn=a,dc=test", true),
            ("cn=ä,dc=test", "cn=\\c3\\a4,dc=test", true),
            ("cn=a,dc=test", "cn=a,dc=test2", false),
            ("cn=a,dc=test", "cn=a\\,dc=test", false),
        ] {
            assert_eq!(key(one).unwrap() == key(other).unwrap(), same, "{one} {other}");
        }
        for wrong in ["alice", "=alice", "u id=a", "cn=a,", "cn=a,b", "cn=a\\", "cn=#04024869,dc=test"] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
        assert!(is_within("cn=a,dc=test", "") && !is_within("cn=a,dc=atest", "dc=test"));
        assert!(!is_within("", "dc=test") && !is_within("cn=x\\,dc=test", "dc=test"));
    }
}
