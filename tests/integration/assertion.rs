//! What a site is told and can prove: assertions, verified by PyJWT with the very code that the documentation shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tests::services::{missing, target_dir};
use tests::{Client, Quickstart, within_async};

const REASON: Duration = Duration::from_secs(20);

fn headers(echo: &Value, name: &str) -> Vec<String> {
    let headers = echo["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

async fn assertion(client: &Client, target: &str) -> String {
    let echo: Value = client.get(target).await.json();
    let [assertion] = headers(&echo, "cams-http-assertion").try_into().expect("one assertion");
    assertion
}

/// A Python that has PyJWT; none where tests may do without.
fn python() -> Option<PathBuf> {
    let python = target_dir().join("test-tools/jose/bin/python");
    if !python.is_file() {
        missing("PyJWT");
        return None;
    }
    Some(python)
}

/// What the documentation's verifier makes of an assertion: its claims, or the name of its exception.
fn verified(python: &Path, cams: &Quickstart, site: &str, assertion: &str) -> Value {
    let script = "import json, ssl, sys, jwt\n\
        from verify_assertion import Verifier\n\
        site, url, ca, token = sys.argv[1:]\n\
        verifier = Verifier(url, ssl_context=ssl.create_default_context(cafile=ca))\n\
        verifier.site = site\n\
        try: print(json.dumps(verifier.person(token)))\n\
        except jwt.PyJWTError as error: print(json.dumps(type(error).__name__))\n";
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut command = Command::new(python);
    command.env("PYTHONPATH", examples).env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script, site]);
    let output = command.arg(&cams.url).arg(cams.facts().ca).arg(assertion).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_library_verifies_assertions_and_refuses_all_others() {
    let Some(python) = python() else { return };
    let cams = Quickstart::shared().await;
    for user in ["alice", "admin"] {
        let client = cams.client_of(user).await;
        let token = assertion(&client, "/private/echo").await;
        let claims = verified(&python, &cams, &cams.url, &token);
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!(user), &json!(cams.url)), "{claims}");
        assert_eq!(
            (&claims["domain"], claims["roles"].as_array().unwrap().len()),
            (&json!("system"), cams.user(user).roles.len())
        );
        assert!(claims["iss"].as_str().unwrap().starts_with("cams:MyCamsCluster:"), "{claims}");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        let echo: Value = client.get("/private/echo").await.json();
        assert_eq!(headers(&echo, "cams-http-session-id"), [claims["sid"].as_str().unwrap()]);
        // The same one again: signing costs nothing on the way of most requests.
        assert_eq!(assertion(&client, "/private/echo?again").await, token);

        assert_eq!(verified(&python, &cams, "https://other.example.org", &token), "InvalidAudienceError");
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let other = if payload.contains('A') { payload.replacen('A', "B", 1) } else { payload.replacen('a', "b", 1) };
        for forged in [format!("{header}.{other}.{signature}"), format!("{header}.{payload}."), "x".to_owned()] {
            let verdict = verified(&python, &cams, &cams.url, &forged);
            assert!(verdict.is_string(), "{forged}: {verdict}");
        }
    }
}

#[tokio::test]
async fn keys_are_public_and_assertions_come_from_the_agent_alone() {
    let cams = Quickstart::shared().await;
    let reply = cams.client().get("/cams/jwks.json").await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control").as_str()), (200, "public, max-age=300"));
    let keys: Value = reply.json();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let mut names: Vec<_> = keys[0].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);

    let echo: Value = cams.client().get("/public/echo").await.json();
    assert_eq!(headers(&echo, "cams-http-assertion"), [""; 0]);
    let alice = cams.client_of("alice").await;
    for name in ["CAMS-HTTP-ASSERTION", "cams_http_assertion", "Cams.Http.Assertion"] {
        let request = Request::builder().method(Method::GET).uri("/private/echo").header(name, "forged");
        let reply = alice.request(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(reply.status, 400, "{name}");
    }
}

#[tokio::test]
async fn what_the_agent_refuses_is_in_the_audit_log() {
    let cams = Quickstart::start(&[]).await;
    let request = Request::builder().method(Method::GET).uri("/private/echo?canary").header("X-Client-Cert", "forged");
    let reply = cams.client().request(request.body(Full::<Bytes>::default()).unwrap()).await;
    assert_eq!(reply.status, 400);
    let conf = fs::read_to_string(&cams.conf).unwrap();
    let file = conf.lines().find_map(|line| line.strip_prefix("cams.audit.file=")).unwrap();
    let log = cams.conf.with_file_name(file.trim());
    let refused = async || {
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!text.contains("canary"), "{text}");
        // The agent may have refused others too, before its policy server was up.
        let is_ours = |line: &&Value| line["event"] == "request-refused" && line["status"] == 400;
        let Some(line) = lines.iter().find(is_ours) else { return false };
        assert_eq!(line["path"], "/private/echo", "{line}");
        assert_eq!((&line["client"], &line["method"]), (&json!("127.0.0.1"), &json!("GET")), "{line}");
        assert!(line["host"].as_str().unwrap().starts_with("localhost") && line["agent"].is_string(), "{line}");
        assert!(line["request_id"].as_str().unwrap().len() == 32 && line["reason"].is_string(), "{line}");
        true
    };
    within_async(REASON, "the refusal in the audit log", refused).await;
}
