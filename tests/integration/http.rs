//! What the agent lets through, and what it answers instead.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tests::{Client, Quickstart, within_async};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";

fn request(method: Method, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

fn empty() -> Full<Bytes> {
    Full::default()
}

/// The values of a header that the echo's site received.
fn received(echo: &Value, name: &str) -> Vec<String> {
    let headers = echo["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn everybody_sees_what_the_policy_grants_to_all() {
    let cams = Quickstart::shared().await;
    for client in [cams.client(), cams.client().http2()] {
        for (target, status) in [("/", 200), ("/favicon.ico", 200), ("/public/echo", 200), ("/public/nothing", 404)] {
            assert_eq!(client.get(target).await.status, status, "{target}");
        }
        // The last two may be refused as they are, or asked for a login: never served.
        for target in ["/private/", "/admin/", "/nothing", "/public/../private/", "/public/%2e%2e/private/"] {
            let status = client.get(target).await.status.as_u16();
            assert!([302, 400].contains(&status), "{target}: {status}");
        }
    }
}

#[tokio::test]
async fn the_site_learns_who_it_is_and_nothing_of_our_cookies() {
    let cams = Quickstart::shared().await;
    for user in ["alice", "admin"] {
        let client = cams.client_of(user).await;
        client.set_cookie("theirs", "kept");
        let reply = client.get("/private/echo?a=%2F").await;
        let echo: Value = reply.json();
        let roles = &cams.user(user).roles;
        assert_eq!(echo["target"], "/private/echo?a=%2F");
        assert_eq!(received(&echo, "cams-http-user"), [user]);
        assert_eq!(received(&echo, "cams-http-security-domain"), ["system"]);
        let mut listed: Vec<_> = received(&echo, "cams-http-roles")[0].split(',').map(str::to_owned).collect();
        let mut single = received(&echo, "cams-http-role");
        let mut expected = roles.clone();
        listed.sort();
        single.sort();
        expected.sort();
        assert_eq!((&listed, &single), (&expected, &expected));
        let cookies = received(&echo, "cookie").join("; ");
        assert_eq!(cookies, "theirs=kept");
        let session = client.cookie(SESSION).unwrap();
        assert!(!reply.text().contains(&session), "the session's token must not reach the site");
        assert!(!received(&echo, "cams-http-session-id")[0].is_empty());
    }
}

#[tokio::test]
async fn what_is_not_a_navigation_gets_401_without_a_redirect() {
    let cams = Quickstart::shared().await;
    let cases: [&[(&str, &str)]; 5] = [
        &[("accept", "application/json")],
        &[("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")],
        &[("accept", "image/avif,image/webp,*/*"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        &[],
    ];
    for headers in cases {
        let mut asked = request(Method::GET, "/private/");
        for (name, value) in headers {
            asked = asked.header(*name, *value);
        }
        let reply = cams.client().request(asked.body(empty()).unwrap()).await;
        assert_eq!((reply.status.as_u16(), reply.location().as_str()), (401, ""), "{headers:?}: {reply:?}");
        assert!(reply.header("content-type").starts_with("application/json"), "{headers:?}");
        assert!(reply.json::<Value>().is_object(), "{headers:?}");
    }
}

#[tokio::test]
async fn a_denied_page_says_so_in_the_askers_language() {
    let cams = Quickstart::shared().await;
    let alice = cams.client_of("alice").await;
    let page = alice.get("/admin/").await;
    assert_eq!(page.status, 403);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let asked = request(Method::GET, "/admin/").header("accept", "application/json").body(empty()).unwrap();
    let data = alice.request(asked).await;
    assert_eq!(data.status, 403);
    assert!(data.json::<Value>().is_object(), "{data:?}");
    assert_eq!(cams.client_of("admin").await.get("/admin/").await.status, 200);
}

#[tokio::test]
async fn a_new_role_counts_within_a_second() {
    let cams = Quickstart::start(&[]).await;
    let alice = cams.client_of("alice").await;
    assert_eq!(alice.get("/admin/").await.status, 403);
    let (before, after) = (cams.facts(), "<role name=\"user\"/><role name=\"admin\"/>");
    cams.edit_users(|users| {
        let (head, rest) = users.split_once("name=\"alice\"").unwrap();
        format!("{head}name=\"alice\"{}", rest.replacen("<role name=\"user\"/>", after, 1))
    });
    within_async(Duration::from_secs(1), "alice may", async || alice.get("/admin/").await.status == 200).await;
    cams.edit_users(|users| users.replacen(after, "<role name=\"user\"/>", 1));
    within_async(Duration::from_secs(1), "alice may not", async || {
        alice.get_unless_cut("/admin/").await.is_some_and(|reply| reply.status == 403)
    })
    .await;
    let now = cams.facts();
    assert_eq!((before.policy_server_pid, before.web_agent_pid), (now.policy_server_pid, now.web_agent_pid));
}

#[tokio::test]
async fn identity_headers_from_outside_are_refused_in_every_spelling() {
    let cams = Quickstart::shared().await;
    let raw = cams.raw();
    for name in ["CAMS-HTTP-USER", "CAMS-HTTP-ROLES", "CAMS-HTTP-ANYTHING", "X-Client-Cert"] {
        for separator in ["-", "_", ".", "~", "!"] {
            for spelled in [name.to_owned(), name.to_ascii_lowercase()] {
                let spelled = spelled.replace('-', separator);
                let request = format!(
                    "GET /public/echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{spelled}: admin\r\n\r\n",
                    raw.authority()
                );
                assert_eq!(raw.status(request.as_bytes()).await, 400, "{spelled}");
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_host_is_misdirected() {
    let cams = Quickstart::shared().await;
    for host in ["other.test", "localhost.evil.test", "127.0.0.2:8443"] {
        for client in [cams.client(), cams.client().http2()] {
            let asked = request(Method::GET, "/").header("host", host).body(empty()).unwrap();
            assert_eq!(client.request(asked).await.status, 421, "{host}");
        }
    }
}

#[tokio::test]
async fn an_upload_streams_through() {
    let cams = Quickstart::shared().await;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    let sum: String = Sha256::digest(&sent).iter().map(|byte| format!("{byte:02x}")).collect();
    let alice = cams.client_of("alice").await;
    let cookies = alice.cookie_header().unwrap();
    for client in [cams.client(), cams.client().http2()] {
        for method in [Method::POST, Method::PUT] {
            let upload = request(method, "/private/echo").header("cookie", &cookies).header("accept", "*/*");
            let echo: Value = client.request(upload.body(Full::from(sent.clone())).unwrap()).await.json();
            assert_eq!((&echo["body_bytes"], &echo["body_sha256"]), (&sent.len().into(), &sum.clone().into()));
        }
    }
}

async fn web_socket(client: &Client) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let url = format!("wss://{}/private/ws", client.origin().authority());
    let mut asked = url.into_client_request()?;
    if let Some(cookies) = client.cookie_header() {
        asked.headers_mut().insert("cookie", cookies.parse().unwrap());
    }
    asked.headers_mut().insert("origin", client.origin().origin().parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(asked, client.connect().await).await?;
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await?;
        assert_eq!(socket.next().await.unwrap()?, message);
    }
    socket.close(None).await
}

#[tokio::test]
async fn a_web_socket_passes_for_who_has_logged_in() {
    let cams = Quickstart::shared().await;
    web_socket(&cams.client_of("alice").await).await.unwrap();
    match web_socket(&cams.client()).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => assert_eq!(refused.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_stream_passes_event_by_event() {
    let cams = Quickstart::shared().await;
    let client = cams.client_of("alice").await;
    let asked = request(Method::GET, "/private/sse").header("accept", "text/event-stream").body(empty()).unwrap();
    let mut stream = client.send(asked).await;
    assert_eq!(stream.status(), 200);
    let mut seen = String::new();
    while !seen.contains("tick 2") {
        let frame = timeout(Duration::from_secs(10), stream.frame()).await.expect("an event a second");
        seen.push_str(std::str::from_utf8(frame.unwrap().unwrap().data_ref().unwrap()).unwrap());
    }
}
