//! Revoking a device: whoever wants it, this is the way. In one transaction its certificates are revoked, its tokens die
//! and the agents are told, so that they show its certificate to nobody any more.

use super::Account;
use crate::audit::{Audit, Detail, Kind};
use crate::session::TokenHash;
use crate::store::{Reason, Store, StoreError};

/// False where the account has no such device, or it is revoked already. `by` says at whose request,
/// and `asker` is the token that came with it.
pub async fn revoke(
    store: &Store,
    audit: &Audit,
    account: &Account,
    device: &str,
    reason: &Reason<'_>,
    asker: Option<&TokenHash>,
    by: Detail<'_>,
) -> Result<bool, StoreError> {
    let now = jiff::Timestamp::now().as_second();
    let Some(revoked) = store.revoke_jami_device(account, device, reason, asker, now).await? else { return Ok(false) };
    record(audit, account, &revoked.id, reason, by);
    Ok(true)
}

/// That a device of this account was revoked.
pub fn record(audit: &Audit, account: &Account, device: &str, reason: &Reason<'_>, by: Detail<'_>) {
    let detail = Detail {
        domain: Some(&account.domain),
        user: Some(&account.user),
        account: Some(&account.id),
        device: Some(device),
        reason: Some(reason.text),
        ..by
    };
    audit.record(Kind::DeviceRevoked, detail);
}
