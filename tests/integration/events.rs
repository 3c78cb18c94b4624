//! What agents are told without asking, across servers that share a store, and what happens when the store goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use policy_server::store::Store;
use shared_proto::event::{Change, Line};
use tests::link::Events;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Link, PolicyServer, Postgres, within_async};

/// How long a change may take from one server to the streams of all, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Two servers of one cluster on one PostgreSQL, and an agent of both.
struct Pair {
    servers: [PolicyServer; 2],
    links: [Link; 2],
    files: Files,
    _peer: Files,
    postgres: Postgres,
}

impl Pair {
    async fn start() -> Option<Self> {
        let postgres = Postgres::start().await?;
        let url = postgres.database();
        let files = Files::new("One", Some(&url));
        let peer = files.peer("Two", &url);
        let agent = files.add_agent("web1");
        let servers = [files.start().await, peer.start().await];
        let links = [link(&servers[0], &agent).await, link(&servers[1], &agent).await];
        Some(Self { servers, links, files, _peer: peer, postgres })
    }
}

/// A link to a server that has said what it owed at its start.
async fn link(server: &PolicyServer, agent: &Path) -> Link {
    let link = Link::connect(server.address, agent).await;
    within_async(SOON, "a lease", async || link.lease("n").await.is_ok()).await;
    link
}

/// A stream from now on, past its first lines.
async fn from_now(link: &Link) -> Events {
    let lease = link.lease("n").await.unwrap();
    let mut events = link.events(&lease.epoch, lease.seq).await.unwrap();
    assert!(matches!(events.next().await, Some(Line::Public { .. })));
    events
}

fn ended(session: &str) -> impl FnMut(&Line) -> Option<()> {
    let wanted = Change::SessionEnded { session: session.to_owned() };
    move |line| matches!(line, Line::Event { change, .. } if *change == wanted).then_some(())
}

#[tokio::test]
async fn what_one_server_ends_every_stream_tells() {
    let Some(pair) = Pair::start().await else { return };
    let [one, two] = &pair.links;
    let mut streams = [from_now(one).await, from_now(two).await];
    let (token, id) = one.log_in("alice", PASSWORD).await;

    // The other server knows the session, and says how far the log went and for how long that is good.
    let (status, answer) = two.check(Some(&token), "/").await;
    assert_eq!((status, &answer["session"]), (StatusCode::OK, &"live".into()), "{answer}");
    let lease = two.lease("nonce").await.unwrap();
    assert_eq!(lease.nonce, "nonce");
    assert_eq!((answer["epoch"].as_str(), answer["seq"].as_i64()), (Some(lease.epoch.as_str()), Some(lease.seq)));
    assert_eq!(answer["remember_ms"], 30_000);

    assert_eq!(two.log_out(&token).await, StatusCode::OK);
    for stream in &mut streams {
        stream.find(ended(&id)).await;
    }
    let (_, answer) = one.check(Some(&token), "/").await;
    assert_eq!(answer["session"], "ended");
    assert!(answer["seq"].as_i64().unwrap() > lease.seq, "{answer}");

    // The same from the command line.
    let (_, id) = two.log_in("alice", PASSWORD).await;
    pair.files.cams(&["session", "end", &id]).success();
    for stream in &mut streams {
        stream.find(ended(&id)).await;
    }
    for server in &pair.servers {
        let output = server.process.output();
        assert!(!output.contains(tests::postgres::PASSWORD) && !output.contains(&token), "{output}");
    }
}

