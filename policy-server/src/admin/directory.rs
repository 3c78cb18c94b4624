//! The built-in directory at the command line. Whoever loses something loses it at once: the store ends the sessions and
//! tells the agents in the same transaction. Everything leaves a line in the audit log, with who did it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use shared_proto::secret::Secret;

use super::{Admin, AdminError, actor};
use crate::audit::{Detail, Kind};
use crate::auth::password::PasswordPolicy;
use crate::digest::DigestPool;
use crate::directory::local::{
    Group, LocalDirectory, LocalUser, NewUser, PasswordError, UserEdit, digest_new_password,
};
use crate::directory::person::{Name, Person};
use crate::directory::{Found, UserDirectory};
use crate::store::{Added, Edited, Membership};
use crate::token::readable;
use crate::wire;

/// People asked for at once.
const PAGE: u32 = 500;
/// Characters of a generated password.
const GENERATED: usize = 20;

impl Admin {
    /// Adds a user; the id under which the directory knows the person for ever.
    pub async fn add_user(&self, domain: &str, user: &NewUser, password: &Secret) -> Result<String, AdminError> {
        let policy = self.password_policy(domain)?;
        let digest = digest_new_password(&policy, &DigestPool::new(1, 1), &user.name, password, &[]).await?;
        let id = match self.store.add_local_user(domain, user, &digest, now()).await? {
            Added::Done(id) => id,
            Added::Exists => return Err(AdminError::UserExists(user.name.to_string())),
            Added::NoGroup(group) => return Err(AdminError::NoGroup(group)),
        };
        self.record(Kind::UserAdded, Detail { user: Some(user.name.text()), ..Detail::default() }, domain);
        for group in &user.groups {
            let detail = Detail { user: Some(user.name.text()), group: Some(group.text()), ..Detail::default() };
            self.record(Kind::GroupJoined, detail, domain);
        }
        Ok(id)
    }

    /// A random password that the domain's policy takes.
    pub fn generate_password(&self, domain: &str) -> Result<Secret, AdminError> {
        let length = self.password_policy(domain)?.minimum_length.max(GENERATED);
        Ok(Secret::from(readable(length).map_err(PasswordError::from)?))
    }

    /// Gives a user another password; every session that rests on the user ends.
    pub async fn set_password(&self, domain: &str, name: &Name, password: &Secret) -> Result<Edited, AdminError> {
        let policy = self.password_policy(domain)?;
        let user = self.user(domain, name).await?;
        let former = self.store.local_passwords(&user, policy.history).await?;
        let digest = digest_new_password(&policy, &DigestPool::new(1, 1), name, password, &former).await?;
        let edited = self.store.set_local_password(domain, name, digest, policy.history, now()).await?;
        self.edited(domain, name, edited, Kind::PasswordSet, "the password was set anew")
    }

    /// Everybody with this text in name, mail address or full name.
    pub async fn users(&self, domain: &str, text: &str) -> Result<Vec<Person>, AdminError> {
        let directory = LocalDirectory { store: self.store.clone(), domain: domain.to_owned() };
        let mut people = Vec::new();
        loop {
            let offset = u32::try_from(people.len()).unwrap_or(u32::MAX);
            let Found { people: page, total } = directory.search(text, offset, PAGE).await?;
            let is_last = page.is_empty();
            people.extend(page);
            if is_last || u64::try_from(people.len()).is_ok_and(|seen| seen >= total) {
                return Ok(people);
            }
        }
    }

    pub async fn user(&self, domain: &str, name: &Name) -> Result<LocalUser, AdminError> {
        self.store.local_user(domain, name).await?.ok_or_else(|| AdminError::NoUser(name.to_string()))
    }

    /// Who is disabled loses every session.
    pub async fn set_user_enabled(&self, domain: &str, name: &Name, enabled: bool) -> Result<Edited, AdminError> {
        let edited = self.store.edit_local_user(domain, name, now(), |user| user.person.enabled = enabled).await?;
        let kind = if enabled { Kind::UserEnabled } else { Kind::UserDisabled };
        self.edited(domain, name, edited, kind, "the user was disabled")
    }

