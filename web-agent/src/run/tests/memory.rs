//! Grants from memory, and the end of what is open: the agent against a policy server that tells what happened.

use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt;
use shared_proto::event::{PublicMap, PublicPattern};
use shared_proto::pattern::{HostPattern, PathPattern, ResourcePattern};
use tokio::time::{sleep, timeout};

use super::*;
use crate::testkit::events::Events;

/// Far more than anything here takes: a test that runs into it fails.
const PATIENCE: Duration = Duration::from_secs(15);

/// A lease that is over soon, for the tests in which it is lost.
fn short() -> Limits {
    let timing = Timing { lease: Duration::from_millis(500), renew: Duration::from_millis(100) };
    Limits { timing, ..Limits::default() }
}

struct World {
    setting: Setting,
    events: Events,
    /// Whether alice's session lives, whether her role suffices, whether the server decides at all.
    session: Arc<AtomicBool>,
    role: Arc<AtomicBool>,
    decides: Arc<AtomicBool>,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let events = Events::new();
        events.public(&public_map());
        let [session, role, decides] = [true; 3].map(|on| Arc::new(AtomicBool::new(on)));
        let switches = [session.clone(), role.clone(), decides.clone()];
        let log = events.clone();
        let script = move |path: &str, question: &Value| {
            let [session, role, decides] = switches.each_ref().map(|switch| switch.load(Ordering::SeqCst));
            log.answer(path, question).unwrap_or_else(|| scripted(&log, path, question, [session, role, decides]))
        };
        let world = Self { setting: Setting::with(script, limits).await, events, session, role, decides };
        world.remembers("/private/warm-up").await;
        world
    }

    fn asked(&self) -> usize {
        self.setting.policy.asked("/agent/v1/check").len()
    }

    /// 0 where the request was cut: a change can come between its grant and its answer.
    async fn status(&self, path: &str) -> u16 {
        ask(self.setting.http, get(path, ALICE)).await.map_or(0, |answer| answer.status)
    }

    /// Waits until a request for the path is answered without a question.
    async fn remembers(&self, path: &str) {
        let remembered = async {
            loop {
                let before = self.asked();
                assert_eq!(self.status(path).await, 200, "{path}");
                if self.asked() == before {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, remembered).await.unwrap_or_else(|_| panic!("{path} is never remembered"));
    }

    async fn becomes(&self, path: &str, status: u16) {
        let becomes = async {
            while self.status(path).await != status {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, becomes).await.unwrap_or_else(|_| panic!("{path} never becomes {status}"));
    }

    async fn tunnel(&self, path: &str) -> Client {
        let mut client = Client::connect(self.setting.http).await;
        client.send(get(path, &format!("{ALICE}{WEBSOCKET}"))).await;
        assert!(client.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 101"), "{path}");
        client
    }

    async fn stream(&self, path: &str) -> Client {
        let mut client = Client::connect(self.setting.http).await;
        client.send(get(path, ALICE)).await;
        assert!(client.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 200"), "{path}");
        self.setting.site.event();
        client.until(b"data: x\n\n").await.unwrap();
        client
    }
}

async fn is_cut(client: &mut Client) {
    timeout(PATIENCE, client.rest()).await.expect("it is not cut");
}

async fn runs(client: &mut Client) {
    client.send("still here").await;
    assert_eq!(client.take(10).await.as_deref(), Some("still here"));
}

fn public_map() -> PublicMap {
    let pattern = |path: &str, public| PublicPattern {
        pattern: ResourcePattern {
            scheme: None,
            host: HostPattern::Any,
            port: None,
            path: PathPattern::parse(path, false).unwrap(),
            methods: Default::default(),
        },
        public,
    };
    let patterns = vec![pattern("/public/members/*", false), pattern("/public/*", true), pattern("/*", false)];
    PublicMap { domain: "system".into(), policy_hash: "h".into(), patterns, forms: Default::default() }
}

fn scripted(events: &Events, path: &str, question: &Value, [session, role, decides]: [bool; 3]) -> Act {
    if path != "/agent/v1/check" && path != "/agent/v1/logout" {
        return policy(path, question);
    }
    if !decides {
        return Act::Answer(503, json!({"error": "not now"}));
    }
    if path == "/agent/v1/logout" {
        return Act::Answer(200, json!({}));
    }
    // How far the log goes is read before anything else.
    let mut stamp = json!({});
    events.stamp(&mut stamp);
    let mut question = question.clone();
    if !session {
        question["session"] = Value::Null;
    }
    if !role && question["path"].as_str().unwrap().starts_with("/private") {
        question["path"] = json!("/denied/");
    }
    match policy(path, &question) {
        Act::Answer(200, mut answer) => {
            for field in ["epoch", "seq", "remember_ms"] {
                answer[field] = stamp[field].clone();
            }
            Act::Answer(200, answer)
        }
        act => act,
    }
}

#[tokio::test]
async fn under_a_lease_the_same_is_not_asked_twice() {
    let world = World::new(Limits::default()).await;
    for path in ["/private/a", "/public/a"] {
        world.remembers(path).await;
    }
    let before = world.asked();
    for _ in 0..20 {
        for path in ["/private/a", "/public/a", "/private/a?other=query"] {
            assert_eq!(world.status(path).await, 200);
        }
    }
    assert_eq!(world.asked(), before);
    // What else it may be, it is asked.
    assert_eq!(ask(world.setting.http, get("/private/a", "")).await.unwrap().status, 401);
    assert_eq!(world.status("/denied/").await, 403);
    assert_eq!(world.status("/denied/").await, 403);
    assert_eq!(world.asked(), before + 3);
    let seen = world.setting.site.received().to_ascii_lowercase();
    assert_eq!(
        seen.matches("get /private/").count(),
        seen.matches("cams-http-user: alice").count() - seen.matches("get /public/").count()
    );
}

/// Without the lease every request asks: there is no stream, or one without end and without a lease.
#[tokio::test]
async fn without_a_lease_every_request_asks() {
    let world = World::new(short()).await;
    world.events.set_up(false);
    timeout(PATIENCE, async {
        loop {
            let before = world.asked();
            assert_eq!(world.status("/private/warm-up").await, 200);
            if world.asked() > before {
                return;
            }
        }
    })
    .await
    .unwrap();
    for _ in 0..10 {
        let before = world.asked();
        assert_eq!(world.status("/private/warm-up").await, 200);
        assert_eq!(world.asked(), before + 1);
    }
    world.events.set_up(true);
    world.remembers("/private/warm-up").await;
}

#[tokio::test]
async fn an_event_ends_what_is_remembered() {
    let world = World::new(Limits::default()).await;
    world.session.store(false, Ordering::SeqCst);
    world.events.session_ended("s1");
    world.becomes("/private/warm-up", 401).await;

    world.session.store(true, Ordering::SeqCst);
    world.remembers("/private/role").await;
    world.role.store(false, Ordering::SeqCst);
    world.events.domain_changed();
    world.becomes("/private/role", 403).await;

    world.role.store(true, Ordering::SeqCst);
    world.events.happen(json!({"is": "agents-changed"}));
    world.remembers("/private/role").await;
    for change in [json!({"is": "agents-changed"}), json!({"is": "something-new"})] {
        world.role.store(false, Ordering::SeqCst);
        world.events.happen(change);
        world.becomes("/private/role", 403).await;
        world.role.store(true, Ordering::SeqCst);
        world.remembers("/private/role").await;
    }
    world.role.store(false, Ordering::SeqCst);
    world.events.new_epoch();
    world.becomes("/private/role", 403).await;
}

/// A stream that is open and says nothing: after a lease the memory is not used any more. By itself it recovers.
#[tokio::test]
async fn a_silent_stream_is_not_believed() {
    let world = World::new(short()).await;
    world.events.fall_silent();
    world.session.store(false, Ordering::SeqCst);
    world.events.session_ended("s1");
    world.becomes("/private/warm-up", 401).await;
    world.session.store(true, Ordering::SeqCst);
    world.remembers("/private/again").await;
}

#[tokio::test]
async fn events_out_of_order_are_not_believed() {
    let world = World::new(Limits::default()).await;
    let before = world.setting.policy.asked("/agent/v1/events").len();
    world.events.fall_silent();
    world.role.store(false, Ordering::SeqCst);
    world.events.domain_changed();
    world.events.session_ended("nobody's");
    world.events.speak(&[1, 0]);
    world.becomes("/private/warm-up", 403).await;
    timeout(PATIENCE, async {
        while world.setting.policy.asked("/agent/v1/events").len() == before {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// Late and in order: what was held back counts when it comes.
#[tokio::test]
async fn a_late_event_still_counts() {
    let world = World::new(Limits::default()).await;
    world.events.fall_silent();
    world.role.store(false, Ordering::SeqCst);
    world.events.domain_changed();
    assert_eq!(world.status("/private/warm-up").await, 200, "within the lease it is not known yet");
    world.events.speak(&[0]);
    world.becomes("/private/warm-up", 403).await;
}

#[tokio::test]
async fn the_agents_own_logout_counts_at_once() {
    let world = World::new(Limits::default()).await;
    let mut tunnel = world.tunnel("/private/warm-up/ws").await;
    world.session.store(false, Ordering::SeqCst);
    let logout = get("/cams/logout", &format!("{ALICE}Sec-Fetch-Site: same-origin\r\n"));
    assert_eq!(ask(world.setting.http, logout).await.unwrap().status, 200);
    // The server has told nothing.
    assert_eq!(world.status("/private/warm-up").await, 401);
    is_cut(&mut tunnel).await;
}

/// Cases 67 and 68.
#[tokio::test]
async fn the_end_of_a_session_cuts_what_is_open() {
    let world = World::new(Limits::default()).await;
    let mut open =
        [world.tunnel("/private/ws").await, world.stream("/private/sse").await, world.tunnel("/private/ws").await];
    runs(&mut open[0]).await;
    world.events.session_ended("somebody else's");
    world.remembers("/private/between").await;
    runs(&mut open[0]).await;
    world.session.store(false, Ordering::SeqCst);
    world.events.session_ended("s1");
    for client in &mut open {
        is_cut(client).await;
    }
}

#[tokio::test]
async fn a_change_is_asked_about_again_and_cuts_what_is_not_granted() {
    let world = World::new(Limits::default()).await;
    let (mut private, mut stream) = (world.tunnel("/private/ws").await, world.stream("/private/sse").await);
    let mut public = world.tunnel("/public/ws").await;
    let before = world.asked();
    world.events.domain_changed();
    timeout(PATIENCE, async {
        while world.asked() < before + 3 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    runs(&mut private).await;
    world.role.store(false, Ordering::SeqCst);
    world.events.session_changed("s1");
    is_cut(&mut private).await;
    is_cut(&mut stream).await;
    runs(&mut public).await;
}

/// Over HTTP/2 the stream is cut, not ended as if it were whole, and the connection goes on.
#[tokio::test]
async fn over_http2_one_stream_is_cut() {
    let world = World::new(Limits::default()).await;
    let mut client = http2::connect(&world.setting).await;
    let alice = ("cookie", "CAMS_SID_TEST_SYSTEM=alive");
    let sse = http2::request("/private/sse", &[alice]);
    let mut stream = client.send_request(sse).await.unwrap().into_body();
    world.setting.site.event();
    stream.frame().await.unwrap().unwrap();
    world.session.store(false, Ordering::SeqCst);
    world.events.session_ended("s1");
    let end = timeout(PATIENCE, stream.frame()).await.expect("it is not cut");
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    let next = client.send_request(http2::request("/public/", &[])).await.unwrap();
    assert_eq!(next.status(), 200);
}

/// The stream of a server that goes away, with what happened meanwhile.
#[tokio::test]
async fn a_new_stream_makes_everything_open_doubtful() {
    let world = World::new(Limits::default()).await;
    let mut tunnel = world.tunnel("/private/ws").await;
    world.events.set_up(false);
    world.session.store(false, Ordering::SeqCst);
    world.events.session_ended("s1");
    world.events.set_up(true);
    is_cut(&mut tunnel).await;
}

/// Case 78 and the promise of public pages.
#[tokio::test]
async fn without_a_server_sessions_end_and_public_pages_go_on() {
    let world = World::new(short()).await;
    let mut tunnel = world.tunnel("/private/ws").await;
    let nobody = |path: &str| get(path, WEBSOCKET);
    let mut public = Client::connect(world.setting.http).await;
    public.send(nobody("/public/ws")).await;
    public.until(b"\r\n\r\n").await.unwrap();
    world.decides.store(false, Ordering::SeqCst);
    world.events.set_up(false);
    is_cut(&mut tunnel).await;
    runs(&mut public).await;
    world.becomes("/private/warm-up", 503).await;
    for (path, status) in [("/public/page", 200), ("/public/members/x", 503), ("/other", 503)] {
        let answer = ask(world.setting.http, get(path, &format!("{ALICE}Cookie: own=1\r\n"))).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{path}");
        if status == 200 {
            let seen = answer.body.to_ascii_lowercase();
            assert!(seen.contains("own=1") && !seen.contains("cams"), "{seen}");
        }
    }
    runs(&mut public).await;

    world.decides.store(true, Ordering::SeqCst);
    world.events.set_up(true);
    world.remembers("/private/warm-up").await;
    runs(&mut public).await;
}

/// Stream and lease are one server's: what the other granted is not remembered under them.
#[tokio::test]
async fn another_server_has_a_stream_of_its_own() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let logs = [Events::new(), Events::new()];
    let scripts = logs.clone().map(|log| {
        move |path: &str, question: &Value| {
            log.answer(path, question).unwrap_or_else(|| scripted(&log, path, question, [true; 3]))
        }
    });
    let [first_script, second_script] = scripts;
    let (first, second) = (PolicyServer::start(&ca, first_script).await, PolicyServer::start(&ca, second_script).await);
    let site = upstream::Site::start().await;
    let mut config = config(&dir, &ca, &first, &site);
    config.policy_servers.push(Authority::parse(&second.address.to_string()).unwrap());
    let agent = Agent::start(config, Limits::default()).unwrap();
    let http = agent.addresses()[0];
    let remembered = async |by: &PolicyServer| {
        let mut before = usize::MAX;
        while by.asked("/agent/v1/check").len() != before || before == 0 {
            before = by.asked("/agent/v1/check").len();
            ask(http, get("/private/a", ALICE)).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, remembered(&first)).await.unwrap();
    assert_eq!(second.asked("/agent/v1/events").len(), 0);
    let mut tunnel = Client::connect(http).await;
    tunnel.send(get("/private/ws", &format!("{ALICE}{WEBSOCKET}"))).await;
    tunnel.until(b"\r\n\r\n").await.unwrap();
    drop(first);
    timeout(PATIENCE, remembered(&second)).await.unwrap();
    assert_eq!(second.asked("/agent/v1/events").len(), 1);
    // The second server grants it too.
    runs(&mut tunnel).await;
    logs[1].session_ended("s1");
    is_cut(&mut tunnel).await;
}

/// An agent that was removed: nothing is remembered, and nothing goes on without a server.
#[tokio::test]
async fn an_agent_that_is_not_known_any_more_serves_nothing() {
    let (events, removed) = (Events::new(), Arc::new(AtomicBool::new(false)));
    events.public(&public_map());
    let (log, is_removed) = (events.clone(), removed.clone());
    let script = move |path: &str, question: &Value| match is_removed.load(Ordering::SeqCst) {
        true => Act::Answer(401, json!({"error": "not registered"})),
        false => log.answer(path, question).unwrap_or_else(|| scripted(&log, path, question, [true; 3])),
    };
    let setting = Setting::with(script, short()).await;
    let [session, role, decides] = [true; 3].map(|on| Arc::new(AtomicBool::new(on)));
    let world = World { setting, events, session, role, decides };
    world.remembers("/private/a").await;
    let mut tunnel = world.tunnel("/private/ws").await;
    removed.store(true, Ordering::SeqCst);
    world.events.happen(json!({"is": "agents-changed"}));
    is_cut(&mut tunnel).await;
    world.becomes("/private/a", 503).await;
    world.becomes("/public/a", 503).await;
}
