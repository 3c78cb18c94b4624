//! Every route of both servers, asked with every verb by everybody: `tests/data/census.txt` says what each is answered
//! (I10). The routes are those the servers are built from, so that a new one fails here until it is listed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use policy_server::http::paths;
use serde_json::json;
use shared_proto::PROTOCOL_VERSION;
use shared_proto::names::header;
use tests::quickstart::replace;
use tests::{Client, LinkClient, Quickstart, within_async};
use web_agent::config::AgentConfig;

const VERBS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";

/// What an agent says of a request of a Jami device that it passes on.
pub const PASSED_ON: [(&str, &str); 5] = [
    (header::SECURITY_DOMAIN, "system"),
    (header::LOGIN_ENTRY, "http"),
    (header::REQUEST_ID, "census"),
    (header::CLIENT_ADDRESS, "192.0.2.1"),
    (header::ORIGIN, "https://localhost"),
];

/// A part of the file: who is asking, and rows of a target, its verbs and one answer for each of them.
struct Section {
    name: &'static str,
    callers: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)>,
}

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let lines = include_str!("../data/census.txt").lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let (name, callers) = header.split_once(']').unwrap();
            sections.push(Section { name, callers: callers.split_whitespace().collect(), rows: Vec::new() });
            continue;
        }
        let mut words = line.split_whitespace();
        let (target, verbs) = (words.next().unwrap(), words.next().unwrap().split(',').collect());
        let section = sections.last_mut().unwrap();
        let answers: Vec<_> = words.collect();
        assert_eq!(answers.len(), section.callers.len(), "{line}");
        section.rows.push((target, verbs, answers));
    }
    sections
}

