//! What agents do when the network, the policy server's database or their own registration fails: nothing protected is
//! served longer than a lease lasts, nothing that was ended before is served again, and all heals by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tests::link_proxy::Network;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Client, LinkProxy, PolicyServer, Postgres, within, within_async};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long a grant may outlive the last word of a policy server.
const LEASE: Duration = Duration::from_secs(6);
/// For tasks that wait for a busy processor.
const MARGIN: Duration = Duration::from_secs(2);
/// How long it may take until all is well again.
const BACK: Duration = Duration::from_secs(20);
/// How long a question waits for its answer at most.
const LINK_LIMIT: Duration = Duration::from_secs(5);
const PRIVATE: &str = "/private/";
const PUBLIC: &str = "/public/";

/// An agent at a policy server, the network between them, and the sample site behind them.
struct World {
    agent: Agent,
    proxy: LinkProxy,
    _server: PolicyServer,
    files: Files,
    _site: JoinSet<()>,
}

impl World {
    async fn start(files: Files, name: &str) -> Self {
        let mut site = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        site.spawn(async { cams::sample_site::serve(listener).await.unwrap() });
        let server = files.start().await;
        let proxy = LinkProxy::start(server.address).await;
        let address = proxy.address.to_string();
        let properties = [("cams.policy.server.1", address.as_str())];
        let mut agent = Agent::of(&files.conf(), name, &[("app.test", &upstream)], &properties).await;
        let leased = |line: &str| line.contains("grants are remembered").then_some(());
        agent.process.line(BACK, leased).await;
        Self { agent, proxy, _server: server, files, _site: site }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://app.test:{}", self.agent.address.port()), None)
    }

    /// A client with a session, whose grant the agent remembers.
    async fn client_of(&self, user: &str) -> Client {
        let client = self.client();
        let reply = client.log_in(user, PASSWORD, PRIVATE).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let before = self.remembered();
        within_async(BACK, "the grant is remembered", async || {
            assert_eq!(client.get(PRIVATE).await.status, 200);
            self.remembered() > before
        })
        .await;
        client
    }

    fn remembered(&self) -> usize {
        self.agent.process.output().matches("decided_by=\"memory\"").count()
    }

    fn end_session(&self, which: &[&str]) {
        self.files.cams(&[&["session", "end"], which].concat()).success();
    }

    /// The public ids of all sessions.
    fn sessions(&self) -> BTreeSet<String> {
        let list = self.files.cams(&["session", "list", "--json"]).json();
        list.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks for a public page all the time, as somebody without a session. Every answer must be good; a server that
    /// hangs may make it late, but not later than a lease.
    fn ask_public(&self) -> Public {
        let (client, going) = (self.client(), Arc::new(AtomicBool::new(true)));
        let goes_on = going.clone();
        let asking = tokio::spawn(async move {
            let mut answers = 0;
            while goes_on.load(Ordering::Relaxed) {
                let reply = timeout(LEASE, client.get(PUBLIC)).await.expect("a public page in time");
                assert_eq!(reply.status, 200, "{reply:?}");
                answers += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answers
        });
        Public { going, asking }
    }
}

struct Public {
    going: Arc<AtomicBool>,
    asking: JoinHandle<usize>,
}

impl Public {
    async fn was_served(self) {
        self.going.store(false, Ordering::Relaxed);
        let answers = self.asking.await.unwrap();
        assert!(answers > 1, "{answers}");
    }
}

/// Waits for the first 503, which must be there by `limit` after `since`, and after which nothing is served.
async fn closes(client: &Client, since: Instant, limit: Duration) {
    let reply = loop {
        let reply = client.get(PRIVATE).await;
        if reply.status != 200 {
            break reply;
        }
        assert!(since.elapsed() < limit, "served {:?} after the fault", since.elapsed());
    };
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").parse::<u32>().is_ok(), "{reply:?}");
    assert!(since.elapsed() < limit, "refused {:?} after the fault", since.elapsed());
    assert_eq!(client.get(PRIVATE).await.status, 503);
}

async fn is_served(client: &Client) -> bool {
    client.get_unless_cut(PRIVATE).await.is_some_and(|reply| reply.status == 200)
}

/// An event stream of this session; ends with when it was cut.
async fn event_stream(client: &Client) -> JoinHandle<Instant> {
    let asked = Request::get("/private/sse").header("accept", "text/event-stream").body(Full::default()).unwrap();
    let mut stream = client.send(asked).await;
    assert_eq!(stream.status(), StatusCode::OK);
    stream.frame().await.unwrap().unwrap();
    tokio::spawn(async move {
        while let Some(Ok(_)) = stream.frame().await {}
        Instant::now()
    })
}

/// The same with a WebSocket.
async fn web_socket(client: &Client) -> JoinHandle<Instant> {
    let mut asked = format!("ws://{}/private/ws", client.origin().authority()).into_client_request().unwrap();
    asked.headers_mut().insert("cookie", client.cookie_header().unwrap().parse().unwrap());
    asked.headers_mut().insert("origin", client.origin().origin().parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(asked, client.connect().await).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(_)) = socket.next().await {}
        Instant::now()
    })
}

