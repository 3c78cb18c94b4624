//! Whether a file changed since it was read, told by what is cheap to look at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

/// File systems keep times no finer than this, and most much finer.
const TICK: SignedDuration = SignedDuration::from_secs(1);

/// What a file looked like at a time.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    path: PathBuf,
    look: Option<Look>,
    /// It had changed so shortly before that a second change may look the same: to be read once more.
    young: bool,
}

/// Inode, length and time of change: different after every way of changing a file, but for two within a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    inode: u64,
    length: u64,
    changed: Timestamp,
}

impl Seen {
    /// Take it before reading, so that a change during the reading shows afterwards.
    pub(crate) fn at(path: &Path, now: Timestamp) -> Self {
        let look = Look::of(path);
        let young = look.as_ref().is_some_and(|look| now.duration_since(look.changed) < TICK);
        Self { path: path.to_owned(), look, young }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it must be read again.
    pub(crate) fn moved(&self, now: Timestamp) -> bool {
        let look = Look::of(&self.path);
        let settled = look.as_ref().is_some_and(|look| now.duration_since(look.changed) >= TICK);
        look != self.look || (self.young && settled)
    }
}

impl Look {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let changed = Timestamp::new(metadata.ctime(), metadata.ctime_nsec().try_into().ok()?).ok()?;
        Some(Self { inode: metadata.ino(), length: metadata.len(), changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_within_a_tick_of_its_change_is_read_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let changed = Look::of(&path).unwrap().changed;
        let after = |milliseconds| changed + SignedDuration::from_millis(milliseconds);
        let seen = Seen::at(&path, after(100));
        for (at, moved) in [(100, false), (999, false), (1_000, true), (60_000, true)] {
            assert_eq!(seen.moved(after(at)), moved, "{at} ms after the change");
        }
        let seen = Seen::at(&path, after(1_000));
        assert!(!seen.moved(after(1_000)) && !seen.moved(after(60_000)), "and not again");
        // A clock that was set back makes nobody read for ever.
        assert!(!Seen::at(&path, after(-60_000)).moved(after(-60_000)));
    }

    #[test]
    fn every_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let other = dir.path().join("other");
        let much_later = Timestamp::now() + SignedDuration::from_hours(1);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "one").unwrap(),
            &|| fs::write(&path, "longer").unwrap(),
            &|| {
                fs::write(&other, "otherX").unwrap();
                fs::rename(&other, &path).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let seen = Seen::at(&path, much_later);
            assert!(!seen.moved(much_later), "before change {number}");
            change();
            assert!(seen.moved(much_later), "change {number}");
        }
    }
}
