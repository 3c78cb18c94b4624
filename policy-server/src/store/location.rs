//! Where the store is: what a store URL says, read without touching anything. A URL may hold a password, so none of its
//! text leaves this file but in the options of a connection.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use shared_proto::secret::Secret;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::StoreError;

/// Of those that the driver knows, the ones with a use here.
const PARAMETERS: [&str; 11] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

#[derive(Clone)]
pub enum Location {
    Sqlite(PathBuf),
    /// For queries, and for notifications, which only PostgreSQL has.
    Postgres(Box<AnyConnectOptions>, Box<PgConnectOptions>),
}

impl Location {
    /// `sqlite:FILE` (a relative file is relative to `base`) or `postgres://…`.
    ///
    /// # Errors
    /// What is wrong, without any part of the URL but its scheme.
    pub fn parse(url: &Secret, base: &Path) -> Result<Self, StoreError> {
        let url = url.expose_str().map(str::trim).unwrap_or_default();
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(base.join(path.trim_start_matches("//"))));
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(StoreError::Url("write sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE"));
        }
        let mut options = AnyConnectOptions::from_str(url).map_err(|_| StoreError::Url("it is not a URL"))?;
        if options.database_url.query_pairs().any(|(name, _)| !PARAMETERS.contains(&&*name)) {
            // The driver would go on without it, and log it with its value.
            return Err(StoreError::Url("it has a parameter that is not known"));
        }
        let hosts = hosts(&options);
        if hosts.is_empty() {
            // The driver would take one from the environment.
            return Err(StoreError::Url("it names no host"));
        }
        let names_mode = options.database_url.query_pairs().any(|(name, _)| name == "sslmode");
        if !names_mode && !hosts.iter().all(|host| is_local(host)) {
            // Sessions and sealed keys must not travel to whoever answers.
            options.database_url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        let native = PgConnectOptions::from_str(options.database_url.as_str())
            .map_err(|_| StoreError::Url("it has a part that PostgreSQL does not understand"))?;
        Ok(Self::Postgres(Box::new(options), Box::new(native)))
    }
}

/// Every host that the URL names: of two, the driver takes one.
fn hosts(options: &AnyConnectOptions) -> Vec<String> {
    let url = &options.database_url;
    let named = url.query_pairs().filter(|(name, _)| name == "host" || name == "hostaddr");
    let named = named.map(|(_, host)| host.into_owned());
    url.host_str().map(str::to_owned).into_iter().chain(named).filter(|host| !host.is_empty()).collect()
}

/// A socket in the file system or a loopback address.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.starts_with('/') || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location, StoreError> {
        Location::parse(&Secret::from(url), Path::new("/base"))
    }

    #[test]
    fn another_machine_must_prove_itself_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://u:p@db.example.org/cams", Some("verify-full")),
            ("postgres://u:p@10.0.0.7:5433/cams?application_name=x", Some("verify-full")),
            ("postgresql://u@[2001:db8::1]/cams", Some("verify-full")),
            ("postgres://u:p@localhost/cams?host=db.example.org", Some("verify-full")),
            ("postgres:///cams?host=localhost&host=db.example.org", Some("verify-full")),
            ("postgres://localhost/cams?hostaddr=192.0.2.1", Some("verify-full")),
            ("postgres://u:p@db.example.org/cams?sslmode=verify-ca", Some("verify-ca")),
            ("postgres://u:p@localhost/cams", None),
            ("postgres://u:p@127.0.0.2/cams", None),
            ("postgres://u:p@[::1]/cams", None),
            ("postgres:///cams?host=/run/postgresql&user=cams", None),
        ] {
            let Ok(Location::Postgres(options, _)) = parse(url) else { panic!("{url}") };
            let modes: Vec<_> = options.database_url.query_pairs().filter(|(name, _)| name == "sslmode").collect();
            assert_eq!(modes.first().map(|(_, value)| value.as_ref()), mode, "{url}");
            assert!(modes.len() < 2, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "",
            "sqlite:",
            "mysql://u:canary@h/d",
            "canary",
            "postgres://u:canary@h:notaport/d",
            "postgres://u:canary@h/d?sslmode=canary",
            "postgres:///d?password=canary",
            "postgres://u@h/d?passwrd=canary",
            "postgres://u:p@h/d?canary",
            "postgres://u:can%ary\u{0}@[/d",
        ] {
            let Err(error) = parse(url) else { panic!("{url}") };
            assert!(matches!(error, StoreError::Url(_)), "{url}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{url}: {error:?}");
        }
    }

    #[test]
    fn a_file_is_relative_to_the_configuration() {
        for (url, file) in
            [("sqlite:a.db", "/base/a.db"), ("sqlite:///x/a.db", "/x/a.db"), ("sqlite:/x/a.db", "/x/a.db")]
        {
            let Ok(Location::Sqlite(path)) = parse(url) else { panic!("{url}") };
            assert_eq!(path, Path::new(file), "{url}");
        }
    }
}