async fn cut_within(limit: Duration, since: Instant, streams: [JoinHandle<Instant>; 2]) {
    for (name, stream) in ["event stream", "WebSocket"].into_iter().zip(streams) {
        let cut = timeout((limit + MARGIN).saturating_sub(since.elapsed()), stream).await;
        let cut = cut.unwrap_or_else(|_| panic!("the {name} outlives the fault")).unwrap();
        let after = cut.checked_duration_since(since).unwrap_or_else(|| panic!("the {name} ended too early"));
        assert!(after < limit, "the {name} was cut {after:?} after the fault");
    }
}

#[tokio::test]
async fn a_silent_link_closes_what_is_protected_and_nothing_else() {
    let world = World::start(Files::new("One", None), "probe").await;
    let alice = world.client_of("alice").await;
    let streams = [event_stream(&alice).await, web_socket(&alice).await];
    let public = world.ask_public();

    let stopped = Instant::now();
    world.proxy.set(Network::Silent);
    let goes_on_at_once = async {
        let nobody = world.client();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(nobody.get(PUBLIC).await.status, 200);
            waits.push(asked.elapsed());
        }
        waits.sort();
        // The very moment may be an unlucky one: the lease over, and the link not yet known to be down.
        assert!(waits[waits.len() / 2] < LINK_LIMIT / 2, "they waited for nothing: {waits:?}");
    };
    tokio::join!(closes(&alice, stopped, LEASE + MARGIN), goes_on_at_once);
    cut_within(LEASE + MARGIN, stopped, streams).await;
    assert_eq!(world.client().get(PRIVATE).await.status, 503, "who has no session is not known either");

    world.proxy.set(Network::Forwards);
    within_async(BACK, "the session goes on", async || is_served(&alice).await).await;
    public.was_served().await;
}

async fn is_revoked_over(network: Network) {
    let world = World::start(Files::new("One", None), "probe").await;
    let (alice, bob) = (world.client_of("alice").await, world.client_of("bob").await);
    let streams = [event_stream(&alice).await, web_socket(&alice).await];
    world.proxy.set(network);
    world.end_session(&["--user", "alice"]);
    let ended = Instant::now();
    cut_within(LEASE + MARGIN, ended, streams).await;
    let mut refused = 0;
    while refused < 3 {
        let asked = ended.elapsed();
        if alice.get(PRIVATE).await.status == 200 {
            assert!(asked < LEASE, "served to who asked {asked:?} after the end of the session");
            refused = 0;
        } else {
            refused += 1;
        }
    }
    world.proxy.set(Network::Forwards);
    within_async(BACK, "who was not ended goes on", async || is_served(&bob).await).await;
    assert!(!is_served(&alice).await);
    within_async(BACK, "a login works", async || {
        alice.log_in("alice", PASSWORD, PRIVATE).await.status == 303 && is_served(&alice).await
    })
    .await;
}

