//! Very many clients that hardly send anything, and everybody else meanwhile.

use std::time::{Duration, Instant};

use tests::{Agent, Quickstart, Recorder, Wire, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The agent's limit for a head is 15 s, that for a handshake 10 s; this much is for a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(25);
const HOST: &str = "slow.test";

/// How one of them begins, and what it then sends byte by byte.
const KINDS: [&[u8]; 4] = [
    b"GET /public/slow HTTP/1.1\r\nHost: slow.test\r\nX-A: ",
    b"GET /public/slow?",
    b"",
    b"POST /private/ HTTP/1.1\r\nHost: slow.test\r\nContent-Length: 9\r\nCookie: ",
];

/// Sends a byte now and then until the server has had enough; how long that took.
async fn dribble(mut stream: TcpStream, begin: &[u8]) -> Duration {
    let began = Instant::now();
    let mut alive = stream.write_all(begin).await.is_ok();
    let mut byte = [0];
    while alive {
        alive = stream.write_all(b"x").await.is_ok();
        // What is read, if anything, is an answer: the end comes after it.
        let read = timeout(Duration::from_secs(3), stream.read(&mut byte)).await;
        alive &= !matches!(read, Ok(Ok(0) | Err(_)));
    }
    began.elapsed()
}

/// How long a request took at most, of many one after the other; every one succeeds.
async fn slowest_of(agent: &Agent, requests: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..requests {
        let began = Instant::now();
        let request = format!("GET /public/normal HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let answer = Wire::new(agent.address).ask(request.as_bytes(), false).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_and_nobody_waits_for_them() {
    const SLOW: usize = 2_000;
    let (cams, site) = (Quickstart::shared().await, Recorder::start().await);
    let [certificate, key] =
        ["pem", "key"].map(|end| cams.dir().path().join(format!("tls/server.{end}")).display().to_string());
    let tls = [
        ("cams.listen.2", "https://127.0.0.1:0"),
        ("cams.tls.slow.test.certificate", &*certificate),
        ("cams.tls.slow.test.key", &*key),
        ("cams.connections.per.network", "5000"),
    ];
    let mut agent = Agent::start(&cams, "slow", &[(HOST, &site.url)], &tls).await;
    let encrypted = agent.process.line(CUT_WITHIN, |line| tests::agent::listening(line, true)).await;
    let idle = slowest_of(&agent, 50).await;

    let mut slow = JoinSet::new();
    for at in 0..SLOW {
        // A quarter of them never gets through the handshake: what they send is the beginning of one, or no TLS at all.
        let (address, begin): (_, &[u8]) = match at % 4 {
            0 if at % 8 == 0 => (encrypted, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            0 => (encrypted, b""),
            kind => (agent.address, KINDS[(kind + at / 4) % KINDS.len()]),
        };
        let stream = TcpStream::connect(address).await.unwrap();
        slow.spawn(dribble(stream, begin));
    }
    let busy = slowest_of(&agent, 50).await;
    assert!(busy < idle * 20 + Duration::from_secs(2), "{busy:?} instead of {idle:?}");
    while let Some(lasted) = slow.join_next().await {
        let lasted = lasted.unwrap();
        assert!(lasted < CUT_WITHIN, "one was served for {lasted:?}");
    }
    assert!(site.about("/public/slow").is_empty());
    slowest_of(&agent, 10).await;
}

#[tokio::test]
async fn one_network_has_its_share_of_the_connections() {
    let (cams, site) = (Quickstart::shared().await, Recorder::start().await);
    let agent = Agent::start(&cams, "capped", &[(HOST, &site.url)], &[("cams.connections.per.network", "8")]).await;
    slowest_of(&agent, 20).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(TcpStream::connect(agent.address).await.unwrap());
    }
    // The first eight are left alone; the others are closed at once.
    let mut byte = [0];
    for late in &mut held[8..] {
        let closed = timeout(Duration::from_secs(10), late.read(&mut byte)).await.expect("it is closed at once");
        assert!(!matches!(closed, Ok(1..)), "{closed:?}");
    }
    within(Duration::from_secs(10), "the refusal is logged", || agent.process.output().contains("too many")).await;
    assert_eq!(agent.process.output().matches("refusing connections").count(), 1);
    for early in &mut held[..8] {
        let request = format!("GET /public/held HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        early.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(held);
    // Their places are free again.
    let mut answered = 0;
    for _ in 0..50 {
        let request = format!("GET /public/free HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        answered += usize::from(Wire::new(agent.address).ask(request.as_bytes(), false).await.status == 200);
        if answered == 20 {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("only {answered} of 50 requests were answered");
}
