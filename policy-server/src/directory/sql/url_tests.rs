use super::*;

fn server(url: &str) -> (Server, Url) {
    let parsed = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let Source::Database(location) = &parsed.source else { panic!("{url}") };
    let (Location::Postgres(server) | Location::MySql(server)) = &**location else { panic!("{url}") };
    (server.clone(), parsed)
}

#[test]
fn hosts_are_tried_in_order() {
    for (url, described, database) in [
        ("jdbc:postgresql://h/db", "PostgreSQL at h:5432", Some("db")),
        ("jdbc:postgresql://h:5433,h2/db", "PostgreSQL at h:5433, h2:5432", Some("db")),
        ("jdbc:postgresql://[::1]:1,10.0.0.7/db", "PostgreSQL at ::1:1, 10.0.0.7:5432", Some("db")),
        ("jdbc:postgresql:db", "PostgreSQL at localhost:5432", Some("db")),
        ("jdbc:postgresql:/db", "PostgreSQL at localhost:5432", Some("db")),
        ("jdbc:postgresql:///db", "PostgreSQL at localhost:5432", Some("db")),
        ("jdbc:postgresql://h", "PostgreSQL at h:5432", None),
        ("jdbc:postgresql://h/a%20b", "PostgreSQL at h:5432", Some("a b")),
        ("postgres://u:p@h/db", "PostgreSQL at h:5432", Some("db")),
        ("postgresql://h/db?host=/run/postgresql", "PostgreSQL at /run/postgresql", Some("db")),
        (" jdbc:mysql://h/db ", "MySQL at h:3306", Some("db")),
        ("jdbc:mariadb://h,h2:3307/db", "MySQL at h:3306, h2:3307", Some("db")),
        ("mysql://u@h/db", "MySQL at h:3306", Some("db")),
        ("jdbc:mysql:///db?socket=/run/m.sock", "MySQL at /run/m.sock", Some("db")),
    ] {
        let (server, parsed) = server(url);
        let Source::Database(location) = &parsed.source else { panic!("{url}") };
        assert_eq!((location.to_string().as_str(), server.database.as_deref()), (described, database), "{url}");
    }
}

#[test]
fn another_machine_must_prove_itself_unless_the_url_says_otherwise() {
    use Tls::{Disabled, Preferred, Required, VerifyCa, VerifyFull};
    for (url, tls, warned) in [
        ("jdbc:postgresql://h/d", VerifyFull, false),
        ("jdbc:postgresql://localhost/d", Preferred, false),
        ("jdbc:postgresql://127.0.0.2,[::1]/d", Preferred, false),
        ("jdbc:postgresql://localhost,h/d", VerifyFull, false),
        ("jdbc:postgresql:///d?host=/run", Preferred, false),
        ("jdbc:postgresql://h/d?ssl=true", VerifyFull, false),
        ("jdbc:postgresql://h/d?ssl", VerifyFull, false),
        ("jdbc:postgresql://h/d?ssl=false", Disabled, true),
        ("jdbc:postgresql://h/d?ssl=true&sslmode=require", Required, true),
        ("jdbc:postgresql://h/d?sslmode=prefer", Preferred, true),
        ("jdbc:postgresql://h/d?sslmode=verify-ca", VerifyCa, false),
        ("jdbc:postgresql://localhost/d?sslmode=disable", Disabled, false),
        ("jdbc:mysql://h/d", VerifyFull, false),
        ("jdbc:mysql://h/d?useSSL=true&requireSSL=true", Required, true),
        ("jdbc:mysql://h/d?requireSSL=false&useSSL=true", Required, true),
        ("jdbc:mysql://h/d?useSSL=true&verifyServerCertificate=true", VerifyCa, false),
        ("jdbc:mysql://h/d?useSSL=false", Disabled, true),
        ("jdbc:mysql://h/d?sslMode=VERIFY_CA", VerifyCa, false),
        ("jdbc:mysql://h/d?useSSL=false&sslMode=VERIFY_IDENTITY", VerifyFull, false),
        ("jdbc:mariadb://h/d?sslMode=verify-full", VerifyFull, false),
        ("jdbc:mariadb://h/d?sslMode=trust", Required, true),
        ("mysql://h/d?ssl-mode=REQUIRED", Required, true),
    ] {
        let (server, parsed) = server(url);
        assert_eq!((server.tls, !parsed.warnings.is_empty()), (tls, warned), "{url}: {:?}", parsed.warnings);
    }
}