#[tokio::test]
async fn a_slow_link_serves_nothing_revoked() {
    const DELAY: Duration = Duration::from_secs(3);
    // With one way slow the lease holds, and the end of the session comes late; with both it is lost.
    tokio::join!(is_revoked_over(Network::SlowFromServer(DELAY)), is_revoked_over(Network::Slow(DELAY)));
}

/// Over this link no answer comes before the agent goes by what it knows of public pages; what it knows is never older
/// than a lease.
#[tokio::test]
async fn a_slow_link_makes_no_page_public_that_is_not_any_more() {
    const DELAY: Duration = Duration::from_millis(1500);
    let world = World::start(Files::new("One", None), "probe").await;
    let nobody = world.client();
    // The site has none of these pages, and says so to whoever may see them. Each is another, so none is remembered.
    let is_open = async |page: u128| nobody.get(&format!("/public/{page}")).await.status == 404;
    world.proxy.set(Network::SlowFromServer(DELAY));
    let asked = Instant::now();
    assert!(is_open(0).await);
    assert!(asked.elapsed() < DELAY, "the server was waited for");
    replace(&world.files.path("conf/domains/system/access-control-policy.xml"), |policy| {
        policy.replace(r#"<acr id="everybody"><granted/></acr>"#, r#"<acr id="everybody"><denied/></acr>"#)
    });
    let closed = Instant::now();
    while is_open(closed.elapsed().as_nanos()).await {
        assert!(closed.elapsed() < LEASE, "public {:?} after it was closed", closed.elapsed());
    }
    for page in 0..5 {
        assert!(!is_open(page).await);
    }
}

#[tokio::test]
async fn a_cut_of_the_link_brings_no_ended_session_back() {
    const ROUNDS: usize = 5;
    const CUTS: usize = 4;
    let world = World::start(Files::new("One", None), "probe").await;
    let bob = Arc::new(world.client_of("bob").await);
    let mut known = world.sessions();
    let mut sessions = Vec::new();
    for _ in 0..ROUNDS {
        let client = world.client_of("alice").await;
        let now = world.sessions();
        sessions.push((client, now.difference(&known).next().unwrap().clone()));
        known = now;
    }
    let mut asking = JoinSet::new();
    for (client, id) in sessions {
        // The change and its event come while the agent cannot hear them.
        world.proxy.cut().await;
        world.end_session(&[&id]);
        within_async(MARGIN, "the agent knows that it knows nothing", async || !is_served(&client).await).await;
        asking.spawn(async move {
            loop {
                assert!(!is_served(&client).await, "served in a session that was ended before");
            }
        });
        for _ in 1..CUTS {
            let before = world.proxy.connections();
            world.proxy.set(Network::Forwards);
            within(BACK, "the agent connects", || world.proxy.connections() > before).await;
            assert!([200, 503].contains(&bob.get(PRIVATE).await.status.as_u16()));
            world.proxy.cut().await;
        }
        world.proxy.set(Network::Forwards);
        within_async(BACK, "who was not ended goes on", async || is_served(&bob).await).await;
        if let Some(ended) = asking.try_join_next() {
            ended.unwrap();
        }
    }
    asking.abort_all();
    while let Some(ended) = asking.join_next().await {
        assert!(ended.is_err_and(|error| error.is_cancelled()), "an ended session was served");
    }
}

#[tokio::test]
async fn a_database_that_hangs_or_crashes_closes_what_is_protected_until_it_is_back() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let world = World::start(Files::new("One", Some(&postgres.database())), "probe").await;
    let alice = world.client_of("alice").await;
    let streams = [event_stream(&alice).await, web_socket(&alice).await];
    let public = world.ask_public();

    let stopped = Instant::now();
    postgres.signal_all("STOP");
    closes(&alice, stopped, LEASE + MARGIN).await;
    cut_within(LEASE + MARGIN, stopped, streams).await;
    postgres.signal_all("CONT");
    within_async(BACK, "the session goes on", async || is_served(&alice).await).await;

    let crashed = Instant::now();
    postgres.crash().await;
    closes(&alice, crashed, LEASE + MARGIN).await;
    postgres.resume().await;
    within_async(BACK, "the session goes on", async || is_served(&alice).await).await;
    public.was_served().await;
}

