//! What a login asks the person for, and the answers. Pure.
//!
//! [`Callbacks`] come only from [`CallbackHandler::answers`], so no module ever sees an empty password: a directory
//! would take it for an anonymous bind and call it a success (RFC 4513, section 5.1.2).

use std::collections::BTreeMap;

use shared_proto::login::{EntryForm, FormField};
use shared_proto::secret::Secret;

use super::error::{ErrorKind, LoginError};

pub const USERNAME: &str = "username";
pub const PASSWORD: &str = "password";
pub const AUTO_LOGIN_FLAG: &str = "autologin_flag";

/// Longer answers are refused before anybody spends time on them. In bytes.
pub const MAX_ANSWER: usize = 4096;
/// Callbacks of one entry besides name, password and flag.
const MAX_FURTHER: usize = 8;
/// Characters.
const MAX_NAME: usize = 32;
const MAX_LABEL: usize = 80;

/// Says what a login entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackHandler {
    class: &'static str,
    form: EntryForm,
}

impl CallbackHandler {
    pub const NAME_PASSWORD: Self = Self::of("com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler", false);
    pub const AUTO_LOGIN_NAME_PASSWORD: Self =
        Self::of("com.cafesoft.cams.auth.callback.AutoLoginNamePasswordCallbackHandler", true);
    /// Also asks whatever [`Self::add`] adds.
    pub const CONFIGURABLE: Self = Self::of("com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler", false);

    const fn of(class: &'static str, remember_me: bool) -> Self {
        Self { class, form: EntryForm { fields: Vec::new(), remember_me } }
    }

    pub const fn class(&self) -> &'static str {
        self.class
    }

    /// Those there are.
    pub fn all() -> [Self; 3] {
        [Self::NAME_PASSWORD, Self::AUTO_LOGIN_NAME_PASSWORD, Self::CONFIGURABLE]
    }

    pub fn from_class(class: &str) -> Option<Self> {
        Self::all().into_iter().find(|handler| handler.class == class)
    }

    /// Whether the configuration may add to what is asked.
    pub fn is_configurable(&self) -> bool {
        self.class == Self::CONFIGURABLE.class
    }

    pub fn offer_to_remember(&mut self, offer: bool) {
        self.form.remember_me = offer;
    }

    /// Asks one thing more, after those before.
    ///
    /// # Errors
    /// In words for an admin, where this cannot be asked.
    pub fn add(&mut self, field: FormField) -> Result<(), String> {
        let FormField { name, label, max_length, .. } = &field;
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_name {
            return Err(format!("callback `{name}`: use a-z, 0-9 and _, at most {MAX_NAME}"));
        }
        if [USERNAME, PASSWORD, AUTO_LOGIN_FLAG].contains(&name.as_str()) {
            return Err(format!("callback `{name}` needs no line of its own"));
        }
        if self.asks_for(name) {
            return Err(format!("callback `{name}` is there twice"));
        }
        if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) || label.trim().is_empty() {
            return Err(format!("callback `{name}`: a label is text of one line, at most {MAX_LABEL} characters"));
        }
        if !(1..=MAX_ANSWER).contains(max_length) {
            return Err(format!("callback `{name}`: maxLength is a number from 1 to {MAX_ANSWER}"));
        }
        if self.form.fields.len() == MAX_FURTHER {
            return Err(format!("a login asks for at most {MAX_FURTHER} things besides name and password"));
        }
        self.form.fields.push(field);
        Ok(())
    }

    /// Whether this is a further callback of the entry.
    pub fn asks_for(&self, name: &str) -> bool {
        self.form.fields.iter().any(|field| field.name == name)
    }

    /// What to ask for besides the user name and the password.
    pub fn form(&self) -> &EntryForm {
        &self.form
    }

    /// Keeps the answers to what was asked for; whatever else a form sent is not passed on.
    ///
    /// # Errors
    /// `FailedLogin` where an answer is missing, blank, too long, or no possible user name.
    pub fn answers(&self, given: &BTreeMap<String, Secret>) -> Result<Callbacks, LoginError> {
        let username = required(USERNAME, given)?;
        let password = required(PASSWORD, given)?.clone();
        let username = username
            .expose_str()
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or_else(|| refused(USERNAME, "holds control characters or is not UTF-8"))?
            .to_owned();
        let auto_login =
            self.form.remember_me && given.get(AUTO_LOGIN_FLAG).is_some_and(|flag| flag.expose() == b"true");
        let mut further = BTreeMap::new();
        for field in &self.form.fields {
            if let Some(answer) = answer(field, given)? {
                further.insert(field.name.clone(), answer.clone());
            }
        }
        Ok(Callbacks { username, password, auto_login, further })
    }
}

