//! Reads the folder of a security domain (all but its access control policy) and checks what its files say together.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use shared_proto::problem::Problems;

use super::blueprints::{self, BlueprintConfig};
use super::cams_users::{self, XmlUsers};
use super::login_config::{self, LoginConfig};
use super::login_exceptions::{self, LoginMessages};
use super::security_domain::{self, PoolConfig, SecurityDomain, ServiceConfig, ServiceKind, SessionLimits};
use crate::auth::password::PasswordPolicy;
use crate::auth::valve::ValveConfig;

pub const SECURITY_DOMAIN: &str = "security-domain.xml";
const LOGIN_CONFIG: &str = "login-config.xml";
const LOGIN_EXCEPTIONS: &str = "login-exception.properties";
const BLUEPRINTS: &str = "jami-blueprints.xml";

/// A security domain as its files describe it. The options of its login modules are still to be taken by the modules.
#[derive(Debug)]
pub struct DomainConfig {
    pub name: String,
    pub sessions: SessionLimits,
    /// The outermost first.
    pub valves: Vec<ValveConfig>,
    pub login: LoginConfig,
    pub messages: LoginMessages,
    /// The XML user repositories by service id.
    pub users: BTreeMap<String, UsersFile>,
    pub local: Option<LocalService>,
    /// The pools of connections to databases by service id.
    pub pools: BTreeMap<String, PoolConfig>,
    /// What Jami clients are set to; none where the domain has no such file.
    pub blueprints: Vec<BlueprintConfig>,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
}

#[derive(Debug)]
pub struct UsersFile {
    pub path: PathBuf,
    pub users: XmlUsers,
}

/// The built-in directory of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalService {
    pub id: String,
    pub passwords: PasswordPolicy,
}

/// Reads a file and says so in `files`.
struct Folder<'a> {
    dir: &'a Path,
    read: &'a dyn Fn(&Path) -> io::Result<String>,
    files: Vec<PathBuf>,
}

/// The domain in `dir`. With problems it is what was understood, so that later checks can name theirs in the same run;
/// `None` where nothing more could be checked.
pub fn load(
    dir: &Path,
    name: &str,
    read: &dyn Fn(&Path) -> io::Result<String>,
    problems: &mut Problems,
) -> Option<DomainConfig> {
    let mut folder = Folder { dir, read, files: Vec::new() };
    let domain = folder.parse(Path::new(SECURITY_DOMAIN), problems, security_domain::read);
    let login = folder.parse(Path::new(LOGIN_CONFIG), problems, login_config::read);
    let messages = folder.parse(Path::new(LOGIN_EXCEPTIONS), problems, login_exceptions::read);
    let blueprints = folder.parse_if_there(Path::new(BLUEPRINTS), problems, blueprints::read).unwrap_or_default();
    let SecurityDomain { services, sessions, valves } = domain?;
    let (mut users, mut local, mut pools) = (BTreeMap::new(), None, BTreeMap::new());
    for ServiceConfig { id, kind } in services {
        match kind {
            ServiceKind::XmlUserRepository { path } => {
                let content = folder.parse(&path, problems, cams_users::read).unwrap_or_default();
                users.insert(id, UsersFile { path: dir.join(path), users: content });
            }
            ServiceKind::LocalDirectory(passwords) => local = Some(LocalService { id, passwords }),
            ServiceKind::JdbcPool(pool) => {
                pools.insert(id, *pool);
            }
        }
    }
    let (login, messages) = (login.unwrap_or_default(), messages.unwrap_or_default());
    let (name, files) = (name.to_owned(), folder.files);
    Some(DomainConfig { name, sessions, valves, login, messages, users, local, pools, blueprints, files })
}

