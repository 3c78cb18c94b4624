//! What the command line does to a policy server's store, whether or not the server is running: a running one sees it
//! at its next request.

mod ca;
mod directory;
mod jami;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use shared_proto::names::is_name;

use crate::agents::{Registered, Rights};
use crate::audit::{Audit, Detail, Kind};
use crate::auth::modules::Vault;
use crate::auth::modules::totp::{self, EnrolError, Invitation};
use crate::auth::valves::auto_login::family::Family;
use crate::auth::valves::throttle::keyed_bucket;
use crate::config::cams_conf::CamsConf;
use crate::directory::DirectoryError;
use crate::directory::local::PasswordError;
use crate::pki::{AgentCa, AgentCertificate, PkiError};
use crate::revocation::RevocationError;
use crate::session::{Filter, Session, SessionError, SessionService};
use crate::store::{Fate, Kept, Store, StoreError, TotpUser};
use crate::wire::{self, OpenError};

pub use ca::{CaFacts, pem};

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("`{0}` is not a name: use letters, digits and _ (at most 64)")]
    BadName(String),
    #[error("an agent named `{0}` is registered already: remove it first")]
    Exists(String),
    #[error("the security domain `{0}` has no login entry with a TotpLoginModule")]
    NoCodes(String),
    #[error("the TotpLoginModules of the security domain `{0}` want different codes, but people have one device")]
    OtherCodes(String),
    #[error("there is a CA already ({0}): with --replace another one issues, and what this one issued stays good")]
    CaExists(String),
    #[error("there is or was a CA with this very key ({0})")]
    CaKnown(String),
    #[error("there is no CA yet: make one with `cams ca create` or `cams ca import`")]
    NoCa,
    #[error("`{0}` is not the id of a CA or an account")]
    NoIssuer(String),
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error("there is no security domain `{0}`")]
    NoDomain(String),
    #[error("security-domain.xml of `{0}` has no enabled local directory")]
    NoDirectory(String),
    #[error("there is no user `{0}` in the local directory")]
    NoUser(String),
    #[error("there is a user `{0}` in the local directory already")]
    UserExists(String),
    #[error("there is no group `{0}` in the local directory")]
    NoGroup(String),
    #[error("there is a group `{0}` in the local directory already")]
    GroupExists(String),
    #[error("there is no device `{0}`")]
    NoDevice(String),
    #[error("there is no Jami account of `{0}`")]
    NoJamiAccount(String),
    #[error("the Jami account of `{0}` has changed just now: look at it again")]
    JamiAccountChanged(String),
    #[error("nothing is changed: the login entry `{0}` of the account is gone from the configuration")]
    NoEntry(String),
    #[error("nothing is changed: a directory cannot be asked who has the name now: {0}")]
    NotAsked(String),
    #[error(
        "nothing is changed: no directory that can be asked without a password knows somebody called `{0}` who may log in"
    )]
    NoPerson(String),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An administrator at the policy server's own machine, proved by being able to read its key.
pub struct Admin {
    conf: CamsConf,
    store: Store,
    sessions: SessionService,
    audit: Audit,
    agent_ca: AgentCa,
    vault: Vault,
}

impl Admin {
    pub async fn open(conf: &Path) -> Result<Self, AdminError> {
        let wire::Foundation { conf, store, vault, audit, agent_ca, .. } = wire::foundation(conf).await?;
        let sessions = SessionService::new(Arc::new(store.clone()));
        Ok(Self { conf, store, sessions, audit, agent_ca, vault })
    }

    pub fn conf(&self) -> &CamsConf {
        &self.conf
    }

    /// The certificate (PEM) that agents check the policy server against.
    pub fn agent_ca(&self) -> &str {
        self.agent_ca.certificate()
    }

    pub async fn agents(&self) -> Result<Vec<Registered>, AdminError> {
        Ok(self.store.agents().await?)
    }

