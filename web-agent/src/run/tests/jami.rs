//! Requests of Jami devices on their way to the policy server.

use super::*;
use crate::testkit::policy_server::PassedOn;

/// As [`policy`], and the API says what it was asked.
fn api(path: &str, question: &Value) -> Act {
    if path.starts_with("/api/") { Act::Answer(200, json!({ "api": path })) } else { policy(path, question) }
}

async fn setting() -> Setting {
    Setting::changed(api, Limits::default(), |gate| Arc::make_mut(&mut gate.sites[0]).jami = true).await
}

fn only(setting: &Setting) -> PassedOn {
    let mut passed_on = setting.policy.passed_on();
    assert_eq!(passed_on.len(), 1, "{passed_on:?}");
    passed_on.remove(0)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Everything that the policy server sees is in this list, whatever the client sends.
#[tokio::test]
async fn the_policy_server_sees_the_request_in_our_words() {
    let setting = setting().await;
    let headers = "Authorization: Basic YTpi\r\nContent-Type: application/json\r\nUser-Agent: Jami\r\nAccept: */*\r\n\
                   Cookie: CAMS_SID_TEST_SYSTEM=alive\r\nX-Forwarded-For: 10.0.0.1\r\nX-Other: 1\r\n\
                   Connection: close, X-Drop\r\nX-Drop: 1\r\nReferer: x\r\n";
    let answer = ask(setting.http, post("//api/auth/device", headers, "{}")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"api":"/api/auth/device"}"#), "{answer:?}");
    let seen = only(&setting);
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body), ("POST", "/api/auth/device", 2));
    let origin = format!("http://app.test:{}", setting.http.port());
    let mut headers = seen.headers.clone();
    let id = headers.iter().position(|(name, _)| name == "cams-http-request-id").map(|at| headers.remove(at).1);
    assert_eq!(id.map(|id| id.len()), Some(32));
    let expected = [
        (":authority", "cams-policy-server"),
        ("accept", "*/*"),
        ("authorization", "Basic YTpi"),
        ("cams-http-client-address", "127.0.0.1"),
        ("cams-http-login-entry", "http"),
        ("cams-http-origin", &origin),
        ("cams-http-security-domain", "system"),
        ("content-length", "2"),
        ("content-type", "application/json"),
        ("user-agent", "Jami"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
    assert!(setting.policy.asked("/agent/v1/check").is_empty());
    assert_eq!(setting.site.received(), "");
}