#[tokio::test]
async fn an_agent_that_is_removed_serves_nothing_from_then_on() {
    let world = World::start(Files::new("One", None), "probe").await;
    let alice = world.client_of("alice").await;
    let streams = [event_stream(&alice).await, web_socket(&alice).await];
    let before = Instant::now();
    world.files.cams(&["agent", "remove", "probe"]).success();
    let removed = Instant::now();
    closes(&alice, removed, MARGIN).await;
    cut_within(MARGIN + removed.duration_since(before), before, streams).await;
}

#[tokio::test]
async fn what_ends_at_one_server_ends_at_the_agents_of_all() {
    const AT_ONCE: Duration = Duration::from_secs(1);
    let Some(postgres) = Postgres::start().await else { return };
    let url = postgres.database();
    let files = Files::new("One", Some(&url));
    let peer = files.peer("Two", &url);
    let one = World::start(files, "probe1").await;
    let two = World::start(peer, "probe2").await;
    // A session of one agent is known to the other by its cookie.
    let shared = async |user: &str| {
        let (here, there) = (one.client_of(user).await, two.client());
        let (name, value) = session_cookie(&here);
        there.set_cookie(&name, &value);
        for _ in 0..2 {
            assert!(is_served(&there).await);
        }
        (here, there)
    };

    let (_, there) = shared("alice").await;
    let streams = [event_stream(&there).await, web_socket(&there).await];
    let before = Instant::now();
    one.end_session(&["--user", "alice"]);
    let ended = Instant::now();
    within_async(AT_ONCE, "the other agent refuses", async || !is_served(&there).await).await;
    cut_within(AT_ONCE + ended.duration_since(before), before, streams).await;

    // A role that is taken out of both servers' files.
    let (here, there) = shared("alice").await;
    let may_administer =
        async |client: &Client| client.get_unless_cut("/admin/echo").await.is_some_and(|reply| reply.status == 200);
    edit_users([&one, &two], |text| text.replacen("<role name='user'/>", "<role name='user'/><role name='admin'/>", 1));
    for client in [&here, &there] {
        within_async(BACK, "the role counts", async || may_administer(client).await).await;
    }
    edit_users([&one, &two], |text| text.replace("<role name='admin'/>", ""));
    for client in [&here, &there] {
        within_async(BACK, "the role is gone", async || !may_administer(client).await).await;
        assert!(is_served(client).await, "and nothing else");
    }

    // An account that is disabled in one server's file: its session ends there, and so everywhere.
    let (here, there) = shared("bob").await;
    edit_users([&one], |users| users.replace("name='bob'", "name='bob' enabled='false'"));
    within_async(BACK, "the server's own agent refuses", async || !is_served(&here).await).await;
    within_async(AT_ONCE, "the other agent refuses", async || !is_served(&there).await).await;
}

/// Each server has a users file of its own.
fn edit_users<const N: usize>(at: [&World; N], edit: impl Fn(&str) -> String) {
    for world in at {
        replace(&world.files.path("conf/domains/system/cams-users.xml"), &edit);
    }
}

fn session_cookie(client: &Client) -> (String, String) {
    let cookies = client.cookie_header().unwrap();
    let session = cookies.split("; ").find(|cookie| cookie.starts_with("CAMS_SID_")).unwrap();
    let (name, value) = session.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}
