//! The files of one reading of the configuration: which they were and what was in them, so that a change is seen.

use std::cell::{Ref, RefCell};
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use shared_proto::problem::Problems;

use crate::config::login_config::LoginConfig;
use crate::config::trial::Trial;
use crate::files::{self, MAX_TEXT};
use crate::watch::Seen;

/// Reads files and remembers which, and what was in them.
#[derive(Default)]
pub(crate) struct Reader {
    seen: RefCell<Vec<(Seen, [u8; 32])>>,
    trial: Option<Trial>,
}

impl Reader {
    /// One that reads these options in place of those in the file.
    pub(crate) fn trying(trial: &Trial) -> Self {
        Self { trial: Some(trial.clone()), ..Self::default() }
    }

    pub(crate) fn read(&self, path: &Path) -> std::io::Result<String> {
        let seen = Seen::at(path, Timestamp::now());
        let text = files::read(path, MAX_TEXT);
        let digest = text.as_ref().map(|text| Sha256::digest(text).into()).unwrap_or_default();
        self.seen.borrow_mut().push((seen, digest));
        text
    }

    /// Every file that was asked for, users and unreadable ones too.
    pub(crate) fn files(&self) -> Vec<Seen> {
        self.seen.borrow().iter().map(|(seen, _)| seen.clone()).collect()
    }

    /// The text, or `None` with the reason in `problems`.
    pub(crate) fn text(&self, path: &Path, problems: &mut Problems) -> Option<String> {
        let text = self.read(path);
        text.map_err(|error| problems.add(path, 0, format!("cannot be read: {error}"))).ok()
    }

    /// What was read, and a digest of each.
    pub(crate) fn seen(&self) -> Ref<'_, Vec<(Seen, [u8; 32])>> {
        self.seen.borrow()
    }

    /// Puts the options of a trial in place of those in the domain's `login-config.xml`.
    pub(crate) fn put_on_trial(&self, domain: &str, login: &mut LoginConfig) {
        if let Some(trial) = &self.trial {
            trial.apply(domain, login);
        }
    }
}
