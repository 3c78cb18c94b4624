//! I9 on sockets, query included: for spellings by the thousand, the bytes of the target that the policy server was asked
//! about are the bytes that the site received.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};

use super::http2;
use super::*;
use crate::testing::Random;

const CASES: usize = 20_000;
const AT_ONCE: usize = 16;

/// What paths and queries are made of: plain text, spellings of one thing in two ways, what some server would decode,
/// cut off or resolve, and what must not pass.
const PATHS: [&str; 28] = [
    "/", "/", "/", "//", "a", "b/", "%61", "%7E", "~", "%2B", "+", " ", "%20", "%3f", "%3F/", "%23", "%25", "%C3%A9",
    "é", "\"", "'", "|", "[x]", "%2e", "..", ";x", "%2f", "%",
];
const QUERIES: [&str; 30] = [
    "a=1", "&", "=", "?", "/", "/../", "%2e%2e", "%2E", "%61", "%7e", "+", " ", "%20", "\"", "<", ">", "'", "|", "{}",
    "^", "`", "\\", "é", "%E9", "%c3%a9", "%", "%zz", "%0d%0A", ";", "%00",
];

fn some(random: &mut Random, from: &[&'static str], most: usize) -> String {
    (0..random.below(most + 1)).map(|_| random.pick(from)).collect()
}

fn spelling(random: &mut Random) -> String {
    let form = if random.below(10) == 0 { "http://app.test" } else { "" };
    let path = some(random, &PATHS, 5);
    let query = match random.below(5) {
        0 => String::new(),
        _ => format!("?{}", some(random, &QUERIES, 6)),
    };
    format!("{form}/{path}{query}")
}

/// Grants everything, and lets nothing be remembered.
fn generous(path: &str, question: &Value) -> Act {
    match path {
        "/agent/v1/check" => {
            let granted =
                json!({"decision": {"is": "granted"}, "session": "none", "identity": null, "policy_hash": "h"});
            Act::Answer(200, granted)
        }
        _ => policy(path, question),
    }
}

/// The head that the site received, which it answers with; `None` where the agent refused.
async fn over_http1(setting: &Setting, target: &str, number: usize) -> Option<String> {
    let answer = ask(setting.http, get(target, &format!("User-Agent: c{number}\r\n"))).await.expect("an answer");
    assert!([200, 400].contains(&answer.status), "{target:?}: {answer:?}");
    (answer.status == 200).then_some(answer.body)
}

/// The same with a target that the client's library can write.
async fn over_http2(client: &http2::Client, target: &PathAndQuery, number: usize) -> Option<String> {
    let uri = Uri::builder().scheme("https").authority("app.test").path_and_query(target.clone()).build().unwrap();
    let request = Request::get(uri).header("user-agent", format!("c{number}")).body(Full::default()).unwrap();
    let answer = client.clone().send_request(request).await.expect("an answer");
    let status = answer.status();
    assert!([200, 400].contains(&status.as_u16()), "{target:?}: {answer:?}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status == 200).then(|| String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_bytes_decided_on_are_the_bytes_forwarded() {
    let setting = Setting::with(generous, Limits::default()).await;
    let client = http2::connect(&setting).await;
    let mut random = Random::new(9);
    let targets: Vec<String> = (0..CASES).map(|_| spelling(&mut random)).collect();
    let received: BTreeMap<String, String> = stream::iter(targets.iter().enumerate())
        .map(async |(number, target)| {
            let head = match PathAndQuery::try_from(target.as_str()) {
                Ok(target) if number % 2 == 0 && target.as_str().starts_with('/') => {
                    over_http2(&client, &target, number).await
                }
                _ => over_http1(&setting, target, number).await,
            };
            head.map(|head| (format!("c{number}"), head))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |head| head)
        .collect()
        .await;

    let asked = setting.policy.asked("/agent/v1/check");
    assert_eq!(asked.len(), received.len(), "one question for each request that is forwarded");
    for question in asked {
        let case = question["client"]["user_agent"].as_str().unwrap();
        let decided = match question["query"].as_str() {
            Some(query) => format!("{}?{query}", question["path"].as_str().unwrap()),
            None => question["path"].as_str().unwrap().to_owned(),
        };
        let line = received[case].split("\r\n").next().unwrap();
        assert_eq!(
            line,
            format!("GET {decided} HTTP/1.1"),
            "{case}: {:?}",
            targets[case[1..].parse::<usize>().unwrap()]
        );
    }
    let queries = received.values().filter(|head| head.lines().next().unwrap().contains('?')).count();
    assert!(queries > CASES / 4 && received.len() < CASES * 9 / 10, "{queries} of {}", received.len());
}