    /// Registers an agent under a new certificate.
    pub async fn add_agent(&self, name: &str, rights: Rights) -> Result<AgentCertificate, AdminError> {
        if !is_name(name) {
            return Err(AdminError::BadName(name.to_owned()));
        }
        let now = Timestamp::now();
        let issued = self.agent_ca.issue_agent(name, now)?;
        let agent = Registered {
            name: name.to_owned(),
            fingerprint: issued.fingerprint.clone(),
            rights,
            created: now.as_second(),
        };
        if !self.store.add_agent(&agent).await? {
            return Err(AdminError::Exists(name.to_owned()));
        }
        let detail = Detail { rights: Some(&agent.rights), ..by_administrator(name) };
        self.audit.record(Kind::AgentAdded, detail);
        Ok(issued)
    }

    /// False where there was none.
    pub async fn remove_agent(&self, name: &str) -> Result<bool, AdminError> {
        let removed = self.store.remove_agent(name).await?;
        if removed {
            self.audit.record(Kind::AgentRemoved, by_administrator(name));
        }
        Ok(removed)
    }

    /// Gives a person a secret for one-time codes. `issuer` is what the person's device shows; the cluster by default.
    pub async fn enrol_totp(&self, domain: &str, user: &str, issuer: Option<&str>) -> Result<Invitation, AdminError> {
        let loaded = wire::load_with(&self.conf, self.vault.clone())?;
        let entries = loaded.domains.get(domain).into_iter().flat_map(|domain| domain.entries());
        let mut codes = entries.flat_map(|entry| &entry.modules).filter_map(|module| module.module.second_factor());
        let factor = codes.next().ok_or_else(|| AdminError::NoCodes(domain.to_owned()))?;
        if codes.any(|other| other.codes != factor.codes) {
            return Err(AdminError::OtherCodes(domain.to_owned()));
        }
        let issuer = issuer.unwrap_or(&self.conf.cluster);
        let now = Timestamp::now().as_second();
        let invitation = totp::enrol(&self.vault, &factor.codes, domain, user, issuer, now).await?;
        self.audit.record(Kind::TotpEnrolled, by_administrator_for(domain, user));
        Ok(invitation)
    }

    /// Takes the secret away, and with it the sessions that rest on it; false where there was none.
    pub async fn remove_totp(&self, domain: &str, user: &str) -> Result<bool, AdminError> {
        let removed = self.store.remove_totp_secret(domain, user).await?;
        if removed {
            self.audit.record(Kind::TotpRemoved, by_administrator_for(domain, user));
        }
        Ok(removed)
    }

    /// Everybody who has a secret for one-time codes.
    pub async fn totp_users(&self) -> Result<Vec<TotpUser>, AdminError> {
        Ok(self.store.totp_users().await?)
    }

    /// The live ones, newest first. With a configuration that is not good, limits are unknown and only ends count.
    pub async fn sessions(&self, filter: &Filter) -> Result<Vec<Session>, AdminError> {
        let loaded = wire::load_with(&self.conf, self.vault.clone());
        let idle = |domain: &str| loaded.as_ref().map_or(Duration::MAX, |loaded| loaded.idle_limit(domain));
        Ok(self.sessions.live(filter, idle, Timestamp::now().as_second()).await?)
    }

    /// Ends every session that matches, live or not; those that it ended.
    pub async fn end_sessions(&self, filter: &Filter) -> Result<Vec<Session>, AdminError> {
        let mut ended = Vec::new();
        for session in self.sessions.list(filter).await? {
            if self.sessions.end(&session.id).await? {
                self.record_end(&session);
                ended.push(session);
            }
        }
        Ok(ended)
    }

    fn record_end(&self, session: &Session) {
        let detail = Detail { reason: Some("ended by an administrator"), actor: Some(actor()), ..Detail::of(session) };
        self.audit.record(Kind::SessionEnded, detail);
    }

    /// The remembered browsers, oldest first. With a configuration that is not good, a lifetime that was shortened does
    /// not count.
    pub async fn browsers(&self, filter: &Filter) -> Result<Vec<Family>, AdminError> {
        let loaded = wire::load_with(&self.conf, self.vault.clone()).ok();
        let auto = |domain: &str| loaded.as_ref()?.domains.get(domain)?.logins.auto_login();
        let now = Timestamp::now().as_second();
        let mut browsers = self.store.families(filter.domain.as_deref(), filter.user.as_deref()).await?;
        for family in &mut browsers {
            family.expires = auto(&family.domain).map_or(family.expires, |auto| auto.ends(family));
        }
        browsers.retain(|family| !family.stolen && now < family.expires);
        Ok(browsers)
    }

