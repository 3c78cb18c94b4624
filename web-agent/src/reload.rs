//! Follows the files of the configuration while the agent runs. A changed configuration is taken over as a whole for new
//! requests, or not at all; what a process is bound to from its start waits for the next one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use shared_proto::problem::Problems;
use shared_proto::report::AgentEvent;

use crate::config::AgentConfig;
use crate::proxy::Live;
use crate::report::Reports;
use crate::run::{self, StartError};
use crate::tls::{self, Certificates};
use crate::upstream::PolicyServers;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// What a running agent lets be replaced.
pub struct Follower {
    pub live: Arc<ArcSwap<Live>>,
    pub watch: tls::Watch,
    pub policy_servers: Arc<PolicyServers>,
    pub reports: Reports,
}

/// The configuration in force, and what its files looked like.
struct Source {
    file: PathBuf,
    config: AgentConfig,
    hash: String,
    stamps: Vec<Option<(u64, u64, i64, i64)>>,
}

/// Reads the configuration, and hashes it together with the page templates it names.
///
/// # Errors
/// All problems of the file, or a template that cannot be read.
pub fn read(file: &Path) -> Result<(AgentConfig, String), StartError> {
    let text = fs::read_to_string(file).map_err(|error| {
        let mut problems = Problems::default();
        problems.add(file, 0, format!("cannot be read: {error}"));
        problems
    })?;
    let config = AgentConfig::parse(file, &text)?;
    let mut hash = Sha256::new_with_prefix(text);
    let templates = config.pages.as_deref().map(run::templates).transpose()?.unwrap_or_default();
    for part in templates.iter().flat_map(|(name, text)| [name, text]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((config, hash))
}

impl Follower {
    /// Looks at the files for as long as the process lives.
    pub async fn run(self, file: PathBuf, config: AgentConfig, hash: String) {
        let loaded = AgentEvent::ConfigurationLoaded { old_hash: None, new_hash: hash.clone(), note: String::new() };
        self.reports.send(loaded);
        // The first look finds everything changed, so that nothing is missed that changed meanwhile.
        let mut state = (self, Source { file, config, hash, stamps: Vec::new() });
        loop {
            tokio::time::sleep(POLL).await;
            let looked = tokio::task::spawn_blocking(move || {
                state.0.look(&mut state.1);
                state
            });
            match looked.await {
                Ok(looked) => state = looked,
                // The runtime is going down.
                Err(_) => return,
            }
        }
    }

    fn look(&mut self, source: &mut Source) {
        self.watch.refresh();
        self.policy_servers.refresh();
        let stamps = source.stamps();
        if stamps == source.stamps {
            return;
        }
        source.stamps = stamps;
        match self.take_over(source) {
            Ok(None) => {}
            Ok(Some(note)) => {
                tracing::info!(hash = source.hash, "the configuration was changed and taken over");
                if !note.is_empty() {
                    tracing::warn!("{note}");
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for line in reason.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the changed configuration is not good: the old one stays in force");
                self.reports.configuration_refused(&source.hash, &reason);
            }
        }
    }

    /// Opens everything first, then replaces. What has to wait for a restart is in the text; `None` where nothing changed.
    fn take_over(&mut self, source: &mut Source) -> Result<Option<String>, StartError> {
        let (mut config, hash) = read(&source.file)?;
        if hash == source.hash {
            return Ok(None);
        }
        let note = keep_what_stays(&source.config, &mut config);
        let live = run::live(&config)?;
        let (certificates, watch) = Certificates::load(&run::certificates(&config))?;
        self.watch.replace(&certificates, watch);
        self.live.store(Arc::new(live));
        let old_hash = Some(std::mem::replace(&mut source.hash, hash.clone()));
        self.reports.send(AgentEvent::ConfigurationLoaded { old_hash, new_hash: hash, note: note.clone() });
        source.config = config;
        Ok(Some(note))
    }
}

/// Puts back what a running process cannot change, and says what that is; empty where nothing of it was changed.
fn keep_what_stays(old: &AgentConfig, new: &mut AgentConfig) -> String {
    let mut waiting = Vec::new();
    let mut keep = |is_changed: bool, what: &'static str| {
        if is_changed {
            waiting.push(what);
        }
    };
    keep(old.listeners != new.listeners, "cams.listen");
    keep(old.revocation_listeners != new.revocation_listeners, "cams.jami.cleartext.listen");
    keep(old.cluster != new.cluster, "cams.cluster.name");
    keep(old.gate.domain != new.gate.domain, "cams.security.domain");
    keep(old.policy_servers != new.policy_servers, "cams.policy.server");
    keep(old.link != new.link, "cams.agent.certificate, cams.agent.key, cams.policy.server.ca");
    if old.listeners != new.listeners {
        // Certificates belong to listeners: those of the new ones may be none, or others.
        new.listeners.clone_from(&old.listeners);
        new.certificates.clone_from(&old.certificates);
    }
    new.revocation_listeners.clone_from(&old.revocation_listeners);
    new.cluster.clone_from(&old.cluster);
    new.policy_servers.clone_from(&old.policy_servers);
    new.link.clone_from(&old.link);
    let mut gate = (*new.gate).clone();
    gate.domain.clone_from(&old.gate.domain);
    gate.cookies = shared_proto::names::CookieNames::new(&gate.cookie_prefix, &new.cluster, &gate.domain);
    new.gate = Arc::new(gate);
    match waiting.as_slice() {
        [] => String::new(),
        waiting => format!("restart the web agent to take over {}", waiting.join(", ")),
    }
}

impl Source {
    /// Inode, length and time of change of every file: cheap to take, and different after every way of changing a file.
    fn stamps(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let folder = self.config.pages.iter();
        let listed = folder.clone().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        files.sort();
        let stamp = |file: &PathBuf| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
        };
        std::iter::once(&self.file).chain(folder).chain(&files).map(stamp).collect()
    }
}
