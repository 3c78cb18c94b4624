//! Password policy in answers to a bind (draft-behera-ldap-password-policy). Pure.

use super::ber::{Malformed, Reader, SEQUENCE, integer_of};
use super::message::{Control, Outcome};

pub const OID: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// What the directory's policy says about a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PasswordPolicy {
    pub error: Option<PolicyError>,
    /// Seconds.
    pub expires_in: Option<i64>,
    /// How many more times the expired password may be used.
    pub grace_logins: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyError {
    PasswordExpired,
    AccountLocked,
    /// The password was set by somebody else and must be changed first.
    ChangeAfterReset,
    /// One that is about changing a password, which nobody asked for.
    Other(i64),
}

/// Asks the server for its policy.
pub fn request() -> Control {
    Control::new(OID, None)
}

/// `None` where the server has no policy to tell of.
pub fn of(outcome: &Outcome) -> Result<Option<PasswordPolicy>, Malformed> {
    outcome.control(OID).map(|control| read(control.value.as_deref().unwrap_or_default())).transpose()
}

fn read(value: &[u8]) -> Result<PasswordPolicy, Malformed> {
    let mut policy = PasswordPolicy::default();
    if value.is_empty() {
        return Ok(policy);
    }
    let mut value = Reader::new(value).inside(SEQUENCE)?;
    if let Some(warning) = value.optional(0xa0)? {
        match Reader::new(warning).any()? {
            (0x80, content) => policy.expires_in = Some(integer_of(content)?),
            (0x81, content) => policy.grace_logins = Some(integer_of(content)?),
            _ => return Err(Malformed),
        }
    }
    policy.error = value.optional(0x81)?.map(integer_of).transpose()?.map(|error| match error {
        0 => PolicyError::PasswordExpired,
        1 => PolicyError::AccountLocked,
        2 => PolicyError::ChangeAfterReset,
        other => PolicyError::Other(other),
    });
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of a real OpenLDAP.
    #[test]
    fn policies_are_read() {
        let policy = |error, expires_in, grace_logins| Ok(PasswordPolicy { error, expires_in, grace_logins });
        for (bytes, expected) in [
            ([].as_slice(), policy(None, None, None)),
            (&[0x30, 0x00], policy(None, None, None)),
            (&[0x30, 0x03, 0x81, 0x01, 0x01], policy(Some(PolicyError::AccountLocked), None, None)),
            (&[0x30, 0x03, 0x81, 0x01, 0x00], policy(Some(PolicyError::PasswordExpired), None, None)),
            (&[0x30, 0x03, 0x81, 0x01, 0x02], policy(Some(PolicyError::ChangeAfterReset), None, None)),
            (&[0x30, 0x03, 0x81, 0x01, 0x06], policy(Some(PolicyError::Other(6)), None, None)),
            (&[0x30, 0x05, 0xa0, 0x03, 0x81, 0x01, 0x01], policy(None, None, Some(1))),
            (&[0x30, 0x06, 0xa0, 0x04, 0x80, 0x02, 0x0e, 0x10], policy(None, Some(3600), None)),
            (&[0x30, 0x03, 0x81, 0x01], Err(Malformed)),
            (&[0x30, 0x05, 0xa0, 0x03, 0x82, 0x01, 0x01], Err(Malformed)),
            (&[0x04, 0x00], Err(Malformed)),
        ] {
            assert_eq!(read(bytes), expected, "{bytes:02x?}");
        }
    }
}
