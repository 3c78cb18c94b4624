//! What the server does beside answering: it follows its files and removes sessions that are over.
//!
//! A changed configuration is taken over as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared_proto::problem::Problems;

use crate::audit::{Detail, Kind};
use crate::directory::xml_users::{Refresh, XmlUserRepository};
use crate::enforcement::EXPIRED;
use crate::wire::{Domain, Loaded, Server, load, warn};

/// How often files are looked at: a changed role must count within a second.
const WATCH: Duration = Duration::from_millis(250);
const PURGE: Duration = Duration::from_secs(300);

impl Server {
    /// Follows the files and removes what is over.
    pub(crate) async fn chores(self: Arc<Self>) {
        let mut watch = Watch::default();
        let mut look = tokio::time::interval(WATCH);
        let mut purge = tokio::time::interval(PURGE);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let server = Arc::clone(&self);
                    // Files are read on a thread that may block.
                    watch = match tokio::task::spawn_blocking(move || { server.follow(&mut watch); watch }).await {
                        Ok(watch) => watch,
                        Err(error) => {
                            tracing::error!(%error, "following the configuration files failed");
                            Watch::default()
                        }
                    };
                    self.settle().await;
                }
                _ = purge.tick() => self.purge().await,
            }
        }
    }

    fn follow(&self, watch: &mut Watch) {
        if let Err(error) = self.audit.follow_rotation() {
            tracing::error!(%error, "the audit log cannot be opened again");
        }
        let loaded = self.loaded();
        if watch.configuration.moved(&loaded.files) {
            self.reload(&loaded);
        }
        for domain in self.loaded().domains.values() {
            for repository in &domain.users {
                // Domains that share a file have a repository each.
                let stamp = watch.users.entry((domain.name.clone(), repository.path().to_owned())).or_default();
                if stamp.moved(&[repository.path().to_owned()]) {
                    self.refresh(domain, repository);
                }
            }
        }
    }

    /// Takes a changed configuration over as a whole, or keeps the old one and says why.
    fn reload(&self, old: &Loaded) {
        let mut problems = Problems::default();
        let loaded = load(&self.conf, &self.digests, &mut problems);
        match problems.into_result(loaded) {
            Ok(new) if new.hash == old.hash => {}
            Ok(new) => {
                let hashes = Detail { old_hash: Some(&old.hash), new_hash: Some(&new.hash), ..Detail::default() };
                self.audit.record(Kind::ConfigurationLoaded, hashes);
                tracing::info!("the configuration was changed and taken over");
                warn(&new.warnings);
                let domains: BTreeSet<_> = old.domains.keys().chain(new.domains.keys()).cloned().collect();
                self.loaded.store(Arc::new(new));
                // The files are taken over together, so every domain may decide otherwise.
                self.owe(&domains);
            }
            Err(problems) => {
                let reason = problems.to_string();
                let detail = Detail { old_hash: Some(&old.hash), reason: Some(&reason), ..Detail::default() };
                self.audit.record(Kind::ConfigurationRefused, detail);
                for problem in problems.iter() {
                    tracing::error!("{problem}");
                }
                tracing::error!("the changed configuration is not good: the old one stays in force");
            }
        }
    }

    fn refresh(&self, domain: &Domain, repository: &XmlUserRepository) {
        let file = repository.path().display().to_string();
        match repository.refresh() {
            Refresh::Unchanged => {}
            Refresh::Reloaded { users, hash, warnings } => {
                self.owe([&domain.name]);
                warn(&warnings);
                tracing::info!(users, %file, "the users were changed and taken over");
                let detail = Detail { url: Some(&file), new_hash: Some(&hash), ..Detail::default() };
                self.audit.record(Kind::UsersReloaded, detail);
            }
            Refresh::Broken(problems) => {
                for problem in problems.iter() {
                    tracing::error!("{problem}");
                }
                tracing::error!(%file, "the changed users are not good: the old ones stay in force");
                let reason = problems.to_string();
                let detail = Detail { url: Some(&file), reason: Some(&reason), ..Detail::default() };
                self.audit.record(Kind::UsersRefused, detail);
            }
        }
    }

    async fn purge(&self) {
        for domain in self.loaded().domains.values() {
            match self.sessions.purge(&domain.name, domain.limits, self.now().as_second()).await {
                Ok(expired) => expired.iter().for_each(|session| self.record_end(session, EXPIRED)),
                Err(error) => tracing::error!(%error, "expired sessions cannot be removed"),
            }
        }
        if let Err(error) = self.store.trim_events(self.now().as_second()).await {
            tracing::error!(%error, "old events cannot be removed");
        }
    }
}

/// What files looked like at the last look. The first look finds everything moved, so a change made while the server
/// started is not missed.
#[derive(Default)]
struct Watch {
    configuration: Stamp,
    users: BTreeMap<(String, PathBuf), Stamp>,
}

/// Inode, length and time of change of files: cheap to take, and different after every way of changing a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stamp(Vec<Option<(u64, u64, i64, i64)>>);

impl Stamp {
    fn of(files: &[PathBuf]) -> Self {
        use std::os::unix::fs::MetadataExt;
        let stamp = |file: &PathBuf| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
        };
        Self(files.iter().map(stamp).collect())
    }

    /// Whether the files differ from the last look, which this one becomes.
    fn moved(&mut self, files: &[PathBuf]) -> bool {
        let now = Self::of(files);
        let moved = now != *self;
        *self = now;
        moved
    }
}
