use std::net::TcpListener;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};

use super::super::statement::Dialect;
use super::super::url::{Source, Url};
use super::*;

fn target(url: &str, base: &Path) -> Target {
    let Source::Database(location) = Url::parse(url).unwrap().source else { panic!("{url}") };
    Target { location: *location, username: Some("u".to_owned()), password: Some("p".into()), base: base.to_owned() }
}

async fn file() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(dir.path().join("u.db")).create_if_missing(true);
    options.connect().await.unwrap().execute("CREATE TABLE t (n INTEGER)").await.unwrap();
    dir
}

fn settings() -> Settings {
    Settings { max_connections: 2, acquire_timeout: Duration::from_millis(50), ..Settings::default() }
}

fn idle(database: &Database) -> usize {
    database.0.idle().len()
}

#[tokio::test]
async fn places_are_counted_and_come_back_however_a_login_ends() {
    let dir = file().await;
    let database = Database::new(target("jdbc:sqlite:u.db", dir.path()), settings());
    let first = database.acquire().await.unwrap();
    let second = database.acquire().await.unwrap();
    assert!(matches!(database.acquire().await.err(), Some(SqlError::Exhausted)));
    first.finish();
    drop(second);
    assert_eq!(idle(&database), 1, "what did not finish well is not kept");
    let (first, _second) = (database.acquire().await.unwrap(), database.acquire().await.unwrap());
    assert_eq!(idle(&database), 0);
    // As when an agent hangs up in the middle of a login.
    let waiting = database.clone();
    let waiting = tokio::spawn(async move { waiting.acquire().await.map(|_| ()) });
    tokio::task::yield_now().await;
    waiting.abort();
    drop(first);
    assert!(database.acquire().await.is_ok());
}

#[tokio::test]
async fn what_is_too_old_or_idle_is_closed() {
    let dir = file().await;
    let target = target("jdbc:sqlite:u.db", dir.path());
    let nothing = Duration::ZERO;
    for (settings, left) in [
        (settings(), 2),
        (Settings { idle_timeout: nothing, ..settings() }, 0),
        (Settings { idle_timeout: nothing, min_connections: 1, ..settings() }, 1),
        (Settings { idle_timeout: nothing, min_connections: 1, max_lifetime: nothing, ..settings() }, 0),
        (Settings { keep: false, ..settings() }, 0),
    ] {
        let database = Database::new(target.clone(), settings.clone());
        let leases = [database.acquire().await.unwrap(), database.acquire().await.unwrap()];
        leases.into_iter().for_each(Lease::finish);
        database.0.sweep();
        assert_eq!(idle(&database), left, "{settings:?}");
    }
    // Without another login too.
    let database = Database::new(target, Settings { idle_timeout: Duration::from_millis(5), ..settings() });
    database.acquire().await.unwrap().finish();
    assert_eq!(idle(&database), 1);
    let end = Instant::now() + Duration::from_secs(10);
    while idle(&database) > 0 {
        assert!(Instant::now() < end, "nobody looked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_unchanged_pool_goes_on() {
    let dir = file().await;
    let pools = Pools::default();
    let open = |domain, id, url, settings| pools.open(domain, id, target(url, dir.path()), settings);
    let same = |a: &Database, b: &Database| Arc::ptr_eq(&a.0, &b.0);
    let first = open("system", "main", "jdbc:sqlite:u.db", settings());
    assert!(same(&first, &open("system", "main", "jdbc:sqlite:u.db", settings())));
    assert!(!same(&first, &open("system", "other", "jdbc:sqlite:u.db", settings())));
    assert!(!same(&first, &open("other", "main", "jdbc:sqlite:u.db", settings())));
    assert!(!same(&first, &open("system", "main", "jdbc:sqlite:u.db?mode=rw", settings())));
    assert!(!same(&first, &open("system", "main", "jdbc:sqlite:u.db", Settings::default())));
    let mut other = target("jdbc:sqlite:u.db", dir.path());
    other.password = Some("changed".into());
    assert!(!same(&first, &pools.open("system", "main", other, settings())));
    drop(first);
    open("system", "main", "jdbc:sqlite:u.db", settings());
    assert_eq!(pools.0.lock().unwrap().len(), 1, "what nobody uses is forgotten");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_host_by_host() {
    let silent = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let [first, second] = silent.each_ref().map(|socket| socket.local_addr().unwrap().port());
    for kind in ["postgresql", "mysql"] {
        let url = format!("jdbc:{kind}://127.0.0.1:{first},127.0.0.1:{second}/d");
        let limit = Duration::from_millis(100);
        let database = Database::new(target(&url, Path::new("")), Settings::unpooled(limit));
        let begun = Instant::now();
        let error = database.acquire().await.err().unwrap();
        assert!(matches!(error, SqlError::Connect(..)), "{error}");
        assert!(error.to_string().contains("no answer within 100ms"), "{error}");
        assert!(begun.elapsed() >= 2 * limit, "both were tried");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["jdbc:sqlite:u.db", "jdbc:sqlite:u.db?mode=rw"] {
        let error = Database::new(target(url, dir.path()), settings()).acquire().await.err().unwrap();
        assert!(matches!(error, SqlError::Connect(..)), "{error}");
        assert!(!dir.path().join("u.db").exists());
    }
}

#[tokio::test]
async fn rows_and_time_are_bounded() {
    let dir = file().await;
    let database = Database::new(target("jdbc:sqlite:u.db", dir.path()), settings());
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE ? <> ''";
    let silent = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i % 9 + 1 FROM n) SELECT i FROM n WHERE i = ?";
    let ask = async |sql: &str| {
        let mut lease = database.acquire().await.unwrap();
        let statement = Statement::parse(sql, Dialect::Sqlite).unwrap();
        lease.rows(&statement, &["x"], 3, Duration::from_millis(100)).await
    };
    assert!(matches!(ask(endless).await, Err(SqlError::TooManyRows(3))));
    assert!(matches!(ask(silent).await, Err(SqlError::Slow(_))));
    assert_eq!(ask("SELECT n FROM t WHERE n = ?").await.unwrap().len(), 0);
}
