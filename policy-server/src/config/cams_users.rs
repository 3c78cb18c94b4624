//! Reader of `cams-users.xml`: users with password digests, roles and attributes.
//!
//! ```xml
//! <cams-users>
//!   <user name="alice" password="{ARGON2}…" enabled="true" expires="2027-01-01" credential-expires="2027-01-01">
//!     <role name="user"/>
//!     <attribute namespace="person" name="mail" value="alice@example.com"/>
//!   </user>
//! </cams-users>
//! ```

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use sha2::{Digest as _, Sha256};
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use super::xml::{self, Element};
use crate::auth::account::{Account, parse_end};
use crate::auth::subject::Attributes;
use crate::digest::{self, Label};
use crate::token::hex;

#[derive(Debug, Clone)]
pub struct XmlUser {
    pub name: String,
    /// The digest as it stands in the file.
    pub password: Secret,
    pub account: Account,
    pub roles: BTreeSet<String>,
    pub attributes: Attributes,
}

/// The users of one file.
#[derive(Debug, Clone, Default)]
pub struct XmlUsers {
    users: HashMap<String, Arc<XmlUser>>,
    /// SHA-256 of the file, in hexadecimal.
    pub hash: String,
    /// What an admin should look at although it is no error: passwords nobody can log in with.
    pub warnings: Problems,
}

impl XmlUsers {
    pub fn find(&self, name: &str) -> Option<&Arc<XmlUser>> {
        self.users.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<XmlUser>> {
        self.users.values()
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// The hash [`XmlUsers`] made of this text would have.
pub fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// All users, or `None` with the reasons in `problems`.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<XmlUsers> {
    let before = problems.len();
    let mut warnings = Problems::default();
    let mut users = HashMap::new();
    let root = xml::parse_root(file, text, &["cams-users"], problems)?;
    root.only(&[], &["user"], problems);
    for element in root.children_named("user") {
        let Some(user) = user(element, problems, &mut warnings) else { continue };
        match users.entry(user.name.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::new(user));
            }
            Entry::Occupied(_) => element.problem(problems, format!("user `{}` is there twice", user.name)),
        }
    }
    (problems.len() == before).then(|| XmlUsers { users, hash: hash(text), warnings })
}

fn user(element: &Element, problems: &mut Problems, warnings: &mut Problems) -> Option<XmlUser> {
    const KNOWN: [&str; 5] = ["name", "password", "enabled", "expires", "credential-expires"];
    element.only(&KNOWN, &["role", "attribute"], problems);
    let account = Account {
        enabled: element.flag("enabled", true, problems),
        expires: end(element, "expires", problems),
        credential_expires: end(element, "credential-expires", problems),
    };
    let mut roles = BTreeSet::new();
    for role in element.children_named("role") {
        role.only(&["name"], &[], problems);
        roles.extend(name(role, "name", problems));
    }
    let mut attributes = Attributes::new();
    for attribute in element.children_named("attribute") {
        add_attribute(attribute, &mut attributes, problems);
    }
    let name = name(element, "name", problems);
    let password = element.require("password", problems);
    let (name, password) = (name?, password?);
    if let Some(warning) = password_warning(password) {
        element.problem(warnings, format!("user `{name}`: {warning}"));
    }
    Some(XmlUser { name, password: Secret::from(password), account, roles, attributes })
}

/// The same file with another digest for this user, and nothing else changed; `None` where the user does not have `old`.
pub fn with_digest(text: &str, user: &str, old: &str, new: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    loop {
        let start = usize::try_from(reader.buffer_position()).ok()?;
        let element = match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => element,
            Event::Eof => return None,
            _ => continue,
        };
        let value = |name| {
            let found = element.try_get_attribute(name).ok().flatten()?;
            let value = found.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
            Some((found.value.into_owned(), value))
        };
        let (Some((_, name)), Some((written, digest))) = (value("name"), value("password")) else { continue };
        if element.name().as_ref() != "user" || name != user || digest != old {
            continue;
        }
        // The value in its quotes; the user's name may be the same text.
        let quoted = ['"', '\''].map(|quote| format!("{quote}{written}{quote}"));
        let tag = text.get(start..usize::try_from(reader.buffer_position()).ok()?)?;
        let attribute = tag.find("password")?;
        let place = quoted.iter().find_map(|quoted| tag.get(attribute..)?.find(quoted.as_str()))?;
        let place = start + attribute + place + 1;
        let (before, after) = (text.get(..place)?, text.get(place + written.len()..)?);
        return Some([before, new, after].concat());
    }
}

