//! Spellings of protected addresses, by the thousand, through the agent to web servers that each have their own idea of
//! which spellings mean the same. Whatever the agent lets through, no server may take for something that the asker may
//! not have, and every server must have received the very path that was decided on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::web_servers::{CASE, RESOURCES};
use tests::{Agent, Quickstart, WebServer, Wire, within};

/// Spellings in a run; every one is sent as one of the three people to one of the three servers.
const CASES: u64 = 30_000;
/// Another seed makes another run; a failure names it.
const SEED: &str = "CAMS_TEST_SEED";
const CONNECTIONS: usize = 24;
const HOSTS: [&str; 3] = ["nginx.test", "apache.test", "wsgi.test"];

/// Who asks, with what they may have besides `public` and `home`.
const PEOPLE: [(&str, &[&str]); 3] = [("nobody", &[]), ("alice", &["private"]), ("admin", &["private", "admin"])];

/// SplitMix64: the same seed, the same run, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.next() % from.len() as u64).unwrap()]
    }
}

/// Ways into a protected folder from one that is public, or from nowhere.
const WAYS: [&[u8]; 31] = [
    b"",
    b"",
    b"",
    b"",
    b"/public/..",
    b"/public/%2e%2e",
    b"/public/.%2e",
    b"/public/..;",
    b"/public/..;a=b",
    b"/public/%2e%2e%3b",
    b"/public/x/../..",
    b"/public/..%2f",
    b"/public/..%5c",
    b"/public/..\\",
    b"/public/%252e%252e",
    b"/public/%c0%ae%c0%ae",
    "/public/‥".as_bytes(),
    "/public/․․".as_bytes(),
    "/public/．．".as_bytes(),
    "/public/﹒﹒".as_bytes(),
    "/public/︰".as_bytes(),
    b"/public/%uff0e%uff0e",
    b"/public/..%00",
    b"/public/.. ",
    b"/public/..%20",
    b"/./",
    b"/%2e",
    b"/;x",
    b"/.;",
    b"/%20",
    b"/public/%e2%80%a5",
];

/// What stands between two segments.
const SEPARATORS: [&[u8]; 24] = [
    b"/",
    b"/",
    b"/",
    b"/",
    b"//",
    b"/./",
    b"/%2e/",
    b"%2f",
    b"%2F",
    b"%252f",
    b"\\",
    b"%5c",
    b"/;/",
    b";/",
    b";a=b/",
    "／".as_bytes(),
    "∕".as_bytes(),
    "⁄".as_bytes(),
    "﹨".as_bytes(),
    "；/".as_bytes(),
    b"%ef%bc%8f",
    b"%c0%af",
    b"/%20/",
    b"%u2215",
];

/// What is appended, or makes a rule look at something else.
const ENDS: [&[u8]; 24] = [
    b"",
    b"",
    b"",
    b"",
    b"/",
    b"?",
    b"?/public/",
    b"?x=/../public/&y=%2e%2e",
    b"#/public/",
    b"%23/public/",
    b"%3f/public/",
    b";/public/",
    b"/../../public/page",
    b"/..",
    b"/.",
    b".",
    b"%00",
    b"%00.css",
    b"%20",
    b"/%2e%2e",
    "℅".as_bytes(),
    b"?%00",
    b"?a=\"b\"<c>",
    b"%0a",
];

/// One letter of a name, spelled in one of many ways.
fn push_letter(out: &mut Vec<u8>, letter: u8, random: &mut Random) {
    let spelled = match random.next() % 120 {
        0..=3 => format!("%{letter:02x}"),
        4..=7 => format!("%{letter:02X}"),
        8 => format!("%25{letter:02x}"),
        9 => format!("%2525{letter:02x}"),
        10 => format!("%u00{letter:02x}"),
        11 => format!("%c1%{:02x}", letter | 0x80),
        12 => format!("％{letter:02x}"),
        13 => format!("{}%00", char::from(letter)),
        14 => format!("%{}", char::from(letter)),
        _ => return out.push(letter),
    };
    out.extend(spelled.as_bytes());
}

