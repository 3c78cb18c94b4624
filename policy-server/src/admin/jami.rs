//! Jami devices and accounts at the command line. What is revoked dies at once: the store takes its tokens and tells the
//! agents in the same transaction.

use jiff::Timestamp;

use super::{Admin, AdminError, actor};
use crate::audit::{Detail, Kind};
use crate::auth::subject::Subject;
use crate::device::{Account, Device, Identity, Standing, identity, revoke};
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

    /// The person who has the name now is the person of the account: binds it to what proves the name, which is looked up
    /// now. Where nobody has an account of this name, the one that lost it last is given it again. Also what it was.
    ///
    /// # Errors
    /// Where a directory does not answer, or none knows the person: nothing is changed then.
    pub async fn relink_jami_account(&self, domain: &str, name: &Name) -> Result<(Account, Account), AdminError> {
        let none = || AdminError::NoJamiAccount(name.to_string());
        let named = self.store.jami_account_by_name(domain, name.key()).await?;
        let found = match named {
            None => self.store.jami_account_that_was(domain, name.key()).await?,
            named => named,
        };
        let mut was = found.ok_or_else(none)?;
        let subject = self.person(domain, &was).await?;
        if was.standing == Standing::Detached {
            was = self.store.attach_jami_account(&was).await?.ok_or_else(none)?;
        }
        let account = Account {
            identity: Identity::of(&subject),
            subject: identity::to_keep(subject),
            standing: Standing::Stands,
            ..was.clone()
        };
        if !self.store.bind_jami_account(&was, &account).await? {
            return Err(AdminError::JamiAccountChanged(name.to_string()));
        }
        let reason = format!("{}; it was {}", text(&account.identity), text(&was.identity));
        let detail = Detail { actor: Some(actor()), reason: Some(&reason), ..Detail::of_account(&account) };
        self.audit.record(Kind::JamiAccountRelinked, detail);
        Ok((was, account))
    }

    /// Who has the name of the account now, by all the modules of its login entry that tell without a password.
    async fn person(&self, domain: &str, account: &Account) -> Result<Subject, AdminError> {
        let loaded = wire::load_with(&self.conf, self.vault.clone())?;
        let entry = loaded.domains.get(domain).and_then(|domain| domain.entry(&account.entry));
        let entry = entry.ok_or_else(|| AdminError::NoEntry(account.entry.clone()))?;
        let found = entry.look_up(&account.user, Timestamp::now()).await.map_err(AdminError::NotAsked)?;
        found.ok_or_else(|| AdminError::NoPerson(account.user.clone()))
    }

    /// Ends the account for ever: its certificate and its devices are revoked, and its name is free. Those devices.
    pub async fn revoke_jami_account(
        &self,
        domain: &str,
        name: &Name,
        reason: &str,
    ) -> Result<(Account, Vec<Device>), AdminError> {
        let (account, _) = self.jami_account(domain, name).await?;
        let (now, reason) = (Timestamp::now().as_second(), Reason::out_of_use(reason));
        let ended = self.store.revoke_jami_account(&account, &reason, now).await?;
        let devices = ended.ok_or_else(|| AdminError::JamiAccountChanged(name.to_string()))?;
        self.record_account_end(&account, &devices, &reason);
        Ok((account, devices))
    }

    /// The person who has the name now is another one: the account loses it, and its devices are revoked. Those devices.
    pub async fn release_jami_account(&self, domain: &str, name: &Name) -> Result<(Account, Vec<Device>), AdminError> {
        let (account, _) = self.jami_account(domain, name).await?;
        let now = Timestamp::now().as_second();
        let Some(devices) = self.store.detach_jami_account(&account, now).await? else {
            return Err(AdminError::NoJamiAccount(name.to_string()));
        };
        self.record_account_end(&account, &devices, &Reason::NAME_OF_ANOTHER);
        Ok((account, devices))
    }

    fn record_account_end(&self, account: &Account, devices: &[Device], reason: &Reason<'_>) {
        let detail = Detail { actor: Some(actor()), reason: Some(reason.text), ..Detail::of_account(account) };
        self.audit.record(Kind::JamiAccountDetached, detail);
        for device in devices {
            let by = Detail { actor: Some(actor()), ..Detail::default() };
            revoke::record(&self.audit, account, &device.id, reason, by);
        }
    }
}

/// For people.
fn text(identity: &Identity) -> String {
    format!("bound to {} `{}`", identity.source, identity.id)
}
