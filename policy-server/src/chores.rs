//! What the server does beside answering: it follows its files and removes sessions that are over.
//!
//! A changed configuration is taken over as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared_proto::problem::Problems;
use tokio::time::MissedTickBehavior;

use crate::audit::{Detail, Kind};
use crate::device::account;
use crate::directory::xml_users::{Refresh, XmlUserRepository};
use crate::enforcement::EXPIRED;
use crate::reader::Reader;
use crate::watch::Seen;
use crate::wire::{Domain, Loaded, Server, load, read_conf, warn};

/// How often files are looked at: half of the 100 ms within which a role that was taken away is to be refused. A look is
/// a `stat` for each file on a thread that may block; nothing is read until one of them tells of a change.
const WATCH: Duration = Duration::from_millis(50);
const PURGE: Duration = Duration::from_secs(300);

impl Server {
    /// Follows the files and removes what is over.
    pub(crate) async fn chores(self: Arc<Self>) {
        let mut watch = Watch::default();
        let mut look = tokio::time::interval(WATCH);
        // A slow disk makes looks rarer, and is not asked in a burst afterwards.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                    self.notice_gone(&mut watch).await;
                }
                _ = purge.tick() => self.purge().await,
            }
        }
    }

    fn follow(&self, watch: &mut Watch) {
        if let Err(error) = self.audit.follow_rotation() {
            tracing::error!(%error, "the audit log cannot be opened again");
        }
        let (loaded, now) = (self.loaded(), self.now());
        if watch.conf.as_ref().is_none_or(|conf| conf.moved(now)) {
            watch.conf = Some(Seen::at(&self.conf.file, now));
            self.compare_conf(&mut watch.restart);
        }
        let files = watch.files.get_or_insert_with(|| loaded.files.clone());
        if files.iter().any(|file| file.moved(now)) {
            self.reload(&loaded, watch);
        }
        for domain in self.loaded().domains.values() {
            for repository in &domain.users {
                // Domains that share a file have a repository each.
                let users = watch.users.entry((domain.name.clone(), repository.path().to_owned())).or_default();
                if users.seen.as_ref().is_none_or(|seen| seen.moved(now)) {
                    users.seen = Some(Seen::at(repository.path(), now));
                    if self.refresh(domain, repository, &mut users.refused) {
                        watch.moved.insert(domain.name.clone());
                    }
                }
            }
        }
    }

    /// Takes a changed configuration over as a whole, or keeps the old one and says why. What was refused is tried
    /// again when any of its files moves.
    fn reload(&self, old: &Loaded, watch: &mut Watch) {
        let (reader, mut problems) = (Reader::default(), Problems::default());
        let loaded = load(&self.conf, &self.shared, &reader, &mut problems);
        let result = problems.into_result(loaded);
        watch.files = Some(result.as_ref().map_or_else(|_| reader.files(), |new| new.files.clone()));
        match result {
            Ok(new) if new.hash == old.hash => watch.refused = None,
            Ok(new) => {
                watch.refused = None;
                let hashes = Detail { old_hash: Some(&old.hash), new_hash: Some(&new.hash), ..Detail::default() };
                self.audit.record(Kind::ConfigurationLoaded, hashes);
                tracing::info!("the configuration was changed and taken over");
                warn(&new.warnings);
                let domains: BTreeSet<_> = old.domains.keys().chain(new.domains.keys()).cloned().collect();
                self.loaded.store(Arc::new(new));
                // The files are taken over together, so every domain may decide otherwise.
                self.owe(&domains);
                watch.moved.extend(domains);
            }
            // Said already.
            Err(problems) if watch.refused.as_ref() == Some(&problems) => {}
            Err(problems) => {
                let reason = problems.to_string();
                let detail = Detail { old_hash: Some(&old.hash), reason: Some(&reason), ..Detail::default() };
                self.audit.record(Kind::ConfigurationRefused, detail);
                for problem in problems.iter() {
                    tracing::error!("{problem}");
                }
                tracing::error!("the changed configuration is not good: the old one stays in force");
                watch.refused = Some(problems);
            }
        }
    }

    /// `cams.conf` is read at the start only: a change is checked and announced.
    fn compare_conf(&self, said: &mut Option<String>) {
        let mut problems = Problems::default();
        let conf = read_conf(&self.conf.file, &mut problems);
        let reason = match problems.into_result(conf) {
            Ok(conf) if conf.hash == self.conf.hash => return *said = None,
            Ok(_) => "it was changed: restart the policy server to take it over".to_owned(),
            Err(problems) => format!("it was changed, and the policy server would not start with it: {problems}"),
        };
        if said.as_ref() == Some(&reason) {
            return;
        }
        let file = self.conf.file.display().to_string();
        tracing::warn!(%file, "{reason}");
        let detail = Detail { url: Some(&file), reason: Some(&reason), ..Detail::default() };
        self.audit.record(Kind::RestartNeeded, detail);
        *said = Some(reason);
    }

    /// Looks for people of Jami accounts without ids who are not in the files as they are now: the next look at the files may
    /// find others of the same names there.
    async fn notice_gone(&self, watch: &mut Watch) {
        let loaded = self.loaded();
        for name in std::mem::take(&mut watch.moved) {
            let Some(domain) = loaded.domains.get(&name) else { continue };
            if let Err(error) = account::look_for_gone(self, domain).await {
                tracing::error!(%error, domain = name, "people of Jami accounts cannot be looked up again");
                watch.moved.insert(name);
            }
        }
    }

    /// Whether other users count now.
    fn refresh(&self, domain: &Domain, repository: &XmlUserRepository, refused: &mut Option<Problems>) -> bool {
        let file = repository.path().display().to_string();
        match repository.refresh() {
            Refresh::Unchanged => {
                *refused = None;
                false
            }
            Refresh::Reloaded { users, hash, warnings } => {
                *refused = None;
                self.owe([&domain.name]);
                warn(&warnings);
                tracing::info!(users, %file, "the users were changed and taken over");
                let detail = Detail { url: Some(&file), new_hash: Some(&hash), ..Detail::default() };
                self.audit.record(Kind::UsersReloaded, detail);
                true
            }
            Refresh::Broken(problems) if refused.as_ref() == Some(&problems) => false,
            Refresh::Broken(problems) => {
                for problem in problems.iter() {
                    tracing::error!("{problem}");
                }
                tracing::error!(%file, "the changed users are not good: the old ones stay in force");
                let reason = problems.to_string();
                let detail = Detail { url: Some(&file), reason: Some(&reason), ..Detail::default() };
                self.audit.record(Kind::UsersRefused, detail);
                *refused = Some(problems);
                false
            }
        }
    }

    async fn purge(&self) {
        if let Err(error) = self.assertions.purge(self.now().as_second()).await {
            tracing::error!(%error, "old assertion keys cannot be removed");
        }
        let loaded = self.loaded();
        match self.sessions.purge(|domain| loaded.idle_limit(domain), self.now().as_second()).await {
            Ok(expired) => expired.iter().for_each(|session| self.record_end(session, EXPIRED)),
            Err(error) => tracing::error!(%error, "expired sessions cannot be removed"),
        }
        if let Err(error) = self.store.purge_families(self.now().as_second()).await {
            tracing::error!(%error, "expired remembered browsers cannot be removed");
        }
        if let Err(error) = self.store.purge_parked(self.now().as_second()).await {
            tracing::error!(%error, "old posted forms cannot be removed");
        }
        if let Err(error) = self.store.purge_handovers(self.now().as_second()).await {
            tracing::error!(%error, "expired hand-overs cannot be removed");
        }
        if let Err(error) = self.store.purge_failures(self.now().as_second()).await {
            tracing::error!(%error, "old counts of failed logins cannot be removed");
        }
        if let Err(error) = self.store.purge_jami_tokens(self.now().as_second()).await {
            tracing::error!(%error, "expired tokens of Jami devices cannot be removed");
        }
        if let Err(error) = self.store.trim_events(self.now().as_second()).await {
            tracing::error!(%error, "old events cannot be removed");
        }
    }
}

/// What files looked like when they were last read.
#[derive(Default)]
struct Watch {
    /// `cams.conf` itself.
    conf: Option<Seen>,
    /// Why the server was said to need a restart.
    restart: Option<String>,
    /// Of the last attempt to load a configuration, good or not; before the first, those of the one in force.
    files: Option<Vec<Seen>>,
    /// Why the last attempt failed.
    refused: Option<Problems>,
    users: BTreeMap<(String, PathBuf), UsersWatch>,
    /// Domains whose users are others since it was looked for people who are gone.
    moved: BTreeSet<String>,
}

/// The same for a file of users. The first look reads it.
#[derive(Default)]
struct UsersWatch {
    seen: Option<Seen>,
    refused: Option<Problems>,
}

#[cfg(test)]
mod tests;