#[tokio::test]
async fn every_stream_tells_the_same_without_a_gap() {
    const WRITERS: usize = 8;
    const CHANGES: usize = 50;
    let Some(pair) = Pair::start().await else { return };
    let start = pair.links[0].lease("n").await.unwrap();
    let mut readers = Vec::new();
    for link in &pair.links {
        let mut events = link.events(&start.epoch, start.seq).await.unwrap();
        readers.push(tokio::spawn(async move {
            let mut told = Vec::new();
            while told.len() < WRITERS * CHANGES {
                match events.next().await.expect("the stream goes on") {
                    Line::Event { seq, change } => told.push((seq, change)),
                    Line::Heartbeat | Line::Public { .. } => {}
                    line => panic!("{line:?}"),
                }
            }
            told
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let link = pair.links[writer % 2].clone();
        writers.push(tokio::spawn(async move {
            let mut ended = BTreeSet::new();
            for _ in 0..CHANGES {
                let (token, id) = link.log_in("alice", PASSWORD).await;
                assert_eq!(link.log_out(&token).await, StatusCode::OK);
                ended.insert(id);
            }
            ended
        }));
    }
    let mut ended = BTreeSet::new();
    for writer in writers {
        ended.extend(writer.await.unwrap());
    }
    let mut told = Vec::new();
    for reader in readers {
        told.push(reader.await.unwrap());
    }
    assert!(told[0] == told[1], "two streams of one log differ");
    assert!(told[0].iter().map(|(seq, _)| *seq).eq(start.seq + 1..=start.seq + (WRITERS * CHANGES) as i64));
    let sessions: BTreeSet<_> = told[0]
        .iter()
        .map(|(_, change)| match change {
            Change::SessionEnded { session } => session.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(sessions == ended, "every end is told");
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_starts_anew() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web1");
    let server = files.start().await;
    let link = link(&server, &agent).await;
    let now = link.lease("n").await.unwrap();
    assert!(now.seq >= 1, "the agent was added");
    for (epoch, after) in
        [("", 0), ("other", now.seq), (&now.epoch, now.seq + 1), (&now.epoch, -2), (&now.epoch, i64::MAX)]
    {
        let mut events = link.events(epoch, after).await.unwrap();
        let first = events.next().await.unwrap();
        assert_eq!(first, Line::Reset { epoch: now.epoch.clone(), seq: now.seq }, "{epoch} {after}");
        let Some(Line::Public { map }) = events.next().await else { panic!("{epoch} {after}") };
        let public: Vec<_> = map.patterns.iter().map(|pattern| (pattern.pattern.to_string(), pattern.public)).collect();
        assert!(public.contains(&("/public/*".to_owned(), true)), "{public:?}");
        assert!(public.contains(&("/admin/*".to_owned(), false)), "{public:?}");
        assert_eq!(events.next().await, Some(Line::Heartbeat));
    }
    // What is known goes on with what came later.
    let mut events = link.events(&now.epoch, 0).await.unwrap();
    assert!(matches!(events.next().await, Some(Line::Public { .. })));
    for seq in 1..=now.seq {
        assert!(matches!(events.next().await, Some(Line::Event { seq: found, .. }) if found == seq), "{seq}");
    }

    // The numbers of a store that may have been put back from a backup are others.
    drop(server);
    let server = files.start().await;
    let link = Link::connect(server.address, &agent).await;
    let first = link.events(&now.epoch, now.seq).await.unwrap().next().await;
    assert!(matches!(&first, Some(Line::Reset { epoch, .. }) if *epoch != now.epoch), "{first:?}");
}

#[tokio::test]
async fn changed_files_are_told_with_what_is_public_now() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web1");
    let server = files.start().await;
    let link = link(&server, &agent).await;
    let changed = |line: &Line| match line {
        Line::Event { seq, change: Change::DomainChanged { domain } } if domain == "system" => Some(*seq),
        _ => None,
    };
    let mut events = from_now(&link).await;
    let (token, _) = link.log_in("bob", PASSWORD).await;

    // A check that is answered by the old users has an older number.
    let admin = |answer: &serde_json::Value| answer["identity"]["roles"].to_string().contains("admin");
    assert!(!admin(&link.check(Some(&token), "/").await.1));
    replace(&files.path("conf/domains/system/cams-users.xml"), |users| {
        users.replace("'/>\n</cams-users>", "'><role name='admin'/></user>\n</cams-users>")
    });
    let mut old = 0;
    let seen = async {
        loop {
            let (_, answer) = link.check(Some(&token), "/").await;
            if admin(&answer) {
                return;
            }
            old = old.max(answer["seq"].as_i64().unwrap());
        }
    };
    let ((), seq) = tokio::join!(seen, events.find(changed));
    assert!(old < seq, "decided by the old users at {old}, changed at {seq}");

    replace(&files.path("conf/domains/system/access-control-policy.xml"), |policy| {
        policy.replace("<granted/>", "<denied/>")
    });
    let mut public = None;
    events
        .find(|line| {
            if let Line::Public { map } = line {
                public = Some(map.patterns.iter().any(|pattern| pattern.public));
            }
            changed(line)
        })
        .await;
    assert_eq!(public, Some(false), "nothing is public any more, and that comes first");
    assert_eq!(link.check(None, "/public/x").await.1["decision"]["is"], "denied");
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    const CHANGES: i64 = 5_000;
    let files = Files::new("One", None);
    let agent = files.add_agent("web1");
    let server = files.start().await;
    let link = link(&server, &agent).await;
    let start = link.lease("n").await.unwrap().seq;
    let mut events = from_now(&link).await;
    // More than the connection takes before it is read.
    let store = Store::open(&"sqlite:cams.db".into(), &files.path("data")).await.unwrap();
    let changes: Vec<_> = (0..CHANGES).map(|n| Change::DomainChanged { domain: format!("{n:0>64}") }).collect();
    store.append(&changes).await.unwrap();
    within_async(SOON, "the server sees them", async || link.lease("n").await.unwrap().seq == start + CHANGES).await;
    for seq in start + 1..=start + CHANGES {
        let told = events.find(|line| if let Line::Event { seq, .. } = line { Some(*seq) } else { None }).await;
        assert_eq!(told, seq);
    }
}

#[tokio::test]
async fn a_removed_agent_hears_nothing_more() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web1");
    let other = files.add_agent("web2");
    let server = files.start().await;
    let (removed, stays) = (link(&server, &agent).await, link(&server, &other).await);
    let (mut ends, mut goes_on) = (from_now(&removed).await, from_now(&stays).await);
    files.cams(&["agent", "remove", "web1"]).success();
    while ends.next().await.is_some() {}
    assert_eq!(removed.lease("n").await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(removed.events("", 0).await.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(removed.check(None, "/").await.0, StatusCode::UNAUTHORIZED);
    goes_on.find(|line| matches!(line, Line::Event { change: Change::AgentsChanged, .. }).then_some(())).await;
    assert!(stays.lease("n").await.is_ok());

    // An agent that enforces nothing has nothing to forget.
    files.cams(&["agent", "add", "jami1", "--host", "app.test", "--capability", "jami"]).success();
    let jami = Link::connect(server.address, &files.path("conf/agents/jami1")).await;
    assert_eq!(jami.lease("n").await, Err(StatusCode::FORBIDDEN));
    assert_eq!(jami.events("", 0).await.err(), Some(StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end() {
    let files = Files::new("One", None);
    let agent = files.add_agent("web1");
    let mut server = files.start().await;
    let mut events = from_now(&link(&server, &agent).await).await;
    server.process.terminate(Duration::from_secs(5)).await;
    while events.next().await.is_some() {}
    let output = server.process.output();
    assert!(!output.contains("cut off"), "{output}");
}

#[tokio::test]
async fn without_the_database_there_is_503_until_it_is_back() {
    let Some(mut pair) = Pair::start().await else { return };
    let (token, id) = pair.links[0].log_in("alice", PASSWORD).await;
    let mut events = from_now(&pair.links[1]).await;
    pair.postgres.crash().await;
    for link in &pair.links {
        assert_eq!(link.lease("n").await, Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(link.check(Some(&token), "/").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(link.events("", 0).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    }
    while events.next().await.is_some() {}

    pair.postgres.resume().await;
    for link in &pair.links {
        within_async(SOON, "a lease again", async || link.lease("n").await.is_ok()).await;
        let (status, answer) = link.check(Some(&token), "/").await;
        assert_eq!((status, &answer["session"]), (StatusCode::OK, &"live".into()), "{answer}");
    }
    let mut events = from_now(&pair.links[1]).await;
    assert_eq!(pair.links[0].log_out(&token).await, StatusCode::OK);
    events.find(ended(&id)).await;

    // One that hangs is as good as gone.
    pair.postgres.signal_all("STOP");
    let lease = pair.links[0].lease("n").await;
    pair.postgres.signal_all("CONT");
    assert_eq!(lease, Err(StatusCode::SERVICE_UNAVAILABLE));
    within_async(SOON, "a lease again", async || pair.links[0].lease("n").await.is_ok()).await;
}
