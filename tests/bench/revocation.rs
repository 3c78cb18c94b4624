//! Revoke to refusal: two agents on two policy servers that share a PostgreSQL, and a session that both remember. The
//! clock starts just before the call that ends it and stops with the first answer that is a refusal.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use policy_server::admin::Admin;
use policy_server::session::Filter;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::wire::find;
use tests::{Agent, Link, PolicyServer, Postgres, Wire, within_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::spread;

const HOST: &str = "app.test";
const ROUNDS: usize = 100;
/// Of what has connections to open.
const FEW: usize = 20;
/// The times are true to this.
const BETWEEN_ASKS: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(20);

const WEB_SOCKET: &str = "GET /private/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const EVENT_STREAM: &str = "GET /private/sse HTTP/1.1\r\nAccept: text/event-stream\r\n";

pub async fn measure() {
    let Some(pair) = Pair::start().await else { return };
    let [mut store, mut logout] = [[vec![], vec![]], [vec![], vec![]]];
    for _ in 0..ROUNDS {
        pair.store_round(&mut store).await;
        pair.logout_round(&mut logout).await;
    }
    print("ended in the store", store);
    print("logged out at agent B", logout);
    spread(
        "an answer from memory, meanwhile",
        std::mem::take(&mut *pair.answers.lock().expect("nothing panics with it")),
    );
    let mut role = [vec![], vec![]];
    for _ in 0..ROUNDS {
        pair.role_round(&mut role).await;
    }
    print("role removed", role);
    for (name, opening) in [("WebSocket", WEB_SOCKET), ("event stream", EVENT_STREAM)] {
        let mut times = [vec![], vec![]];
        for _ in 0..FEW {
            pair.cut_round(opening, &mut times).await;
        }
        print(&format!("{name} cut"), times);
    }
}

fn print(name: &str, [a, b]: [Vec<Duration>; 2]) {
    spread(&format!("{name}, agent A"), a);
    spread(&format!("{name}, agent B"), b);
}

/// Agent A asks the first server alone, agent B the second alone.
struct Pair {
    agents: [Agent; 2],
    link: Link,
    admin: Admin,
    files: [Files; 2],
    /// How long what is watched took to be answered while it was granted: what the machine itself adds to the figures.
    answers: Arc<Mutex<Vec<Duration>>>,
    // In this order they stop.
    _servers: [PolicyServer; 2],
    _postgres: Postgres,
}

/// Somebody who has logged in.
struct Session {
    id: String,
    cookie: String,
}

impl Pair {
    async fn start() -> Option<Self> {
        let postgres = Postgres::start().await?;
        let url = postgres.database();
        let one = Files::new("One", Some(&url));
        let two = one.peer("Two", &url);
        let servers = [one.start().await, two.start().await];
        let site = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let upstream = format!("http://{}", site.local_addr().expect("it is bound"));
        tokio::spawn(cams::sample_site::serve(site));
        let agent = async |name, server: &PolicyServer| {
            let server = server.address.to_string();
            Agent::of(&one.conf(), name, &[(HOST, &upstream)], &[("cams.policy.server.1", &server)]).await
        };
        let agents = [agent("a", &servers[0]).await, agent("b", &servers[1]).await];
        let probe = one.add_agent("probe");
        let link = Link::connect(servers[0].address, &probe).await;
        let admin = Admin::open(&one.conf()).await.expect("the store of the servers");
        let (files, answers) = ([one, two], Arc::default());
        Some(Self { agents, link, admin, files, answers, _servers: servers, _postgres: postgres })
    }

    async fn log_in(&self) -> Session {
        let (token, id) = self.link.log_in("alice", PASSWORD).await;
        Session { id, cookie: format!("CAMS_SID_MYCAMSCLUSTER_SYSTEM={token}") }
    }

    /// The first refusal at each agent, of a session that both remember.
    async fn watch(&self, session: &Session) -> [JoinHandle<Instant>; 2] {
        let [a, b] = &self.agents;
        [self.watch_one(a, "/private/", session).await, self.watch_one(b, "/private/", session).await]
    }

    /// Asks for a page until the agent answers from memory, and then on and on; the moment of the first refusal.
    async fn watch_one(&self, agent: &Agent, path: &str, session: &Session) -> JoinHandle<Instant> {
        let asked = request(&format!("GET {path} HTTP/1.1\r\n"), session);
        let mut browser = Wire::new(agent.address);
        let remembered = || agent.process.output().matches(r#"decided_by="memory""#).count();
        let before = remembered();
        within_async(SOON, "the agent remembers", async || {
            assert_eq!(browser.ask(&asked, false).await.status, 200);
            remembered() > before
        })
        .await;
        let answers = Arc::clone(&self.answers);
        tokio::spawn(async move {
            loop {
                let asking = Instant::now();
                if browser.ask(&asked, false).await.status != 200 {
                    return Instant::now();
                }
                answers.lock().expect("nothing panics with it").push(asking.elapsed());
                tokio::time::sleep(BETWEEN_ASKS).await;
            }
        })
    }

    async fn store_round(&self, times: &mut [Vec<Duration>; 2]) {
        let session = self.log_in().await;
        let watched = self.watch(&session).await;
        let start = self.end(&session).await;
        note(start, watched, times).await;
    }

    /// As `cams session end` does, without the start of a process.
    async fn end(&self, session: &Session) -> Instant {
        let filter = Filter { id: Some(session.id.clone()), ..Filter::default() };
        let start = Instant::now();
        let ended = self.admin.end_sessions(&filter).await.expect("the store is there");
        assert_eq!(ended.len(), 1);
        start
    }

    async fn logout_round(&self, times: &mut [Vec<Duration>; 2]) {
        let session = self.log_in().await;
        let watched = self.watch(&session).await;
        let request = request("GET /cams/logout HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\n", &session);
        let mut browser = Wire::new(self.agents[1].address);
        let start = Instant::now();
        assert_eq!(browser.ask(&request, false).await.status, 200);
        note(start, watched, times).await;
    }

    /// Each server has a users file of its own: the role goes from both.
    async fn role_round(&self, times: &mut [Vec<Duration>; 2]) {
        const PAGE: &str = "/admin/echo";
        self.edit_users(|text| text.replacen("<role name='user'/>", "<role name='user'/><role name='admin'/>", 1));
        let session = self.log_in().await;
        let asked = request(&format!("GET {PAGE} HTTP/1.1\r\n"), &session);
        let [a, b] = &self.agents;
        for agent in [a, b] {
            let mut browser = Wire::new(agent.address);
            within_async(SOON, "the role counts", async || browser.ask(&asked, false).await.status == 200).await;
        }
        let watched = [self.watch_one(a, PAGE, &session).await, self.watch_one(b, PAGE, &session).await];
        let start = Instant::now();
        self.edit_users(|text| text.replace("<role name='admin'/>", ""));
        note(start, watched, times).await;
    }

    fn edit_users(&self, edit: impl Fn(&str) -> String) {
        for files in &self.files {
            replace(&files.path("conf/domains/system/cams-users.xml"), &edit);
        }
    }

    async fn cut_round(&self, opening: &str, times: &mut [Vec<Duration>; 2]) {
        let session = self.log_in().await;
        let asked = request(opening, &session);
        let [a, b] = &self.agents;
        let open = [open(a.address, &asked).await, open(b.address, &asked).await];
        let start = self.end(&session).await;
        note(start, open, times).await;
    }
}

fn request(opening: &str, session: &Session) -> Vec<u8> {
    format!("{opening}Host: {HOST}\r\nCookie: {}\r\n\r\n", session.cookie).into_bytes()
}

async fn note(start: Instant, moments: [JoinHandle<Instant>; 2], times: &mut [Vec<Duration>; 2]) {
    for (moment, times) in moments.into_iter().zip(times) {
        times.push(moment.await.expect("it does not panic") - start);
    }
}

/// Opens a connection that stays open; the moment of its end.
async fn open(agent: SocketAddr, request: &[u8]) -> JoinHandle<Instant> {
    let mut stream = TcpStream::connect(agent).await.expect("the agent listens");
    stream.write_all(request).await.expect("the agent reads");
    let mut head = Vec::new();
    while find(&head, b"\r\n\r\n").is_none() {
        assert!(stream.read_buf(&mut head).await.expect("an answer") > 0, "{}", String::from_utf8_lossy(&head));
    }
    assert!(matches!(&head[9..12], b"101" | b"200"), "{}", String::from_utf8_lossy(&head));
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        Instant::now()
    })
}
