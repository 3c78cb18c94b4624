//! A PostgreSQL server of the tests' own: a new data folder, reachable through a socket in it alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, signal};
use crate::shared::Shared;
use crate::within;

/// How long it may take to start or stop on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Stands in every URL, so that a test can look for it where it must not be.
pub const PASSWORD: &str = "canary-of-postgres";

const CONF: &str = "fsync = off\nmax_connections = 200\n";

#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    programs: PathBuf,
    databases: AtomicU32,
    /// Names the socket; listened on only where that was asked for.
    pub port: u16,
    // Last: the folder goes when the server has gone.
    dir: TempDir,
}

impl Postgres {
    /// A server of this test's own, or `None` where PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        Some(Self::prepare()?.started().await)
    }

    /// One that listens on 127.0.0.1 too, with TLS by this certificate and key (PEM).
    pub async fn start_tls(certificate: &str, key: &str) -> Option<Self> {
        let mut server = Self::prepare()?;
        server.port = crate::port::free();
        server.write("data/server.crt", certificate);
        server.write("data/server.key", key);
        server.configure("listen_addresses = '127.0.0.1'\nssl = on\n");
        Some(server.started().await)
    }

    fn prepare() -> Option<Self> {
        let Some(programs) = programs() else {
            crate::services::missing("PostgreSQL");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let server = Self { process: None, programs, databases: AtomicU32::new(0), port: 5432, dir };
        server.initialise();
        Some(server)
    }

    async fn started(mut self) -> Self {
        self.resume().await;
        self.psql("postgres", &format!("CREATE ROLE cams LOGIN PASSWORD '{PASSWORD}'"));
        self
    }

    /// A server that tests running at the same time share; each has databases of its own.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Shared<Postgres> = Shared::new();
        SHARED.get(Self::start).await
    }

    /// The URL of a new database of a role without privileges.
    pub fn database(&self) -> String {
        let name = format!("cams{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} OWNER cams"));
        format!("postgres://cams:{PASSWORD}@localhost:{}/{name}?host={}", self.port, self.dir.path().display())
    }

    /// Runs a statement as the superuser; what it printed.
    #[track_caller]
    pub fn psql(&self, database: &str, statement: &str) -> String {
        let output = self.run_psql(database, statement);
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Ends the server as a crash does.
    pub async fn crash(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal(process.pid(), "QUIT");
        within(READY, "PostgreSQL ends", || process.has_ended()).await;
    }

    /// Suspends or resumes (`STOP`, `CONT`) everything the server consists of.
    pub fn signal_all(&self, name: &str) {
        let pid = self.process.as_ref().expect("it runs").pid();
        crate::process::descendants(pid).into_iter().chain([pid]).for_each(|pid| signal(pid, name));
    }

    /// Starts it again in its folder.
    pub async fn resume(&mut self) {
        let mut command = self.as_its_user("postgres");
        command.arg("-D").arg(self.data());
        let mut process = Process::spawn(&mut command);
        within(READY, "PostgreSQL answers", || {
            assert!(!process.has_ended(), "{}", process.output());
            self.run_psql("postgres", "SELECT 1").status.success()
        })
        .await;
        self.process = Some(process);
    }

    /// Makes it a standby of nobody from its next start on: it answers questions and changes nothing.
    pub fn make_standby(&self) {
        self.write("data/standby.signal", "");
    }

    fn initialise(&self) {
        give(self.dir.path());
        let mut initdb = self.as_its_user("initdb");
        initdb.arg("-D").arg(self.data()).arg("--pwfile").arg(self.write("password", PASSWORD));
        initdb.args(["-U", "postgres", "--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8"]);
        let output = initdb.output().expect("initdb starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.configure("listen_addresses = ''\n");
    }

    fn configure(&self, more: &str) {
        let folder = self.dir.path().display();
        let conf = format!("{CONF}port = {}\nunix_socket_directories = '{folder}'\n{more}", self.port);
        self.write("data/postgresql.auto.conf", &conf);
    }

    /// A file of the server's user alone.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("a writable folder");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
        give(&file);
        file
    }

    fn run_psql(&self, database: &str, statement: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-p", &self.port.to_string()]).args([
            "-U",
            "postgres",
            "-d",
            database,
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        psql.args(["-c", statement]).env("PGPASSWORD", PASSWORD).output().expect("psql starts")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The server refuses to run as root.
    fn as_its_user(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match server_user() {
            None => Command::new(program),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
                command.arg("--clear-groups").arg(program);
                command
            }
        };
        command.env("LC_ALL", "C").env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // SIGTERM, which the process would get, waits for clients.
            signal(process.pid(), "QUIT");
        }
    }
}

/// Where `initdb`, `postgres` and `psql` are: Debian keeps them apart, a folder for each version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let on_path = crate::services::command(&["postgres"]).and_then(|file| file.parent().map(Path::to_owned));
    debian
        .into_iter()
        .rev()
        .chain(on_path)
        .find(|dir| ["initdb", "postgres", "psql"].iter().all(|p| dir.join(p).is_file()))
}

/// Lets the server's user have what is ours.
fn give(path: &Path) {
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("root may do that");
    }
}

/// Whom to be instead of root; `None` for everybody else.
fn server_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let ids = |name: &str| {
        let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut fields = line.split(':').skip(1).map(|id| id.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).expect("a user for PostgreSQL"))
}
