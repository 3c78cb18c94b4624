//! What a login asks the person for, and the answers. Pure.
//!
//! [`Callbacks`] come only from [`CallbackHandler::answers`], so no module ever sees an empty password: a directory
//! would take it for an anonymous bind and call it a success (RFC 4513, section 5.1.2).

use std::collections::BTreeMap;

use shared_proto::secret::Secret;

use super::error::{ErrorKind, LoginError};

pub const USERNAME: &str = "username";
pub const PASSWORD: &str = "password";
pub const AUTO_LOGIN_FLAG: &str = "autologin_flag";

/// Longer answers are refused before anybody spends time on them.
const MAX_ANSWER: usize = 4096;

/// One thing to ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the callback; the form field is `cams_cb_` and this.
    pub name: &'static str,
    /// What to write beside the input.
    pub label: &'static str,
    /// Whether what is typed must not be shown.
    pub secret: bool,
    pub required: bool,
}

const USERNAME_FIELD: Field = Field { name: USERNAME, label: "User name", secret: false, required: true };
const PASSWORD_FIELD: Field = Field { name: PASSWORD, label: "Password", secret: true, required: true };
const AUTO_LOGIN_FIELD: Field = Field { name: AUTO_LOGIN_FLAG, label: "Remember me", secret: false, required: false };

/// The callback handlers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackHandler {
    NamePassword,
    AutoLoginNamePassword,
}

impl CallbackHandler {
    pub const ALL: [Self; 2] = [Self::NamePassword, Self::AutoLoginNamePassword];

    pub fn class(self) -> &'static str {
        match self {
            Self::NamePassword => "com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler",
            Self::AutoLoginNamePassword => "com.cafesoft.cams.auth.callback.AutoLoginNamePasswordCallbackHandler",
        }
    }

    pub fn from_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|handler| handler.class() == class)
    }

    /// What to ask for, in order.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::NamePassword => &[USERNAME_FIELD, PASSWORD_FIELD],
            Self::AutoLoginNamePassword => &[USERNAME_FIELD, PASSWORD_FIELD, AUTO_LOGIN_FIELD],
        }
    }

    /// Keeps the answers to what was asked for; whatever else a form sent is not passed on.
    ///
    /// # Errors
    /// `FailedLogin` where an answer is missing, blank, too long, or no possible user name.
    pub fn answers(self, given: &BTreeMap<String, Secret>) -> Result<Callbacks, LoginError> {
        let username = required(USERNAME, given)?;
        let password = required(PASSWORD, given)?.clone();
        let username = username
            .expose_str()
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or_else(|| refused(USERNAME, "holds control characters or is not UTF-8"))?
            .to_owned();
        let asked = self.fields().contains(&AUTO_LOGIN_FIELD);
        let auto_login = asked && given.get(AUTO_LOGIN_FLAG).is_some_and(|flag| flag.expose() == b"true");
        Ok(Callbacks { username, password, auto_login })
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(handler: CallbackHandler, given: &[(&str, &[u8])]) -> Result<Callbacks, LoginError> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        handler.answers(&given)
    }

    #[test]
    fn what_cannot_be_a_login_is_refused() {
        let long = [b'x'; MAX_ANSWER + 1];
        let blanks: [&[u8]; 6] = [b"", b" ", b"\0", b" \t\r\n", b"\0\0 ", &long];
        for handler in CallbackHandler::ALL {
            for wrong in blanks {
                for given in [[(USERNAME, wrong), (PASSWORD, b"pw")], [(USERNAME, b"alice"), (PASSWORD, wrong)]] {
                    assert_eq!(answers(handler, &given).unwrap_err().kind, ErrorKind::FailedLogin, "{given:?}");
                }
            }
            for name in [b"al\nice".as_slice(), b"alice\0", b"\xff"] {
                assert!(answers(handler, &[(USERNAME, name), (PASSWORD, b"pw")]).is_err(), "{name:?}");
            }
            assert!(answers(handler, &[(USERNAME, b"alice")]).is_err());
            assert!(answers(handler, &[(PASSWORD, b"pw")]).is_err());
        }
    }

    #[test]
    fn answers_are_kept_as_typed_and_the_rest_is_dropped() {
        let given: [(&str, &[u8]); 4] =
            [(USERNAME, b" Alice "), (PASSWORD, b" p\0w\xff"), (AUTO_LOGIN_FLAG, b"true"), ("partner", b"x")];
        for (handler, auto_login) in
            [(CallbackHandler::NamePassword, false), (CallbackHandler::AutoLoginNamePassword, true)]
        {
            let callbacks = answers(handler, &given).unwrap();
            assert_eq!((callbacks.username(), callbacks.password().expose()), (" Alice ", b" p\0w\xff".as_slice()));
            assert_eq!(callbacks.auto_login(), auto_login);
            assert!(!format!("{callbacks:?}").contains("p\\0w"));
        }
    }

    #[test]
    fn handlers_are_known_by_class() {
        for handler in CallbackHandler::ALL {
            assert_eq!(CallbackHandler::from_class(handler.class()), Some(handler));
            assert!(handler.fields().iter().all(|field| field.secret == (field.name == PASSWORD)));
        }
        assert_eq!(CallbackHandler::from_class("NamePasswordCallbackHandler"), None);
    }
}
