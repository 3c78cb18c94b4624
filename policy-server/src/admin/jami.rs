//! Jami devices and accounts at the command line. What is revoked dies at once: the store takes its tokens and tells the
//! agents in the same transaction.

use jiff::Timestamp;

use super::{Admin, AdminError, actor};
use crate::audit::{Detail, Kind};
use crate::device::{Account, Device, Identity, identity, revoke};
use crate::directory::person::Name;
use crate::store::Reason;
use crate::wire;

impl Admin {
    /// The devices of everybody, or of one user, with the accounts they belong to.
    pub async fn jami_devices(
        &self,
        domain: Option<&str>,
        user: Option<&Name>,
    ) -> Result<Vec<(Device, Account)>, AdminError> {
        Ok(self.store.all_jami_devices(domain, user.map(Name::key)).await?)
    }

    pub async fn jami_device(&self, id: &str) -> Result<(Device, Account), AdminError> {
        let gone = || AdminError::NoDevice(id.to_owned());
        let device = self.store.jami_device(id).await?.ok_or_else(gone)?;
        let account = self.store.jami_account(&device.account).await?.ok_or_else(gone)?;
        Ok((device, account))
    }

    /// False where it is revoked already.
    pub async fn revoke_jami_device(&self, id: &str, reason: &str) -> Result<bool, AdminError> {
        let (device, account) = self.jami_device(id).await?;
        let by = Detail { actor: Some(actor()), ..Detail::default() };
        let reason = Reason::out_of_use(reason);
        Ok(revoke::revoke(&self.store, &self.audit, &account, &device.id, &reason, None, by).await?)
    }

    /// The account that has this name, and its devices.
    pub async fn jami_account(&self, domain: &str, name: &Name) -> Result<(Account, Vec<Device>), AdminError> {
        let account = self.store.jami_account_by_name(domain, name.key()).await?;
        let account = account.ok_or_else(|| AdminError::NoJamiAccount(name.to_string()))?;
        let devices = self.store.jami_devices(&account.id).await?;
        Ok((account, devices))
    }

    /// The person who has the name now is the person of the account: binds it to whatever proves the name, or, where no
    /// module tells without the password, to whatever proves it at the next login.
    pub async fn relink_jami_account(&self, domain: &str, name: &Name) -> Result<Account, AdminError> {
        let (mut account, _) = self.jami_account(domain, name).await?;
        let loaded = wire::load_with(&self.conf, self.vault.clone())?;
        let entry = loaded.domains.get(domain).and_then(|domain| domain.entry(&account.entry));
        let found = match entry {
            Some(entry) => entry.look_up(&account.user, Timestamp::now()).await,
            None => None,
        };
        account.identity = found.as_ref().map_or_else(Identity::default, Identity::of);
        account.subject = found.map_or(account.subject, identity::to_keep);
        if !self.store.bind_jami_account(&account).await? {
            return Err(AdminError::NoJamiAccount(name.to_string()));
        }
        let detail = Detail { actor: Some(actor()), ..Detail::of_account(&account) };
        self.audit.record(Kind::JamiAccountRelinked, detail);
        Ok(account)
    }

    /// The person who has the name now is another one: the account loses it, and its devices are revoked. Those devices.
    pub async fn release_jami_account(&self, domain: &str, name: &Name) -> Result<(Account, Vec<Device>), AdminError> {
        let (account, _) = self.jami_account(domain, name).await?;
        let now = Timestamp::now().as_second();
        let Some(devices) = self.store.detach_jami_account(&account, now).await? else {
            return Err(AdminError::NoJamiAccount(name.to_string()));
        };
        let by = || Detail { actor: Some(actor()), ..Detail::default() };
        self.audit.record(Kind::JamiAccountDetached, Detail { actor: Some(actor()), ..Detail::of_account(&account) });
        for device in &devices {
            revoke::record(&self.audit, &account, &device.id, &Reason::NAME_OF_ANOTHER, by());
        }
        Ok((account, devices))
    }
}