/// The answer to a further callback; `None` where it may be left open and was.
fn answer<'a>(field: &FormField, given: &'a BTreeMap<String, Secret>) -> Result<Option<&'a Secret>, LoginError> {
    let is_open = given.get(&field.name).is_none_or(|answer| is_blank(answer.expose()));
    if is_open && !field.required {
        return Ok(None);
    }
    let answer = required(&field.name, given)?;
    // As browsers count them, or nearly so: never fewer.
    let length = answer.expose_str().map_or(answer.expose().len(), |text| text.chars().count());
    if length > field.max_length { Err(refused(&field.name, "is too long")) } else { Ok(Some(answer)) }
}

fn required<'a>(name: &str, given: &'a BTreeMap<String, Secret>) -> Result<&'a Secret, LoginError> {
    match given.get(name) {
        None => Err(refused(name, "is not answered")),
        Some(answer) if is_blank(answer.expose()) => Err(refused(name, "is empty")),
        Some(answer) if answer.expose().len() > MAX_ANSWER => Err(refused(name, "is too long")),
        Some(answer) => Ok(answer),
    }
}

fn refused(name: &str, why: &str) -> LoginError {
    LoginError::new(ErrorKind::FailedLogin, format!("no module was asked: callback `{name}` {why}"))
}

/// Nothing but white space and NUL: some directory would read it as empty.
fn is_blank(answer: &[u8]) -> bool {
    answer.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace())
}

/// The answers, fit to be shown to modules.
#[derive(Debug, Clone)]
pub struct Callbacks {
    username: String,
    password: Secret,
    auto_login: bool,
    further: BTreeMap<String, Secret>,
}

impl Callbacks {
    /// As typed: not blank, without control characters.
    pub fn username(&self) -> &str {
        &self.username
    }

    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// Whether the person asked to be remembered.
    pub fn auto_login(&self) -> bool {
        self.auto_login
    }

    /// The answer to a further callback of the entry: not blank. `None` where it was left open.
    pub fn extra(&self, name: &str) -> Option<&Secret> {
        self.further.get(name)
    }

