//! Reads files that somebody configured. Whatever is at the path, reading neither waits, as it would for the writer of a
//! FIFO, nor takes more memory than the caller allows.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use shared_proto::secret::{Secret, SecretRef, mode_problem};
use zeroize::Zeroizing;

/// A configuration file larger than this is a mistake. In bytes.
pub const MAX_TEXT: u64 = 16 << 20;
/// The same for a file that holds one secret.
pub const MAX_SECRET: u64 = 64 << 10;

/// Who may be able to read a file with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    Owner,
    /// Whoever the file's rights let: something else guards it.
    Guarded,
}

/// The text of a regular file of at most `max` bytes.
///
/// # Errors
/// It cannot be opened or read, is not a regular file, is too large, or is not UTF-8.
pub fn read(path: &Path, max: u64) -> io::Result<String> {
    let (file, _) = open(path)?;
    let mut text = String::new();
    let length = file.take(max + 1).read_to_string(&mut text)?;
    within(length, max).map(|()| text)
}

/// The bytes of a file that belongs to this process's user or to root. Rights and content are of one open file, so that
/// nobody can swap it in between.
///
/// # Errors
/// As [`read`], or somebody else owns or may access it.
pub fn read_secret(path: &Path, readers: Readers) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, metadata) = open(path)?;
    let us = rustix::process::geteuid().as_raw();
    if ![0, us].contains(&metadata.uid()) {
        return Err(io::Error::other(format!("it belongs to another user (uid {})", metadata.uid())));
    }
    if let Some(why) = mode_problem(metadata.mode()).filter(|_| readers == Readers::Owner) {
        return Err(io::Error::other(format!("it {why}")));
    }
    // Never reallocated: that would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize + 2));
    let length = file.take(MAX_SECRET + 1).read_to_end(&mut bytes)?;
    within(length, MAX_SECRET).map(|()| bytes)
}

/// What a configuration refers to: from a file only where nobody else can read it. Relative files are below `base`.
///
/// # Errors
/// What is missing, in words for the person who configured it; never any part of the secret.
pub fn resolve_secret(secret: &SecretRef, base: &Path) -> Result<Secret, String> {
    let read = |path: &Path| {
        let path = base.join(path);
        // What systemd hands over as a credential is guarded by it, with an ACL that looks like group rights.
        let is_credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
        let readers = if is_credential { Readers::Guarded } else { Readers::Owner };
        read_secret(&path, readers).map(|mut bytes| std::mem::take(&mut *bytes))
    };
    secret.resolve(read, |name| std::env::var(name).ok())
}

/// Puts this text in the place of the file's, whole or not at all; the file keeps its rights and its owner.
///
/// # Errors
/// The file holds something else than `old` by now, or the folder cannot be written.
pub fn replace(path: &Path, old: &str, new: &str) -> io::Result<()> {
    // What a link leads to, not the link.
    let path = path.canonicalize()?;
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let metadata = std::fs::metadata(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{:08x}", getrandom::u32()?));
    let write = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&draft, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(new.as_bytes())?;
        std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
        file.set_permissions(metadata.permissions())?;
        file.sync_all()?;
        // As late as it can be asked: somebody else may be editing the file.
        if read(&path, MAX_TEXT)? != old {
            return Err(io::Error::other("it was changed meanwhile"));
        }
        std::fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        // It is there only where the renaming was not reached.
        _ = std::fs::remove_file(&draft);
    }
    written
}

/// Whether a file that is to be created or written may be at this path: nothing is there yet, or a regular file.
///
/// # Errors
/// Says what is there instead.
pub fn may_hold_file(path: &Path) -> io::Result<()> {
    let found = |path: &Path| match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    };
    match found(path)? {
        Some(metadata) => regular(&metadata),
        None => {
            // What is missing on the way is created.
            let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
            match parents.map(found).find_map(Result::transpose) {
                Some(Ok(metadata)) if !metadata.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
                Some(Err(error)) => Err(error),
                _ => Ok(()),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, metadata))
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

fn within(length: usize, max: u64) -> io::Result<()> {
    if length as u64 > max { Err(io::Error::other(format!("it has more than {max} bytes"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn check<T>(result: io::Result<T>, expected: &str, what: &str) {
        match result {
            Ok(_) => assert_eq!(expected, "", "{what}"),
            Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{what}: {error}"),
        }
    }

    /// A folder with one of everything that can be at a path. Opening its FIFO the ordinary way would wait for ever.
    fn zoo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("good"), "secret").unwrap();
        fs::set_permissions(path("good"), Permissions::from_mode(0o600)).unwrap();
        fs::write(path("binary"), b"\xff").unwrap();
        fs::write(path("large"), vec![b'x'; MAX_SECRET as usize + 1]).unwrap();
        fs::create_dir(path("folder")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), Mode::RWXU).unwrap();
        for name in ["good", "fifo", "missing"] {
            symlink(path(name), path(&format!("to-{name}"))).unwrap();
        }
        dir
    }

    #[test]
    fn only_regular_files_are_read() {
        let zoo = zoo();
        for (name, expected) in [
            ("good", ""),
            ("to-good", ""),
            ("binary", "UTF-8"),
            ("large", "more than 65536 bytes"),
            ("folder", "not a regular file"),
            ("fifo", "not a regular file"),
            ("to-fifo", "not a regular file"),
            ("missing", "No such file"),
            ("to-missing", "No such file"),
            ("good/below", "Not a directory"),
        ] {
            check(read(&zoo.path().join(name), MAX_SECRET), expected, name);
        }
        check(read(Path::new("/dev/zero"), 1), "not a regular file", "a device");
    }

    #[test]
    fn secrets_are_read_from_private_files_alone() {
        let zoo = zoo();
        let file = zoo.path().join("good");
        for (mode, expected) in [(0o600, ""), (0o400, ""), (0o640, "mode 0640"), (0o604, "mode 0604")] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            check(read_secret(&file, Readers::Owner), expected, &format!("{mode:o}"));
            check(read_secret(&file, Readers::Guarded), "", &format!("guarded {mode:o}"));
        }
        for name in ["fifo", "folder", "missing"] {
            assert!(read_secret(&zoo.path().join(name), Readers::Owner).is_err(), "{name}");
        }
        let large = zoo.path().join("large");
        check(read_secret(&large, Readers::Guarded), "more than 65536 bytes", "large");
        // Only root can give a file away.
        if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() && rustix::process::geteuid().as_raw() != 65_534
        {
            check(read_secret(&file, Readers::Guarded), "another user (uid 65534)", "another owner");
        }
    }

    #[test]
    fn a_file_may_be_where_one_is_or_nothing() {
        let zoo = zoo();
        for (name, expected) in [
            ("good", ""),
            ("missing", ""),
            ("missing/below/that", ""),
            ("folder/missing", ""),
            ("folder", "not a regular file"),
            ("fifo", "not a regular file"),
            ("good/below", "ot a directory"),
        ] {
            check(may_hold_file(&zoo.path().join(name)), expected, name);
        }
        check(may_hold_file(Path::new("relative-and-missing")), "", "relative");
    }
}
