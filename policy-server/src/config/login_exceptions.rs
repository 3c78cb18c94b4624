//! Reader of `login-exception.properties`: the text people see when a login fails.
//!
//! A key is the exception class and `.message`; the value may stand in double quotes.

use std::collections::BTreeMap;
use std::path::Path;

use shared_proto::problem::Problems;
use shared_proto::properties::{self, Property};

use crate::auth::error::superclass;

/// For a file that says nothing about an exception or any class above it.
const BUILT_IN: &str = "Authentication failed";

/// Texts by exception class.
#[derive(Debug, Clone, Default)]
pub struct LoginMessages(BTreeMap<String, String>);

impl LoginMessages {
    /// The text of the class itself, else of the nearest class above it, else the built-in one.
    pub fn text(&self, class: &str) -> &str {
        std::iter::successors(Some(class), |class| superclass(class))
            .find_map(|class| self.0.get(class))
            .map_or(BUILT_IN, String::as_str)
    }
}

/// All texts, or `None` with the reasons in `problems`.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<LoginMessages> {
    let before = problems.len();
    let mut messages = BTreeMap::new();
    for Property { key, value, line } in properties::parse(file, text, problems) {
        let Some(class) = key.strip_suffix(".message").filter(|class| !class.is_empty()) else {
            problems.add(file, line, format!("unknown property `{key}`: write an exception class and `.message`"));
            continue;
        };
        let text = unquote(value.trim());
        if text.is_empty() {
            problems.add(file, line, format!("property `{key}` is empty"));
        }
        messages.insert(class.to_owned(), text.to_owned());
    }
    (problems.len() == before).then_some(LoginMessages(messages))
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# comment
javax.security.auth.login.LoginException.message=\
    "Authentication error"
javax.security.auth.login.AccountException.message = No such luck
javax.security.auth.login.AccountLockedException.message="Locked: \"wait\""
com.example.TiredException.message="
"#;

    #[test]
    fn the_nearest_class_with_a_text_counts() {
        let messages = read(Path::new("t"), FILE, &mut Problems::default()).unwrap();
        for (class, text) in [
            ("javax.security.auth.login.LoginException", "Authentication error"),
            ("javax.security.auth.login.FailedLoginException", "Authentication error"),
            ("javax.security.auth.login.AccountException", "No such luck"),
            ("javax.security.auth.login.AccountExpiredException", "No such luck"),
            ("javax.security.auth.login.AccountLockedException", "Locked: \"wait\""),
            ("javax.security.auth.login.CredentialExpiredException", "Authentication error"),
            ("com.example.TiredException", "\""),
            ("com.example.OtherException", "Authentication error"),
            ("", "Authentication error"),
        ] {
            assert_eq!(messages.text(class), text, "{class}");
        }
        assert_eq!(LoginMessages::default().text("javax.security.auth.login.LoginException"), BUILT_IN);
    }

    #[test]
    fn what_is_not_a_message_is_reported() {
        let mut problems = Problems::default();
        let text = "a.B.mesage=x\n.message=x\na.B.message=\"\"\na.C.message=x\na.C.message=y\n";
        assert!(read(Path::new("t"), text, &mut problems).is_none());
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        // The syntax of the whole file comes first.
        assert_eq!(lines, [5, 1, 2, 3], "{problems}");
    }
}
