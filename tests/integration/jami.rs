//! The real Jami client at the whole product, as people start both: one person with two devices, and two people who find
//! each other. All of it on this machine; nothing is simulated but the distance.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use tests::command::cams;
use tests::jamid::PATIENCE;
use tests::quickstart::User;
use tests::{Dht, JamiClient, Jamid, Quickstart, within, within_async};

/// What the client tells about a name, a search or a revocation.
const FOUND: u64 = 0;
const NOT_FOUND: u64 = 2;

/// Everything a test of clients needs.
struct World {
    cams: Quickstart,
    dht: Dht,
    alice: User,
    admin: User,
}

impl World {
    /// `None` where the client is not installed.
    async fn start() -> Option<Self> {
        let dht = Dht::start().await?;
        let cams = Quickstart::start(&[]).await;
        let (alice, admin) = (cams.user("alice").clone(), cams.user("admin").clone());
        Some(Self { cams, dht, alice, admin })
    }

    async fn client(&self) -> Option<Jamid> {
        Jamid::start(&self.cams.facts().ca).await
    }

    async fn enrol(&self, client: &mut Jamid, user: &User) {
        client.enrol(&self.cams, &self.dht, &user.name, &user.password).await;
    }

    /// What a `cams` command prints that succeeds.
    fn cams(&self, arguments: &[&str]) -> String {
        cams(arguments.iter().copied().chain(["--conf", self.cams.conf.to_str().expect("UTF-8")])).success()
    }

    /// Whether the command says that a device is revoked.
    fn is_revoked(&self, device: &str) -> bool {
        let shown: Value = serde_json::from_str(&self.cams(&["device", "show", device, "--json"])).expect("JSON");
        assert_eq!(shown["id"], device);
        !shown["revoked"].is_null()
    }

    /// How often this was written down of this device.
    fn events(&self, event: &str, device: &str) -> usize {
        let audit = self.cams.audit();
        audit.iter().filter(|line| line["event"] == event && line["device"] == device).count()
    }
}

/// Waits until the client knows exactly these devices of its account.
async fn knows(client: &mut Jamid, devices: &[&str]) {
    let wanted: BTreeSet<_> = devices.iter().copied().collect();
    let what = format!("{wanted:?} are known:\n{}", client.log());
    within_async(PATIENCE, &what, async || {
        let known = client.object("getKnownRingDevices").await;
        known.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted
    })
    .await;
}

/// The client's contact of this Jami ID.
async fn contact(client: &mut Jamid, uri: &str) -> Option<Value> {
    let contacts = client.call("getContacts", &[]).await;
    contacts.as_array().expect("a list").iter().find(|contact| contact["id"] == uri).cloned()
}

/// Asks for a name or a Jami ID; the status, the Jami ID and the name.
async fn look_up(client: &mut Jamid, method: &str, what: &str) -> (u64, String, String) {
    let told = client.ask(method, &[json!(""), json!(what)], "registeredNameFound").await;
    let text = |value: &Value| value.as_str().expect("text").trim_start_matches("0x").to_owned();
    (told[0].as_u64().expect("a status"), text(&told[1]), text(&told[2]))
}

