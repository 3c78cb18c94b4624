//! The three databases with the same people in each, and how a login module is told to ask them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use crate::command::cams_with_input;
use crate::{MariaDb, Postgres, mariadb, postgres};
use tempfile::TempDir;
use tokio::sync::Mutex;

const MODULE: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";
const POOL: &str = "com.cafesoft.security.engine.service.JdbcConnectionPoolService";

/// The sample tables of the original, with columns for the state of an account. CHAR fills its values up with blanks.
const SCHEMA: &str = "
CREATE TABLE USERS (USER_NAME VARCHAR(64), PASSWORD CHAR(200), ENABLED INTEGER DEFAULT 1, LOCKED INTEGER,
    EXPIRES DATE, PASSWORD_EXPIRES TIMESTAMP NULL, MAIL VARCHAR(64));
CREATE TABLE ROLES (ROLE_NAME CHAR(20) PRIMARY KEY);
CREATE TABLE USER_ROLES (USER_NAME VARCHAR(64), ROLE_NAME CHAR(20));
INSERT INTO ROLES VALUES ('staff'), ('user'), ('unused');
INSERT INTO USERS (USER_NAME, PASSWORD) VALUES ('alice', 'SSHA'), ('bob', 'MODERN'), ('null', NULL), ('empty', ''),
    ('blank', ' '), ('clear', 'right'), ('marked', '{CRYPT}!'), ('odd', '{FOO}right'), ('twin', 'SSHA'), ('twin', 'SSHA'),
    ('o''brien', 'SSHA'), ('ünï', 'SSHA'), ('disabled', 'SSHA'), ('locked', 'SSHA'), ('expired', 'SSHA'),
    ('stale', 'SSHA'), ('future', 'SSHA'), ('legacy', 'SSHA');
INSERT INTO USER_ROLES VALUES ('alice', 'staff'), ('alice', 'user'), ('alice', 'gone'), ('bob', 'user');
UPDATE USERS SET ENABLED = 0 WHERE USER_NAME = 'disabled';
UPDATE USERS SET LOCKED = 1 WHERE USER_NAME = 'locked';
UPDATE USERS SET EXPIRES = '2020-01-31' WHERE USER_NAME = 'expired';
UPDATE USERS SET PASSWORD_EXPIRES = '2020-01-31 00:00:00' WHERE USER_NAME = 'stale';
UPDATE USERS SET EXPIRES = '2030-01-31', PASSWORD_EXPIRES = '2030-01-31 00:00:00' WHERE USER_NAME = 'future';
";
/// Of `right`.
pub const SSHA: &str = "{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==";

/// Those that tests running at the same time share; each has a database of its own.
pub struct Servers {
    postgres: Option<Postgres>,
    mariadb: Option<MariaDb>,
    certificate: String,
}

impl Servers {
    async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Servers>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let (certificate, key) = certificate();
        let (postgres, mariadb) =
            tokio::join!(Postgres::start_tls(&certificate, &key), MariaDb::start(&certificate, &key));
        let started = Arc::new(Self { postgres, mariadb, certificate });
        *shared = Arc::downgrade(&started);
        started
    }
}

pub enum Database {
    Postgres(Arc<Servers>, String),
    MariaDb(Arc<Servers>, String),
    Sqlite(TempDir),
}

impl Database {
    /// All there are on this machine, each with people of its own.
    pub async fn all() -> Vec<Self> {
        let servers = Servers::shared().await;
        let mut all = vec![Self::Sqlite(tempfile::tempdir().unwrap())];
        if let Some(postgres) = &servers.postgres {
            all.push(Self::Postgres(Arc::clone(&servers), new_database(postgres)));
        }
        if let Some(mariadb) = &servers.mariadb {
            static DATABASES: AtomicU32 = AtomicU32::new(0);
            let name = format!("app{}", DATABASES.fetch_add(1, Ordering::Relaxed));
            mariadb.sql(&format!("CREATE DATABASE {name}"));
            all.push(Self::MariaDb(Arc::clone(&servers), name));
        }
        all.iter().for_each(Self::fill);
        all
    }

    pub fn sqlite() -> Self {
        let database = Self::Sqlite(tempfile::tempdir().unwrap());
        database.fill();
        database
    }

    /// On a server that nobody else uses.
    pub fn of_postgres(postgres: Postgres) -> Self {
        let name = new_database(&postgres);
        let servers = Servers { postgres: Some(postgres), mariadb: None, certificate: String::new() };
        let database = Self::Postgres(Arc::new(servers), name);
        database.fill();
        database
    }

    /// That server, to crash it.
    pub fn postgres(&mut self) -> &mut Postgres {
        match self {
            Self::Postgres(servers, _) => Arc::get_mut(servers).unwrap().postgres.as_mut().unwrap(),
            _ => panic!("not PostgreSQL"),
        }
    }

    /// What proves who the server is, in PEM.
    pub fn certificate(&self) -> &str {
        match self {
            Self::Postgres(servers, _) | Self::MariaDb(servers, _) => &servers.certificate,
            Self::Sqlite(_) => "",
        }
    }

