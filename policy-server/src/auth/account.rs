//! Whether an account may log in at a given moment. Pure: the moment is a parameter.
//!
//! Ask only after the password was right, or the answer would tell a stranger that the account exists.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::error::{ErrorKind, LoginError};

/// What a directory knows of an account besides its password. The two ends are the first moment that is too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub enabled: bool,
    pub expires: Option<Timestamp>,
    pub credential_expires: Option<Timestamp>,
}

impl Account {
    /// # Errors
    /// `Account` when disabled, `AccountExpired`, `CredentialExpired`; the first of these that applies.
    pub fn check(&self, now: Timestamp) -> Result<(), LoginError> {
        let over = |end: Option<Timestamp>| end.filter(|end| now >= *end);
        if !self.enabled {
            return Err(LoginError::new(ErrorKind::Account, "the account is disabled"));
        }
        if let Some(end) = over(self.expires) {
            return Err(LoginError::new(ErrorKind::AccountExpired, format!("the account expired at {end}")));
        }
        if let Some(end) = over(self.credential_expires) {
            return Err(LoginError::new(ErrorKind::CredentialExpired, format!("the password expired at {end}")));
        }
        Ok(())
    }
}

/// Reads an RFC 3339 date or date-time. A bare date is a last day: the account is good until that day ends in UTC.
pub fn parse_end(text: &str) -> Option<Timestamp> {
    if text.len() != "2027-01-01".len() {
        return text.parse().ok();
    }
    let day: Date = text.parse().ok()?;
    // Only the last day of the calendar has no tomorrow; that means never.
    let end = day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    Some(end.map_or(Timestamp::MAX, |end| end.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_end_is_a_moment_or_a_whole_day() {
        for (text, end) in [
            ("2027-01-01", Some("2027-01-02T00:00:00Z")),
            ("2024-02-29", Some("2024-03-01T00:00:00Z")),
            ("2027-01-01T12:00:00Z", Some("2027-01-01T12:00:00Z")),
            ("2027-01-01T12:00:00+02:00", Some("2027-01-01T10:00:00Z")),
            ("2027-01-01T12:00:00", None),
            ("2027-02-29", None),
            ("01/01/2027", None),
            ("2027-1-1", None),
            ("never", None),
            ("", None),
        ] {
            assert_eq!(parse_end(text), end.map(at), "{text:?}");
        }
        assert_eq!(parse_end("9999-12-31"), Some(Timestamp::MAX));
    }

    #[test]
    fn the_first_reason_is_given() {
        let now = at("2026-06-01T00:00:00Z");
        let before = Some(at("2026-05-31T23:59:59Z"));
        let after = Some(at("2026-06-01T00:00:01Z"));
        for (enabled, expires, credential_expires, expected) in [
            (true, None, None, None),
            (true, after, after, None),
            (true, Some(now), None, Some(ErrorKind::AccountExpired)),
            (true, before, before, Some(ErrorKind::AccountExpired)),
            (true, after, before, Some(ErrorKind::CredentialExpired)),
            (true, None, Some(now), Some(ErrorKind::CredentialExpired)),
            (false, before, before, Some(ErrorKind::Account)),
            (false, None, None, Some(ErrorKind::Account)),
        ] {
            let account = Account { enabled, expires, credential_expires };
            assert_eq!(account.check(now).err().map(|error| error.kind), expected, "{account:?}");
        }
    }
}