/// A spelling of `/<resource>/page/c<number>`.
fn spelling(resource: &str, number: u64, random: &mut Random) -> Vec<u8> {
    let mut target = if random.one_in(2) { random.of(&WAYS).to_vec() } else { Vec::new() };
    if random.one_in(12) {
        target.splice(0..0, b"http://".iter().chain(HOSTS[0].as_bytes()).copied());
    }
    for segment in [resource, "page"] {
        let plain = !random.one_in(if target.is_empty() { 12 } else { 3 });
        target.extend(if plain { b"/".as_slice() } else { random.of(&SEPARATORS) });
        segment.bytes().for_each(|letter| push_letter(&mut target, letter, random));
    }
    target.extend(format!("/c{number}").as_bytes());
    if random.one_in(2) {
        target.extend(random.of(&ENDS));
    }
    target
}

const METHODS: [&str; 9] = ["GET", "GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PROPFIND", "DELETE"];

/// Headers that other proxies decided by, and clients that other proxies let through.
const HEADERS: [&str; 8] = [
    "X-Original-URL: /public/",
    "X-Rewrite-URL: /public/",
    "X-Forwarded-Uri: /public/",
    "X-Forwarded-Prefix: /public",
    "X-HTTP-Method-Override: OPTIONS",
    "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1",
    "User-Agent: kube-probe/1.29",
    "Forwarded: for=127.0.0.1;host=localhost",
];

#[derive(Debug, Clone)]
struct Case {
    number: u64,
    person: usize,
    host: usize,
    method: &'static str,
    target: Vec<u8>,
    header: &'static str,
}

fn case(seed: u64, number: u64) -> Case {
    let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let resource = random.of(&["private", "private", "admin", "admin", "public"]);
    let mut case = Case {
        number,
        person: usize::try_from(random.next() % 3).unwrap(),
        host: usize::try_from(random.next() % 3).unwrap(),
        method: random.of(&METHODS),
        target: spelling(resource, number, &mut random),
        header: if random.one_in(6) { random.of(&HEADERS) } else { "Accept: */*" },
    };
    if number.is_multiple_of(20) {
        // Now and then the plain address: what may pass must pass.
        case = Case { target: format!("/{resource}/page/c{number}").into(), method: "GET", ..case };
    }
    case
}

impl Case {
    fn request(&self, cookies: &[String]) -> Vec<u8> {
        let mut request = format!("{} ", self.method).into_bytes();
        request.extend(&self.target);
        let cookie = match cookies[self.person].as_str() {
            "" => String::new(),
            cookie => format!("Cookie: {cookie}\r\n"),
        };
        let (host, header) = (HOSTS[self.host], self.header);
        let rest = format!(" HTTP/1.1\r\nHost: {host}\r\n{CASE}: {}\r\n{header}\r\n{cookie}", self.number);
        request.extend(rest.as_bytes());
        request.extend(if self.method == "POST" { b"Content-Length: 0\r\n\r\n".as_slice() } else { b"\r\n" });
        request
    }

    /// Fails when the answer has what this person may not have; otherwise says which resource it has.
    fn judge(&self, seed: u64, body: &[u8]) -> Option<&'static str> {
        let body = std::str::from_utf8(body).ok()?.trim();
        let (person, may) = PEOPLE[self.person];
        let resource = body.strip_prefix("resource=")?;
        let target = String::from_utf8_lossy(&self.target);
        let found = RESOURCES.into_iter().find(|known| resource == *known);
        let fine = resource == "home" || resource == "public" || may.contains(&resource);
        assert!(fine, "seed {seed}: {person} got {resource} from {}: {target:?} {self:?}", HOSTS[self.host]);
        found
    }
}

/// Sends every case of the run over a few connections; the number of answers by person and resource.
async fn run(agent: &Agent, seed: u64, cookies: Arc<[String]>) -> BTreeMap<(usize, &'static str), u64> {
    let (next, address) = (Arc::new(AtomicU64::new(0)), agent.address);
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, cookies) = (Arc::clone(&next), Arc::clone(&cookies));
            tokio::spawn(async move {
                let (mut wire, mut found) = (Wire::new(address), BTreeMap::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CASES {
                        return found;
                    }
                    let case = case(seed, number);
                    let answer = wire.ask(&case.request(&cookies), case.method == "HEAD").await;
                    assert!(answer.status < 500, "seed {seed}: {answer:?} for {case:?}");
                    if let Some(resource) = case.judge(seed, &answer.body) {
                        *found.entry((case.person, resource)).or_insert(0) += 1;
                    }
                }
            })
        })
        .collect();
    let mut all = BTreeMap::new();
    for worker in workers {
        for (key, count) in worker.await.unwrap() {
            *all.entry(key).or_insert(0) += count;
        }
    }
    all
}