/// The user names that a search finds.
async fn search(client: &mut Jamid, query: &str) -> Vec<String> {
    let told = client.ask("searchUser", &[json!(query)], "userSearchEnded").await;
    assert_eq!((&told[0], &told[1]), (&json!(FOUND), &json!(query)), "{told:?}");
    let names = told[2].as_array().expect("a list").iter().map(|found| found["username"].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

/// Asks to revoke a device; what the client tells of it.
async fn revoke(client: &mut Jamid, password: &str, device: &str) -> u64 {
    let told = client.ask("revokeDevice", &[json!(password), json!(device)], "deviceRevocationEnded").await;
    assert_eq!(told[0], device);
    told[1].as_u64().expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enrols_two_devices_and_revokes_one_from_the_other() {
    let Some(world) = World::start().await else { return };
    let Some(mut phone) = world.client().await else { return };
    let (alice, admin) = (&world.alice, &world.admin);
    let other = JamiClient::of(&world.cams).enrol(&admin.name, &admin.password).await.account();

    phone.ask_to_enrol(&world.cams.url, &world.dht, &alice.name, "wrong").await;
    phone.has_no_account().await;
    world.enrol(&mut phone, alice).await;
    let (phone_id, account) = phone.ids().await;
    assert_eq!(phone.details().await["RingNS.uri"], format!("{}/api/nameserver", world.cams.url));
    assert_eq!(world.events("device-enrolled", &phone_id), 1);
    knows(&mut phone, &[&phone_id]).await;

    assert_eq!(look_up(&mut phone, "lookupName", "admin").await, (FOUND, other.clone(), "admin".into()));
    assert_eq!(look_up(&mut phone, "lookupAddress", &other).await, (FOUND, other.clone(), "admin".into()));
    assert_eq!(look_up(&mut phone, "lookupName", "nobody").await.0, NOT_FOUND);
    assert_eq!(search(&mut phone, "adm").await, ["admin"]);
    assert!(search(&mut phone, "no such person").await.is_empty());

    let mut laptop = world.client().await.expect("as the other");
    world.enrol(&mut laptop, alice).await;
    let (laptop_id, same) = laptop.ids().await;
    assert_eq!(same, account);
    knows(&mut laptop, &[&phone_id, &laptop_id]).await;
    laptop.stop().await;
    phone.call("addContact", &[json!(other)]).await;
    laptop.resume().await;
    laptop.is_registered().await;
    within_async(PATIENCE, "the contact of the other device", async || contact(&mut laptop, &other).await.is_some())
        .await;

    both_servers_are_killed(&world.cams).await;
    phone.stop().await;
    phone.resume().await;
    phone.is_registered().await;
    knows(&mut phone, &[&phone_id, &laptop_id]).await;
    assert!(contact(&mut phone, &other).await.is_some());
    assert_eq!(search(&mut phone, "adm").await, ["admin"]);

    assert_ne!(revoke(&mut phone, "wrong", &laptop_id).await, FOUND);
    assert!(!world.is_revoked(&laptop_id));
    assert_eq!(revoke(&mut phone, &alice.password, &laptop_id).await, FOUND);
    is_locked_out(&world, &mut laptop, &laptop_id).await;

    world.cams(&["device", "revoke", &phone_id, "--reason", "lost"]);
    is_locked_out(&world, &mut phone, &phone_id).await;
}

/// Kills both servers, and waits until others have taken their places.
async fn both_servers_are_killed(cams: &Quickstart) {
    let before = cams.facts();
    cams.kill9(before.policy_server_pid);
    cams.kill9(before.web_agent_pid);
    within(PATIENCE, "both servers are there again", || {
        let now = cams.facts();
        now.policy_server_pid != before.policy_server_pid && now.web_agent_pid != before.web_agent_pid
    })
    .await;
    let client = cams.client();
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", client.origin().url.port().unwrap())).await;
    within_async(PATIENCE, "the agent listens", async || listens().await.is_ok()).await;
    within_async(PATIENCE, "they answer", async || client.get("/api/info").await.status == StatusCode::OK).await;
}

/// A revoked device is refused at its next login, by which it asks for a token, and nothing that it knew is of use.
async fn is_locked_out(world: &World, client: &mut Jamid, device: &str) {
    assert!(world.is_revoked(device));
    let refused = world.events("jami-login-failed", device);
    client.stop().await;
    client.resume().await;
    let what = format!("the login of a revoked device:\n{}", client.log());
    within(PATIENCE, &what, || world.events("jami-login-failed", device) > refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_become_contacts_and_talk() {
    let Some(world) = World::start().await else { return };
    let Some(mut phone) = world.client().await else { return };
    let mut desk = world.client().await.expect("as the other");
    world.enrol(&mut phone, &world.alice).await;
    world.enrol(&mut desk, &world.admin).await;
    let (_, alice) = phone.ids().await;
    let (_, admin) = desk.ids().await;
    assert_eq!(look_up(&mut phone, "lookupName", "admin").await, (FOUND, admin.clone(), "admin".into()));

    phone.call("sendTrustRequest", &[json!(admin), json!(Vec::<u8>::new())]).await;
    let asks = async |client: &mut Jamid, who: &str| {
        let requests = client.call("getTrustRequests", &[]).await;
        requests.as_array().expect("a list").iter().any(|request| request["from"] == who)
    };
    let what = format!("the request arrives:\n{}", desk.log());
    within_async(PATIENCE, &what, async || asks(&mut desk, &alice).await).await;
    // Who asked is away meanwhile.
    phone.stop().await;
    assert_eq!(desk.call("acceptTrustRequest", &[json!(alice)]).await, json!(true));
    let is_confirmed = |contact: Option<Value>| contact.is_some_and(|contact| contact["confirmed"] == "true");
    within_async(PATIENCE, "alice is a contact", async || is_confirmed(contact(&mut desk, &alice).await)).await;
    phone.resume().await;
    phone.is_registered().await;
    let what = format!("admin has accepted:\n{}", phone.log());
    within_async(PATIENCE, &what, async || is_confirmed(contact(&mut phone, &admin).await)).await;

    phone.call("sendTextMessage", &[json!(admin), json!({ "text/plain": "Hello" })]).await;
    let is_hello = |told: &Vec<Value>| told[0] == alice.as_str() && told[2]["text/plain"] == "Hello";
    let what = format!("the message arrives:\n{}", desk.log());
    within(PATIENCE, &what, || desk.signals("incomingAccountMessage").iter().any(is_hello)).await;
}
