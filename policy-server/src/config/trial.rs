//! Options that are tried in place of those in `login-config.xml`, which stays as it is.

use std::str::FromStr;

use super::login_config::LoginConfig;
use super::login_xml::holds_secret;

/// One login entry with other options.
#[derive(Debug, Clone)]
pub struct Trial {
    pub domain: String,
    pub entry: String,
    pub settings: Vec<Setting>,
}

/// `[PLACE.]OPTION=VALUE`: what an option of a module is to be; with an empty value the option is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Which module of the entry, from 1.
    pub place: usize,
    option: String,
    value: Option<String>,
}

/// Why there is no setting. Never holds the value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadSetting {
    #[error("write [N.]OPTION=VALUE, with N for the N-th module of the entry")]
    Form,
    #[error("`{0}`: modules are counted from 1")]
    Place(String),
    #[error(
        "`{0}` would show a password to everybody who can list processes: write file:PATH or env:NAME as the password"
    )]
    Secret(String),
}

impl FromStr for Setting {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let (name, value) = text.split_once('=').ok_or(BadSetting::Form)?;
        let (place, option) = match name.split_once('.') {
            None => (1, name),
            Some((place, option)) => (place.parse().map_err(|_| BadSetting::Place(name.to_owned()))?, option),
        };
        if option.is_empty() {
            return Err(BadSetting::Form);
        }
        if place == 0 {
            return Err(BadSetting::Place(name.to_owned()));
        }
        if holds_secret(option, value) {
            return Err(BadSetting::Secret(option.to_owned()));
        }
        let value = Some(value).filter(|value| !value.is_empty()).map(str::to_owned);
        Ok(Self { place, option: option.to_owned(), value })
    }
}

impl Trial {
    /// Changes the options, if this is the domain. A setting for a module that is not there changes nothing.
    pub fn apply(&self, domain: &str, login: &mut LoginConfig) {
        let mut entries = login.entries.iter_mut().filter(|entry| domain == self.domain && entry.name == self.entry);
        let Some(entry) = entries.next() else { return };
        for Setting { place, option, value } in &self.settings {
            if let Some(module) = entry.modules.get_mut(place - 1) {
                module.options.replace(option, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_secrets_refused() {
        let good = |place, option: &str, value: Option<&str>| {
            Ok(Setting { place, option: option.to_owned(), value: value.map(str::to_owned) })
        };
        let secret = |option: &str| Err(BadSetting::Secret(option.to_owned()));
        for (text, expected) in [
            ("host=a.b:1", good(1, "host", Some("a.b:1"))),
            ("2.userFilter=(a=b)", good(2, "userFilter", Some("(a=b)"))),
            ("debug=", good(1, "debug", None)),
            ("bindPassword=", good(1, "bindPassword", None)),
            ("bindPassword=file:x", good(1, "bindPassword", Some("file:x"))),
            ("12.jdbcPassword=env:X", good(12, "jdbcPassword", Some("env:X"))),
            ("jdbcUrl=jdbc:mysql://u@h/d", good(1, "jdbcUrl", Some("jdbc:mysql://u@h/d"))),
            ("bindPassword=canary", secret("bindPassword")),
            ("2.bindpassword=canary", secret("bindpassword")),
            ("jdbcUrl=jdbc:mysql://u:canary@h/d", secret("jdbcUrl")),
            ("jdbcUrl=jdbc:postgresql:d?ssl=true&password=canary", secret("jdbcUrl")),
            ("jdbcUrl=jdbc:postgresql:d?pass%77ord=canary", secret("jdbcUrl")),
            ("host", Err(BadSetting::Form)),
            ("=x", Err(BadSetting::Form)),
            ("1.=x", Err(BadSetting::Form)),
            ("0.host=x", Err(BadSetting::Place("0.host".to_owned()))),
            ("a.host=x", Err(BadSetting::Place("a.host".to_owned()))),
        ] {
            let read = text.parse::<Setting>();
            assert!(!read.as_ref().is_err_and(|error| error.to_string().contains("canary")), "{text}");
            assert_eq!(read, expected, "{text}");
        }
    }
}