/// The row that speaks for a verb: the one that names it, else the target's row of all other verbs.
fn row<'a>(section: &'a Section, target: &str, verb: &str) -> Option<&'a [&'static str]> {
    let find = |wanted| section.rows.iter().find(|(at, verbs, _)| *at == target && verbs.contains(&wanted));
    find(verb).or_else(|| find("*")).map(|(_, _, answers)| answers.as_slice())
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// Asks everything in a section, and what else `routes` has, as each of its callers.
async fn check<'a>(
    name: &str,
    routes: impl IntoIterator<Item = &'a str>,
    ask: impl AsyncFn(&str, &Method, &str) -> String,
) {
    let sections = sections();
    let section = sections.iter().find(|section| section.name == name).unwrap();
    let listed: BTreeSet<_> = section.rows.iter().map(|(target, ..)| *target).collect();
    let paths: BTreeSet<_> = listed.iter().map(|target| path(target)).collect();
    let mut wrong = Vec::new();
    for route in routes {
        if !paths.contains(route) {
            wrong.push(format!("{route} is not in the census"));
        }
    }
    for target in listed {
        for verb in VERBS {
            let expected = row(section, target, verb);
            let verb = Method::from_bytes(verb.as_bytes()).unwrap();
            for (number, caller) in section.callers.iter().enumerate() {
                let found = ask(caller, &verb, target).await;
                let expected = expected.and_then(|answers| answers.get(number)).copied().unwrap_or("not listed");
                if found != expected {
                    wrong.push(format!("{verb} {target} as {caller}: {found}, expected {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "[{name}]\n{}", wrong.join("\n"));
}

/// A product with a second user, whose password is that of alice and who has no role.
async fn product() -> Quickstart {
    let cams = Quickstart::start(&[]).await;
    add_domain(&cams);
    cams.edit_users(|xml| {
        let (start, rest) = xml.split_once("  <user name=\"alice\" password=\"").unwrap();
        let (digest, _) = rest.split_once('"').unwrap();
        let bob = format!("  <user name=\"bob\" password=\"{digest}\"/>\n");
        format!("{start}{bob}  <user name=\"alice\" password=\"{rest}")
    });
    let bob = async || cams.client().log_in("bob", &cams.user("alice").password, "/").await.status == 303;
    within_async(Duration::from_secs(10), "the policy server knows bob", bob).await;
    cams
}

/// A browser's session of this caller. `ended` has the cookie of a session that is over.
async fn browser(cams: &Quickstart, caller: &str) -> Client {
    let client = cams.client();
    let (name, password) = match caller {
        "nobody" => return client,
        "user" | "ended" => ("alice", &cams.user("alice").password),
        "other-user" => ("bob", &cams.user("alice").password),
        "admin" => ("admin", &cams.user("admin").password),
        _ => panic!("who is {caller}?"),
    };
    assert_eq!(client.log_in(name, password, "/").await.status, 303);
    if caller == "ended" {
        let token = client.cookie(SESSION).unwrap();
        assert_eq!(client.get("/cams/logout").await.status, 200);
        client.set_cookie(SESSION, &token);
    }
    client
}

/// The status that a browser's request is answered with; forms are empty.
async fn navigate(client: &Client, verb: &Method, target: &str) -> String {
    let request = Request::builder()
        .method(verb)
        .uri(target)
        .header("accept", "text/html")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded");
    let response = client.send(request.body(Full::<Bytes>::default()).unwrap()).await;
    response.status().as_str().to_owned()
}

#[tokio::test]
async fn every_route_of_the_web_agent() {
    let cams = product().await;
    let config = AgentConfig::load(&cams.facts().agent_conf).unwrap();
    let services = config.gate.services();
    let mut callers = Vec::new();
    for caller in ["user", "other-user", "admin", "ended"] {
        let cookie = browser(&cams, caller).await.cookie(SESSION).unwrap();
        callers.push((caller, cookie));
    }
    for name in ["web-agent", "web-agent: sites"] {
        let routes = services.iter().map(|(uri, _)| uri.as_ref()).filter(|_| name == "web-agent");
        check(name, routes, async |caller, verb, target| {
            // A logout ends a session of its own, so that the callers' go on.
            if target == "/cams/logout" && matches!(verb.as_str(), "GET" | "POST") {
                return navigate(&browser(&cams, caller).await, verb, target).await;
            }
            let client = cams.client();
            if let Some((_, cookie)) = callers.iter().find(|(known, _)| *known == caller) {
                client.set_cookie(SESSION, cookie);
            }
            navigate(&client, verb, target).await
        })
        .await;
    }
}

/// What an agent would say there, for the host and the security domain of the product's own agent.
fn message(target: &str, session: &str) -> String {
    let client = json!({"address": "192.0.2.1", "user_agent": ""});
    let mut message = match path(target) {
        "/agent/v1/hello" => json!({
            "protocol": PROTOCOL_VERSION, "version": "0", "cluster": "MyCamsCluster", "hosts": ["localhost"],
        }),
        "/agent/v1/check" => json!({
            "request_id": "census", "scheme": "https", "port": 443, "method": "GET", "path": "/", "client": client,
        }),
        "/agent/v1/login" => json!({"request_id": "census", "callbacks": {}, "client": client}),
        "/agent/v1/autologin" => json!({"request_id": "census", "cookie": "x", "client": client}),
        "/agent/v1/parked" => json!({
            "request_id": "census", "session": "x", "origin": "https://localhost", "target": "/", "body": "", "client": client,
        }),
        "/agent/v1/parked/take" => json!({
            "request_id": "census", "origin": "https://localhost", "id": "x", "client": client,
        }),
        "/agent/v1/account" => json!({"request_id": "census", "client": client}),
        "/agent/v1/account/end" => {
            json!({"request_id": "census", "client": client, "end": {"what": "everything"}})
        }
        "/agent/v1/handover" => json!({
            "request_id": "census", "session": session, "audience": "https://app.test", "target": "/", "binding": "x",
            "client": client,
        }),
        "/agent/v1/handover/redeem" => json!({
            "request_id": "census", "audience": "https://localhost", "code": "x", "binding": "x", "client": client,
        }),
        "/agent/v1/lease" => json!({"nonce": "census"}),
        "/agent/v1/audit" => json!({"events": []}),
        "/agent/v1/logout" => json!({"request_id": "census", "session": session, "client": client}),
        _ => json!({}),
    };
    for (key, value) in [("host", "localhost"), ("domain", "system"), ("entry", "http")] {
        message[key] = value.into();
    }
    message.to_string()
}

/// A second security domain, a copy of the first.
fn add_domain(cams: &Quickstart) {
    let system = cams.domain_file("login-config.xml").parent().unwrap().to_owned();
    let elsewhere = system.with_file_name("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for file in std::fs::read_dir(&system).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), elsewhere.join(file.file_name())).unwrap();
    }
    replace(&system.with_file_name("security-domain-registry.xml"), |text| {
        text.replace("</security-domain-registry>", "<security-domain name=\"elsewhere\"/></security-domain-registry>")
    });
}

/// Registers an agent for another host and another security domain; returns the folder of its files.
fn add_agent(cams: &Quickstart, name: &str) -> std::path::PathBuf {
    let dir = cams.dir().path().join(name);
    let mut add = vec!["agent", "add", name, "--domain", "elsewhere", "--host", "other.test", "--entry", "http"];
    add.extend(["--capability", "enforce", "--dir", dir.to_str().unwrap(), "--conf", cams.conf.to_str().unwrap()]);
    tests::command::cams(add).success();
    dir
}

#[tokio::test]
async fn every_route_of_the_policy_server() {
    let cams = product().await;
    let own = AgentConfig::load(&cams.facts().agent_conf).unwrap();
    let server = own.policy_servers[0].to_string();
    let connect = |identity: Option<(&Path, &Path)>| LinkClient::new(&server, &own.link.ca, identity);
    let (other, removed) = (add_agent(&cams, "other"), add_agent(&cams, "removed"));
    let conf = cams.conf.to_str().unwrap();
    tests::command::cams(["agent", "remove", "removed", "--conf", conf]).success();
    let files = |dir: &Path| [dir.join("agent.pem"), dir.join("agent.key")];
    let (other, removed) = (files(&other), files(&removed));
    let (user, admin) = (browser(&cams, "user").await.cookie_header(), browser(&cams, "admin").await.cookie_header());
    for name in ["policy-server", "policy-server: elsewhere"] {
        check(name, paths().filter(|_| name == "policy-server"), async |caller, verb, target| {
            let client = match caller {
                "nobody" => connect(None),
                "user" => connect(None).with_cookie(user.clone()),
                "admin" => connect(None).with_cookie(admin.clone()),
                "agent" => connect(Some((&own.link.certificate, &own.link.key))),
                "other-agent" => connect(Some((&other[0], &other[1]))),
                "removed-agent" => connect(Some((&removed[0], &removed[1]))),
                "foreign-certificate" => connect(Some((&own.certificates[0].certificate, &own.certificates[0].key))),
                _ => panic!("who is {caller}?"),
            };
            // A session to end, for those who may speak at all.
            let token = match (path(target), caller) {
                ("/agent/v1/logout", "agent" | "other-agent" | "removed-agent") if verb == Method::POST => {
                    browser(&cams, "user").await.cookie(SESSION).unwrap()
                }
                _ => "token".to_owned(),
            };
            let client = if target.starts_with("/api/") { client.with_headers(&PASSED_ON) } else { client };
            let status = client.status(verb, target, message(target, &token)).await;
            status.map_or("tls".to_owned(), |status| status.as_str().to_owned())
        })
        .await;
    }
}
