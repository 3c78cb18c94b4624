//! The whole product, started as people start it: `cams quickstart`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::command::binary;
use crate::process::{Process, signal};
use crate::{Client, RawClient};

/// How long the product may take until everything answers, on a busy machine, with every key to make.
const READY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub name: String,
    pub password: String,
    pub roles: Vec<String>,
}

/// `quickstart.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    pub url: String,
    pub ca: PathBuf,
    pub users: Vec<User>,
    pub console: String,
    pub conf: PathBuf,
    pub agent_conf: PathBuf,
    pub policy_server_pid: u32,
    pub web_agent_pid: u32,
}

/// A running product. It stops when this is dropped.
#[derive(Debug)]
pub struct Quickstart {
    pub url: String,
    pub ca_pem: Vec<u8>,
    pub users: Vec<User>,
    pub conf: PathBuf,
    pub process: Process,
    // Last: the folder goes when the servers have gone.
    dir: Arc<TempDir>,
}

impl Quickstart {
    /// A product of this test's own, in a new folder.
    pub async fn start(options: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().expect("a temporary folder")), options).await
    }

    /// A product in a folder that another one may have used before.
    pub async fn start_in(dir: Arc<TempDir>, options: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["quickstart", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path()).args(options);
        let mut process = Process::spawn(&mut command);
        process.line(READY, |line| line.starts_with("ready ").then_some(())).await;
        let facts = facts(dir.path());
        let ca_pem = fs::read(&facts.ca).expect("the CA's certificate");
        Self { url: facts.url, ca_pem, users: facts.users, conf: facts.conf, process, dir }
    }

    /// A product that tests running at the same time share: it stops when the last of them lets go. For tests that
    /// leave its configuration and processes alone.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Quickstart>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        match shared.upgrade() {
            Some(running) => running,
            None => {
                let started = Arc::new(Self::start(&[]).await);
                *shared = Arc::downgrade(&started);
                started
            }
        }
    }

    pub fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// What `quickstart.json` says now.
    pub fn facts(&self) -> Facts {
        facts(self.dir.path())
    }

    #[track_caller]
    pub fn user(&self, name: &str) -> &User {
        self.users.iter().find(|user| user.name == name).unwrap_or_else(|| panic!("no user {name}"))
    }

    /// A client without a cookie.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(&self.ca_pem))
    }

    /// A client that has logged in.
    pub async fn client_of(&self, user: &str) -> Client {
        let client = self.client();
        let reply = client.log_in(user, &self.user(user).password, "/private/").await;
        assert_eq!(reply.status, 303, "{reply:?}");
        client
    }

    /// The lines of the audit log so far.
    pub fn audit(&self) -> Vec<Value> {
        let conf = fs::read_to_string(&self.conf).expect("its configuration");
        let file = conf.lines().find_map(|line| line.strip_prefix("cams.audit.file=")).expect("it has an audit log");
        let text = fs::read_to_string(self.conf.with_file_name(file.trim())).expect("the server has started");
        // Only what ends with a line feed is written to its end.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    pub fn raw(&self) -> RawClient {
        RawClient::new(&self.url, &self.ca_pem)
    }

    /// A file of the security domain that everybody logs in to.
    pub fn domain_file(&self, name: &str) -> PathBuf {
        self.conf.with_file_name("domains").join("system").join(name)
    }

    /// Changes the users as an editor does: the new file takes the place of the old one at once.
    pub fn edit_users(&self, edit: impl FnOnce(&str) -> String) {
        replace(&self.domain_file("cams-users.xml"), edit);
    }

    /// Ends one of the two servers without letting it say good-bye.
    pub fn kill9(&self, pid: u32) {
        signal(pid, "KILL");
    }

    /// Suspends a server until what is returned is dropped: to the others it is as if it had lost its network.
    pub fn suspend(&self, pid: u32) -> Suspended {
        signal(pid, "STOP");
        Suspended(pid)
    }
}

/// A suspended process, resumed on drop.
#[derive(Debug)]
pub struct Suspended(u32);

impl Drop for Suspended {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// Changes a file in one step. Panics when `edit` changes nothing: the test would prove nothing.
pub fn replace(file: &Path, edit: impl FnOnce(&str) -> String) {
    let old = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let new = edit(&old);
    assert_ne!(old, new, "nothing changed in {}", file.display());
    let beside = file.with_extension("new");
    fs::write(&beside, new).expect("a writable folder");
    fs::set_permissions(&beside, fs::metadata(file).expect("it was just read").permissions()).expect("our own file");
    fs::rename(&beside, file).expect("one folder");
}

fn facts(dir: &Path) -> Facts {
    let file = dir.join("quickstart.json");
    let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
