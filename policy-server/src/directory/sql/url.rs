//! Where a database is: the JDBC URLs of the original and the native ones, read without touching anything. Pure.
//!
//! A URL may hold a password: what is said about a wrong one never repeats more than its scheme and the names of its
//! parameters.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use shared_proto::secret::Secret;

use super::statement::Dialect;

const SUPPORTED: &str = "supported are PostgreSQL (jdbc:postgresql:), MySQL and MariaDB (jdbc:mysql:, jdbc:mariadb:), \
                         SQLite (jdbc:sqlite:), and pools of security-domain.xml (pool:NAME)";

/// What a URL means.
#[derive(Debug)]
pub struct Url {
    pub source: Source,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// What works, but should not stay so.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A service of `security-domain.xml`, by its id.
    Pool(String),
    Database(Box<Location>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Postgres(Server),
    MySql(Server),
    Sqlite(Sqlite),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Tried in this order.
    pub hosts: Vec<(String, u16)>,
    /// In its place: a socket (MySQL), or the folder of one (PostgreSQL).
    pub socket: Option<PathBuf>,
    pub database: Option<String>,
    pub tls: Tls,
    /// PEM files; relative to the domain's folder.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// PostgreSQL alone.
    pub application: Option<String>,
    pub search_path: Option<String>,
    pub options: Option<String>,
    /// Prepared statements that a connection keeps; 0 behind a pooler that swaps connections.
    pub statement_cache: Option<usize>,
}

/// From the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tls {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sqlite {
    /// Relative to the domain's folder; `None` for a database in memory.
    pub path: Option<PathBuf>,
    pub writable: bool,
}

impl Location {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// How many servers are tried, one after the other.
    pub fn hosts(&self) -> usize {
        match self {
            Self::Postgres(server) | Self::MySql(server) => server.hosts.len().max(1),
            Self::Sqlite(_) => 1,
        }
    }

    /// Whether it refuses every change.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Sqlite(file) if !file.writable)
    }
}

/// For logs: which server or file, without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, server) = match self {
            Self::Postgres(server) => ("PostgreSQL", server),
            Self::MySql(server) => ("MySQL", server),
            Self::Sqlite(Sqlite { path: Some(path), .. }) => return write!(f, "SQLite file {}", path.display()),
            Self::Sqlite(_) => return f.write_str("SQLite in memory"),
        };
        if let Some(socket) = &server.socket {
            return write!(f, "{name} at {}", socket.display());
        }
        let hosts: Vec<String> = server.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "{name} at {}", hosts.join(", "))
    }
}

impl Url {
    /// # Errors
    /// What is wrong with it, in words that hold no password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (is_jdbc, url) = match url.trim().strip_prefix("jdbc:") {
            Some(rest) => (true, rest),
            None => (false, url.trim()),
        };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| format!("it is no URL: {SUPPORTED}"))?;
        match scheme {
            "pool" if !is_jdbc => pool(rest),
            "apache" if is_jdbc => pool(rest.strip_prefix("commons:dbcp:").unwrap_or_default()),
            "cafesoft" if is_jdbc => pool(rest.strip_prefix("pool:").unwrap_or_default()),
            "postgresql" | "postgres" => Reader::server(rest, Dialect::Postgres),
            "mysql" | "mariadb" => Reader::server(rest, Dialect::MySql),
            "sqlite" => sqlite(rest, is_jdbc),
            _ => Err(format!("`{}{scheme}:` is not supported: {SUPPORTED}", if is_jdbc { "jdbc:" } else { "" })),
        }
    }
}

/// The URL without the password in it; `None` where it holds none.
pub fn without_password(url: &str) -> Option<String> {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let user_info = address.split_once("//").and_then(|(scheme, rest)| {
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user_info, hosts) = authority.rsplit_once('@')?;
        let (username, _) = user_info.split_once(':')?;
        Some(format!("{scheme}//{username}@{hosts}{path}"))
    });
    let is_password = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(key, _)| parameter_name(&key));
        name.as_deref() == Some("password")
    };
    let holds_one = query.is_some_and(|query| query.split('&').any(|pair| is_password(&pair)));
    if user_info.is_none() && !holds_one {
        return None;
    }
    let kept: Vec<&str> =
        query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !is_password(pair)).collect();
    let address = user_info.unwrap_or_else(|| address.to_owned());
    Some(if kept.is_empty() { address } else { format!("{address}?{}", kept.join("&")) })
}

/// The spellings of drivers differ in case, hyphens and underscores alone.
fn parameter_name(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase()
}

