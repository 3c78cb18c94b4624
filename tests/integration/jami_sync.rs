//! What devices of a person share, who is found, what names stand for, and what clients are set to: through the whole product,
//! and at two servers on one PostgreSQL.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use policy_server::device::merge::Kind;
use policy_server::device::sync::{MAX_RECORDS, sync};
use policy_server::store::Store;
use serde_json::{Value, json};
use tests::{JamiClient, Postgres, Quickstart, within_async};

/// In milliseconds.
const NOW: i64 = 1_000_000_000;
const CONTACT: &str = "29347542eb07159f316577e1ae16243d152f6b7b";

fn contact(number: usize, added: usize) -> Value {
    json!({ "uri": format!("{number:040x}"), "added": added })
}

/// The product, and alice with a device.
struct World {
    cams: Quickstart,
    client: JamiClient,
    token: String,
    account: String,
}

impl World {
    async fn start() -> Self {
        let cams = Quickstart::start(&[]).await;
        let client = JamiClient::of(&cams);
        let device = client.enrol("alice", &cams.user("alice").password).await;
        let (token, account) = (client.token(&device).await, device.account());
        Self { cams, client, token, account }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let reply = self.client.call(Method::GET, path, &self.token, None).await;
        (reply.status, reply.json())
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let reply = self.client.call(Method::POST, path, &self.token, Some(body)).await;
        (reply.status, reply.json())
    }

