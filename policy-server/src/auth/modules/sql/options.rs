//! The options of `JdbcLoginModule`: which database, and what it is asked.

use std::path::Path;
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::{Problems, did_you_mean};

use super::super::Services;
use super::super::common::take_secret;
use super::columns::Columns;
use crate::directory::sql::statement::{Dialect, Statement};
use crate::directory::sql::url::{self, Source, Url};
use crate::directory::sql::{Database, Settings, Target};

/// What the module asks, and how long it waits for the answer to each statement.
pub struct Questions {
    pub user: Statement,
    pub role: Option<(Statement, String)>,
    /// People for a pattern of LIKE.
    pub search: Option<Statement>,
    /// The new digest, the user name, and the digest that it replaces.
    pub upgrade: Option<Statement>,
    pub columns: Columns,
    /// Whether a name that is looked up may be quite another one than that of the person found.
    pub aliases: bool,
    pub timeout: Duration,
}

/// Leaves time for another module within the limit of a login.
const QUERY: Duration = Duration::from_secs(3);

/// What belongs to a connection; a pool has its own.
const CONNECTION: [&str; 3] = ["jdbcUsername", "jdbcPassword", "connectTimeout"];

pub fn database(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Database> {
    let line = options.line_of("jdbcUrl");
    let url = options.require("jdbcUrl", problems);
    let driver = options.take("jdbcDriver");
    let url = url.and_then(|url| {
        let parsed = Url::parse(&url).map_err(|why| format!("option `jdbcUrl`: {why}"));
        parsed.map_err(|message| problems.add(options.file(), line, message)).ok()
    });
    let Some(url) = url else {
        CONNECTION.iter().for_each(|name| drop(options.take(name)));
        return None;
    };
    for warning in &url.warnings {
        services.warn(options.file(), line, format!("option `jdbcUrl`: {warning}"));
    }
    if let Some((class, line)) = driver
        && let Err(why) = url::check_driver(&class, &url.source)
    {
        problems.add(options.file(), line, format!("option `jdbcDriver`: {why}"));
    }
    match url.source {
        Source::Pool(id) => {
            for name in CONNECTION {
                if let Some((_, line)) = options.take(name) {
                    let message = format!("option `{name}` is not used: the pool in security-domain.xml has its own");
                    services.warn(options.file(), line, message);
                }
            }
            pool(&id, line, options, services, problems)
        }
        Source::Database(location) => {
            let username = options.take_string("jdbcUsername").filter(|name| !name.is_empty()).or(url.username);
            let password = take_secret(options, "jdbcPassword", problems).or(url.password);
            let default = Settings::default().connect_timeout;
            let connect_timeout = options.take_duration("connectTimeout", default, problems);
            let base = options.file().parent().unwrap_or(Path::new("")).to_owned();
            let target = Target { location: *location, username, password, base };
            Some(Database::new(target, Settings::unpooled(connect_timeout)))
        }
    }
}

fn pool(id: &str, line: usize, options: &Options, services: &Services, problems: &mut Problems) -> Option<Database> {
    let found = services.pools.get(id).cloned();
    if found.is_none() {
        let hint = did_you_mean(id, services.pools.keys().map(String::as_str))
            .map(|known| format!(", did you mean `{known}`?"))
            .unwrap_or_default();
        let message = format!("option `jdbcUrl`: security-domain.xml has no enabled pool `{id}`{hint}");
        problems.add(options.file(), line, message);
    }
    found
}

/// Those options are checked whose database is known.
pub fn questions(
    options: &mut Options,
    database: Option<&Database>,
    services: &Services,
    problems: &mut Problems,
) -> Option<Questions> {
    let dialect = database.map(|database| database.location().dialect());
    let user = options.line_of("userPreparedStatement");
    let user = options.require("userPreparedStatement", problems).map(|text| (text, user));
    let role = options.take("rolePreparedStatement");
    let role_column = match &role {
        Some(_) => options.require("roleColumn", problems),
        None => options.take_string("roleColumn"),
    };
    let search = options.take("searchPreparedStatement");
    let upgrade = options.take("passwordUpgrade");
    let columns = Columns::take(options, problems);
    let aliases = options.take_bool("nameAliases", false, problems);
    let timeout = options.take_duration("queryTimeout", QUERY, problems);
    let mut parse = |name: &str, (text, line): (String, usize)| {
        statement(name, &text, dialect?, options.file(), line, services, problems)
    };
    let user = user.and_then(|user| parse("userPreparedStatement", user));
    let role = role.map(|role| parse("rolePreparedStatement", role).zip(role_column));
    let search_line = search.as_ref().map(|(_, line)| *line);
    let search = search.map(|search| parse("searchPreparedStatement", search));
    let upgrade = upgrade.map(|upgrade| (parse("passwordUpgrade", upgrade.clone()), upgrade.1));
    let upgrade = match upgrade {
        None => None,
        Some((statement, line)) => {
            check_upgrade(statement.as_ref(), database, options.file(), line, problems);
            Some(statement?)
        }
    };
    let (user, columns) = (user?, columns?);
    if !columns.names_user() {
        let message = "without `userNameColumn` a person is whatever name was typed: where the database takes `ALICE` or \
                       `alice ` for `alice`, these are several people to Cams";
        services.warn(options.file(), options.line(), message.to_owned());
    }
    if let Some(line) = search_line.filter(|_| !columns.names_user()) {
        let message = "option `searchPreparedStatement` needs `userNameColumn`: a row has to say whose it is";
        problems.add(options.file(), line, message);
    }
    let role = match role {
        None => None,
        Some(role) => Some(role?),
    };
    let search = match search {
        None => None,
        Some(search) => Some(search?),
    };
    Some(Questions { user, role, search, upgrade, columns, aliases, timeout })
}

fn statement(
    name: &str,
    text: &str,
    dialect: Dialect,
    file: &Path,
    line: usize,
    services: &Services,
    problems: &mut Problems,
) -> Option<Statement> {
    match Statement::parse(text, dialect) {
        Ok(statement) => {
            if name != "passwordUpgrade" && !statement.gives_rows() {
                let message = format!("option `{name}` begins with {}, not with SELECT, WITH or CALL", statement.verb);
                services.warn(file, line, message);
            }
            Some(statement)
        }
        Err(why) => {
            problems.add(file, line, format!("option `{name}` {why}"));
            None
        }
    }
}

fn check_upgrade(
    statement: Option<&Statement>,
    database: Option<&Database>,
    file: &Path,
    line: usize,
    problems: &mut Problems,
) {
    if statement.is_some_and(|statement| statement.placeholders != 3) {
        let message = "option `passwordUpgrade` needs three placeholders: the new digest, the user name, and the digest \
                       that is replaced (`SET PASSWORD = ? WHERE USER_NAME = ? AND PASSWORD = ?`)";
        problems.add(file, line, message);
    }
    if database.is_some_and(|database| database.location().is_read_only()) {
        let message = "option `passwordUpgrade`: the SQLite file is opened for reading: add ?mode=rw to its URL";
        problems.add(file, line, message);
    }
}