/// The paths that the agent says it decided on.
fn decided(agent: &Agent) -> BTreeSet<String> {
    let output = agent.process.output();
    let paths = output.lines().filter_map(|line| line.split_once(" path=\"")?.1.split('"').next());
    paths.map(str::to_owned).collect()
}

/// Every server received paths that were decided on, in the request of the case they belong to.
fn check_log(seed: u64, log: &[(String, String)], host: usize, decided: &BTreeSet<String>) {
    for (number, line) in log {
        let case = case(seed, number.parse().unwrap());
        let mut parts = line.split(' ');
        let (method, target, version) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let path = target.split('?').next().unwrap();
        assert_eq!((method, case.host, parts.next()), (case.method, host, None), "seed {seed}: {line:?} {case:?}");
        assert!(version.starts_with("HTTP/1."), "seed {seed}: {line:?}");
        assert!(decided.contains(path), "seed {seed}: {path:?} was not decided on: {case:?}");
    }
}

/// The servers do differ from the agent: asked directly, they give away what the spellings name.
async fn check_servers(servers: &[WebServer; 3]) {
    let spellings: [(&[usize], &str); 4] = [
        (&[0, 1, 2], "/public/../private/page/x"),
        (&[0, 1, 2], "//%70rivate/page/x"),
        (&[0, 1, 2], "/public/%2e%2e/private/page/x"),
        (&[2], "/public/..;/%2570rivate\\page"),
    ];
    for (who, target) in spellings {
        for at in who {
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = Wire::new(servers[*at].address).ask(request.as_bytes(), false).await;
            assert_eq!(String::from_utf8_lossy(&answer.body), "resource=private", "{} {target}", HOSTS[*at]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_takes_an_accepted_spelling_for_something_else() {
    let (Some(nginx), Some(apache), Some(wsgi)) =
        (WebServer::nginx().await, WebServer::apache().await, WebServer::wsgi().await)
    else {
        return;
    };
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().expect("a number"));
    let cams = Quickstart::shared().await;
    let servers = [nginx, apache, wsgi];
    check_servers(&servers).await;
    let direct: Vec<usize> = servers.iter().map(|server| server.log().len()).collect();
    let urls = servers.each_ref().map(WebServer::url);
    let sites: Vec<(&str, &str)> = HOSTS.into_iter().zip(urls.iter().map(String::as_str)).collect();
    let agent = Agent::start(&cams, "differential", &sites, &[]).await;
    let mut cookies = vec![String::new()];
    for (person, _) in &PEOPLE[1..] {
        cookies.push(cams.client_of(person).await.cookie_header().unwrap());
    }

    let found = run(&agent, seed, cookies.into()).await;

    for (person, (name, may)) in PEOPLE.iter().enumerate() {
        for resource in may.iter().chain(&["public"]) {
            let count = found.get(&(person, *resource)).copied().unwrap_or_default();
            assert!(count > CASES / 500, "seed {seed}: {name} saw {resource} only {count} times");
        }
    }
    // What the agent answers itself comes last in its log and to no server.
    let last = format!("GET /cams/login HTTP/1.1\r\nHost: {}\r\n\r\n", HOSTS[0]);
    Wire::new(agent.address).ask(last.as_bytes(), false).await;
    within(Duration::from_secs(20), "the agent's log is read", || {
        agent.process.output().contains("path=\"/cams/login\"")
    })
    .await;
    let decided = decided(&agent);
    for (host, server) in servers.iter().enumerate() {
        let forwarded = &server.log()[direct[host]..];
        check_log(seed, forwarded, host, &decided);
        assert!(forwarded.len() as u64 > CASES / 50, "seed {seed}: {} got {}", HOSTS[host], forwarded.len());
    }
}
