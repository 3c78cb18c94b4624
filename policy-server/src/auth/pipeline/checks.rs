//! What a login entry can be told of as a whole when it is loaded, beside what its modules say of themselves.

use std::path::PathBuf;
use std::time::Duration;

use shared_proto::problem::Problems;

use super::{EntryModule, LOGIN_LIMIT, LoginEntry};
use crate::auth::stack::Flag;

impl LoginEntry {
    /// Directories that hang are not to take the time of those behind them.
    pub(super) fn check_times(&self, places: &[(PathBuf, usize)], warnings: &mut Problems) {
        let mut all = Duration::ZERO;
        for (module, (file, line)) in self.modules.iter().zip(places) {
            let before = all;
            all = all.saturating_add(module.module.patience());
            if before <= LOGIN_LIMIT && all > LOGIN_LIMIT {
                let message = format!(
                    "entry `{}`: directories that hang would keep a login waiting for {all:?} up to this module, and a \
                     login ends after {LOGIN_LIMIT:?}: shorten the time-outs (`connectTimeout`, `readTimeout`, \
                     `queryTimeout`) of these modules",
                    self.name
                );
                warnings.add(file, *line, message);
            }
        }
    }

    /// What makes a second factor that can be gone without.
    pub(super) fn check_factors(&self, places: &[(PathBuf, usize)], problems: &mut Problems, warnings: &mut Problems) {
        let mut may_be_enough = false;
        let has_factor = self.modules.iter().any(EntryModule::is_second_factor);
        for (module, (file, line)) in self.modules.iter().zip(places) {
            if let Some(why) = module.module.loose_names().filter(|_| has_factor) {
                problems.add(file, *line, format!("{why}: a second factor needs one name for each person"));
            }
            if module.is_second_factor() && !module.flag.decides() {
                let message = format!(
                    "flag {}: a wrong code would not stop the login: make it REQUIRED, and write \
                     `notEnrolled=ignore` if people without a secret are to log in without a code",
                    module.flag
                );
                problems.add(file, *line, message);
            } else if module.is_second_factor() && may_be_enough {
                let message = format!(
                    "entry `{}`: this module is behind a SUFFICIENT one, whose success ends the login: nobody of that \
                     directory is asked for a code; make the modules before it REQUIRED, or give each directory an entry",
                    self.name
                );
                warnings.add(file, *line, message);
            }
            may_be_enough |= module.flag == Flag::Sufficient;
        }
    }
}
