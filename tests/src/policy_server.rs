//! A policy server by itself, without agents: `cams policy-server` on files of `cams init`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{binary, cams, cams_with_input};
use crate::process::Process;

const READY: Duration = Duration::from_secs(60);
/// The password of `alice` (role `user`) and `bob` (no role).
pub const PASSWORD: &str = "correct horse";

/// The files of one server. Two with the same key may share a store.
#[derive(Debug)]
pub struct Files {
    dir: TempDir,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct PolicyServer {
    pub address: SocketAddr,
    pub process: Process,
}

impl Files {
    /// A configuration with a store of its own, or with the store at this URL.
    pub fn new(name: &str, store: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        cams(["init".as_ref(), "--dir".as_ref(), dir.path().as_os_str()]).success();
        let files = Self { dir };
        files.set("cams.server.name", name);
        files.set("cams.policy.server.listen", "127.0.0.1:0");
        if let Some(url) = store {
            files.write_private("keys/store.url", url);
            files.set("cams.store.url", "file:../keys/store.url");
        }
        let digest = cams_with_input(["digest"], PASSWORD.as_bytes()).success();
        let digest = digest.trim();
        let users = format!(
            "<cams-users>\n<user name='alice' password='{digest}'><role name='user'/></user>\n\
             <user name='bob' password='{digest}'/>\n</cams-users>\n"
        );
        files.write_private("conf/domains/system/cams-users.xml", &users);
        files
    }

    /// Another server of the same cluster: the same key and store.
    pub fn peer(&self, name: &str, store: &str) -> Self {
        let peer = Self::new(name, Some(store));
        fs::copy(self.path("keys/key-encryption.key"), peer.path("keys/key-encryption.key")).expect("a key");
        peer
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn conf(&self) -> PathBuf {
        self.path("conf/cams.conf")
    }

    /// Runs `cams` with these arguments and this configuration.
    pub fn cams(&self, arguments: &[&str]) -> crate::command::Output {
        self.cams_with_input(arguments, b"")
    }

    /// As [`Files::cams`], with these bytes on standard input.
    pub fn cams_with_input(&self, arguments: &[&str], input: &[u8]) -> crate::command::Output {
        cams_with_input(arguments.iter().copied().chain(["--conf", self.conf().to_str().expect("UTF-8")]), input)
    }

    /// Registers an agent for `app.test`; the folder with its certificate and key.
    pub fn add_agent(&self, name: &str) -> PathBuf {
        self.cams(&["agent", "add", name, "--host", "app.test"]).success();
        self.path("conf/agents").join(name)
    }

    pub async fn start(&self) -> PolicyServer {
        let mut command = Command::new(binary());
        command.env("CAMS_LOG_FORMAT", "json").args(["policy-server", "--conf"]).arg(self.conf());
        let mut process = Process::spawn(&mut command);
        let address = process
            .line(READY, |line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                line["fields"]["address"].as_str()?.parse().ok()
            })
            .await;
        PolicyServer { address, process }
    }

    fn set(&self, property: &str, value: &str) {
        let text = fs::read_to_string(self.conf()).expect("cams init wrote it");
        let line = |line: &str| match line.split_once('=') {
            Some((name, _)) if name == property => format!("{property}={value}\n"),
            _ => format!("{line}\n"),
        };
        fs::write(self.conf(), text.lines().map(line).collect::<String>()).expect("our own file");
    }

    /// Writes a file that only its owner may read, and the folders above it.
    pub fn write_private(&self, relative: &str, text: &str) {
        write_private(&self.path(relative), text);
    }
}

fn write_private(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().expect("a file in a folder")).expect("our own folder");
    fs::write(file, text).expect("our own folder");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own file");
}
