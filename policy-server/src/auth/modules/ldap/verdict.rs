//! What a directory's answer means for a login. Pure.

use super::failed;
use crate::auth::error::{ErrorKind, LoginError};
use crate::directory::ldap::message::{
    CONSTRAINT_VIOLATION, INAPPROPRIATE_AUTHENTICATION, INVALID_CREDENTIALS, INVALID_DN_SYNTAX, NO_SUCH_OBJECT,
    SUCCESS, UNWILLING_TO_PERFORM,
};
use crate::directory::ldap::ppolicy::{PasswordPolicy, PolicyError};
use crate::directory::ldap::{Entry, Outcome, code_name};

/// Operational attributes that say whether an account may be used, where the directory lets them be read: of OpenLDAP's
/// ppolicy, and of 389 Directory Server.
pub const ACCOUNT: [&str; 3] = ["pwdAccountLockedTime", "pwdReset", "nsAccountLock"];
/// Locked by an administrator and not by wrong passwords, which would pass.
const LOCKED_FOR_EVER: &str = "000001010000Z";

/// A bind as this user. Where the directory's policy says why it refuses, its word is passed on. That a password expired, or
/// must be changed, is said only to somebody who knows it; that an account is locked, whatever the password: see the
/// option `maskLocked`.
pub fn bind(dn: &str, outcome: &Outcome, policy: Option<PasswordPolicy>) -> Result<(), LoginError> {
    let name = code_name(outcome.code);
    let detail = |why: &str| {
        let colon = if outcome.text.is_empty() { "" } else { ": " };
        format!("bind as {dn}{why}: {name} ({}){colon}{}", outcome.code, outcome.text)
    };
    match policy.and_then(|policy| policy.error) {
        Some(PolicyError::AccountLocked) => {
            return Err(LoginError::new(ErrorKind::AccountLocked, detail(" refused, the account is locked")));
        }
        Some(PolicyError::PasswordExpired) => {
            return Err(LoginError::new(ErrorKind::CredentialExpired, detail(" refused, the password expired")));
        }
        Some(PolicyError::ChangeAfterReset) if outcome.code == SUCCESS => {
            return Err(LoginError::new(ErrorKind::CredentialExpired, detail(", but the password must be changed")));
        }
        Some(PolicyError::ChangeAfterReset | PolicyError::Other(_)) | None => {}
    }
    match outcome.code {
        SUCCESS => Ok(()),
        // The last two are how 389 Directory Server refuses accounts after too many wrong passwords, and inactive ones.
        INVALID_CREDENTIALS
        | NO_SUCH_OBJECT
        | INVALID_DN_SYNTAX
        | INAPPROPRIATE_AUTHENTICATION
        | CONSTRAINT_VIOLATION
        | UNWILLING_TO_PERFORM => Err(failed(detail(" refused"))),
        _ => Err(LoginError::new(ErrorKind::Unavailable, detail(" failed"))),
    }
}

/// Which of the attributes of the directory's password policy count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyCounts {
    No,
    /// All but the locks of wrong passwords: the directory, which knows when they end, looks at them with each bind; and
    /// they end no session.
    WithoutPassingLocks,
    /// Nobody binds, so the directory looks at nothing.
    Yes,
}

