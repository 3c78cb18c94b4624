//! What openssl makes of files in a folder of its own, and says about them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder in which openssl runs; the names of files in its arguments are relative to it.
#[derive(Debug)]
pub struct Openssl {
    dir: TempDir,
}

impl Openssl {
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that only its owner may read.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, bytes).expect("our own folder");
        private(&file);
        file
    }

    /// The two outputs of a command that succeeds, as words separated by spaces.
    pub fn run(&self, arguments: &str) -> String {
        let (succeeded, output) = self.attempt(arguments);
        assert!(succeeded, "openssl {arguments}: {output}");
        output
    }

    /// Whether it succeeds, and its two outputs.
    pub fn attempt(&self, arguments: &str) -> (bool, String) {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir.path()).args(arguments.split_whitespace()).stdin(Stdio::null());
        let output = command.output().expect("openssl starts");
        // What it made holds keys, and a test of rights sets them itself.
        fs::read_dir(self.dir.path())
            .expect("our own folder")
            .for_each(|entry| private(&entry.expect("a file").path()));
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// `NAME.pem`, a certificate for the key `KEY` that signs itself, with these extensions.
    pub fn certificate(&self, name: &str, key: &str, subject: &str, extensions: &[&str]) {
        let extensions = self.extensions(extensions);
        self.run(&format!(
            "req -x509 -new -utf8 -key {key} -subj {subject} -days 3650 -config {extensions} -extensions wanted \
             -out {name}.pem"
        ));
    }

    /// A configuration file with these extensions in the section `wanted`.
    pub fn extensions(&self, extensions: &[&str]) -> String {
        let name = "extensions.cnf";
        let text = format!("[req]\ndistinguished_name = none\n[none]\n[wanted]\n{}\n", extensions.join("\n"));
        self.write(name, text);
        name.to_owned()
    }
}

fn private(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own file");
}