#[test]
fn parameters_are_those_of_the_drivers() {
    let url = "jdbc:postgresql://localhost/d?currentSchema=app&ApplicationName=Cams+1&options=-c%20x%3D1\
               &sslrootcert=ca.pem&sslcert=c.pem&sslkey=k.pem&prepareThreshold=0";
    let (pg, parsed) = server(url);
    assert_eq!(parsed.warnings, Vec::<String>::new());
    let texts = [&pg.search_path, &pg.application, &pg.options].map(|text| text.clone().unwrap());
    assert_eq!(texts, ["app", "Cams 1", "-c x=1"]);
    let files = [&pg.ca, &pg.certificate, &pg.key].map(|file| file.clone().unwrap());
    assert_eq!(files, ["ca.pem", "c.pem", "k.pem"].map(PathBuf::from));
    assert_eq!(pg.statement_cache, Some(0));

    let (my, parsed) =
        server("jdbc:mysql://localhost/d?serverSslCert=ca.pem&characterEncoding=UTF-8&statement-cache-capacity=7");
    assert_eq!((my.ca, my.statement_cache, parsed.warnings.len()), (Some(PathBuf::from("ca.pem")), Some(7), 0));

    for (url, left_out) in [
        ("jdbc:postgresql://localhost/d?targetServerType=primary", "targetServerType"),
        ("jdbc:mysql://localhost/d?serverTimezone=UTC", "serverTimezone"),
        ("jdbc:mysql://localhost/d?characterEncoding=latin1", "characterEncoding"),
        ("jdbc:mysql://localhost/d?currentSchema=app", "currentSchema"),
        ("jdbc:sqlite:u.db?cache=shared", "cache"),
    ] {
        let warnings = Url::parse(url).unwrap().warnings;
        assert_eq!(warnings, [format!("parameter `{left_out}` has no meaning here and is left out")], "{url}");
    }
}

#[test]
fn credentials_come_out_as_they_were_meant() {
    for (url, user, password) in [
        ("postgres://us%40er:p%2Fw%20@localhost/d", Some("us@er"), Some("p/w ")),
        ("postgres://u@localhost/d", Some("u"), None),
        ("jdbc:postgresql://localhost/d?user=u&password=a%26b", Some("u"), Some("a&b")),
        ("jdbc:mysql://localhost/d", None, None),
        ("mysql://u:a@b@localhost/d", Some("u"), Some("a@b")),
    ] {
        let parsed = Url::parse(url).unwrap();
        let found = parsed.password.as_ref().map(|password| password.expose_str().unwrap());
        assert_eq!((parsed.username.as_deref(), found), (user, password), "{url}");
    }
}

#[test]
fn files_are_never_created() {
    for (url, path, writable) in [
        ("jdbc:sqlite:/a/u.db", Some("/a/u.db"), false),
        ("jdbc:sqlite:u.db", Some("u.db"), false),
        ("jdbc:sqlite:file:u.db?mode=rw", Some("u.db"), true),
        ("jdbc:sqlite:a%20b.db?mode=ro", Some("a%20b.db"), false),
        ("sqlite:///a/a%20b.db", Some("/a/a b.db"), false),
        ("sqlite://u.db", Some("u.db"), false),
        ("jdbc:sqlite::memory:", None, true),
        ("sqlite::memory:", None, true),
    ] {
        let expected = Location::Sqlite(Sqlite { path: path.map(PathBuf::from), writable });
        assert_eq!(Url::parse(url).unwrap().source, Source::Database(Box::new(expected.clone())), "{url}");
        assert_eq!(expected.is_read_only(), !writable);
    }
}