    pub async fn edit_user(&self, domain: &str, name: &Name, edit: UserEdit) -> Result<(), AdminError> {
        let mut set = Vec::new();
        let edited = self.store.edit_local_user(domain, name, now(), |user| set = edit.apply(user)).await?;
        let Edited { name, .. } = edited.ok_or_else(|| AdminError::NoUser(name.to_string()))?;
        let reason = format!("set: {}", set.join(", "));
        let detail = Detail { user: Some(&name), reason: Some(&reason), ..Detail::default() };
        self.record(Kind::UserChanged, detail, domain);
        Ok(())
    }

    pub async fn remove_user(&self, domain: &str, name: &Name) -> Result<Edited, AdminError> {
        let edited = self.store.remove_local_user(domain, name, now()).await?;
        self.edited(domain, name, edited, Kind::UserRemoved, "the user was removed")
    }

    /// `roles` are what members of the group get; its own name where there is none.
    pub async fn add_group(&self, domain: &str, name: &Name, roles: BTreeSet<String>) -> Result<(), AdminError> {
        let roles = if roles.is_empty() { [name.to_string()].into() } else { roles };
        if !self.store.add_local_group(domain, name, &roles, now()).await? {
            return Err(AdminError::GroupExists(name.to_string()));
        }
        let reason = format!("roles: {}", roles.into_iter().collect::<Vec<_>>().join(", "));
        let detail = Detail { group: Some(name.text()), reason: Some(&reason), ..Detail::default() };
        self.record(Kind::GroupAdded, detail, domain);
        Ok(())
    }

    pub async fn groups(&self, domain: &str) -> Result<Vec<Group>, AdminError> {
        Ok(self.store.local_groups(domain).await?)
    }

    pub async fn remove_group(&self, domain: &str, name: &Name) -> Result<(), AdminError> {
        if !self.store.remove_local_group(domain, name).await? {
            return Err(AdminError::NoGroup(name.to_string()));
        }
        self.record(Kind::GroupRemoved, Detail { group: Some(name.text()), ..Detail::default() }, domain);
        Ok(())
    }

    /// Puts a user into a group or takes one out; false where it was so already.
    pub async fn set_member(
        &self,
        domain: &str,
        group: &Name,
        user: &Name,
        is_member: bool,
    ) -> Result<bool, AdminError> {
        match self.store.set_local_membership(domain, group, user, is_member).await? {
            Membership::NoGroup => Err(AdminError::NoGroup(group.to_string())),
            Membership::NoUser => Err(AdminError::NoUser(user.to_string())),
            Membership::Unchanged => Ok(false),
            Membership::Changed => {
                let kind = if is_member { Kind::GroupJoined } else { Kind::GroupLeft };
                let detail = Detail { user: Some(user.text()), group: Some(group.text()), ..Detail::default() };
                self.record(kind, detail, domain);
                Ok(true)
            }
        }
    }

    /// What the configuration demands now.
    fn password_policy(&self, domain: &str) -> Result<PasswordPolicy, AdminError> {
        let mut loaded = wire::load_with(&self.conf, self.vault.clone())?;
        let found = loaded.domains.remove(domain).ok_or_else(|| AdminError::NoDomain(domain.to_owned()))?;
        Ok(found.local.ok_or_else(|| AdminError::NoDirectory(domain.to_owned()))?.passwords)
    }

    /// Writes down what became of a user, and of the sessions.
    fn edited(
        &self,
        domain: &str,
        name: &Name,
        edited: Option<Edited>,
        kind: Kind,
        why: &str,
    ) -> Result<Edited, AdminError> {
        let edited = edited.ok_or_else(|| AdminError::NoUser(name.to_string()))?;
        self.record(kind, Detail { user: Some(&edited.name), ..Detail::default() }, domain);
        for session in &edited.ended {
            self.record(Kind::SessionEnded, Detail { reason: Some(why), ..Detail::of(session) }, &session.domain);
        }
        Ok(edited)
    }

    fn record<'a>(&self, kind: Kind, detail: Detail<'a>, domain: &'a str) {
        self.audit.record(kind, Detail { domain: Some(domain), actor: Some(actor()), ..detail });
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
