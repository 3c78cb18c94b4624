//! What the command line does to a policy server's store, whether or not the server is running: a running one sees it
//! at its next request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared_proto::names::is_name;
use shared_proto::problem::Problems;

use crate::agents::{Registered, Rights};
use crate::audit::{Audit, Detail, Kind};
use crate::auth::modules::{Shared, Vault};
use crate::config::cams_conf::CamsConf;
use crate::pki::{AgentCa, AgentCertificate, PkiError};
use crate::session::{Filter, Session, SessionError, SessionService};
use crate::store::{Store, StoreError};
use crate::wire::{self, OpenError, Reader};

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("`{0}` is not a name: use letters, digits and _ (at most 64)")]
    BadName(String),
    #[error("an agent named `{0}` is registered already: remove it first")]
    Exists(String),
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

    /// The live ones, newest first. With a configuration that is not good, limits are unknown and only ends count.
    pub async fn sessions(&self, filter: &Filter) -> Result<Vec<Session>, AdminError> {
        let shared = Shared { vault: Some(self.vault.clone()), ..Shared::offline() };
        let loaded = wire::load(&self.conf, &shared, &Reader::default(), &mut Problems::default());
        let idle = |domain: &str| loaded.as_ref().map_or(Duration::MAX, |loaded| loaded.idle_limit(domain));
        Ok(self.sessions.live(filter, idle, Timestamp::now().as_second()).await?)
    }

    /// Ends every session that matches, live or not; those that it ended.
    pub async fn end_sessions(&self, filter: &Filter) -> Result<Vec<Session>, AdminError> {
        let mut ended = Vec::new();
        for session in self.sessions.list(filter).await? {
            if self.sessions.end(&session.id).await? {
                let detail =
                    Detail { reason: Some("ended by an administrator"), actor: Some(actor()), ..Detail::of(&session) };
                self.audit.record(Kind::SessionEnded, detail);
                ended.push(session);
            }
        }
        Ok(ended)
    }
}

fn by_administrator(agent: &str) -> Detail<'_> {
    Detail { agent: Some(agent), actor: Some(actor()), ..Detail::default() }
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
