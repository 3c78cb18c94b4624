//! Tokens: whoever has one reaches the things of its account, and of nobody else; what is no token reaches nothing.

use std::collections::BTreeSet;

use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tests::jami_client::{Device, basic, token};

use super::{PASSWORD, World, seen};

/// What takes a token.
const CALLS: [(Method, &str, &str); 7] = [
    (Method::GET, "/api/auth/devices", ""),
    (Method::POST, "/api/auth/contacts", "[]"),
    (Method::POST, "/api/auth/conversations", "[]"),
    (Method::POST, "/api/auth/conversationRequests", "[]"),
    (Method::GET, "/api/auth/policyData", ""),
    (Method::GET, "/api/auth/directory/search?queryString=x", ""),
    (Method::DELETE, "/api/auth/device/OTHER", ""),
];

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|device| device["deviceId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reaches_the_own_account_alone() {
    let world = World::start().await;
    let (hers, his) = (world.device("eve").await, world.device("carl").await);
    let of_device = world.jami.token(&hers).await;
    let of_person = token(&world.jami.log_in_typing("eve", PASSWORD).await);
    let his_token = world.jami.token(&his).await;
    let contact = |uri: &str| json!([{"uri": uri, "added": 1_700_000_000, "conversationId": ""}]);
    let his_contact = contact("1111111111111111111111111111111111111111");
    let kept = world.jami.call(Method::POST, "/api/auth/contacts", &his_token, Some(&his_contact)).await;
    assert_eq!(kept.status, StatusCode::OK, "{kept:?}");

    // What is somebody else's is as little there as what is nobody's.
    for secret in [&of_device, &of_person] {
        let mut answers = BTreeSet::new();
        let upper = his.id().to_uppercase();
        for id in [his.id().as_str(), &upper, &"0".repeat(64), &his.key.short_id(), &his.account(), "x", "'--"] {
            let reply = world.jami.call(Method::DELETE, &format!("/api/auth/device/{id}"), secret, None).await;
            answers.insert(format!("{:?}", seen(&reply)));
        }
        let status = if secret == &of_person { 404 } else { 403 };
        assert!(answers.len() == 1 && answers.first().unwrap().contains(&status.to_string()), "{answers:#?}");
        assert_eq!(ids(&world.get("/api/auth/devices", secret).await.json()), [hers.id()]);
        let merged = world.jami.call(Method::POST, "/api/auth/contacts", secret, Some(&json!([]))).await;
        assert_eq!(merged.json::<Value>(), json!([]));
    }
    assert_eq!(world.login_status(&his).await, 200);
    assert_eq!(ids(&world.get("/api/auth/devices", &his_token).await.json()), [his.id()]);
    for (user, id) in [("eve", his.id()), ("carl", hers.id())] {
        for name in ["username", "user", "accountId", "deviceId"] {
            let path = format!("/api/auth/devices?{name}={}", if name == "deviceId" { &id } else { "carl" });
            let secret = if user == "eve" { &of_person } else { &his_token };
            assert!(!ids(&world.get(&path, secret).await.json()).contains(&id), "{path} as {user}");
        }
    }

    dies_with_its_device(&world, &hers, &of_device, &of_person).await;
}

/// Revoking is for who knows the password; from then on the device's token is worth nothing.
async fn dies_with_its_device(world: &World, device: &Device, of_device: &str, of_person: &str) {
    let path = format!("/api/auth/device/{}", device.id());
    assert_eq!(world.jami.call(Method::DELETE, &path, of_device, None).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.login_status(device).await, 200);
    for _ in 0..2 {
        assert_eq!(world.jami.call(Method::DELETE, &path, of_person, None).await.status, StatusCode::OK);
    }
    for (method, path, body) in CALLS {
        let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
        let reply = world.jami.call(method, path, of_device, body.as_ref()).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}: {reply:?}");
    }
    assert_eq!(world.login_status(device).await, 401);
    assert_eq!(world.enrol("eve", &device.key.csr()).await.status, StatusCode::FORBIDDEN, "its key is burnt");
    assert_eq!(world.get("/api/auth/devices", of_person).await.status, StatusCode::OK, "hers goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_opens_nothing() {
    let world = World::shared().await;
    let device = world.device("dora").await;
    let good = world.jami.token(&device).await;
    assert_eq!(world.get("/api/auth/devices", &good).await.status, StatusCode::OK);
    let mut wrong: Vec<String> = (0..good.len()).step_by(7).map(|end| format!("Bearer {}", &good[..end])).collect();
    wrong.extend((0..good.len()).step_by(5).map(|at| {
        let other = if &good[at..=at] == "A" { "B" } else { "A" };
        format!("Bearer {}{other}{}", &good[..at], &good[at + 1..])
    }));
    let more = [
        format!("Bearer {good}x"),
        format!("Bearer {good}="),
        format!("Bearer {good} x"),
        format!("Bearer {good},{good}"),
        format!("Bearer {}", good.to_uppercase()),
        format!("Bearer \"{good}\""),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer{good}"),
        "Bearer null".to_owned(),
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkb3JhIn0.".to_owned(),
        format!("Bearer {}", "x".repeat(10_000)),
        format!("Bearer {}", device.id()),
        basic("dora", PASSWORD),
        basic("dora", &good),
    ];
    wrong.extend(more);
    let mut answers = BTreeSet::new();
    for (method, path, body) in CALLS {
        let path = path.replace("OTHER", &device.id());
        for authorization in wrong.iter().map(Some).chain([None]) {
            let mut request = Request::builder().method(method.clone()).uri(&path);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            if !body.is_empty() {
                request = request.header("content-type", super::JSON);
            }
            let reply = world.ask(request.body(Full::from(body)).unwrap()).await.expect("an answer");
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path} {authorization:?}: {reply:?}");
            answers.insert(format!("{:?}", seen(&reply)));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    // Nor is it one elsewhere: in the query, in a cookie, at another site's door.
    for (path, cookie) in [
        (format!("/api/auth/devices?access_token={good}"), String::new()),
        ("/api/auth/devices".to_owned(), format!("access_token={good}; CAMS_SID_MYCAMSCLUSTER_SYSTEM={good}")),
    ] {
        let request = Request::get(&path).header("cookie", cookie).body(Full::default()).unwrap();
        assert_eq!(world.ask(request).await.unwrap().status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let request = Request::get("/private/").header(AUTHORIZATION, format!("Bearer {good}")).body(Full::default());
    assert_eq!(world.ask(request.unwrap()).await.unwrap().status, StatusCode::UNAUTHORIZED, "a page wants a session");
    assert_eq!(world.get("/api/auth/devices", &good).await.status, StatusCode::OK);
}