impl Folder<'_> {
    fn parse<T>(
        &mut self,
        name: &Path,
        problems: &mut Problems,
        parse: fn(&Path, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        let path = self.dir.join(name);
        let text = (self.read)(&path);
        self.understand(path, text, problems, parse)
    }

    /// As [`parse`](Self::parse); that there is no such file is no problem.
    fn parse_if_there<T>(
        &mut self,
        name: &Path,
        problems: &mut Problems,
        parse: fn(&Path, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        let path = self.dir.join(name);
        match (self.read)(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => self.understand(path, text, problems, parse),
        }
    }

    fn understand<T>(
        &mut self,
        path: PathBuf,
        text: io::Result<String>,
        problems: &mut Problems,
        parse: fn(&Path, &str, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        match text {
            Ok(text) => {
                let parsed = parse(&path, &text, problems);
                self.files.push(path);
                parsed
            }
            Err(error) => {
                problems.add(&path, 0, format!("cannot be read: {error}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::auth::modules::{Services, Shared};
    use crate::auth::pipeline::LoginEntry;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/domains/system")
    }

    fn load_with(read: &dyn Fn(&Path) -> io::Result<String>) -> (Option<DomainConfig>, Problems) {
        let mut problems = Problems::default();
        let domain = load(&sample(), "system", read, &mut problems);
        (domain, problems)
    }

    fn file(path: &Path) -> &str {
        path.file_name().unwrap().to_str().unwrap()
    }

    #[test]
    fn the_sample_loads_and_lets_nobody_in() {
        let (domain, mut problems) = load_with(&|path| fs::read_to_string(path));
        let domain = domain.unwrap_or_else(|| panic!("{problems}"));
        let files: Vec<&str> = domain.files.iter().map(|path| file(path)).collect();
        assert_eq!(files, ["security-domain.xml", "login-config.xml", "login-exception.properties", "cams-users.xml"]);
        assert_eq!(domain.sessions, SessionLimits::default(), "the sample shows the defaults");
        let users = &domain.users["cams-user-repository"].users;
        assert!(users.warnings.is_empty(), "{}", users.warnings);
        assert!(!users.find("admin").unwrap().account.enabled);

        let services = Services::new(Shared::offline(), "system", domain.users);
        let entries = LoginEntry::build_all(domain.login, &services, &mut problems, &mut Problems::default());
        assert!(entries.is_some_and(|entries| entries.contains_key("http")), "{problems}");
    }

    #[test]
    fn a_missing_file_is_a_problem_that_names_it() {
        for missing in ["security-domain.xml", "login-config.xml", "login-exception.properties", "cams-users.xml"] {
            let (domain, problems) = load_with(&|path| match file(path) == missing {
                true => Err(io::ErrorKind::NotFound.into()),
                false => fs::read_to_string(path),
            });
            assert_eq!(domain.is_none(), missing == "security-domain.xml");
            let named: Vec<&str> = problems.iter().map(|problem| file(&problem.file)).collect();
            assert_eq!(named, [missing]);
        }
    }

    #[test]
    fn all_files_are_looked_at_before_giving_up() {
        let (_, problems) = load_with(&|path| match file(path) {
            "security-domain.xml" => fs::read_to_string(path),
            _ => Ok("<wrong".to_owned()),
        });
        assert_eq!(problems.len(), 4, "{problems}");
    }

    #[test]
    fn options_nobody_takes_and_services_nobody_offers_are_reported() {
        for (change, to, expected) in [
            ("name=\"debug\"", "name=\"debg\"", "unknown option `debg`, did you mean `debug`?"),
            ("cams-user-repository", "cams-user-repositroy", "did you mean `cams-user-repository`?"),
            ("name=\"serviceId\"", "name=\"id\"", "option `serviceId` is missing"),
            ("\"none\"", "\"title\"", "option `usernameCase`: `title` is not none, lower or upper"),
        ] {
            let (domain, mut problems) = load_with(&|path| {
                let text = fs::read_to_string(path)?;
                Ok(if file(path) == "login-config.xml" { text.replacen(change, to, 1) } else { text })
            });
            let domain = domain.unwrap();
            let services = Services::new(Shared::offline(), "system", domain.users);
            assert!(
                LoginEntry::build_all(domain.login, &services, &mut problems, &mut Problems::default()).is_none(),
                "{to}"
            );
            let found = problems.iter().find(|problem| problem.message.contains(expected));
            let found = found.unwrap_or_else(|| panic!("{to}: {problems}"));
            assert!(found.line > 0 && file(&found.file) == "login-config.xml", "{found}");
        }
    }
}
