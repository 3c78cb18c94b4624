//! What logins cost: how many a second the product takes in with Argon2id digests, next to what the same machine hashes
//! without it, and what people who are logged in already feel of such a rush. Logins and bare hashing take turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use tests::command::cams_with_input;
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::wire::find;
use tests::{Agent, Link, WebServer};

use crate::load::processor_time;
use crate::{figure, spread};

pub const HOST: &str = "app.test";
pub const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 3;
/// Enough of them that a core never waits for the next.
const RUSHING: usize = 16;
/// Between two requests of somebody who is logged in already.
const PACE: Duration = Duration::from_millis(4);

pub async fn measure() {
    let Some(site) = WebServer::nginx().await else { return };
    let files = Files::new("One", None);
    let digest = cams_with_input(["digest"], PASSWORD.as_bytes()).success();
    replace(&files.path("conf/domains/system/cams-users.xml"), |_| {
        let user = format!("<user name='alice' password='{}'><role name='user'/></user>", digest.trim());
        format!("<cams-users>\n{user}\n</cams-users>\n")
    });
    without_throttle(&files);
    let server = files.start().await;
    let properties = [("cams.policy.server.1", &*server.address.to_string())];
    let agent = Agent::of(&files.conf(), "a", &[(HOST, &site.url())], &properties).await;
    let link = Link::connect(server.address, &files.add_agent("probe")).await;
    let (token, _) = link.log_in("alice", PASSWORD).await;
    let page =
        format!("GET /private/kept HTTP/1.1\r\nHost: {HOST}\r\nCookie: CAMS_SID_MYCAMSCLUSTER_SYSTEM={token}\r\n\r\n");
    let (mut hashes, mut logins, mut calm, mut rushed) = (0, 0, Vec::new(), Vec::new());
    let [mut of_hashes, mut of_pages, mut of_logins] = [Duration::ZERO; 3];
    let both = || processor_time(server.process.pid()) + processor_time(agent.process.pid());
    for _ in 0..TURNS {
        let before = processor_time(std::process::id());
        hashes += hash();
        of_hashes += processor_time(std::process::id()) - before;
        let before = both();
        calm.extend(during(TURN, |end| paced(agent.address, &page, end)));
        of_pages += both() - before;
        let (is_over, before) = (AtomicBool::new(false), both());
        thread::scope(|scope| {
            let rush: Vec<_> = (0..RUSHING).map(|_| scope.spawn(|| log_in(agent.address, &is_over))).collect();
            rushed.extend(during(TURN, |end| paced(agent.address, &page, end)));
            is_over.store(true, Ordering::Relaxed);
            of_logins += both() - before;
            logins += rush.into_iter().map(|rushing| rushing.join().expect("it does not panic")).sum::<usize>();
        });
    }
    let seconds = TURN.as_secs_f64() * TURNS as f64;
    // Whatever else the machine does takes none of this. The pages that were asked for meanwhile are taken off.
    let each = |time: Duration, count: usize| time.as_secs_f64() * 1000.0 / count as f64;
    let (of_hash, of_login) = (each(of_hashes, hashes), each(of_logins.saturating_sub(of_pages), logins));
    let [hashes, logins] = [hashes, logins].map(|count| count as f64 / seconds / cores() as f64);
    let line = |rate: f64, time: f64| format!("{rate:6.1} a second and core   {time:5.1} ms of processor time each");
    figure("Argon2id alone", &format!("{}   19 MiB, t=2, p=1", line(hashes, of_hash)));
    let ratios = format!("{:.2} and {:.2} of Argon2id alone", logins / hashes, of_hash / of_login);
    figure("logins, throttle off", &format!("{}   {ratios}", line(logins, of_login)));
    spread("a remembered page, no logins", calm);
    spread("a remembered page, in the rush", rushed);
}

/// One address that logs in as fast as it can is what guessing looks like.
pub fn without_throttle(files: &Files) {
    replace(&files.path("conf/domains/system/security-domain.xml"), |text| {
        let on = "ThrottleAuthValve\" enabled=\"true\"";
        assert!(text.contains(on), "{text}");
        text.replace(on, &on.replace("true", "false"))
    });
}

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn during<T>(turn: Duration, work: impl FnOnce(Instant) -> T) -> T {
    work(Instant::now() + turn)
}

/// Hashes on every core, in memory that is there already.
pub fn hash() -> usize {
    let one = |end: Instant| {
        let params = Params::new(19 * 1024, 2, 1, Some(32)).expect("good parameters");
        let mut blocks = vec![Block::new(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (mut key, mut count) = ([0; 32], 0);
        while Instant::now() < end {
            argon2
                .hash_password_into_with_memory(PASSWORD.as_bytes(), b"sixteen bytes ok", &mut key, &mut blocks)
                .expect("it hashes");
            count += 1;
        }
        count
    };
    on_every_core(one)
}

/// For a turn, work that counts what it has done at the end of it.
pub fn on_every_core(work: impl Fn(Instant) -> usize + Sync) -> usize {
    let end = Instant::now() + TURN;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(|| work(end))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    })
}

/// Logs in until told to stop.
fn log_in(agent: SocketAddr, is_over: &AtomicBool) -> usize {
    let password = PASSWORD.replace(' ', "+");
    let form = format!(
        "cams_security_domain=system&cams_login_config=http&cams_cb_username=alice&cams_cb_password={password}"
    );
    let post = format!(
        "POST /cams/login HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let (mut stream, mut count) = (connect(agent), 0);
    while !is_over.load(Ordering::Relaxed) {
        ask(&mut stream, &post, "303");
        // Those that were under way at the end would count twice.
        count += usize::from(!is_over.load(Ordering::Relaxed));
    }
    count
}

/// How long each page took.
pub fn paced(agent: SocketAddr, page: &str, end: Instant) -> Vec<Duration> {
    let mut stream = connect(agent);
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        ask(&mut stream, page, "200");
        times.push(start.elapsed());
        thread::sleep(PACE);
    }
    times
}

pub fn connect(agent: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(agent).expect("it listens");
    stream.set_nodelay(true).expect("TCP");
    stream
}

/// Sends a request and reads its answer, which must have this status and a length.
pub fn ask(stream: &mut TcpStream, request: &str, status: &str) {
    stream.write_all(request.as_bytes()).expect("it reads");
    let (mut answer, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = stream.read(&mut part).expect("an answer");
        answer.extend_from_slice(&part[..read]);
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&answer));
        let Some(head) = find(&answer, b"\r\n\r\n") else { continue };
        let text = str::from_utf8(&answer[..head]).expect("a head in ASCII");
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{}", String::from_utf8_lossy(&answer));
        let length = text.lines().filter_map(|line| line.split_once(": "));
        let length = length.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        if answer.len() >= head + 4 + length {
            return;
        }
    }
}
