//! People's secrets in the store: sealed, each for its person alone.

use zeroize::Zeroizing;

use super::{Codes, Invitation, Vault};
use crate::store::StoreError;
use crate::token::{Purpose, SealError, random};

/// Characters of the longest user name, which stands in an address.
const MAX_USER: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("`{0}` cannot be the name of somebody with an authenticator app: no colon, no control characters")]
    BadUser(String),
    #[error("`{0}` cannot be shown by an authenticator app as where the codes are for: no colon, not empty")]
    BadIssuer(String),
    #[error("`{0}` is enrolled already: remove that first")]
    Exists(String),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("the secret of the codes: {0}")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A person's secret, and as it is stored.
pub struct Found {
    pub secret: Zeroizing<Vec<u8>>,
    pub sealed: Vec<u8>,
}

pub async fn find(vault: &Vault, domain: &str, user: &str) -> Result<Option<Found>, FindError> {
    let Some(sealed) = vault.store.totp_secret(domain, user).await? else { return Ok(None) };
    let secret = vault.keys.open(&purpose(vault, domain, user), &sealed)?;
    Ok(Some(Found { secret, sealed }))
}

/// Makes a secret for a person and keeps it. `now` is in seconds since 1970.
pub async fn enrol(
    vault: &Vault,
    codes: &Codes,
    domain: &str,
    user: &str,
    issuer: &str,
    now: i64,
) -> Result<Invitation, EnrolError> {
    let bytes = Zeroizing::new(random::<64>()?);
    let secret = bytes.get(..codes.secret_length()).unwrap_or_default();
    if user.chars().count() > MAX_USER || user.chars().any(char::is_control) {
        return Err(EnrolError::BadUser(user.to_owned()));
    }
    if issuer.chars().any(char::is_control) || codes.invite(secret, issuer, "user").is_none() {
        return Err(EnrolError::BadIssuer(issuer.to_owned()));
    }
    let invitation = codes.invite(secret, issuer, user).ok_or_else(|| EnrolError::BadUser(user.to_owned()))?;
    let sealed = vault.keys.seal(&purpose(vault, domain, user), secret)?;
    if vault.store.add_totp_secret(domain, user, &sealed, now).await? {
        Ok(invitation)
    } else {
        Err(EnrolError::Exists(user.to_owned()))
    }
}

fn purpose(vault: &Vault, domain: &str, user: &str) -> Purpose {
    Purpose::new(&["totp", &vault.cluster, domain, user])
}
