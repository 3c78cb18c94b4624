//! The XML user repository: the users of one file, meant for agents, admins and small sites.
//!
//! The file is one snapshot that is swapped as a whole: a login sees the old users or the new ones, and a file that
//! cannot be read or understood changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use shared_proto::problem::Problems;
use shared_proto::secret::mode_problem;

use super::person::{Person, Profile, fold, is_found};
use super::{DirectoryError, Found, UserDirectory};
use crate::auth::subject::attribute;
use crate::config::cams_users::{self, XmlUser, XmlUsers};
use crate::digest::Decoys;
use crate::files;

/// What a look at the file brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    Unchanged,
    Reloaded {
        users: usize,
        /// SHA-256 of the file, in hexadecimal, for the audit log.
        hash: String,
        warnings: Problems,
    },
    /// The users are those of before.
    Broken(Problems),
}

/// Service `com.cafesoft.security.engine.service.XmlUserRepositoryService`.
#[derive(Debug)]
pub struct XmlUserRepository {
    path: PathBuf,
    current: ArcSwap<XmlUsers>,
    /// One refresh at a time, so that an older reading never replaces a newer one.
    refreshing: Mutex<()>,
}

impl XmlUserRepository {
    /// `users` is what `path` held when the configuration was checked.
    pub fn new(path: PathBuf, users: XmlUsers) -> Self {
        Self { path, current: ArcSwap::from_pointee(users), refreshing: Mutex::new(()) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user of exactly this name.
    pub fn find(&self, user: &str) -> Option<Arc<XmlUser>> {
        self.current.load().find(user).cloned()
    }

    /// The decoys for those who do not exist.
    pub fn decoys(&self) -> Decoys {
        let decoys = Decoys::default();
        let users = self.current.load();
        users.iter().filter_map(|user| user.password.expose_str()).for_each(|stored| decoys.learn(stored));
        decoys
    }

    /// Writes another digest of the user's password into the file, in the place of `old`; false where the user has
    /// another one by now. It counts when the file is read next. Blocks on the disk.
    pub fn replace_digest(&self, user: &str, old: &str, new: &str) -> io::Result<bool> {
        let _one_at_a_time = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = files::read(&self.path, files::MAX_TEXT)?;
        let Some(changed) = cams_users::with_digest(&text, user, old, new) else { return Ok(false) };
        files::replace(&self.path, &text, &changed).map(|()| true)
    }

    /// Reads the file and takes its users over if they changed. Blocks on the disk.
    pub fn refresh(&self) -> Refresh {
        let _one_at_a_time = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = Problems::default();
        let text = match files::read(&self.path, files::MAX_TEXT) {
            Ok(text) => text,
            Err(error) => {
                problems.add(&self.path, 0, format!("cannot be read: {error}"));
                return Refresh::Broken(problems);
            }
        };
        if cams_users::hash(&text) == self.current.load().hash {
            return Refresh::Unchanged;
        }
        let Some(users) = cams_users::read(&self.path, &text, &mut problems) else {
            return Refresh::Broken(problems);
        };
        let mut warnings = users.warnings.clone();
        self.warn_of_exposure(&mut warnings);
        let reloaded = Refresh::Reloaded { users: users.len(), hash: users.hash.clone(), warnings };
        self.current.store(Arc::new(users));
        reloaded
    }

    /// Warns when other users of the machine can read the digests.
    pub fn warn_of_exposure(&self, warnings: &mut Problems) {
        if let Ok(metadata) = fs::metadata(&self.path)
            && let Some(why) = mode_problem(metadata.mode())
        {
            warnings.add(&self.path, 0, why);
        }
    }
}

/// A user of the file as one of a directory. Nothing there tells a user from a former one of the same name.
fn person(user: &XmlUser) -> Person {
    let profile = Profile::of(|name| attribute(&user.attributes, name));
    Person { id: String::new(), name: user.name.clone(), profile, enabled: user.account.enabled }
}

#[async_trait]
impl UserDirectory for XmlUserRepository {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let folded = fold(text);
        let users = self.current.load_full();
        let people = users.iter().map(|user| person(user));
        let found = people.filter(|person| is_found(&folded, &person.name, &person.profile)).collect();
        Ok(Found::page(found, false, offset, limit))
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        Ok(Self::find(self, name).map(|user| person(&user)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file_of(users: &[&str]) -> String {
        let users: String = users.iter().map(|name| format!("<user name='{name}' password='{{CRYPT}}!'/>\n")).collect();
        format!("<cams-users>\n{users}</cams-users>")
    }

    fn repository(path: &Path) -> XmlUserRepository {
        let text = fs::read_to_string(path).unwrap();
        let mut problems = Problems::default();
        let users = cams_users::read(path, &text, &mut problems).unwrap();
        XmlUserRepository::new(path.to_owned(), users)
    }

    #[test]
    fn a_digest_is_replaced_in_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("users.xml"), dir.path().join("link.xml"));
        fs::write(&path, file_of(&["a", "b"])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("users.xml", &link).unwrap();
        let repository = repository(&link);
        assert!(repository.replace_digest("b", "{CRYPT}!", "{ARGON2}x").unwrap());
        assert!(!repository.replace_digest("b", "{CRYPT}!", "{ARGON2}y").unwrap(), "it has another one");
        assert!(!repository.replace_digest("c", "{CRYPT}!", "{ARGON2}y").unwrap(), "nobody");
        assert_eq!(fs::read_to_string(&path).unwrap().matches("{ARGON2}x").count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
        assert!(matches!(repository.refresh(), Refresh::Reloaded { users: 2, .. }));
        assert_eq!(repository.find("b").unwrap().password.expose_str(), Some("{ARGON2}x"));
    }

    #[test]
    fn changes_are_taken_over_and_broken_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cams-users.xml");
        fs::write(&path, file_of(&["alice"])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let repository = repository(&path);
        assert_eq!(repository.refresh(), Refresh::Unchanged);

        let new = file_of(&["alice", "bob"]);
        fs::write(&path, &new).unwrap();
        let hash = cams_users::hash(&new);
        assert_eq!(repository.refresh(), Refresh::Reloaded { users: 2, hash, warnings: Problems::default() });
        assert!(repository.find("bob").is_some());

        // Every half-written state of a later version, and files that are none at all.
        let later = file_of(&["carol"]);
        let cut = (0..later.len()).step_by(7).map(|end| later.as_bytes()[..end].to_vec());
        let wrong = [file_of(&["carol", "carol"]).into_bytes(), b"\xff\xfe<".to_vec(), b"<users/>".to_vec()];
        for broken in cut.chain(wrong) {
            fs::write(&path, &broken).unwrap();
            assert!(matches!(repository.refresh(), Refresh::Broken(_)), "{broken:?}");
            assert!(repository.find("bob").is_some() && repository.find("carol").is_none());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(repository.refresh(), Refresh::Broken(_)));
        fs::write(&path, later).unwrap();
        assert!(matches!(repository.refresh(), Refresh::Reloaded { users: 1, .. }));
        assert!(repository.find("bob").is_none() && repository.find("carol").is_some());
    }

    #[test]
    fn a_file_others_can_read_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cams-users.xml");
        fs::write(&path, file_of(&["alice"])).unwrap();
        let repository = repository(&path);
        for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut warnings = Problems::default();
            repository.warn_of_exposure(&mut warnings);
            assert_eq!(!warnings.is_empty(), warned, "{mode:o}: {warnings}");
        }
    }

    /// A reader sees all users of one version, never a mixture, while versions come and go.
    #[test]
    fn lookups_during_reloads_see_whole_versions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cams-users.xml");
        fs::write(&path, file_of(&["always", "even"])).unwrap();
        let repository = repository(&path);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..200 {
                    fs::write(&path, file_of(&["always", ["odd", "even"][round % 2]])).unwrap();
                    repository.refresh();
                }
            });
            while !writer.is_finished() {
                assert!(repository.find("always").is_some());
                let users = repository.current.load();
                assert_ne!(users.find("odd").is_some(), users.find("even").is_some());
            }
            writer.join().unwrap();
        });
    }
}
