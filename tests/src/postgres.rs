//! A PostgreSQL server of the tests' own: a new data folder, reachable through a socket in it alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::process::{Process, signal};
use crate::within;

/// How long it may take to start or stop on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Stands in every URL, so that a test can look for it where it must not be.
pub const PASSWORD: &str = "canary-of-postgres";

const CONF: &str = "listen_addresses = ''\nfsync = off\nmax_connections = 200\nport = 5432\n";

#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    programs: PathBuf,
    databases: AtomicU32,
    // Last: the folder goes when the server has gone.
    dir: TempDir,
}

impl Postgres {
    /// A server of this test's own, or `None` where PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            crate::services::missing("PostgreSQL");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { process: None, programs, databases: AtomicU32::new(0), dir };
        server.initialise();
        server.resume().await;
        server.psql("postgres", &format!("CREATE ROLE cams LOGIN PASSWORD '{PASSWORD}'"));
        Some(server)
    }

    /// A server that tests running at the same time share; each has databases of its own.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        match shared.upgrade() {
            Some(running) => Some(running),
            None => {
                let started = Arc::new(Self::start().await?);
                *shared = Arc::downgrade(&started);
                Some(started)
            }
        }
    }

    /// The URL of a new database of a role without privileges.
    pub fn database(&self) -> String {
        let name = format!("cams{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} OWNER cams"));
        format!("postgres://cams:{PASSWORD}@localhost/{name}?host={}", self.dir.path().display())
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

    fn initialise(&self) {
        let password = self.dir.path().join("password");
        fs::write(&password, PASSWORD).expect("a writable folder");
        if let Some((uid, gid)) = server_user() {
            for path in [self.dir.path(), &password] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("root may do that");
            }
        }
        let mut initdb = self.as_its_user("initdb");
        initdb.arg("-D").arg(self.data()).arg("--pwfile").arg(password);
        initdb.args(["-U", "postgres", "--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8"]);
        let output = initdb.output().expect("initdb starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let conf = format!("{CONF}unix_socket_directories = '{}'\n", self.dir.path().display());
        fs::write(self.data().join("postgresql.auto.conf"), conf).expect("a writable folder");
    }

    fn run_psql(&self, database: &str, statement: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-U", "postgres", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1"]);
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
