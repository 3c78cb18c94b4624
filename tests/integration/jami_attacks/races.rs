//! Many at once, and a server that dies among them: one device for a key, one account for a person, and what was answered
//! is true afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tests::jami_client::{Device, DeviceKey, basic, token};
use tests::{Client, Reply, jami_keys, within, within_async};

use super::{JSON, PASSWORD, SOON, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_once_is_one_device() {
    let world = World::shared().await;
    let key = DeviceKey::generate();
    let csr = key.csr();
    let replies = join_all((0..20).map(|_| world.enrol("jana", &csr))).await;
    let mut chains = BTreeSet::new();
    for reply in &replies {
        // Who was told to come again got nothing.
        if reply.status != StatusCode::SERVICE_UNAVAILABLE {
            let device = Device::enrolled(DeviceKey::from_pem(&key.private_pem()), reply);
            chains.insert(device.answer["certificateChain"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(chains.len(), 1, "{chains:#?}");
    assert_eq!(world.devices("jana").iter().filter(|id| **id == key.id()).count(), 1);
    let device = Device::enrolled(key, &world.enrol("jana", &csr).await);
    assert_eq!(world.login_status(&device).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_enrolments_of_a_person_make_one_account() {
    let world = World::start().await;
    let keys = jami_keys::keys(10);
    let ids: BTreeSet<_> = keys.iter().map(DeviceKey::id).collect();
    let csrs: Vec<String> = keys.iter().map(DeviceKey::csr).collect();
    let replies = join_all(csrs.iter().map(|csr| world.enrol("carl", csr))).await;
    let mut devices = Vec::new();
    for (key, reply) in keys.into_iter().zip(replies) {
        let reply = match reply.status {
            StatusCode::SERVICE_UNAVAILABLE => world.enrol("carl", &key.csr()).await,
            _ => reply,
        };
        devices.push(Device::enrolled(key, &reply));
    }
    let accounts: BTreeSet<_> = devices.iter().map(Device::account).collect();
    let certificates: BTreeSet<_> = devices.iter().map(|device| device.chain[1].to_vec()).collect();
    assert_eq!((accounts.len(), certificates.len()), (1, 1), "{accounts:?}");
    assert_eq!(world.devices("carl").into_iter().collect::<BTreeSet<_>>(), ids);
    for device in &devices {
        assert_eq!(world.login_status(device).await, 200, "{}", device.id());
    }
}

/// Two people with the same key at the same moment: it is that of one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_person() {
    let world = World::start().await;
    let (dora, eve) = (world.device("dora").await, world.device("eve").await);
    for key in jami_keys::keys(6) {
        let csr = key.csr();
        let both = tokio::join!(world.enrol("dora", &csr), world.enrol("eve", &csr));
        let statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
        assert!([[200, 400], [400, 200]].contains(&statuses), "{both:?}");
    }
    let (hers, others) = (world.devices("dora"), world.devices("eve"));
    assert_eq!(hers.len() + others.len(), 6 + 2);
    assert!(hers.contains(&dora.id()) && others.contains(&eve.id()));
    assert!(hers.iter().all(|id| !others.contains(id)));
}

/// A device that is revoked while it logs in, enrols again and asks things has no token that lives on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_revocation_that_it_races() {
    let world = World::shared().await;
    let device = world.device("dora").await;
    let csr = device.key.csr();
    let (is_over, logins, enrolments) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let log_in = async || {
        let mut tokens = Vec::new();
        while is_over.load(Ordering::Relaxed) == 0 {
            match world.jami.log_in(&device).await {
                Some(reply) if reply.status == StatusCode::OK => {
                    tokens.push(token(&reply));
                    logins.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        tokens
    };
    let enrol = async || {
        while is_over.load(Ordering::Relaxed) == 0 {
            if world.enrol("dora", &csr).await.status == StatusCode::OK {
                enrolments.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let revoke = async || {
        let busy = || logins.load(Ordering::Relaxed) >= 3 && enrolments.load(Ordering::Relaxed) >= 3;
        within(SOON, "logins and enrolments are under way", busy).await;
        tokio::task::block_in_place(|| world.command(&["device", "revoke", &device.id(), "--reason", "lost"]))
            .success();
        is_over.store(1, Ordering::Relaxed);
    };
    let (tokens, more, (), ()) = tokio::join!(log_in(), log_in(), enrol(), revoke());
    for secret in tokens.iter().chain(&more) {
        assert_eq!(world.get("/api/auth/devices", secret).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.login_status(&device).await, 401);
    assert_eq!(world.enrol("dora", &csr).await.status, StatusCode::FORBIDDEN);
}

const DEVICES: usize = 200;
/// So many have their answer when the server dies.
const ANSWERED: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_has_kept_what_it_answered() {
    let world = Arc::new(World::start().await);
    let users = ["fred", "gina", "hugo", "ivan"];
    // Accounts are there; one person more comes to be meanwhile.
    for user in &users[..3] {
        world.device(user).await;
    }
    let owner = move |number: usize| users[number % users.len()];
    let answered = Arc::new(AtomicUsize::new(0));
    let mut enrolments = Vec::new();
    for (number, key) in jami_keys::keys(DEVICES).into_iter().enumerate() {
        let (world, answered) = (world.clone(), answered.clone());
        enrolments.push(tokio::spawn(async move {
            let reply = ask(&world, owner(number), &key.csr()).await;
            let reply = reply.filter(|reply| reply.status == StatusCode::OK)?;
            answered.fetch_add(1, Ordering::Relaxed);
            Some((owner(number), Device::enrolled(key, &reply)))
        }));
    }
    within(Duration::from_secs(120), "some answers", || answered.load(Ordering::Relaxed) >= ANSWERED).await;
    let before = world.cams.facts().policy_server_pid;
    world.cams.kill9(before);
    let devices: Vec<_> = join_all(enrolments).await.into_iter().filter_map(Result::unwrap).collect();
    assert!((ANSWERED..DEVICES).contains(&devices.len()), "killed too late or too early: {}", devices.len());
    within(SOON, "another policy server", || world.cams.facts().policy_server_pid != before).await;
    let answers = async || world.cams.client().get("/api/info").await.status == StatusCode::OK;
    within_async(SOON, "it answers", answers).await;

    let mut kept = BTreeSet::new();
    for user in users {
        kept.extend(world.devices(user));
    }
    let lost: Vec<_> =
        devices.iter().filter(|(_, device)| !kept.contains(&device.id())).map(|(user, _)| user).collect();
    assert!(lost.is_empty(), "{} answered devices are lost", lost.len());
    for (user, device) in &devices {
        assert_eq!(world.login_status(device).await, 200, "{user}: {}", device.id());
    }
    // None is half there: what nobody was told of either is not there or is whole, and enrolling again completes it.
    for (number, key) in jami_keys::keys(DEVICES).into_iter().enumerate() {
        if kept.contains(&key.id()) && devices.iter().any(|(_, device)| device.id() == key.id()) {
            continue;
        }
        let reply = world.enrol(owner(number), &key.csr()).await;
        let device = Device::enrolled(key, &reply);
        assert_eq!(world.login_status(&device).await, 200, "{}: {}", owner(number), device.id());
    }
    for user in users {
        let ids = world.devices(user);
        let shown: Vec<Value> =
            ids.iter().map(|id| world.command(&["device", "show", id, "--json"]).json()).take(3).collect();
        assert!(shown.iter().all(|device| device["revoked"].is_null()), "{shown:?}");
    }
}

/// As a client asks: `None` where the connection ends.
async fn ask(world: &World, user: &str, csr: &str) -> Option<Reply> {
    let request = Request::post("/api/auth/device")
        .header("authorization", basic(user, PASSWORD))
        .header("content-type", JSON)
        .body(Full::from(json!({"csr": csr, "deviceName": user}).to_string()));
    Client::of(world.origin()).try_request(request.unwrap()).await
}
