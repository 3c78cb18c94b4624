//! What the tests need from the machine. `scripts/install-deps.sh test` brings it.

use std::env;
use std::path::{Path, PathBuf};
use std::thread;

/// The first of these commands that the machine has.
pub fn command(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<_> = env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// Something a test needs is missing: a failure where everything must run (`CAMS_TEST_SERVICES=required`), elsewhere
/// a line that names the test that did not run.
pub fn missing(what: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(env::var("CAMS_TEST_SERVICES").as_deref() != Ok("required"), "{test} needs {what}, which is missing");
    println!("skipped: {test}: {what} is missing (scripts/install-deps.sh test installs it)");
}

/// The folder of the build profile that the running test was built with: `target/debug`.
pub fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("the test knows where it lies");
    test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").to_owned()
}

/// The folder of everything that was built or fetched: `target`.
pub fn target_dir() -> PathBuf {
    profile_dir().parent().expect("a profile lies in the target folder").to_owned()
}
