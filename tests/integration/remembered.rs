//! Remember me at the policy server: the store on both databases, two servers of a cluster, keys as they are printed.

use std::fs;

use futures_util::future::join_all;
use http::StatusCode;
use policy_server::auth::valves::auto_login::family::{Family, Rotation, Seen};
use policy_server::session::SessionStore;
use policy_server::store::{Fate, Store};
use serde_json::{Value, json};
use shared_proto::event::Change;
use tests::Postgres;
use tests::command::cams;
use tests::link::Link;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;

use crate::store::{session, stores};

const DAY: u64 = 24 * 3600;
const DOMAIN: &str = "conf/domains/system";

fn family(series: &str, user: &str, expires: i64) -> Family {
    Family {
        series: series.to_owned(),
        domain: "system".to_owned(),
        entry: "http".to_owned(),
        user: user.to_owned(),
        methods: ["a".to_owned(), "b".to_owned()].into(),
        created: 1,
        expires,
        stolen: false,
        seen: Seen { at: 7, address: "192.0.2.1".into(), user_agent: "Browser/1".into() },
        rotation: Rotation::new(b"sealed".to_vec(), 1),
    }
}

/// The first generation of the family logs in; the number of the next.
async fn renew(store: &Store, series: &str, now: i64) -> Option<i64> {
    let renew = |found: Option<Family>| match found {
        None => (Fate::Stays, None),
        Some(mut family) => match family.rotation.renew(1, b"next".to_vec(), now, 30) {
            None => (Fate::Stays, None),
            next => (Fate::Changes(family.into()), next),
        },
    };
    store.change_family(series, renew).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn families_change_one_after_the_other() {
    for fixture in stores().await {
        let servers = [fixture.store.clone(), fixture.again().await];
        let first = family("one", "alice", 100);
        let (token, owner) = session("owner", "alice", 100);
        assert!(!servers[0].add_family(&first, &owner.id).await.unwrap(), "there is no such session");
        servers[0].insert(&token, &owner).await.unwrap();
        for family in [&first, &family("two", "alice", 200), &family("three", "bob", 200)] {
            assert!(servers[0].add_family(family, &owner.id).await.unwrap());
        }
        assert_eq!(servers[1].family("one").await.unwrap(), Some(first));
        // Twenty tabs at two servers, and then after the grace.
        for (now, expected) in [(1, 2), (31, 3)] {
            let tabs = (0..20).map(|number| {
                let server = servers[number % 2].clone();
                tokio::spawn(async move { renew(&server, "one", now).await })
            });
            let given: Vec<i64> = join_all(tabs).await.into_iter().filter_map(Result::unwrap).collect();
            assert_eq!(given, [expected]);
        }
        let found = servers[0].family("one").await.unwrap().unwrap().rotation;
        assert_eq!((found.current.number, found.pending.map(|next| next.number), found.skipped), (1, Some(3), vec![2]));
        let of = async |user: &str| {
            let families = servers[0].families_of(Some("system"), user).await.unwrap();
            families.into_iter().map(|family| family.series).collect::<Vec<_>>()
        };
        assert_eq!(of("alice").await, ["one", "two"]);
        servers[0].purge_families(100).await.unwrap();
        assert_eq!((of("alice").await, of("bob").await), (vec!["two".to_owned()], vec!["three".to_owned()]));
        servers[0].change_family("two", |_| (Fate::EndsInTheft, ())).await.unwrap();
        let stolen = servers[1].family("two").await.unwrap().unwrap();
        assert!(stolen.stolen && stolen.rotation.current.sealed.is_empty());
        servers[0].change_family("three", |_| (Fate::Ends, ())).await.unwrap();
        assert_eq!(servers[1].family("three").await.unwrap(), None);
        assert_eq!(servers[1].change_family("none", |found| (Fate::Stays, found)).await.unwrap().0, None);
    }
}

/// Turns remember me on, with a key as `cams keygen` prints it.
fn turn_on(files: &Files, block: &str) {
    let valve = format!(
        "<auth-valve className=\"com.cafesoft.security.engine.auth.AutoLoginAuthValve\"><param-list>{block}</param-list>\
         </auth-valve></auth-pipeline>"
    );
    let file = |name: &str| files.path(DOMAIN).join(name);
    replace(&file("security-domain.xml"), |text| text.replace("</auth-pipeline>", &valve));
    replace(&file("login-config.xml"), |text| text.replace("callback.Name", "callback.AutoLoginName"));
    fs::set_permissions(file("security-domain.xml"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_printed_key_is_good() {
    let files = Files::new("One", None);
    turn_on(&files, &cams(["keygen"]).success());
    let checked = files.cams(&["check"]);
    assert!(checked.code == 0 && !checked.stderr.contains("AutoLogin"), "{checked:?}");
    replace(&files.path(DOMAIN).join("security-domain.xml"), |text| {
        text.replace("AutoLoginAuthValve\"", "AutoLoginAuthValve\" enabled=\"false\"")
    });
    let checked = files.cams(&["check"]);
    assert!(checked.code == 0 && checked.stderr.contains("no AutoLoginAuthValve is enabled"), "{checked:?}");
}

async fn log_in(link: &Link) -> Value {
    let message = json!({
        "request_id": "r", "host": "app.test", "domain": "system", "entry": "http", "client": {"address": "192.0.2.1"},
        "callbacks": {"username": "alice", "password": PASSWORD, "autologin_flag": "true"},
    });
    link.ask("login", &message).await.1
}

async fn show(link: &Link, cookie: &Value) -> Value {
    let message = json!({
        "request_id": "r", "host": "app.test", "domain": "system", "entry": "http", "cookie": cookie,
        "client": {"address": "192.0.2.1"},
    });
    let (status, answer) = link.ask("autologin", &message).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// What one server remembers, the other one knows; both hear of the end, and neither wrote the password down.
#[tokio::test]
async fn servers_share_what_they_remember() {
    let Some(postgres) = Postgres::shared().await else { return };
    let url = postgres.database();
    let files = Files::new("One", Some(&url));
    let peer = files.peer("Two", &url);
    let block = cams(["keygen"]).success();
    [&files, &peer].into_iter().for_each(|files| turn_on(files, &block));
    let agent = files.add_agent("web1");
    let servers = [files.start().await, peer.start().await];
    let [one, two] = [Link::connect(servers[0].address, &agent).await, Link::connect(servers[1].address, &agent).await];

    let first = log_in(&one).await["remember"]["cookie"].clone();
    let answer = show(&two, &first).await;
    assert_eq!((&answer["is"], &answer["identity"]["user"]), (&"success".into(), &"alice".into()), "{answer}");
    let second = answer["remember"]["cookie"].clone();
    // Thirty days less what this took, which may be nothing.
    let left = answer["remember"]["max_age_seconds"].as_u64().unwrap();
    assert!((29 * DAY..=30 * DAY).contains(&left), "{left}");
    assert!(show(&one, &first).await["remember"].is_null(), "the second one is on its way");
    assert!(show(&one, &second).await["remember"]["cookie"].is_string());
    let ended = files.cams(&["session", "end", "--user", "alice"]);
    assert!(ended.code == 0 && ended.stderr.contains("forgot 1 remembered"), "{ended:?}");
    for link in [&one, &two] {
        assert_eq!(show(link, &second).await, json!({"is": "refused", "notice": null}));
    }
    // Somebody who is remembered and has no session.
    let store = Store::open(&url.into(), files.path("").as_path()).await.unwrap();
    let third = log_in(&two).await;
    let id = third["identity"]["session_id"].as_str().unwrap();
    let before = store.position().await.unwrap().seq;
    let message =
        json!({"request_id": "r", "remember": third["remember"]["cookie"], "client": {"address": "192.0.2.1"}});
    assert_eq!(one.ask("logout", &message).await.0, StatusCode::OK);
    let told = store.events_after(before, 10).await.unwrap();
    assert!(
        matches!(&told[..], [event] if event.change == Change::SessionEnded { session: id.to_owned() }),
        "{told:?}"
    );
    assert_eq!(show(&two, &third["remember"]["cookie"]).await["is"], "refused");
}