    fn fill(&self) {
        let modern = cams_with_input(["digest"], b"right").success();
        self.sql(&SCHEMA.replace("SSHA", SSHA).replace("MODERN", modern.trim()));
        if let Self::Postgres(..) = self {
            self.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO cams");
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Postgres(..) => "PostgreSQL",
            Self::MariaDb(..) => "MariaDB",
            Self::Sqlite(_) => "SQLite",
        }
    }

    /// Over TCP, without parameters.
    pub fn url(&self) -> String {
        match self {
            Self::Postgres(servers, name) => {
                format!("jdbc:postgresql://localhost:{}/{name}", servers.postgres.as_ref().unwrap().port)
            }
            Self::MariaDb(servers, name) => {
                format!("jdbc:mariadb://localhost:{}/{name}", servers.mariadb.as_ref().unwrap().port)
            }
            Self::Sqlite(dir) => format!("jdbc:sqlite:{}/u.db", dir.path().display()),
        }
    }

    fn credentials(&self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Postgres(..) => [("jdbcUsername", "cams"), ("jdbcPassword", postgres::PASSWORD)],
            Self::MariaDb(..) => [("jdbcUsername", mariadb::USER), ("jdbcPassword", mariadb::PASSWORD)],
            Self::Sqlite(_) => [("jdbcUsername", ""), ("jdbcPassword", "")],
        }
    }

    /// Runs statements with every right; what the last one gave.
    pub fn sql(&self, statements: &str) -> String {
        match self {
            Self::Postgres(servers, name) => servers.postgres.as_ref().unwrap().psql(name, statements),
            Self::MariaDb(servers, name) => servers.mariadb.as_ref().unwrap().sql(&format!("USE {name}; {statements}")),
            Self::Sqlite(dir) => {
                let program = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\ntext = sys.stdin.read()\n\
                               print((c.execute(text).fetchone() or [''])[0] if text.startswith('SELECT') \
                               else c.executescript(text) and '')";
                let mut python = Command::new("python3");
                python.arg("-c").arg(program).arg(dir.path().join("u.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut python = python.spawn().unwrap();
                python.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
                let output = python.wait_with_output().unwrap();
                assert!(output.status.success(), "{statements}");
                String::from_utf8(output.stdout).unwrap().trim().to_owned()
            }
        }
    }

    /// Whether the column is the name that was typed, whatever its case.
    fn is_name(&self) -> &'static str {
        match self {
            Self::Postgres(..) => "LOWER(USER_NAME) = LOWER(?)",
            Self::MariaDb(..) => "USER_NAME = ?",
            Self::Sqlite(_) => "USER_NAME = ? COLLATE NOCASE",
        }
    }

    /// The module's options, the last of each name.
    pub fn options(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let user = format!("SELECT * FROM USERS WHERE {} -- who?", self.is_name());
        let url = self.url();
        let [username, password] = self.credentials();
        let standard = [
            ("jdbcUrl", url.as_str()),
            username,
            password,
            ("userPreparedStatement", &user),
            ("passwordColumn", "PASSWORD"),
            ("userNameColumn", "USER_NAME"),
            ("enabledColumn", "ENABLED"),
            ("lockedColumn", "LOCKED"),
            ("accountExpiresColumn", "EXPIRES"),
            ("credentialExpiresColumn", "PASSWORD_EXPIRES"),
            (
                "rolePreparedStatement",
                "SELECT R.ROLE_NAME FROM ROLES R, USER_ROLES UR, USERS U WHERE U.USER_NAME = ? \
                 AND U.USER_NAME = UR.USER_NAME AND UR.ROLE_NAME = R.ROLE_NAME",
            ),
            ("roleColumn", "ROLE_NAME"),
        ];
        let mut options: Vec<(String, String)> = Vec::new();
        for (name, value) in standard.iter().chain(more) {
            options.retain(|(known, _)| known != name);
            options.push(((*name).to_owned(), (*value).to_owned()));
        }
        options
    }

    pub fn entry(&self, name: &str, more: &[(&str, &str)]) -> String {
        let options = self.options(more);
        let options: String = options.iter().map(|(name, value)| element("option", name, value)).collect();
        format!(
            "<login-config-entry name='{name}'><login-module-entry className='{MODULE}' flag='REQUIRED'>\
             <options>{options}</options></login-module-entry>\
             <callback-handler className='com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler'/>\
             </login-config-entry>\n"
        )
    }

    /// A pool of this database; the parameters stand beside its URL.
    pub fn pool(&self, id: &str, more: &[(&str, &str)]) -> String {
        let url = self.url();
        let [username, password] = self.credentials();
        let params = [("jdbcUrl", url.as_str()), username, password].into_iter().chain(more.iter().copied());
        let params: String = params.map(|(name, value)| element("param", name, value)).collect();
        format!("<service id='{id}' className='{POOL}'><param-list>{params}</param-list></service>\n")
    }
}

pub fn element(element: &str, name: &str, value: &str) -> String {
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    format!("<{element} name=\"{name}\" value=\"{value}\"/>")
}

pub fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The role of the tests may use it.
fn new_database(postgres: &Postgres) -> String {
    let url = postgres.database();
    url.split_once('?').unwrap().0.rsplit_once('/').unwrap().1.to_owned()
}
