//! Whose Jami accounts are, at two policy servers on one PostgreSQL and at the command line: nobody inherits one, and nobody
//! loses one by moving to another directory.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use policy_server::auth::subject::Subject;
use policy_server::device::enrol::{Request, enrol};
use policy_server::device::{Account, Asker, Credentials, DeviceError, identity};
use policy_server::store::Reason;
use policy_server::wire::Server;
use serde_json::Value;
use tests::Postgres;
use tests::jami_client::DeviceKey;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;

const MODULES: &str = "com.cafesoft.cams.auth.login.module";
const LOCAL: &str = "<service id='people' className='com.cafesoft.security.engine.service.LocalDirectoryService'/>";

/// Two servers of one cluster, whose users are in the built-in directory first and in files of their own then.
struct Cluster {
    files: [Files; 2],
    servers: [Arc<Server>; 2],
    // Asked while the test runs.
    _postgres: Arc<Postgres>,
}

impl Cluster {
    /// `None` without PostgreSQL.
    async fn start() -> Option<Self> {
        let postgres = Postgres::shared().await?;
        let url = postgres.database();
        let one = Files::new("One", Some(&url));
        let two = one.peer("Two", &url);
        let modules =
            [("Local", ""), ("Xml", "<options><option name='serviceId' value='cams-user-repository'/></options>")];
        let modules = modules.map(|(class, options)| {
            format!("<login-module-entry className='{MODULES}.{class}LoginModule' flag='SUFFICIENT'>{options}</login-module-entry>")
        });
        for files in [&one, &two] {
            let entry = format!(
                "<login-config><login-config-entry name='http'>{}<callback-handler \
                 className='com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler'/></login-config-entry></login-config>",
                modules.concat()
            );
            fs::write(files.path("conf/domains/system/login-config.xml"), entry).unwrap();
            replace(&files.path("conf/domains/system/security-domain.xml"), |text| {
                text.replace("</service-manager>", &format!("{LOCAL}</service-manager>"))
            });
        }
        one.cams(&["ca", "create"]).success();
        let [first, second] = [&one, &two].map(|files| files.conf());
        let servers = [Server::open(&first).await.unwrap(), Server::open(&second).await.unwrap()];
        Some(Self { files: [one, two], servers, _postgres: postgres })
    }

    async fn enrol(&self, at: usize, user: &str, csr: &str) -> Result<Value, DeviceError> {
        let server = Arc::clone(&self.servers[at]);
        let asker = Asker {
            loaded: server.loaded(),
            domain: "system".to_owned(),
            entry: "http".to_owned(),
            agent: "web1".to_owned(),
            client: Ipv4Addr::LOCALHOST.into(),
            request_id: "r".to_owned(),
        };
        let credentials = Credentials { user: user.to_owned(), password: PASSWORD.into() };
        let request = Request { csr: csr.to_owned(), device_name: "phone".to_owned() };
        let answer = enrol(server, asker, credentials, request).await?;
        let receipt: Value = serde_json::from_str(&answer.receipt.text).unwrap();
        Ok(serde_json::json!({ "account": receipt["id"], "chain": answer.chain }))
    }

    async fn account(&self, user: &str) -> Option<Account> {
        let key = identity::key(user).unwrap();
        self.servers[0].store.jami_account_by_name("system", &key).await.unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.files[0].cams(&[arguments, &["--json"]].concat()).json()
    }