    /// For a module whose password is a further callback. `None` where that was left open.
    pub fn with_password(&self, name: &str) -> Option<Self> {
        let password = self.extra(name)?.clone();
        Some(Self { password, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use shared_proto::login::InputMode;

    use super::*;

    fn field(name: &str, required: bool, max_length: usize) -> FormField {
        let (name, label) = (name.to_owned(), "A label".to_owned());
        FormField { name, label, required, secret: true, max_length, input_mode: InputMode::Numeric }
    }

    /// One of each class; the configurable one asks for a PIN, and for a hint that may be left open.
    fn handlers() -> [CallbackHandler; 3] {
        let [name_password, auto_login, mut configurable] = CallbackHandler::all();
        configurable.offer_to_remember(true);
        configurable.add(field("pin", true, 4)).unwrap();
        configurable.add(field("hint", false, 4)).unwrap();
        [name_password, auto_login, configurable]
    }

    fn answers(handler: &CallbackHandler, given: &[(&str, &[u8])]) -> Result<Callbacks, LoginError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        handler.answers(&given)
    }

    #[test]
    fn what_cannot_be_a_login_is_refused() {
        let long = [b'x'; MAX_ANSWER + 1];
        let blanks: [&[u8]; 6] = [b"", b" ", b"\0", b" \t\r\n", b"\0\0 ", &long];
        let good: [(&str, &[u8]); 3] = [(USERNAME, b"alice"), (PASSWORD, b"pw"), ("pin", b"1234")];
        for handler in handlers() {
            let asked = if handler.asks_for("pin") { 3 } else { 2 };
            answers(&handler, &good).unwrap();
            for place in 0..asked {
                for wrong in blanks {
                    let mut given = good;
                    given[place].1 = wrong;
                    assert_eq!(answers(&handler, &given).unwrap_err().kind, ErrorKind::FailedLogin, "{given:?}");
                }
                let mut given = good.to_vec();
                given.remove(place);
                assert_eq!(answers(&handler, &given).unwrap_err().kind, ErrorKind::FailedLogin, "{given:?}");
            }
            for name in [b"al\nice".as_slice(), b"alice\0", b"\xff"] {
                assert!(answers(&handler, &[(USERNAME, name), good[1], good[2]]).is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn answers_are_kept_as_typed_and_the_rest_is_dropped() {
        let given: [(&str, &[u8]); 6] = [
            (USERNAME, b" Alice "),
            (PASSWORD, b" p\0w\xff"),
            (AUTO_LOGIN_FLAG, b"true"),
            ("pin", "é1é2".as_bytes()),
            ("hint", b" \0"),
            ("partner", b"x"),
        ];
        for (handler, auto_login) in handlers().iter().zip([false, true, true]) {
            let callbacks = answers(handler, &given).unwrap();
            assert_eq!((callbacks.username(), callbacks.password().expose()), (" Alice ", b" p\0w\xff".as_slice()));
            assert_eq!(callbacks.auto_login(), auto_login);
            let pin = handler.asks_for("pin").then_some("é1é2");
            assert_eq!(callbacks.extra("pin").and_then(Secret::expose_str), pin);
            assert_eq!(callbacks.with_password("pin").as_ref().and_then(|own| own.password().expose_str()), pin);
            for absent in ["hint", "partner", USERNAME, PASSWORD, AUTO_LOGIN_FLAG] {
                assert!(callbacks.extra(absent).is_none() && callbacks.with_password(absent).is_none(), "{absent}");
            }
            assert!(!format!("{callbacks:?}").contains("p\\0w") && !format!("{callbacks:?}").contains("é1é2"));
        }
    }

    #[test]
    fn an_answer_is_no_longer_than_configured() {
        let [.., handler] = handlers();
        for (pin, hint, expected) in
            [("1234", "", true), ("12345", "", false), ("1", "1234", true), ("1", "12345", false), ("ééé€", "", true)]
        {
            let given = [(USERNAME, "a"), (PASSWORD, "b"), ("pin", pin), ("hint", hint)];
            let given: Vec<_> = given.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            assert_eq!(answers(&handler, &given).is_ok(), expected, "{pin} {hint}");
        }
    }

    #[test]
    fn handlers_are_known_by_class() {
        for handler in CallbackHandler::all() {
            assert_eq!(CallbackHandler::from_class(handler.class()), Some(handler));
        }
        assert_eq!(CallbackHandler::from_class("NamePasswordCallbackHandler"), None);
    }

    #[test]
    fn at_most_eight_further_things_are_asked() {
        let mut handler = CallbackHandler::CONFIGURABLE;
        for number in 0..MAX_FURTHER {
            handler.add(field(&format!("f{number}"), true, 1)).unwrap();
        }
        assert!(handler.add(field("more", true, 1)).is_err());
        assert!(!handler.asks_for("more"));
    }
}
