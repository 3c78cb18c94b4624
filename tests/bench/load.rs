//! What a request costs: as many as fit over 64 connections that are kept alive, straight to a site and through an agent
//! to the same site. The ways take turns, so that whatever else the machine does meets all of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tests::policy_server::{Files, PASSWORD};
use tests::wire::find;
use tests::{Agent, Link, WebServer};

use crate::figure;

const HOST: &str = "app.test";
const CONNECTIONS: usize = 64;
const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 3;
/// Linux counts the processor time of a process in these.
const TICK: Duration = Duration::from_millis(10);

/// A kind of request.
struct Way {
    name: &'static str,
    address: SocketAddr,
    /// Of each request a page of its own where it ends with a slash.
    path: &'static str,
    cookie: String,
    /// What the agent's access log must say of nearly all of them; empty where there is no agent.
    decided_by: &'static str,
    sent: usize,
    took: Duration,
    agent: Duration,
}

pub async fn measure() {
    let Some(site) = WebServer::nginx().await else { return };
    let files = Files::new("One", None);
    let server = files.start().await;
    let properties = [("cams.policy.server.1", &*server.address.to_string())];
    let agent = Agent::of(&files.conf(), "a", &[(HOST, &site.url())], &properties).await;
    let link = Link::connect(server.address, &files.add_agent("probe")).await;
    let (token, _) = link.log_in("alice", PASSWORD).await;
    let cookie = format!("Cookie: CAMS_SID_MYCAMSCLUSTER_SYSTEM={token}\r\n");
    let mut ways = [
        Way::new("site without an agent", site.address, "/public/direct", "", ""),
        Way::new("public page, server asked", agent.address, "/public/asked/", "", "server"),
        Way::new("public page, remembered", agent.address, "/public/kept", "", "memory"),
        Way::new("page of a session, remembered", agent.address, "/private/kept", &cookie, "memory"),
    ];
    let pid = agent.process.pid();
    for _ in 0..TURNS {
        for way in &mut ways {
            way.turn(pid);
        }
    }
    let log = agent.process.output();
    for way in &ways {
        way.check(&log);
    }
    let direct = ways[0].rate();
    for way in &ways {
        way.print(direct);
    }
}

impl Way {
    fn new(
        name: &'static str,
        address: SocketAddr,
        path: &'static str,
        cookie: &str,
        decided_by: &'static str,
    ) -> Self {
        let cookie = cookie.to_owned();
        Self { name, address, path, cookie, decided_by, sent: 0, took: Duration::ZERO, agent: Duration::ZERO }
    }

    /// As many requests as fit into one turn.
    fn turn(&mut self, agent: u32) {
        let (before, start) = (processor_time(agent), Instant::now());
        let way = &*self;
        self.sent += thread::scope(|scope| {
            let connections: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(move || way.ask(n, start + TURN))).collect();
            connections.into_iter().map(|asking| asking.join().expect("it does not panic")).sum::<usize>()
        });
        self.took += start.elapsed();
        self.agent += processor_time(agent) - before;
    }

    /// Asks over one connection until `end`. Threads that block: their time is the system's, whatever this was built with.
    fn ask(&self, connection: usize, end: Instant) -> usize {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        let mut answer = [0; 4096];
        let (first, mut sent) = (self.sent, 0);
        while Instant::now() < end {
            let page = if self.path.ends_with('/') { format!("{connection}-{first}-{sent}") } else { String::new() };
            let head = format!("GET {}{page} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", self.path, self.cookie);
            stream.write_all(head.as_bytes()).expect("it reads");
            read(&mut stream, &mut answer);
            sent += 1;
        }
        sent
    }

    fn check(&self, log: &str) {
        if self.decided_by.is_empty() {
            return;
        }
        let (path, decided) = (format!("path=\"{}", self.path), format!("decided_by=\"{}\"", self.decided_by));
        let so = log.lines().filter(|line| line.contains(&path) && line.contains(&decided)).count();
        assert!(so * 100 >= self.sent * 95, "{}: {so} of {} were decided by {}", self.name, self.sent, self.decided_by);
    }

    fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }

    fn print(&self, direct: f64) {
        let (rate, agent) = (self.rate(), self.agent.as_secs_f64() * 1e6 / self.sent as f64);
        let agent =
            if self.decided_by.is_empty() { String::new() } else { format!("   {agent:4.0} us of the agent each") };
        figure(self.name, &format!("{rate:6.0} a second   {:3.0} % of direct{agent}", rate * 100.0 / direct));
    }
}

/// Reads one answer with a length, which must be a 200.
fn read(stream: &mut TcpStream, answer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).expect("an answer");
        filled += read;
        let bytes = &answer[..filled];
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(bytes));
        let Some(head) = find(bytes, b"\r\n\r\n") else { continue };
        let text = str::from_utf8(&bytes[..head]).expect("a head in ASCII");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let length = text.lines().filter_map(|line| line.split_once(": "));
        let length = length.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.parse().ok()).expect("a length");
        if filled >= head + 4 + length {
            return;
        }
    }
}

/// Of all threads of a process, in user and system mode (proc_pid_stat(5)).
pub fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks: u32 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
    TICK * ticks
}