    fn add_user(&self, name: &str) {
        self.files[0].cams_with_input(&["user", "add", name], PASSWORD.as_bytes()).success();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_enrolments_of_a_person_at_two_servers_are_one_account() {
    let Some(cluster) = Cluster::start().await else { return };
    let [same, other] = [DeviceKey::generate(), DeviceKey::generate()];
    let (csr, second) = (same.csr(), other.csr());
    let all = tokio::join!(
        cluster.enrol(0, "alice", &csr),
        cluster.enrol(1, "alice", &csr),
        cluster.enrol(1, "alice", &second)
    );
    let [one, again, two] = [all.0, all.1, all.2].map(|answer| answer.unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(one, again, "one key is one device with one certificate");
    assert_eq!(one["account"], two["account"]);
    let listed = cluster.json(&["device", "list", "--user", "Alice"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let shown = cluster.json(&["user", "jami", "alice"]);
    assert_eq!((&shown["jami_id"], &shown["standing"]), (&one["account"], &"stands".into()));

    // Revoked at the command line, at both servers.
    let id = same.id();
    assert_eq!(cluster.json(&["device", "revoke", &id, "--reason", "lost"])["reason"], "lost");
    assert_ne!(cluster.files[0].cams(&["device", "revoke", &id]).code, 0, "once");
    assert_ne!(cluster.files[0].cams(&["device", "revoke", "unknown"]).code, 0);
    for at in [0, 1] {
        assert!(matches!(cluster.enrol(at, "alice", &csr).await, Err(DeviceError::Refused(_))));
        assert!(matches!(cluster.enrol(at, "bob", &second).await, Err(DeviceError::Bad(_))), "it is alice's");
    }
    assert!(cluster.account("bob").await.is_none());
    assert!(cluster.json(&["device", "show", &id])["revoked"].is_i64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_a_persons_and_not_a_names() {
    let Some(cluster) = Cluster::start().await else { return };
    let keys: Vec<DeviceKey> = (0..4).map(|_| DeviceKey::generate()).collect();
    let csrs: Vec<String> = keys.iter().map(DeviceKey::csr).collect();

    // Another person gets the name of one whom the directory knows by an id.
    cluster.add_user("carol");
    let former = cluster.enrol(0, "carol", &csrs[0]).await.unwrap();
    cluster.files[0].cams(&["user", "remove", "carol"]).success();
    cluster.add_user("carol");
    let new = cluster.enrol(1, "carol", &csrs[1]).await.unwrap();
    assert_ne!(former["account"], new["account"]);
    let device = cluster.servers[0].store.jami_device(&keys[0].id()).await.unwrap().unwrap();
    assert_eq!(device.reason, Reason::NAME_OF_ANOTHER.text);

    // The source of a person changes.
    let before = cluster.enrol(0, "alice", &csrs[2]).await.unwrap();
    cluster.add_user("alice");
    assert!(matches!(cluster.enrol(0, "alice", &csrs[3]).await, Err(DeviceError::Refused(_))), "is it her?");
    cluster.files[0].cams(&["user", "jami", "alice", "--relink"]).success();
    let account = cluster.account("alice").await.unwrap();
    assert!(account.identity.source.ends_with("LocalLoginModule") && account.identity.id.len() == 32);
    assert_eq!(cluster.enrol(0, "alice", &csrs[3]).await.unwrap()["account"], before["account"]);

    // It is somebody else after all.
    let released = cluster.files[0].cams(&["user", "jami", "alice", "--release"]).success();
    assert!(released.contains("devices revoked: 2"), "{released}");
    assert!(cluster.account("alice").await.is_none());
    assert!(matches!(cluster.enrol(0, "alice", &csrs[3]).await, Err(DeviceError::Bad(_))), "a key of the former one");
}

/// Tokens and looks of the background, on PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_taken_for_a_look_once() {
    let Some(cluster) = Cluster::start().await else { return };
    let csr = DeviceKey::generate().csr();
    cluster.enrol(0, "alice", &csr).await.unwrap();
    let account = cluster.account("alice").await.unwrap();
    let (due, now) = (account.rechecked, account.rechecked + 300);
    let taking = cluster.servers.each_ref().map(|server| server.store.take_unchecked_accounts("system", due, now, 10));
    let [one, two] = taking;
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 1);
    let store = &cluster.servers[0].store;
    assert!(store.take_unchecked_accounts("system", now - 1, now, 10).await.unwrap().is_empty());
    let subject = Subject { roles: ["staff".to_owned()].into(), ..account.subject.clone() };
    assert!(store.renew_jami_subject(&account, &subject).await.unwrap());
    assert!(!store.renew_jami_subject(&account, &subject).await.unwrap(), "it is another one now");
    store.purge_jami_tokens(now).await.unwrap();
}