    /// Forgets browsers, which could log in again by themselves, and ends their sessions: the one with the id that is
    /// asked for, those that these sessions belong to and, with a user, all of that person. How many it forgot.
    pub async fn forget_browsers(&self, sessions: &[Session], filter: &Filter) -> Result<usize, AdminError> {
        let mut families: BTreeSet<String> = sessions.iter().filter_map(|session| session.series.clone()).collect();
        families.extend(filter.id.clone());
        if let Some(user) = &filter.user {
            let all = self.store.families_of(filter.domain.as_deref(), user).await?;
            families.extend(all.into_iter().map(|family| family.series));
        }
        let mut forgotten = 0;
        for series in &families {
            let decide = |found: Option<Family>| match found.filter(|family| !family.stolen) {
                Some(family) => (Fate::Ends, Some(family)),
                None => (Fate::Stays, None),
            };
            let (family, ended) = self.store.change_family(series, decide).await?;
            ended.iter().for_each(|session| self.record_end(session));
            if let Some(family) = family {
                let detail = Detail { actor: Some(actor()), ..Detail::of_family(&family) };
                self.audit.record(Kind::RememberMeEnded, detail);
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}

impl Admin {
    /// The user names that are locked now, each for a network, in this security domain or in all.
    pub async fn locks(&self, domain: Option<&str>, user: Option<&str>) -> Result<Vec<Kept>, AdminError> {
        let now = Timestamp::now().as_second();
        let bucket = user.map(|user| keyed_bucket(&self.vault.keys, user));
        let kept = self.store.kept_failures(domain, bucket.as_deref()).await?;
        Ok(kept.into_iter().filter(|kept| kept.is_locked(now)).collect())
    }

    /// Forgets the failed logins of a user name, however it is spelt, in this security domain or in all, from this
    /// network or from all. What was forgotten.
    pub async fn unlock(
        &self,
        user: &str,
        domain: Option<&str>,
        network: Option<IpNet>,
    ) -> Result<Vec<Kept>, AdminError> {
        let bucket = keyed_bucket(&self.vault.keys, user);
        let mut kept = self.store.kept_failures(domain, Some(&bucket)).await?;
        let meets = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        kept.retain(|kept| network.is_none_or(|network| meets(&network, &kept.pair.network)));
        for Kept { pair, count } in &kept {
            self.store.clear_failures(pair).await?;
            let detail = Detail {
                user: Some(user),
                domain: Some(&pair.domain),
                network: Some(pair.network.to_string()),
                failures: Some(count.failures),
                actor: Some(actor()),
                ..Detail::default()
            };
            self.audit.record(Kind::LoginUnlocked, detail);
        }
        Ok(kept)
    }
}

fn by_administrator(agent: &str) -> Detail<'_> {
    Detail { agent: Some(agent), actor: Some(actor()), ..Detail::default() }
}

fn by_administrator_for<'a>(domain: &'a str, user: &'a str) -> Detail<'a> {
    Detail { domain: Some(domain), user: Some(user), actor: Some(actor()), ..Detail::default() }
}

/// Who runs the command, as the system knows it.
fn actor() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::Capability;
    use crate::testkit::Site;

    #[tokio::test]
    async fn the_register_changes_with_a_trace_of_what_and_by_whom() {
        let site = Site::new();
        let admin = Admin::open(&site.conf()).await.unwrap();
        let rights = Rights {
            domains: vec!["system".into()],
            hosts: vec!["app.test".into()],
            entries: vec!["http".into()],
            capabilities: vec![Capability::Enforce, Capability::Jami],
        };
        admin.add_agent("web1", rights.clone()).await.unwrap();
        assert!(admin.remove_agent("web1").await.unwrap());
        let [added] = &site.events("agent-added")[..] else { panic!() };
        assert_eq!(added["rights"], serde_json::to_value(rights).unwrap());
        let [removed] = &site.events("agent-removed")[..] else { panic!() };
        for event in [added, removed] {
            assert_eq!((&event["agent"], &event["actor"]), (&"web1".into(), &actor().into()));
        }
    }
}