#[test]
fn pools_have_three_spellings() {
    for url in ["jdbc:apache:commons:dbcp:main", "jdbc:cafesoft:pool:main", "pool:main"] {
        assert_eq!(Url::parse(url).unwrap().source, Source::Pool("main".to_owned()), "{url}");
    }
}

#[test]
fn what_is_wrong_is_said_without_the_password() {
    for (url, expected) in [
        ("", "it is no URL"),
        ("canary", "it is no URL"),
        ("jdbc:hsqldb:hsql://canary/", "`jdbc:hsqldb:` is not supported: supported are PostgreSQL"),
        ("jdbc:oracle:thin:u/canary@h:1521:x", "`jdbc:oracle:` is not supported"),
        ("jdbc:sqlserver://h;password=canary", "`jdbc:sqlserver:` is not supported"),
        ("jdbc:db2://h/d:password=canary;", "MySQL and MariaDB (jdbc:mysql:, jdbc:mariadb:), SQLite"),
        ("jdbc:sybase:Tds:h:1/canary", "`jdbc:sybase:` is not supported"),
        ("jdbc:pool:main", "`jdbc:pool:` is not supported"),
        ("pool:", "it names no pool"),
        ("jdbc:apache:commons:canary", "it names no pool"),
        ("jdbc:mysql:loadbalance://h,h2/canary", "write HOST[:PORT]/DATABASE"),
        ("jdbc:mysql://address=(host=h)(password=canary)/d", "a host is not like"),
        ("jdbc:postgresql://u:canary@h:0/d", "a host is not like"),
        ("jdbc:postgresql://u:canary@h,/d", "a host is not like"),
        ("jdbc:postgresql://[h]/d", "a host is not like"),
        ("jdbc:postgresql://h/d?sslmode=canary", "parameter `sslmode`: write verify-full"),
        ("jdbc:postgresql://h/d?ssl=canary", "parameter `ssl`: write true or false"),
        ("jdbc:postgresql://h/d?sslfactory=canary", "parameter `sslfactory` is not supported"),
        ("jdbc:postgresql://h/d?sslmod=canary", "parameter `sslmod` is not supported"),
        ("jdbc:postgresql://h/d?host=canary", "parameter `host` is not supported"),
        ("jdbc:mysql://h/d?trustCertificateKeyStoreUrl=canary", "is not supported"),
        ("jdbc:mysql://h/d?statementCacheCapacity=canary", "write a number"),
        ("jdbc:sqlite:", "it names no file"),
        ("jdbc:sqlite:canary?mode=rwc", "a missing file is never created"),
    ] {
        let error = Url::parse(url).map(|_| ()).unwrap_err();
        assert!(error.contains(expected) && !error.contains("canary"), "{url}: {error}");
    }
}

#[test]
fn a_driver_belongs_to_its_url() {
    let pg = "jdbc:postgresql:d";
    for (class, url, expected) in [
        ("org.postgresql.Driver", pg, None),
        (" org.postgresql.Driver ", "postgres://localhost/d", None),
        ("com.mysql.cj.jdbc.Driver", "jdbc:mariadb://localhost/d", None),
        ("org.mariadb.jdbc.Driver", "jdbc:mysql://localhost/d", None),
        ("org.sqlite.JDBC", "jdbc:sqlite:u.db", None),
        ("org.apache.commons.dbcp.PoolingDriver", "jdbc:apache:commons:dbcp:p", None),
        ("com.cafesoft.core.jdbc.PoolingConnectionDriver", "jdbc:cafesoft:pool:p", None),
        ("org.postgresql.Driver", "jdbc:mysql://localhost/d", Some("is not the driver of `jdbcUrl`")),
        ("com.cafesoft.core.jdbc.PoolingConnectionDriver", pg, Some("is not the driver of `jdbcUrl`")),
        ("org.hsqldb.jdbcDriver", pg, Some("`org.hsqldb.jdbcDriver` is not supported: supported are PostgreSQL")),
    ] {
        let error = check_driver(class, &Url::parse(url).unwrap().source).err();
        assert_eq!(error.is_some(), expected.is_some(), "{class} {url}: {error:?}");
        assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{class} {url}");
    }
}
