//! A domain controller of the tests' own: Samba as an Active Directory, with the people of `data/samba/accounts.py`.
//!
//! Its ports (389, 636, 3268, 3269) cannot be chosen, so each has an address of its own in 127.0.0.0/8. Making a domain
//! takes half a minute: that is done once, into the target folder, and copied.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::process::Process;
use crate::services::{command, missing, target_dir};
use crate::shared::Shared;
use crate::within;

/// The domain, and the short name that stands before a backslash.
pub const DOMAIN: &str = "ad.example.test";
pub const NETBIOS: &str = "EXAMPLEAD";
/// Where everything of the domain is.
pub const BASE: &str = "DC=ad,DC=example,DC=test";
/// Of everybody in it.
pub const PASSWORD: &str = "Passw0rd!";

/// How long it may take to start on a busy machine.
const READY: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Samba {
    process: Process,
    pub address: Ipv4Addr,
    /// The certificate of the CA that signed the server's, which is for its address and for `dc1.ad.example.test`.
    pub ca: PathBuf,
    // Last: the folder goes when the server has gone.
    dir: TempDir,
}

impl Samba {
    /// A server of this test's own, or `None` where Samba is not installed or may not be started.
    pub async fn start() -> Option<Self> {
        if ["samba", "samba-tool", "ldbmodify"].iter().any(|program| command_of_root(program).is_none()) {
            missing("Samba");
            return None;
        }
        if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
            missing("root, whom Samba needs for port 636 and the rights of files");
            return None;
        }
        let template = tokio::task::spawn_blocking(template).await.expect("a template");
        let dir = tempfile::tempdir().expect("a temporary folder");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(dir.path().join("samba")));
        let address = free_address();
        let ca = write_certificates(dir.path(), address);
        fs::write(dir.path().join("smb.conf"), configuration(dir.path(), address)).expect("our own folder");
        let samba = command_of_root("samba").expect("found before");
        let mut command = Command::new(samba);
        command.args(["-F", "--no-process-group", "-M", "single", "-s"]).arg(dir.path().join("smb.conf"));
        let mut process = Process::spawn(&mut command);
        within(READY, "Samba listens", || {
            assert!(!process.has_ended(), "Samba ended:\n{}", process.output());
            [389, 636, 3268, 3269].iter().all(|port| TcpStream::connect((address, *port)).is_ok())
        })
        .await;
        Some(Self { process, address, ca, dir })
    }

    /// A server that tests running at the same time share; who changes an account takes one that is there for it.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Shared<Samba> = Shared::new();
        SHARED.get(Self::start).await
    }

    /// Changes the directory by LDIF, while it runs.
    #[track_caller]
    pub fn change(&self, ldif: &str) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), ldif).expect("our own file");
        let database = self.dir.path().join("samba/private/sam.ldb");
        run(Command::new("ldbmodify").arg("-H").arg(database).arg(file.path()).stdin(Stdio::null()));
    }

    /// Ends the server as a lost machine does: connections are not answered any more.
    pub async fn stop(&mut self) {
        self.process.terminate(READY).await;
    }
}

/// The distinguished name of one of the people.
pub fn person(name: &str) -> String {
    format!("CN={name},OU=people,{BASE}")
}

/// Makes it, or finds it made.
fn template() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/data/samba/template.sh");
    let printed = run(Command::new(script).arg(target_dir().join("test-tools/samba")));
    PathBuf::from(printed.trim_end())
}

/// Servers are often where only root's path leads.
fn command_of_root(name: &str) -> Option<PathBuf> {
    command(&[name]).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file()))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// One on which nobody listens. Other test runs look for theirs at the same time, so the process chooses where to begin.
fn free_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |address: &Ipv4Addr| TcpListener::bind((*address, 636)).is_ok();
    let candidates = std::iter::from_fn(|| {
        let number = process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, _, high, low] = number.to_be_bytes();
        Some(Ipv4Addr::new(127, 53, high, low.clamp(1, 254)))
    });
    candidates.take(100).find(is_free).expect("an address of our own")
}

/// A CA and a certificate by it; the path of the CA's.
fn write_certificates(dir: &Path, address: Ipv4Addr) -> PathBuf {
    let key = || KeyPair::generate().expect("a key");
    let (ca_key, server_key) = (key(), key());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = Issuer::new(ca, ca_key);
    let server = CertificateParams::new([address.to_string(), format!("dc1.{DOMAIN}")]).expect("names");
    let server_pem = server.signed_by(&server_key, &issuer).expect("a certificate").pem();
    for (name, pem) in [("ca.pem", ca_pem), ("server.pem", server_pem), ("server.key", server_key.serialize_pem())] {
        fs::write(dir.join(name), pem).expect("our own folder");
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    dir.join("ca.pem")
}

/// LDAP alone, everything below `dir`.
fn configuration(dir: &Path, address: Ipv4Addr) -> String {
    let dir = dir.display();
    let settings = [
        ("netbios name", "DC1".to_owned()),
        ("realm", DOMAIN.to_uppercase()),
        ("workgroup", NETBIOS.to_owned()),
        ("server role", "active directory domain controller".to_owned()),
        ("server services", "ldap".to_owned()),
        ("dcerpc endpoint servers", "none".to_owned()),
        ("interfaces", format!("{address}/8")),
        ("bind interfaces only", "yes".to_owned()),
        ("ldap server require strong auth", "yes".to_owned()),
        ("tls keyfile", format!("{dir}/server.key")),
        ("tls certfile", format!("{dir}/server.pem")),
        ("tls cafile", format!("{dir}/ca.pem")),
        ("private dir", format!("{dir}/samba/private")),
        ("lock directory", format!("{dir}/samba")),
        ("state directory", format!("{dir}/samba/state")),
        ("cache directory", format!("{dir}/samba/cache")),
        ("binddns dir", format!("{dir}/samba/bind-dns")),
        ("pid directory", format!("{dir}")),
        ("ncalrpc dir", format!("{dir}/ncalrpc")),
        ("ntp signd socket directory", format!("{dir}/ntp_signd")),
        ("winbindd socket directory", format!("{dir}/winbindd")),
        ("log file", format!("{dir}/samba.log")),
    ];
    let settings: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!("[global]\n{settings}[sysvol]\npath = {dir}/samba/state/sysvol\nread only = no\n")
}