/// Whether a JDBC driver is the one for this source.
///
/// # Errors
/// Says what is not.
pub fn check_driver(class: &str, source: &Source) -> Result<(), String> {
    let is = |kind: fn(&Location) -> bool| matches!(source, Source::Database(location) if kind(location));
    let fits = match class.trim() {
        "org.postgresql.Driver" => is(|location| matches!(location, Location::Postgres(_))),
        "com.mysql.jdbc.Driver" | "com.mysql.cj.jdbc.Driver" | "org.mariadb.jdbc.Driver" => {
            is(|location| matches!(location, Location::MySql(_)))
        }
        "org.sqlite.JDBC" => is(|location| matches!(location, Location::Sqlite(_))),
        "org.apache.commons.dbcp.PoolingDriver"
        | "org.apache.commons.dbcp2.PoolingDriver"
        | "com.cafesoft.core.jdbc.PoolingConnectionDriver" => matches!(source, Source::Pool(_)),
        other => return Err(format!("`{other}` is not supported: {SUPPORTED}; it may be left out")),
    };
    if fits { Ok(()) } else { Err(format!("`{}` is not the driver of `jdbcUrl`; it may be left out", class.trim())) }
}

fn pool(name: &str) -> Result<Url, String> {
    if name.is_empty() {
        return Err("it names no pool: write pool:NAME, the id of a service of security-domain.xml".to_owned());
    }
    Ok(Url { source: Source::Pool(name.to_owned()), username: None, password: None, warnings: Vec::new() })
}

fn sqlite(rest: &str, is_jdbc: bool) -> Result<Url, String> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = name.strip_prefix("file:").unwrap_or(name);
    let name = name.strip_prefix("//").unwrap_or(name);
    let name = if is_jdbc { name.to_owned() } else { decoded(name)? };
    let (mut writable, mut memory, mut warnings) = (false, name == ":memory:", Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*key, &*value) {
            ("mode", "ro") => {}
            ("mode", "rw") => writable = true,
            ("mode", "memory") => memory = true,
            ("mode", _) => return Err("parameter `mode`: write ro or rw; a missing file is never created".to_owned()),
            _ => warnings.push(left_out(&key)),
        }
    }
    if name.is_empty() {
        return Err("it names no file: write jdbc:sqlite:FILE".to_owned());
    }
    let path = (!memory).then(|| PathBuf::from(name));
    let location = Location::Sqlite(Sqlite { path, writable: writable || memory });
    Ok(Url { source: Source::Database(Box::new(location)), username: None, password: None, warnings })
}

fn left_out(parameter: &str) -> String {
    format!("parameter `{parameter}` has no meaning here and is left out")
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| "it is not UTF-8".to_owned())
}

/// Collects what the parameters of a server's URL say.
struct Reader {
    dialect: Dialect,
    server: Server,
    tls: Option<Tls>,
    older: Option<Tls>,
    username: Option<String>,
    password: Option<Secret>,
    warnings: Vec<String>,
}

impl Reader {
    fn server(rest: &str, dialect: Dialect) -> Result<Url, String> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = match address.strip_prefix("//") {
            Some(address) => address.split_once('/').unwrap_or((address, "")),
            None if dialect == Dialect::Postgres => ("", address.trim_start_matches('/')),
            None => return Err("write HOST[:PORT]/DATABASE after `//`".to_owned()),
        };
        let (user_info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user_info.split_once(':').map_or((user_info, None), |(u, p)| (u, Some(p)));
        let filled = |text: &str| Ok::<_, String>(Some(decoded(text)?).filter(|text| !text.is_empty()));
        let mut reader = Self {
            dialect,
            server: Server {
                hosts: parse_hosts(hosts, dialect)?,
                socket: None,
                database: filled(database)?,
                tls: Tls::Disabled,
                ca: None,
                certificate: None,
                key: None,
                application: None,
                search_path: None,
                options: None,
                statement_cache: None,
            },
            tls: None,
            older: None,
            username: filled(username)?,
            password: password.map(decoded).transpose()?.map(Secret::from),
            warnings: Vec::new(),
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            reader.parameter(&key, &value)?;
        }
        Ok(reader.finish())
    }

