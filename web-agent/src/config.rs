//! The reader of `cams-webagent.conf`: a Java properties file becomes a checked [`AgentConfig`], or a list of all its
//! problems with file and line. Nothing else reads the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use crate::origin::Authority;
use crate::site::GateConfig;

/// A checked configuration. Paths are absolute or relative to the current directory.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub cluster: String,
    pub gate: Arc<GateConfig>,
    pub listeners: Vec<Listener>,
    pub certificates: Vec<TlsIdentity>,
    /// In the order in which they are tried; the port is always there.
    pub policy_servers: Vec<Authority>,
    pub link: LinkTls,
    /// The administrator's templates.
    pub pages: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: bool,
}

/// A certificate for one host name, or for `*.` and a domain.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    pub host: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub passphrase: Option<SecretRef>,
}

/// The agent's own proof towards the policy server, and the CA it trusts there.
#[derive(Debug, Clone)]
pub struct LinkTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl AgentConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// All problems, sorted by line.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(file, &text),
            Err(error) => {
                problems.add(file, 0, format!("cannot be read: {error}"));
                problems.into_result(None)
            }
        }
    }

    /// Reads the file's text; `file` is for messages and relative paths.
    ///
    /// # Errors
    /// All problems, sorted by line.
    pub fn parse(file: &Path, _text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.add(file, 0, "skeleton");
        problems.into_result(None)
    }
}
