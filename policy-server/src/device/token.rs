//! Tokens: what a device, or somebody with a password, shows with every further request. Opaque, and of no use without the
//! store, which keeps hashes only.

use std::sync::LazyLock;

use shared_proto::secret::Secret;

use super::account::{Look, Standing, look};
use super::{Account, Asker, Device, DeviceError};
use crate::auth::pipeline::Depth;
use crate::revocation::{Allowances, Rate};
use crate::session::{TokenHash, new_token};
use crate::store::TokenOwner;
use crate::wire::Server;

/// Seconds that a token counts.
const DEVICE_SECONDS: i64 = 3_600;
const USER_SECONDS: i64 = 900;

/// What a token was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A device's certificate.
    Device,
    /// A password, a moment ago: it may revoke devices.
    User,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "DEVICE",
            Self::User => "USER",
        }
    }

    pub fn seconds(self) -> i64 {
        match self {
            Self::Device => DEVICE_SECONDS,
            Self::User => USER_SECONDS,
        }
    }
}

/// Logins of a device: ten at once, and one in five seconds in the long run. A client needs one an hour.
const RATE: Rate = Rate { burst: 10, cost: 5_000 };
const AGAIN: u64 = 5;
static LOGINS: LazyLock<Allowances> = LazyLock::new(|| Allowances::new(RATE));

/// # Errors
/// [`DeviceError::TooOften`]: a client takes neither a 401 nor a 403 for that.
pub(super) fn may_log_in(device: &str) -> Result<(), DeviceError> {
    if LOGINS.allow(device) { Ok(()) } else { Err(DeviceError::TooOften(AGAIN)) }
}

/// A new token for the account, or for one of its devices.
pub(super) async fn give(
    server: &Server,
    account: &Account,
    device: Option<&Device>,
) -> Result<(Secret, Scope), DeviceError> {
    let scope = if device.is_some() { Scope::Device } else { Scope::User };
    let token = new_token().map_err(|error| DeviceError::Unavailable(error.to_string()))?;
    let expires = server.now().as_second() + scope.seconds();
    let device = device.map(|device| device.id.as_str());
    server.store.add_jami_token(&TokenHash::of(&token), &account.id, device, expires).await?;
    Ok((token, scope))
}

/// Whose token this is, as long as it counts: the account stands, and its person does by what is at hand.
///
/// # Errors
/// [`DeviceError::Credentials`] where it does not count.
pub async fn owner(server: &Server, asker: &Asker, token: &Secret) -> Result<TokenOwner, DeviceError> {
    let now = server.now().as_second();
    let found = server.store.jami_token(&TokenHash::of(token), now).await?;
    let here = |owner: &TokenOwner| owner.account.domain == asker.domain && owner.account.standing == Standing::Stands;
    let mut owner = found.filter(here).ok_or(DeviceError::Credentials)?;
    match look(server, asker.domain()?, &mut owner.account, Depth::AtHand).await? {
        Look::Stands | Look::Unsure => Ok(owner),
        Look::Ended => Err(DeviceError::Credentials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_logs_in_ten_times_at_once() {
        let allowed = (0..50).filter(|_| may_log_in("a device of this test alone").is_ok()).count();
        assert!((10..=11).contains(&allowed), "{allowed}");
        assert!(matches!(may_log_in("a device of this test alone"), Err(DeviceError::TooOften(1..))));
    }
}
