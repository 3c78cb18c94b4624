//! What Active Directory says of an account's state: in the words of a refused bind, and in attributes. Pure.

use jiff::Timestamp;

use crate::auth::account::Account;
use crate::auth::error::{ErrorKind, LoginError};

/// userAccountControl: ADS_UF_ACCOUNTDISABLE.
const DISABLED: i64 = 0x2;
/// msDS-User-Account-Control-Computed: UF_LOCKOUT and UF_PASSWORD_EXPIRED.
const LOCKED: i64 = 0x10;
const PASSWORD_EXPIRED: i64 = 0x80_0000;

/// 1970-01-01 in a FILETIME, which counts units of 100 ns since 1601.
const EPOCH: i64 = 116_444_736_000_000_000;

/// The attributes that [`State::read`] looks at.
pub const ATTRIBUTES: [&str; 4] =
    ["userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires", "lockoutTime"];

/// The error for a bind that was refused as invalid credentials. `diagnostic` are the server's words; it tells the reason by
/// a number in them, all but 775 only to somebody whose password was right.
pub fn refused_bind(name: &str, diagnostic: &str) -> LoginError {
    let (kind, reason) = match sub_code(diagnostic) {
        Some(0x525) => (ErrorKind::FailedLogin, "no such user (525)"),
        Some(0x52e) => (ErrorKind::FailedLogin, "wrong name or password (52e)"),
        Some(0x530) => (ErrorKind::FailedLogin, "not permitted to log in at this time (530)"),
        Some(0x531) => (ErrorKind::FailedLogin, "not permitted to log in from this computer (531)"),
        Some(0x532) => (ErrorKind::CredentialExpired, "the password expired (532)"),
        Some(0x533) => (ErrorKind::Account, "the account is disabled (533)"),
        Some(0x701) => (ErrorKind::AccountExpired, "the account expired (701)"),
        Some(0x773) => (ErrorKind::CredentialExpired, "the password must be changed first (773)"),
        Some(0x775) => (ErrorKind::AccountLocked, "the account is locked (775)"),
        _ => return LoginError::new(ErrorKind::FailedLogin, format!("bind as {name} refused: {diagnostic}")),
    };
    LoginError::new(kind, format!("bind as {name} refused: {reason}"))
}

/// The Windows error in `80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 52e, v2580`.
fn sub_code(diagnostic: &str) -> Option<u32> {
    let (_, after) = diagnostic.split_once("data ")?;
    let end = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
    u32::from_str_radix(after.get(..end)?, 16).ok()
}

/// The state of an account as its entry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    control: i64,
    /// What the controller works out itself. A global catalogue may not have it.
    computed: Option<i64>,
    expires: Option<i64>,
    locked_at: Option<i64>,
}

impl State {
    /// From the attributes of an entry.
    ///
    /// # Errors
    /// `Login` where the entry does not say whether the account is disabled, or what it says is no number.
    pub fn read<'a>(attribute: impl Fn(&str) -> Option<&'a str>) -> Result<Self, LoginError> {
        let number = |name: &str| {
            let parsed = attribute(name).map(str::parse::<i64>).transpose();
            parsed.map_err(|_| LoginError::new(ErrorKind::Login, format!("attribute `{name}` is not a number")))
        };
        let [control, computed, expires, locked_at] = ATTRIBUTES.map(number);
        let unreadable = || LoginError::new(ErrorKind::Login, "attribute `userAccountControl` cannot be read");
        let (computed, expires, locked_at) = (computed?, expires?, locked_at?);
        Ok(Self { control: control?.ok_or_else(unreadable)?, computed, expires, locked_at })
    }

    /// Whether somebody may be logged in whose password the directory accepted, or had accepted earlier.
    ///
    /// # Errors
    /// `Account` when disabled, `AccountLocked`, `AccountExpired`, `CredentialExpired`; the first of these that applies.
    pub fn check(&self, now: Timestamp) -> Result<(), LoginError> {
        let disabled = self.control & DISABLED != 0;
        if !disabled && self.is_locked() {
            return Err(LoginError::new(ErrorKind::AccountLocked, "the account is locked"));
        }
        Account { enabled: !disabled, expires: self.expires.and_then(moment), credential_expires: None }.check(now)?;
        if self.computed.is_some_and(|flags| flags & PASSWORD_EXPIRED != 0) {
            return Err(LoginError::new(ErrorKind::CredentialExpired, "the password expired or must be changed"));
        }
        Ok(())
    }

    /// lockoutTime stays after the lock is over, until the next login: it counts only where there is nothing better.
    fn is_locked(&self) -> bool {
        match self.computed {
            Some(flags) => flags & LOCKED != 0,
            None => self.locked_at.is_some_and(|time| time != 0),
        }
    }
}