    fn parameter(&mut self, key: &str, value: &str) -> Result<(), String> {
        let name = parameter_name(key);
        let wrong = |expected: &str| format!("parameter `{key}`: write {expected}");
        let truth = || match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        let is_postgres = self.dialect == Dialect::Postgres;
        let filled = || Some(value.to_owned()).filter(|value| !value.is_empty()).ok_or_else(|| wrong("a value"));
        match name.as_str() {
            "user" => self.username = Some(filled()?),
            "password" => self.password = Some(Secret::from(value)),
            "sslmode" => self.tls = Some(tls(value).ok_or_else(|| wrong("verify-full, verify-ca, require, …"))?),
            "ssl" if is_postgres => self.older(if truth()? { Tls::VerifyFull } else { Tls::Disabled }),
            "usessl" | "requiressl" if !is_postgres => {
                self.older(if truth()? { Tls::Required } else { Tls::Disabled });
            }
            "verifyservercertificate" if !is_postgres => {
                self.older(if truth()? { Tls::VerifyCa } else { Tls::Disabled });
            }
            "sslrootcert" if is_postgres => self.server.ca = Some(filled()?.into()),
            "sslca" | "serversslcert" if !is_postgres => self.server.ca = Some(filled()?.into()),
            "sslcert" => self.server.certificate = Some(filled()?.into()),
            "sslkey" => self.server.key = Some(filled()?.into()),
            "host" if is_postgres && value.starts_with('/') => self.server.socket = Some(value.into()),
            "socket" | "localsocket" if !is_postgres => self.server.socket = Some(filled()?.into()),
            "currentschema" if is_postgres => self.server.search_path = Some(filled()?),
            "applicationname" if is_postgres => self.server.application = Some(filled()?),
            "options" if is_postgres => self.server.options = Some(filled()?),
            "statementcachecapacity" => {
                self.server.statement_cache = Some(value.parse().map_err(|_| wrong("a number"))?);
            }
            "preparethreshold" if is_postgres && value == "0" => self.server.statement_cache = Some(0),
            "characterencoding" | "charset" if is_utf8(value) => {}
            // Whoever writes such a thing relies on it.
            name if ["ssl", "tls", "trust", "host"].iter().any(|word| name.contains(word)) => {
                return Err(format!("parameter `{key}` is not supported"));
            }
            _ => self.warnings.push(left_out(key)),
        }
        Ok(())
    }

    /// The strongest of the parameters from before `sslmode` counts where that one says nothing.
    fn older(&mut self, tls: Tls) {
        self.older = self.older.max(Some(tls));
    }

    fn finish(mut self) -> Url {
        let is_near = self.server.socket.is_some() || self.server.hosts.iter().all(|(host, _)| is_local(host));
        // Passwords' digests must not travel to whoever answers.
        let default = if is_near { Tls::Preferred } else { Tls::VerifyFull };
        self.server.tls = self.tls.or(self.older).unwrap_or(default);
        if !is_near && self.server.tls < Tls::VerifyCa {
            let message = "the database is on another machine and need not prove who it is: write sslmode=verify-full";
            self.warnings.push(message.to_owned());
        }
        let location = match self.dialect {
            Dialect::Postgres => Location::Postgres(self.server),
            Dialect::MySql | Dialect::Sqlite => Location::MySql(self.server),
        };
        let Self { username, password, warnings, .. } = self;
        Url { source: Source::Database(Box::new(location)), username, password, warnings }
    }
}

/// The words of libpq, of MySQL's driver and of MariaDB's.
fn tls(mode: &str) -> Option<Tls> {
    Some(match mode.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Tls::Disabled,
        "allow" | "prefer" | "preferred" => Tls::Preferred,
        "require" | "required" | "trust" => Tls::Required,
        "verify-ca" => Tls::VerifyCa,
        "verify-full" | "verify-identity" => Tls::VerifyFull,
        _ => return None,
    })
}

/// Whatever a driver calls it, texts are exchanged as UTF-8.
fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "utf8mb4"].contains(&charset.to_ascii_lowercase().as_str())
}

fn parse_hosts(list: &str, dialect: Dialect) -> Result<Vec<(String, u16)>, String> {
    let port = if dialect == Dialect::Postgres { 5432 } else { 3306 };
    if list.is_empty() {
        return Ok(vec![("localhost".to_owned(), port)]);
    }
    let hosts = list.split(',').map(|text| parse_host(text.trim(), port));
    hosts
        .collect::<Option<_>>()
        .ok_or_else(|| "a host is not like db.example.org, db.example.org:5432 or [::1]".to_owned())
}

fn parse_host(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            (!host.is_empty() && host.chars().all(is_name)).then_some((host, port))?
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => default_port,
        None => return None,
    };
    Some((host.to_owned(), port))
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
