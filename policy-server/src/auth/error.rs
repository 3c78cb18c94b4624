//! Why a login failed: a class name that admins map to a text, and a detail that only logs and `test-login` show.
//!
//! Pure. The class names are those of Java's `javax.security.auth.login`, because `login-exception.properties` and the
//! login pages of existing sites are written in terms of them.

use std::fmt;

use shared_proto::names::code;

/// A user name is locked for a network after too many failures.
const MULTIPLE_FAILED_LOGINS: &str = "com.cafesoft.cams.auth.MultipleFailedLoginsException";

/// The person has as many sessions as there may be; told only where the password was right.
pub const TOO_MANY_SESSIONS: &str = "com.cafesoft.cams.auth.TooManySessionsException";

const PACKAGE: &str = "javax.security.auth.login.";

/// The class every other one descends from.
pub const LOGIN_EXCEPTION: &str = "javax.security.auth.login.LoginException";

/// What kind of failure it is. Everything but `FailedLogin` and `Unavailable` may only be told to somebody who knew the
/// right password, or it would say which accounts exist; `MultipleFailedLogins` is the same for names that do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong name or password: always this one for both.
    FailedLogin,
    AccountExpired,
    AccountLocked,
    /// The account is disabled.
    Account,
    CredentialExpired,
    /// Too many failures under this name from this network. Seconds until the next attempt counts.
    MultipleFailedLogins {
        retry_after: u64,
    },
    /// The login could not be carried out: a module or the configuration is at fault, not the person.
    Login,
    /// As `Login`, because a module could not be asked: its directory is down, the server has no capacity left, or the
    /// module crashed. Never a verdict on a password.
    Unavailable,
    /// A class name of a module's own.
    Custom(String),
}

/// A failed login. `Display` is for logs: it holds the detail and is never shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoginError {
    pub kind: ErrorKind,
    /// What happened, for admins; never a password or digest.
    pub detail: String,
}

impl LoginError {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// With what it is about before the detail, unless that begins with it anyway.
    pub fn about(self, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        let detail = if self.detail.starts_with(&what) { self.detail } else { format!("{what}: {}", self.detail) };
        Self { detail, ..self }
    }

    /// The name of the exception class, as `login-exception.properties` spells it.
    pub fn class(&self) -> &str {
        match &self.kind {
            ErrorKind::FailedLogin => "javax.security.auth.login.FailedLoginException",
            ErrorKind::AccountExpired => "javax.security.auth.login.AccountExpiredException",
            ErrorKind::AccountLocked => "javax.security.auth.login.AccountLockedException",
            ErrorKind::Account => "javax.security.auth.login.AccountException",
            ErrorKind::CredentialExpired => "javax.security.auth.login.CredentialExpiredException",
            ErrorKind::MultipleFailedLogins { .. } => MULTIPLE_FAILED_LOGINS,
            ErrorKind::Login | ErrorKind::Unavailable => LOGIN_EXCEPTION,
            ErrorKind::Custom(class) => class,
        }
    }

    /// Seconds until another attempt is worth it, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self.kind {
            ErrorKind::MultipleFailedLogins { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    /// Whether a module looked at the credentials and did not accept them; otherwise it could not do its work.
    pub fn refuses(&self) -> bool {
        !matches!(self.kind, ErrorKind::Login | ErrorKind::Unavailable)
    }

    /// Whether the same credentials will not do later either. A lock passes by itself.
    pub fn rejects(&self) -> bool {
        self.refuses() && !matches!(self.kind, ErrorKind::AccountLocked | ErrorKind::MultipleFailedLogins { .. })
    }

    /// The code a site's own login page gets, one of [`shared_proto::names::code`].
    pub fn code(&self) -> u16 {
        match self.kind {
            ErrorKind::Unavailable => code::NO_SERVICE,
            _ => code::AUTHENTICATION_FAILED,
        }
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class();
        write!(f, "{}: {}", class.strip_prefix(PACKAGE).unwrap_or(class), self.detail)
    }
}

/// The class above this one in Java's library, and above our own; any other descends from `LoginException` directly.
pub fn superclass(class: &str) -> Option<&'static str> {
    if class == MULTIPLE_FAILED_LOGINS {
        return Some("javax.security.auth.login.FailedLoginException");
    }
    match class.strip_prefix(PACKAGE) {
        Some("LoginException") => None,
        Some("AccountExpiredException" | "AccountLockedException" | "AccountNotFoundException") => {
            Some("javax.security.auth.login.AccountException")
        }
        Some("CredentialExpiredException" | "CredentialNotFoundException") => {
            Some("javax.security.auth.login.CredentialException")
        }
        _ => Some(LOGIN_EXCEPTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_descends_from_login_exception() {
        let custom = ErrorKind::Custom("com.example.TooTiredException".to_owned());
        for (kind, ancestors) in [
            (ErrorKind::FailedLogin, 1),
            (ErrorKind::AccountExpired, 2),
            (ErrorKind::AccountLocked, 2),
            (ErrorKind::Account, 1),
            (ErrorKind::CredentialExpired, 2),
            (ErrorKind::MultipleFailedLogins { retry_after: 1 }, 2),
            (ErrorKind::Login, 0),
            (ErrorKind::Unavailable, 0),
            (custom, 1),
        ] {
            let error = LoginError::new(kind, "");
            let line: Vec<&str> = std::iter::successors(Some(error.class()), |class| superclass(class)).collect();
            assert_eq!((line.len() - 1, line.last()), (ancestors, Some(&LOGIN_EXCEPTION)), "{error}");
        }
    }

    #[test]
    fn only_unavailability_has_a_code_of_its_own() {
        assert_eq!(LoginError::new(ErrorKind::Unavailable, "").code(), 5001);
        assert_eq!(LoginError::new(ErrorKind::FailedLogin, "").code(), 5000);
        assert_eq!(LoginError::new(ErrorKind::Login, "").code(), 5000);
    }
}
