//! Who has not the right password is told nothing else, at enrolment by 401, at login by 403: to clients a 401 there means
//! that their device is revoked, and they delete its keys.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tests::jami_client::{DeviceKey, basic};
use tests::{JamiClient, Quickstart, Reply, within_async};

use super::{JSON, PASSWORD, SOON, World, seen};

/// Values of `Authorization` that are nobody's: the right password is `PASSWORD`.
fn wrong() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let of = |text: &[u8]| Some(format!("Basic {}", BASE64_STANDARD.encode(text)).into_bytes());
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let right = BASE64_STANDARD.encode(format!("bella:{PASSWORD}"));
    vec![
        ("none", None),
        ("empty", text("")),
        ("no credentials", text("Basic")),
        ("empty credentials", text("Basic ")),
        ("no base64", text("Basic ###")),
        ("base64 cut", text(&format!("Basic {}", right.trim_end_matches('=').split_at(9).0))),
        ("base64 and more", text(&format!("Basic {right}!"))),
        ("two of them", text(&format!("Basic {right}, Basic {right}"))),
        ("another scheme", text(&format!("Digest {right}"))),
        ("a bearer", text(&format!("Bearer {right}"))),
        ("no scheme", text(&right)),
        ("nothing and nothing", of(b":")),
        ("no colon", of(b"bella")),
        ("nothing", of(b"")),
        ("no password", of(b"bella:")),
        ("no name", of(format!(":{PASSWORD}").as_bytes())),
        ("a wrong password", of(b"bella:wrong")),
        ("more than the password", of(format!("bella:{PASSWORD}x").as_bytes())),
        ("a colon more", of(format!("bella::{PASSWORD}").as_bytes())),
        ("a colon behind", of(format!("bella:{PASSWORD}:").as_bytes())),
        ("a space behind", of(format!("bella:{PASSWORD} ").as_bytes())),
        ("NUL behind the name", of(format!("bella\0:{PASSWORD}").as_bytes())),
        ("NUL behind the password", of(format!("bella:{PASSWORD}\0").as_bytes())),
        ("NUL and more", of(format!("bella:{PASSWORD}\0x").as_bytes())),
        ("another case", of(format!("bella:{}", PASSWORD.to_uppercase()).as_bytes())),
        ("nobody's name", of(format!("nobody:{PASSWORD}").as_bytes())),
        ("a name that is syntax", of(format!("*)(uid=*:{PASSWORD}").as_bytes())),
        ("a line", of(format!("bella\r\nX: y:{PASSWORD}").as_bytes())),
        ("no UTF-8", of(b"bel\xff\xfela:x")),
        ("a long name", of(format!("{}:{PASSWORD}", "b".repeat(5_000)).as_bytes())),
        ("a long password", of(format!("bella:{}", "b".repeat(5_000)).as_bytes())),
    ]
}

async fn ask(world: &World, path: &str, authorization: Option<&[u8]>, body: &str) -> Reply {
    let mut request = Request::post(path).header(CONTENT_TYPE, JSON);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    world.ask(request.body(Full::from(body.to_owned())).unwrap()).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_all_answered_alike() {
    let world = World::start().await;
    let csr = DeviceKey::generate().csr();
    let body = json!({"csr": csr, "deviceName": "x"}).to_string();
    for (path, body, status) in [("/api/auth/device", body.as_str(), 401), ("/api/login", "{}", 403)] {
        let mut answers = BTreeSet::new();
        for (what, authorization) in wrong() {
            let reply = ask(&world, path, authorization.as_deref(), body).await;
            assert_eq!(reply.status, status, "{path} {what}: {reply:?}");
            answers.insert(format!("{:?}", seen(&reply)));
        }
        assert_eq!(answers.len(), 1, "{answers:#?}");
        let answer = answers.first().unwrap().to_lowercase();
        assert_eq!(answer.contains("www-authenticate") && answer.contains("basic"), status == 401, "{answer}");
    }
    assert!(world.devices("bella").is_empty());
    assert_eq!(world.enrol("bella", &csr).await.status, StatusCode::OK, "it is the credentials that were wrong");
    let login = ask(&world, "/api/login", Some(basic("bella", PASSWORD).as_bytes()), "{}").await;
    assert_eq!(login.status, StatusCode::OK);
}

/// With the throttle of the sample configuration.
#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_has_to_wait() {
    let cams = Quickstart::start(&[]).await;
    let jami = JamiClient::of(&cams);
    let csr = DeviceKey::generate().csr();
    let password = &cams.user("alice").password;
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(jami.ask_to_enrol("alice", "wrong", &csr).await.status.as_u16());
    }
    assert_eq!(told, [401; 5]);
    for reply in [jami.ask_to_enrol("alice", password, &csr).await, jami.log_in_typing("alice", password).await] {
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{reply:?}");
        let seconds: u64 = reply.header(RETRY_AFTER.as_str()).parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{seconds}");
    }
    let conf = cams.conf.to_str().unwrap();
    let list = tests::command::cams(["device", "list", "--json", "--conf", conf]);
    assert_eq!(list.json(), json!([]));
    assert_eq!(cams.client().log_in("alice", password, "/private/").await.status, 429, "one throttle for every way in");
}

/// Somebody whose entry in the directory says so.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_is_never_told_that_a_device_is_revoked() {
    let world = World::start().await;
    let device = world.device("eve").await;
    let token = world.jami.token(&device).await;
    assert_eq!(world.get("/api/auth/devices", &token).await.status, 200);
    world.cams.edit_users(|xml| xml.replace("<user name=\"eve\"", "<user name=\"eve\" enabled=\"false\""));
    let refused = async || world.login_status(&device).await == 403;
    within_async(SOON, "the login of her device is refused", refused).await;
    let with_token = world.get("/api/auth/devices", &token).await;
    assert_eq!(with_token.status, StatusCode::UNAUTHORIZED, "her token died: {with_token:?}");
    assert_eq!(world.jami.log_in_typing("eve", PASSWORD).await.status, StatusCode::FORBIDDEN);
    let enrol = world.enrol("eve", &DeviceKey::generate().csr()).await;
    assert!([401, 403].contains(&enrol.status.as_u16()), "{enrol:?}");
    assert_eq!(world.devices("eve"), [device.id()]);
    world.cams.edit_users(|xml| xml.replace(" enabled=\"false\"", ""));
    let let_in = async || world.login_status(&device).await == 200;
    within_async(SOON, "she is back, with the same device", let_in).await;
    assert_eq!(world.get("/api/auth/devices", &token).await.status, StatusCode::UNAUTHORIZED, "it stays dead");
}
