//! Files and directories as Cams leaves them: their owner's alone, and whole or not there at all, whatever happens to
//! the disk or the machine in between.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Context;
use tempfile::NamedTempFile;

/// Writes a file, in the place of another one if there is one.
pub fn replace(file: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    put(file, text.as_ref(), |new| new.persist(file).map(|_| true).map_err(|error| error.error)).map(drop)
}

/// Writes a file unless there is one; false where there is.
pub fn write_new(file: &Path, text: &str) -> anyhow::Result<bool> {
    put(file, text.as_bytes(), |new| match new.persist_noclobber(file) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    })
}

/// Gives a file its name once all of it is on the disk.
fn put(file: &Path, text: &[u8], name: impl FnOnce(NamedTempFile) -> std::io::Result<bool>) -> anyhow::Result<bool> {
    let dir = parent(file);
    create_dir(dir)?;
    let write = || -> std::io::Result<bool> {
        let mut new = NamedTempFile::new_in(dir)?;
        new.write_all(text)?;
        new.as_file().sync_all()?;
        let named = name(new)?;
        sync_dir(dir)?;
        Ok(named)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// Makes a directory and those above it where they are missing.
pub fn create_dir(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    create_dir(above)?;
    let made = match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other.and_then(|()| sync_dir(above)),
    };
    made.with_context(|| format!("cannot create the directory {}", dir.display()))
}

/// Renames, for good: a crash later does not undo it.
pub fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let renamed = std::fs::rename(from, to).and_then(|()| sync_dir(parent(to)));
    renamed.with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// A name in a directory is on the disk only when the directory is.
fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_exists_is_kept_or_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b");
        assert!(write_new(&file, "first").unwrap());
        assert!(!write_new(&file, "second").unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
        replace(&file, "third").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "third");
        for path in [&file, &dir.path().join("a")] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
        }
    }

    /// A write that fails at its end: the name is that of a directory, or there is no room for it.
    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        create_dir(&taken).unwrap();
        assert!(replace(&taken, "text").is_err());
        assert!(put(&dir.path().join("full"), b"text", |_| Err(ErrorKind::StorageFull.into())).is_err());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["taken"]);
        assert!(write_new(&dir.path().join("full"), "text").unwrap());
    }
}
