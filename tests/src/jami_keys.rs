//! Keys of devices that are made once: a test that enrols hundreds would wait for nothing else. They protect nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::jami_client::DeviceKey;
use crate::services::target_dir;

/// So many RSA keys of 2048 bits as PKCS#8 in PEM; the first ones are always the same.
pub fn pems(count: usize) -> Vec<String> {
    let folder = target_dir().join("test-tools/jami-keys");
    fs::create_dir_all(&folder).expect("our own folder");
    let files: Vec<PathBuf> = (0..count).map(|number| folder.join(format!("{number}.pem"))).collect();
    let next = AtomicUsize::new(0);
    let make_rest = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            make(file);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(make_rest);
        }
    });
    files.iter().map(|file| fs::read_to_string(file).expect("it was made")).collect()
}

/// The same as devices have them.
pub fn keys(count: usize) -> Vec<DeviceKey> {
    pems(count).iter().map(|pem| DeviceKey::from_pem(pem)).collect()
}

/// Another test may make the same one: the file is there as a whole or not at all.
fn make(file: &Path) {
    if file.is_file() {
        return;
    }
    let beside = tempfile::NamedTempFile::new_in(file.parent().expect("in a folder")).expect("our own folder");
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(beside.path());
    let made = openssl.stdin(Stdio::null()).output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    beside.persist(file).expect("the same folder");
}