    /// The user names that a search finds.
    async fn found(&self, query: &str) -> Vec<String> {
        let (status, found) = self.get(&format!("/api/auth/directory/search?{query}")).await;
        assert_eq!(status, 200, "{query}: {found}");
        let profiles = found["profiles"].as_array().unwrap();
        for profile in profiles {
            assert!(profile.as_object().unwrap().values().all(Value::is_string), "{profile}");
        }
        profiles.iter().map(|profile| profile["username"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn lists_of_devices_become_one() {
    let world = World::start().await;
    let second = world.client.enrol("alice", &world.cams.user("alice").password).await;
    let second = world.client.token(&second).await;
    for (path, key, [first, last]) in [
        ("/api/auth/contacts", "uri", ["added", "removed"]),
        ("/api/auth/conversations", "id", ["created", "erased"]),
        ("/api/auth/conversationRequests", "conversationId", ["received", "declined"]),
    ] {
        let record = json!({ key: CONTACT, first: 100, "unknown": { "to": ["us", null] } });
        assert_eq!(world.post(path, &json!([record])).await, (StatusCode::OK, json!([record])), "{path}");
        let seen = world.client.call(Method::POST, path, &second, Some(&json!([]))).await;
        assert_eq!(seen.json::<Value>(), json!([record]), "{path}");
        let ended = json!({ key: CONTACT, first: 100, last: 200 });
        let merged = world.client.call(Method::POST, path, &second, Some(&json!([ended]))).await;
        assert_eq!(merged.json::<Value>(), json!([ended]), "{path}");
        assert_eq!(world.post(path, &json!([record])).await.1, json!([ended]), "{path}: it does not come back");

        let too_many: Vec<Value> = (0..=MAX_RECORDS).map(|number| json!({ key: format!("{number:040}") })).collect();
        for (body, expected) in [
            (json!({}), 400),
            (json!("x"), 400),
            (json!([1]), 400),
            (json!([{}]), 400),
            (json!([{ key: "" }]), 400),
            (json!([{ key: CONTACT, first: "100" }]), 400),
            (json!([{ key: CONTACT, last: -1 }]), 400),
            (json!([{ key: CONTACT, "x": "x".repeat(300 << 10) }]), 413),
            (json!([{ key: CONTACT, "x": vec![0; 600_000] }]), 413),
            (json!([{ key: CONTACT, "x": "x".repeat(9 << 20) }]), 413),
            (Value::Array(too_many), 413),
        ] {
            let (status, error) = world.post(path, &body).await;
            assert_eq!(status, expected, "{path}: {error}");
            assert!(error["error"].is_string(), "{path}: {error}");
        }
        assert_eq!(world.post(path, &json!([])).await.1, json!([ended]), "{path}: nothing was kept of those");
        for verb in [Method::GET, Method::PUT, Method::DELETE] {
            assert_eq!(world.client.call(verb, path, &world.token, None).await.status, 405, "{path}");
        }
        for authorization in [None, Some("Bearer x"), Some("Basic YWxpY2U6YQ==")] {
            let reply = world.client.ask(Method::POST, path, authorization, Some(&json!([]))).await;
            assert_eq!(reply.status, 401, "{path}: {authorization:?}");
        }
        let bare = world.client.call(Method::POST, path, &world.token, None).await;
        assert_eq!(bare.status, 415, "{path}");
    }
}

#[tokio::test]
async fn names_and_people_are_found() {
    let world = World::start().await;
    let ask = async |method, path: String| {
        let reply = world.client.ask(method, &path, None, None).await;
        (reply.status.as_u16(), reply.json::<Value>())
    };
    let account = world.account.as_str();
    for name in ["alice", "ALICE", "%61lice"] {
        let (status, found) = ask(Method::GET, format!("/api/nameserver/name/{name}")).await;
        assert_eq!((status, found), (200, json!({ "name": "alice", "addr": format!("0x{account}") })), "{name}");
    }
    for id in [account.to_owned(), format!("0x{account}"), account.to_uppercase()] {
        assert_eq!(
            ask(Method::GET, format!("/api/nameserver/addr/{id}")).await,
            (200, json!({ "name": "alice" })),
            "{id}"
        );
    }
    for (path, expected) in [
        ("name/nobody".to_owned(), 404),
        ("name/admin".to_owned(), 404),
        (format!("name/{}", "x".repeat(300)), 400),
        ("name/%E2%80%AEx".to_owned(), 400),
        ("addr/nobody".to_owned(), 400),
        (format!("addr/{CONTACT}0"), 400),
        (format!("addr/{CONTACT}"), 404),
    ] {
        assert_eq!(ask(Method::GET, format!("/api/nameserver/{path}")).await.0, expected, "{path}");
    }
    assert_eq!(ask(Method::POST, "/api/nameserver/name/new".to_owned()).await.0, 403);

    assert_eq!(world.found("queryString=adm").await, [""; 0], "no account yet");
    world.client.enrol("admin", &world.cams.user("admin").password).await;
    for (query, expected) in [
        ("queryString=*", &["admin", "alice"][..]),
        ("queryString=", &["admin", "alice"]),
        ("", &["admin", "alice"]),
        ("queryString=*&page=1", &["admin", "alice"]),
        ("queryString=*&page=2", &[]),
        ("queryString=ADM", &["admin"]),
        ("queryString=a%20b", &[]),
        ("queryString=%25", &[]),
        ("queryString=nobody", &[]),
    ] {
        assert_eq!(world.found(query).await, expected, "{query}");
    }
    assert_eq!(world.found(&format!("queryString={}", "a".repeat(2_000))).await, [""; 0]);
    for page in ["x", "-1", "99999999999999"] {
        assert_eq!(world.get(&format!("/api/auth/directory/search?page={page}")).await.0, 400, "{page}");
    }
    let (status, profile) = world.get("/api/auth/userprofile/Alice").await;
    assert_eq!((status.as_u16(), &profile["id"], &profile["username"]), (200, &json!(account), &json!("alice")));
    assert_eq!(world.get("/api/auth/userprofile/nobody").await.0, 404);
    for path in ["/api/auth/directory/search?queryString=*", "/api/auth/userprofile/alice", "/api/auth/policyData"] {
        assert_eq!(ask(Method::GET, path.to_owned()).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn clients_are_set_to_what_the_role_says() {
    let world = World::start().await;
    assert_eq!(world.get("/api/auth/policyData").await, (StatusCode::OK, json!({})));
    let blueprints = "<blueprints><blueprint name='a' role='admin'><policy name='videoEnabled' value='true'/></blueprint>\n\
                      <blueprint name='b' role='user'><policy name='videoEnabled' value='false'/>\
                      <policy name='turnServer' value='turn.test'/><policy name='allowLookup' value='false'/></blueprint>\
                      </blueprints>";
    fs::write(world.cams.domain_file("jami-blueprints.xml"), blueprints).unwrap();
    let expected = json!({ "Account.videoEnabled": "false", "TURN.server": "turn.test" });
    let is_there = async || world.get("/api/auth/policyData").await.1 == expected;
    within_async(Duration::from_secs(10), "the blueprint counts", is_there).await;
    assert_eq!(world.found("queryString=*").await, [""; 0], "no search for her");
    for (user, video, server) in [("alice", "false", json!("turn.test")), ("admin", "true", Value::Null)] {
        let answer = world.client.enrol(user, &world.cams.user(user).password).await.answer;
        assert_eq!((&answer["Account.videoEnabled"], &answer["TURN.server"]), (&json!(video), &server), "{user}");
        assert!(answer.as_object().unwrap().values().all(Value::is_string), "{answer}");
    }
}

/// Sixteen devices of one account, at two servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_lose_nothing_of_what_devices_bring_at_once() {
    let Some(postgres) = Postgres::shared().await else { return };
    let url = postgres.database();
    let database = url.split(['/', '?']).nth(3).unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let mut stores = Vec::new();
    for _ in 0..2 {
        stores.push(Store::open(&url.clone().into(), dir.path()).await.unwrap());
    }
    postgres.psql(
        &database,
        "INSERT INTO jami_accounts (id, domain, user_name, user_key, source, source_id, entry, subject, authority, \
         certificate, sealed, created, rechecked, suspended) \
         VALUES ('a', 'system', 'alice', 'alice', '', '', '', '', '', '', '', 0, 0, 0)",
    );
    // Each server takes one of an account at a time.
    let turns: [Arc<tokio::sync::Mutex<()>>; 2] = Default::default();
    let devices: Vec<_> = (0..16)
        .map(|device| {
            let (store, turn) = (stores[device % 2].clone(), Arc::clone(&turns[device % 2]));
            tokio::spawn(async move {
                // One contact of its own at a time, and one that all change.
                for number in 1..=10 {
                    let sent = vec![contact(device * 100 + number, number), contact(0, device * 100 + number)];
                    let sent = Kind::Contacts.read(sent, NOW).unwrap();
                    let _turn = turn.lock().await;
                    sync(&store, "a", Kind::Contacts, sent, NOW).await.unwrap();
                }
            })
        })
        .collect();
    for device in devices {
        device.await.unwrap();
    }
    let all = sync(&stores[0], "a", Kind::Contacts, Default::default(), NOW).await.unwrap();
    assert_eq!((all.len(), &all[&format!("{:040}", 0)]["added"]), (161, &json!(1510)));
}
