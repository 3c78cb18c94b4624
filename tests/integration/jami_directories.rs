//! Jami devices of people in every kind of directory, by one stack of login modules: each enrols with the password that the
//! person has there, and nobody does without.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tests::command::cams_with_input;
use tests::databases::{Database, element};
use tests::jami_client::{Device, DeviceKey};
use tests::quickstart::replace;
use tests::{Dht, JamiClient, Jamid, Quickstart, Slapd, samba, slapd, within_async};

const SOON: Duration = Duration::from_secs(30);
const LOCAL: &str = r#"<service id="people" className="com.cafesoft.security.engine.service.LocalDirectoryService"/>"#;
const LENAS: &str = "a canary of the store";

fn module(class: &str, options: &[(String, String)]) -> String {
    let options: String = options.iter().map(|(name, value)| element("option", name, value)).collect();
    format!(
        "<login-module-entry className='com.cafesoft.cams.auth.login.module.{class}LoginModule' flag='SUFFICIENT'>\
         <options>{options}</options></login-module-entry>"
    )
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The product with people in all five.
struct World {
    cams: Quickstart,
    // Asked while the test runs.
    _database: Database,
    slapd: Slapd,
    _samba: std::sync::Arc<samba::Samba>,
}

impl World {
    async fn start() -> Option<Self> {
        let (slapd, samba) = (Slapd::start().await?, samba::Samba::shared().await?);
        let database = Database::sqlite();
        let cams = Quickstart::start(&[]).await;
        let ldap_host = format!("127.0.0.1:{}", slapd.port);
        let (ad_host, ca) = (samba.address.to_string(), samba.ca.display().to_string());
        let patient = [("connectTimeout", "30s"), ("readTimeout", "30s")];
        let ldap = [("host", ldap_host.as_str()), ("userBaseDn", "ou=people,dc=example,dc=test")];
        let people = ("userBaseDn", "OU=people,DC=ad,DC=example,DC=test");
        let account = [("bindDn", "search@ad.example.test"), ("bindPassword", samba::PASSWORD)];
        let ad = [("host", ad_host.as_str()), ("caFile", &ca), ("domain", samba::DOMAIN), people];
        let modules = [
            module("Xml", &owned(&[("serviceId", "cams-user-repository")])),
            module("Local", &[]),
            module("Jdbc", &database.options(&[])),
            module("Ldap", &owned(&[&ldap[..], &patient].concat())),
            module("ActiveDirectory", &owned(&[&ad[..], &account, &patient].concat())),
        ];
        replace(&cams.domain_file("security-domain.xml"), |text| {
            text.replace("</service-manager>", &format!("{LOCAL}</service-manager>"))
        });
        replace(&cams.domain_file("login-config.xml"), |text| {
            let (before, rest) = text.split_once("<login-module-entry").expect("the sample's module");
            let (_, after) = rest.rsplit_once("</login-module-entry>").expect("its end");
            format!("{before}{}{after}", modules.concat())
        });
        let world = Self { cams, _database: database, slapd, _samba: samba };
        let conf = world.cams.conf.to_str().expect("UTF-8");
        let add = ["user", "add", "lena", "--given-name", "Lena", "--family-name", "L.", "--conf", conf];
        let added = cams_with_input(add, LENAS.as_bytes());
        assert_eq!(added.code, 0, "{added:?}");
        let logs_in = async || world.cams.client().log_in("lena", LENAS, "/private/").await.status == 303;
        within_async(SOON, "the new login modules are in force", logs_in).await;
        Some(world)
    }

    fn audit(&self, event: &str) -> Vec<Value> {
        self.cams.audit().into_iter().filter(|line| line["event"] == event).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_every_directory_enrol() {
    let Some(world) = World::start().await else { return };
    let client = JamiClient::of(&world.cams);
    let alice = world.cams.user("alice");
    let people = [
        ("alice", alice.password.as_str()),
        ("lena", LENAS),
        ("o'brien", "right"),
        ("carol", slapd::PASSWORD),
        ("search", samba::PASSWORD),
    ];
    for (user, password) in people {
        let key = DeviceKey::generate();
        let reply = client.ask_to_enrol(user, password, &key.csr()).await;
        assert_eq!(reply.status, StatusCode::OK, "{user}: {:?}", world.cams.audit().last());
        let device = Device::enrolled(key, &reply);
        let token = client.token(&device).await;
        let devices: Value = client.call(Method::GET, "/api/auth/devices", &token, None).await.json();
        assert_eq!(devices[0]["deviceId"], device.id(), "{user}: {devices}");
        let found = client.ask(Method::GET, &format!("/api/nameserver/addr/{}", device.account()), None, None).await;
        assert_eq!(found.json::<Value>()["name"], user, "{found:?}");
        for query in [user, &user[..3]] {
            let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let path = format!("/api/auth/directory/search?queryString={query}");
            let found = client.call(Method::GET, &path, &token, None).await;
            assert_eq!(found.status, StatusCode::OK, "{user}: {found:?}");
            let profiles: Value = found.json();
            let names = profiles["profiles"].as_array().expect("profiles").iter().map(|profile| &profile["username"]);
            assert!(names.clone().any(|name| name == user), "{user} by {query}: {profiles}");
        }
    }
    assert_eq!(world.audit("device-enrolled").len(), people.len());
    refusals_look_alike(&client, &people).await;
    the_client_enrols(&world).await;
    a_directory_is_down(world, &client).await;
}

/// A wrong password, nobody at all, no credentials, and an account that is locked: nothing tells which.
async fn refusals_look_alike(client: &JamiClient, people: &[(&str, &str)]) {
    let csr = DeviceKey::generate().csr();
    let first = client.ask_to_enrol("nobody-at-all", "wrong", &csr).await;
    assert_eq!(first.status, StatusCode::UNAUTHORIZED, "{first:?}");
    let wrong = people.iter().map(|(user, _)| (*user, "wrong"));
    for (user, password) in wrong.chain([("disabled", "right"), ("locked", slapd::PASSWORD), ("", "")]) {
        let reply = client.ask_to_enrol(user, password, &csr).await;
        assert_eq!((reply.status, &reply.body), (first.status, &first.body), "{user}: {reply:?}");
        assert!(reply.header("www-authenticate").starts_with("Basic"), "{reply:?}");
    }
    let bare = client.ask(Method::POST, "/api/auth/device", None, Some(&json!({ "csr": csr }))).await;
    assert_eq!((bare.status, &bare.body), (first.status, &first.body), "{bare:?}");
}

/// Once with the client itself, for somebody whose name and password are in LDAP.
async fn the_client_enrols(world: &World) {
    let Some(dht) = Dht::start().await else { return };
    let Some(mut phone) = Jamid::start(&world.cams.facts().ca).await else { return };
    phone.enrol(&world.cams, &dht, "carol", slapd::PASSWORD).await;
    let (device, _) = phone.ids().await;
    assert!(world.audit("device-enrolled").iter().any(|line| line["device"] == device && line["user"] == "carol"));
}

/// Nobody is told that a password is wrong which could not be looked at.
async fn a_directory_is_down(world: World, client: &JamiClient) {
    let World { cams, slapd, .. } = world;
    let csr = DeviceKey::generate().csr();
    drop(slapd);
    let before = cams.audit().len();
    let reply = client.ask_to_enrol("carol", slapd::PASSWORD, &csr).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    let told: Vec<Value> = cams.audit().split_off(before);
    assert_eq!(told.len(), 1, "one line: {told:?}");
}
