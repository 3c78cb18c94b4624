//! A policy server for unit tests, on a copy of the configuration that is shipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::agents::{Capability, Registered, Rights};
use crate::auth::subject::Subject;
use crate::digest::{SALT, Scheme, create};
use crate::session::{Session, SessionStore, TokenHash};
use crate::token::Key;
use crate::wire::Server;

pub const PASSWORD: &str = "correct horse";

pub struct Site {
    dir: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
        site.copy_domain(&shipped.join("domains/system"), "system");
        for file in ["cams.conf", "domains/security-domain-registry.xml"] {
            fs::copy(shipped.join(file), site.path("conf").join(file)).unwrap();
        }
        site.write_users(&["alice"]);
        fs::create_dir(site.path("keys")).unwrap();
        write_private(&site.path("keys/key-encryption.key"), Key::generate().unwrap().to_base64().as_str());
        site
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn conf(&self) -> PathBuf {
        self.path("conf/cams.conf")
    }

    /// A file of the domain `system`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path("conf/domains/system").join(name)
    }

    pub fn copy_domain(&self, from: &Path, name: &str) {
        let to = self.path("conf/domains").join(name);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }

    /// Changes one text in a file of the domain `system`.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        assert!(text.contains(from), "{name} holds no {from}");
        fs::write(self.file(name), text.replacen(from, to, 1)).unwrap();
    }

    pub fn write_users(&self, names: &[&str]) {
        let digest = create(Scheme::Ssha256, PASSWORD.as_bytes(), [7; SALT]).unwrap();
        let users: String = names.iter().map(|name| format!("<user name='{name}' password='{digest}'/>\n")).collect();
        write_private(&self.file("cams-users.xml"), &format!("<cams-users>\n{users}</cams-users>"));
    }

    pub async fn server(&self) -> Arc<Server> {
        Server::open(&self.conf()).await.unwrap()
    }

    /// The events of one kind in the audit log.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("data/audit.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == kind).collect()
    }
}

/// Stores a session whose token is its id.
pub async fn keep_session(server: &Server, id: &str, domain: &str, last_used: i64, ends: i64) {
    let subject = Subject {
        user: "alice".to_owned(),
        roles: Default::default(),
        attributes: Default::default(),
        proofs: Vec::new(),
    };
    let session = Session {
        id: id.to_owned(),
        domain: domain.to_owned(),
        entry: "http".to_owned(),
        subject,
        created: last_used,
        last_used,
        rechecked: last_used,
        ends,
        address: "192.0.2.1".to_owned(),
        user_agent: String::new(),
        series: None,
        remembered: false,
    };
    server.store.insert(&TokenHash::of(&id.into()), &session).await.unwrap();
}

fn write_private(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// An agent that may enforce for `app.test` in the domain `system`, through the entry `http`.
pub(crate) fn agent() -> Registered {
    let rights = Rights {
        domains: vec!["system".into()],
        hosts: vec!["app.test".into()],
        entries: vec!["http".into()],
        capabilities: vec![Capability::Enforce],
    };
    Registered { name: "web1".into(), fingerprint: String::new(), rights, created: 0 }
}