/// Whether the entry says that nobody may log in with it, whatever the password.
pub fn account(entry: &Entry, policy: PolicyCounts) -> Result<(), LoginError> {
    let dn = &entry.dn;
    let says = |name: &str, value: &str| entry.texts(name).any(|found| found.eq_ignore_ascii_case(value));
    if says("nsAccountLock", "true") {
        return Err(LoginError::new(ErrorKind::Account, format!("{dn} is deactivated (`nsAccountLock`)")));
    }
    let locked = match policy {
        PolicyCounts::No => false,
        PolicyCounts::WithoutPassingLocks => says("pwdAccountLockedTime", LOCKED_FOR_EVER),
        PolicyCounts::Yes => !entry.values("pwdAccountLockedTime").is_empty(),
    };
    if locked {
        return Err(LoginError::new(ErrorKind::AccountLocked, format!("{dn} is locked (`pwdAccountLockedTime`)")));
    }
    if policy != PolicyCounts::No && says("pwdReset", "true") {
        return Err(LoginError::new(
            ErrorKind::CredentialExpired,
            format!("{dn} must change its password (`pwdReset`)"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_a_bind() {
        use ErrorKind::{AccountLocked, CredentialExpired, FailedLogin, Unavailable};
        use PolicyError::{AccountLocked as Locked, ChangeAfterReset, Other, PasswordExpired};
        for (code, error, expected) in [
            (0, None, None),
            (0, Some(Other(6)), None),
            (0, Some(ChangeAfterReset), Some(CredentialExpired)),
            (0, Some(Locked), Some(AccountLocked)),
            (49, None, Some(FailedLogin)),
            (49, Some(Other(7)), Some(FailedLogin)),
            (49, Some(Locked), Some(AccountLocked)),
            (49, Some(PasswordExpired), Some(CredentialExpired)),
            (49, Some(ChangeAfterReset), Some(FailedLogin)),
            (53, Some(Locked), Some(AccountLocked)),
            (19, Some(Locked), Some(AccountLocked)),
            (19, None, Some(FailedLogin)),
            (53, None, Some(FailedLogin)),
            (32, None, Some(FailedLogin)),
            (34, None, Some(FailedLogin)),
            (48, None, Some(FailedLogin)),
            (10, None, Some(Unavailable)),
            (13, None, Some(Unavailable)),
            (51, None, Some(Unavailable)),
            (-1, None, Some(Unavailable)),
        ] {
            let outcome = Outcome { code, text: String::new(), controls: Vec::new() };
            let policy = error.map(|error| PasswordPolicy { error: Some(error), ..PasswordPolicy::default() });
            let found = bind("uid=a", &outcome, policy).err().map(|error| error.kind);
            assert_eq!(found, expected, "{code} {error:?}");
        }
        let grace = PasswordPolicy { grace_logins: Some(1), ..PasswordPolicy::default() };
        let outcome = Outcome { code: 0, text: String::new(), controls: Vec::new() };
        assert_eq!(bind("uid=a", &outcome, Some(grace)), Ok(()));
    }

    #[test]
    fn entries_that_nobody_may_log_in_with() {
        use PolicyCounts::{No, WithoutPassingLocks, Yes};
        for (name, value, policy, expected) in [
            ("pwdAccountLockedTime", "000001010000Z", Yes, Some(ErrorKind::AccountLocked)),
            ("pwdAccountLockedTime", "000001010000Z", WithoutPassingLocks, Some(ErrorKind::AccountLocked)),
            ("pwdAccountLockedTime", "000001010000Z", No, None),
            ("pwdAccountLockedTime", "20260101000000Z", Yes, Some(ErrorKind::AccountLocked)),
            ("pwdAccountLockedTime", "20260101000000Z", WithoutPassingLocks, None),
            ("pwdAccountLockedTime", "20260101000000Z", No, None),
            ("pwdReset", "TRUE", Yes, Some(ErrorKind::CredentialExpired)),
            ("pwdReset", "TRUE", WithoutPassingLocks, Some(ErrorKind::CredentialExpired)),
            ("pwdReset", "TRUE", No, None),
            ("pwdReset", "FALSE", Yes, None),
            ("NSACCOUNTLOCK", "true", No, Some(ErrorKind::Account)),
            ("mail", "TRUE", Yes, None),
        ] {
            let attributes = vec![(name.to_owned(), vec![value.as_bytes().to_vec()])];
            let entry = Entry { dn: "uid=a".to_owned(), attributes };
            assert_eq!(account(&entry, policy).err().map(|error| error.kind), expected, "{name} {value}");
        }
    }
}
