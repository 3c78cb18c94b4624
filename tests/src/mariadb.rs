//! A MariaDB server of the tests' own: a new data folder, a socket in it, and a port of 127.0.0.1.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::services::command;
use crate::within;

/// How long it may take to start on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// The account of the tests, and what a test may look for where it must not be.
pub const USER: &str = "cams";
pub const PASSWORD: &str = "canary-of-mariadb";

#[derive(Debug)]
pub struct MariaDb {
    _process: Process,
    client: PathBuf,
    pub port: u16,
    // Last: the folder goes when the server has gone.
    dir: TempDir,
}

impl MariaDb {
    /// A server with TLS by this certificate and key (PEM), or `None` where MariaDB is not installed.
    pub async fn start(certificate: &str, key: &str) -> Option<Self> {
        let Some([install, server, client]) = programs() else {
            crate::services::missing("MariaDB");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = crate::port::free();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            fs::write(dir.path().join(name), text).expect("a writable folder");
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut installing = Command::new(install);
        installing.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        let output = installing.arg(format!("--datadir={}", path("data"))).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut starting = Command::new(server);
        starting.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-buffer-pool-size=32M"]);
        starting.args(["--innodb-flush-log-at-trx-commit=0", &format!("--port={port}")]);
        for (option, name) in
            [("datadir", "data"), ("socket", "s"), ("ssl-cert", "server.crt"), ("ssl-key", "server.key")]
        {
            starting.arg(format!("--{option}={}", path(name)));
        }
        if fs::metadata("/proc/self").expect("Linux").uid() == 0 {
            // It refuses to be root unless it is told to.
            starting.arg("--user=root");
        }
        let mut started = Self { _process: Process::spawn(&mut starting), client, port, dir };
        within(READY, "MariaDB answers", || {
            assert!(!started._process.has_ended(), "{}", started._process.output());
            started.run("SELECT 1").status.success()
        })
        .await;
        started.sql(&format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'%'"));
        Some(started)
    }

    /// Runs statements as the superuser; what they printed.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        let output = self.run(statements);
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    fn run(&self, statements: &str) -> Output {
        let mut command = Command::new(&self.client);
        command.args(["--no-defaults", "-uroot", "--default-character-set=utf8mb4", "-NB", "--socket"]);
        command.arg(self.dir.path().join("s")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        drop(child.stdin.take().expect("a pipe").write_all(statements.as_bytes()));
        child.wait_with_output().expect("our own child")
    }
}

/// What makes a data folder, the server, and the client.
fn programs() -> Option<[PathBuf; 3]> {
    let server =
        command(&["mariadbd"]).or_else(|| Some(Path::new("/usr/sbin/mariadbd").to_owned()).filter(|f| f.is_file()));
    Some([command(&["mariadb-install-db"])?, server?, command(&["mariadb"])?])
}