/// The moment of a FILETIME; 0, and what is beyond the calendar, is never.
fn moment(file_time: i64) -> Option<Timestamp> {
    if file_time == 0 {
        return None;
    }
    let units = i128::from(file_time) - i128::from(EPOCH);
    Timestamp::from_nanosecond(units * 100).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_the_words_decides() {
        use ErrorKind::{Account, AccountExpired, AccountLocked, CredentialExpired, FailedLogin};
        for (code, kind) in [
            ("525", FailedLogin),
            ("52e", FailedLogin),
            ("52E", FailedLogin),
            ("530", FailedLogin),
            ("531", FailedLogin),
            ("532", CredentialExpired),
            ("533", Account),
            ("701", AccountExpired),
            ("773", CredentialExpired),
            ("775", AccountLocked),
            ("57", FailedLogin),
            ("5330", FailedLogin),
            ("ffffffffff", FailedLogin),
            ("", FailedLogin),
        ] {
            for words in [
                format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {code}, v1db1"),
                format!("AcceptSecurityContext error, data {code}"),
            ] {
                assert_eq!(refused_bind("alice", &words).kind, kind, "{words}");
            }
        }
        for words in ["", "Invalid credentials", "533", "data", "data \u{1f512}"] {
            assert_eq!(refused_bind("alice", words).kind, FailedLogin, "{words}");
        }
        assert!(refused_bind("alice", "data 533").detail.contains("alice"));
    }

    fn check(attributes: &[(&str, &str)]) -> Option<ErrorKind> {
        let find = |name: &str| attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        State::read(find).and_then(|state| state.check(now)).err().map(|error| error.kind)
    }

    #[test]
    fn the_attributes_tell_the_first_reason() {
        use ErrorKind::{Account, AccountExpired, AccountLocked, CredentialExpired, Login};
        const NEVER: &str = "9223372036854775807";
        // 2026-06-01T12:00:00Z and the unit after it.
        const NOW: &str = "134247888000000000";
        const LATER: &str = "134247888000000001";
        const CONTROL: &str = "userAccountControl";
        const COMPUTED: &str = "msDS-User-Account-Control-Computed";
        for (attributes, expected) in [
            (&[(CONTROL, "512")][..], None),
            (&[(CONTROL, "66048"), (COMPUTED, "0"), ("accountExpires", NEVER), ("lockoutTime", "0")], None),
            (&[(CONTROL, "512"), ("accountExpires", "0")], None),
            (&[(CONTROL, "514")], Some(Account)),
            (&[(CONTROL, "514"), (COMPUTED, "16"), ("accountExpires", "1")], Some(Account)),
            (&[(CONTROL, "512"), ("accountExpires", NOW)], Some(AccountExpired)),
            (&[(CONTROL, "512"), ("accountExpires", LATER)], None),
            (&[(CONTROL, "512"), ("accountExpires", "1")], Some(AccountExpired)),
            (&[(CONTROL, "512"), (COMPUTED, "16")], Some(AccountLocked)),
            (&[(CONTROL, "512"), ("lockoutTime", "134000000000000000")], Some(AccountLocked)),
            // A lock that is over.
            (&[(CONTROL, "512"), (COMPUTED, "0"), ("lockoutTime", "134000000000000000")], None),
            (&[(CONTROL, "512"), (COMPUTED, "8388608")], Some(CredentialExpired)),
            (&[], Some(Login)),
            (&[(CONTROL, "enabled")], Some(Login)),
            (&[(CONTROL, "512"), ("accountExpires", "soon")], Some(Login)),
        ] {
            assert_eq!(check(attributes), expected, "{attributes:?}");
        }
    }
}