/// A name that can be typed, listed and put into a header: no control characters, no blanks around it.
fn name(element: &Element, attribute: &str, problems: &mut Problems) -> Option<String> {
    let name = element.require(attribute, problems)?;
    if name.trim() != name || name.chars().any(char::is_control) {
        let message =
            format!("attribute `{attribute}` of <{}> has blanks around it or control characters", element.name);
        element.problem(problems, message);
        return None;
    }
    Some(name.to_owned())
}

fn end(element: &Element, attribute: &str, problems: &mut Problems) -> Option<Timestamp> {
    let text = element.attribute(attribute)?;
    let end = parse_end(text);
    if end.is_none() {
        let message = format!("attribute `{attribute}`: `{text}` is not like 2027-01-31 or 2027-01-31T18:00:00Z");
        element.problem(problems, message);
    }
    end
}

fn add_attribute(element: &Element, attributes: &mut Attributes, problems: &mut Problems) {
    element.only(&["namespace", "name", "value"], &[], problems);
    let namespace = name(element, "namespace", problems);
    let name = name(element, "name", problems);
    let value = element.attribute("value");
    match value {
        None => element.problem(problems, "<attribute> needs the attribute `value`"),
        Some(value) if value.chars().any(char::is_control) => {
            element.problem(problems, "attribute `value` of <attribute> has control characters");
        }
        Some(_) => {}
    }
    if let (Some(namespace), Some(name), Some(value)) = (namespace, name, value) {
        let earlier = attributes.entry(namespace).or_default().insert(name, value.to_owned());
        if earlier.is_some() {
            element.problem(problems, "this attribute is there twice");
        }
    }
}

/// What is wrong with a stored password, unless it was locked on purpose. Such a user cannot log in; the others can.
fn password_warning(stored: &str) -> Option<&'static str> {
    match digest::label(stored) {
        Label::Unknown => Some("the password has a {LABEL} nobody knows, so none matches: make one with `cams digest`"),
        Label::UnknownCrypt => Some(
            "the password is a `$…$` string of crypt(3) of no known scheme, so none matches: make a digest with \
             `cams digest`",
        ),
        Label::ClearText => Some(
            "the password is clear text, which counts only for login modules with allowCleartext=true: \
             make a digest with `cams digest`",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digest_is_replaced_and_nothing_else() {
        let file = "<cams-users>\n <!-- <user name='a' password='x'/> --><user name='b' password='x'/>\n \
                    <user password = 'x' name=\"a\" ><role name='x'/></user><user name='&lt;' password=\"&amp;\"/>\n\
                    <user name='password' password='password'/></cams-users>";
        for (user, old, from, to) in [
            ("a", "x", "password = 'x'", "password = 'NEW'"),
            ("b", "x", "'b' password='x'", "'b' password='NEW'"),
            ("<", "&", "\"&amp;\"", "\"NEW\""),
            ("password", "password", "password='password'", "password='NEW'"),
        ] {
            let expected = file.replacen(from, to, 1);
            assert_eq!(with_digest(file, user, old, "NEW").as_deref(), Some(expected.as_str()), "{user}");
        }
        for (user, old) in [("a", "y"), ("c", "x"), ("", ""), ("x", "x")] {
            assert_eq!(with_digest(file, user, old, "NEW"), None, "{user}");
        }
        assert_eq!(with_digest("<cams-users><user name='a' ", "a", "x", "NEW"), None);
    }

    const GOOD: &str = r#"<cams-users>
<user name="alice" password="{SSHA}x" enabled="true" expires="2027-01-01" credential-expires="2027-01-01T10:00:00Z">
<role name="user"/><role name="a, b"/><role name="user"/>
<attribute namespace="person" name="mail" value="alice@example.com"/></user>
<user name="bob" password="{CRYPT}!" enabled="false"/>
</cams-users>"#;

    fn read_text(text: &str) -> (Option<XmlUsers>, String) {
        let mut problems = Problems::default();
        let users = read(Path::new("u.xml"), text, &mut problems);
        (users, problems.to_string())
    }

    #[test]
    fn users_are_read() {
        let (users, problems) = read_text(GOOD);
        assert_eq!(problems, "");
        let users = users.unwrap();
        assert_eq!((users.len(), users.hash.as_str()), (2, hash(GOOD).as_str()));
        assert!(users.warnings.is_empty(), "{}", users.warnings);
        assert!(users.find("Alice").is_none());

        let alice = users.find("alice").unwrap();
        assert_eq!(alice.password.expose(), b"{SSHA}x");
        assert_eq!(alice.account.expires.unwrap().to_string(), "2027-01-02T00:00:00Z");
        assert_eq!(alice.account.credential_expires.unwrap().to_string(), "2027-01-01T10:00:00Z");
        assert_eq!(alice.roles.iter().map(String::as_str).collect::<Vec<_>>(), ["a, b", "user"]);
        assert_eq!(alice.attributes["person"]["mail"], "alice@example.com");

        let bob = users.find("bob").unwrap();
        assert_eq!(bob.account, Account { enabled: false, expires: None, credential_expires: None });
        assert!(!format!("{users:?}").contains("{SSHA}x"), "a digest must not be printed");
    }

    /// Each change of the good file is a problem, reported where it stands and without any password.
    #[test]
    fn what_is_not_understood_is_refused() {
        for (change, to, expected) in [
            ("\"bob\"", "\"alice\"", "u.xml:5: user `alice` is there twice"),
            (" name=\"alice\"", "", "u.xml:2: <user> needs the attribute `name`"),
            (" password=\"{SSHA}x\"", "", "u.xml:2: <user> needs the attribute `password`"),
            ("{SSHA}x", "", "u.xml:2: attribute `password` of <user> is empty"),
            ("\"alice\"", "\" alice\"", "u.xml:2: attribute `name` of <user> has blanks around it"),
            (
                "\"a, b\"",
                "\"a&#10;b\"",
                "u.xml:3: attribute `name` of <role> has blanks around it or control characters",
            ),
            ("\"true\"", "\"TRUE\"", "u.xml:2: attribute `enabled` of <user>: `TRUE` is not true or false"),
            ("\"2027-01-01\"", "\"2027-02-30\"", "u.xml:2: attribute `expires`: `2027-02-30` is not like 2027-01-31"),
            (
                "credential-expires",
                "credentials-expire",
                "u.xml:2: unknown attribute `credentials-expire` of <user>, did",
            ),
            ("<role name=\"user\"/>", "<role>user</role>", "u.xml:3: <role> needs the attribute `name`"),
            ("<role name", "<rule name", "u.xml:3: unknown element <rule> in <user>, did you mean `role`?"),
            ("namespace=\"person\" ", "", "u.xml:4: <attribute> needs the attribute `namespace`"),
            (" value=\"alice@example.com\"", "", "u.xml:4: <attribute> needs the attribute `value`"),
            ("alice@", "alice&#13;@", "u.xml:4: attribute `value` of <attribute> has control characters"),
            (
                "</user>",
                "<attribute namespace='person' name='mail' value=''/></user>",
                "u.xml:4: this attribute is there",
            ),
            ("</cams-users>", "", "u.xml:1: <cams-users> is not closed"),
            (
                "<cams-users>",
                "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><cams-users>",
                "u.xml:1: a DOCTYPE",
            ),
        ] {
            assert!(GOOD.contains(change), "{change}");
            let (users, problems) = read_text(&GOOD.replacen(change, to, 1));
            assert!(users.is_none(), "{to}");
            assert!(problems.lines().any(|problem| problem.starts_with(expected)), "{to}:\n{problems}");
            assert!(!problems.contains("{SSHA}"), "{problems}");
        }
    }

    #[test]
    fn passwords_nobody_can_use_are_warned_of() {
        for (password, expected) in [
            ("canary", Some("u.xml:2: user `alice`: the password is clear text")),
            ("{CLEARTEXT}canary", Some("u.xml:2: user `alice`: the password is clear text")),
            ("{NOPE}canary", Some("u.xml:2: user `alice`: the password has a {LABEL} nobody knows")),
            ("{CRYPT}!", None),
            ("{SSHA}canary", None),
        ] {
            let (users, problems) = read_text(&GOOD.replacen("{SSHA}x", password, 1));
            let warnings = users.expect(&problems).warnings.to_string();
            assert!(warnings.starts_with(expected.unwrap_or_default()), "{password}: {warnings}");
            assert_eq!((warnings.is_empty(), warnings.contains("canary")), (expected.is_none(), false), "{warnings}");
        }
    }
}
