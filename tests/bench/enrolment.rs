//! What enrolling a Jami device costs for somebody who has an account, next to what it takes, signatures and the check of the
//! password, which the same machine does in turns with it; and what people who are logged in feel of first enrolments, for which keys are made.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use policy_server::pki::RsaKey;
use serde_json::json;
use tests::command::cams_with_input;
use tests::jami_client::{DeviceKey, basic};
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Link, WebServer, jami_keys};

use crate::load::processor_time;
use crate::logins::{HOST, TURN, ask, connect, cores, hash, on_every_core, paced, without_throttle};
use crate::{figure, spread};

/// The certificate, the receipt and what is announced in it.
const SIGNATURES: usize = 3;
const TURNS: usize = 3;
/// In each turn.
const DEVICES: usize = 200;
/// Enough of them that a core never waits for the next.
const AT_ONCE: usize = 8;
/// People with accounts, and people who have none yet.
const KNOWN: usize = 4;
const NEW: usize = 60;

pub async fn measure() {
    let Some(site) = WebServer::nginx().await else { return };
    let keys = jami_keys::keys(KNOWN + NEW + TURNS * DEVICES);
    let csrs: Vec<String> = keys.iter().map(DeviceKey::csr).collect();
    let (first, more) = csrs.split_at(KNOWN + NEW);
    let files = prepare();
    let server = files.start().await;
    let address = server.address.to_string();
    let properties = [
        ("cams.policy.server.1", address.as_str()),
        ("cams.site.site1.jami", "true"),
        ("cams.trusted.proxies", "127.0.0.1"),
        ("cams.trusted.proxies.client.cert", "true"),
    ];
    let agent = Agent::of_devices(&files.conf(), "a", &[(HOST, &site.url())], &properties).await;
    for (known, csr) in first.iter().take(KNOWN).enumerate() {
        ask(&mut connect(agent.address), &request(&person(known), csr), "200");
    }
    let key = RsaKey::generate().expect("a key");
    let both = || processor_time(server.process.pid()) + processor_time(agent.process.pid());
    let (mut signed, mut enrolled, mut of_signing, mut of_enrolling) = (0, 0, Duration::ZERO, Duration::ZERO);
    let (mut signing, mut enrolling) = (Duration::ZERO, Duration::ZERO);
    let (mut hashed, mut hashing, mut of_hashing) = (0, Duration::ZERO, Duration::ZERO);
    for turn in 0..TURNS {
        let (before, start) = (processor_time(std::process::id()), Instant::now());
        signed += sign(&key);
        signing += start.elapsed();
        of_signing += processor_time(std::process::id()) - before;
        let (before, start) = (processor_time(std::process::id()), Instant::now());
        hashed += hash();
        hashing += start.elapsed();
        of_hashing += processor_time(std::process::id()) - before;
        let (before, start) = (both(), Instant::now());
        enrolled += enrol_all(agent.address, &more[turn * DEVICES..(turn + 1) * DEVICES]);
        enrolling += start.elapsed();
        of_enrolling += both() - before;
    }
    let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64() / cores() as f64;
    let cost = |time: Duration, count: usize| time.as_secs_f64() * 1000.0 / count as f64;
    let (signatures, enrolments) = (rate(signed, signing), rate(enrolled, enrolling));
    let (of_signature, of_enrolment) = (cost(of_signing, signed), cost(of_enrolling, enrolled));
    let line = |rate: f64, time: f64| format!("{rate:6.1} a second and core   {time:5.1} ms of processor time each");
    figure("RSA-4096 signatures alone", &line(signatures, of_signature));
    let (hashes, of_hash) = (rate(hashed, hashing), cost(of_hashing, hashed));
    figure("Argon2id hashes alone", &line(hashes, of_hash));
    // What a login costs does not depend on the digest of who logs in: it would tell who is there.
    let of_rate = enrolments * (SIGNATURES as f64 / signatures + 1.0 / hashes);
    let of_time = (of_signature * SIGNATURES as f64 + of_hash) / of_enrolment;
    let ratios = format!("{of_rate:.2} and {of_time:.2} of what {SIGNATURES} signatures and a hash allow");
    figure("enrolments, people with accounts", &format!("{}   {ratios}", line(enrolments, of_enrolment)));

    let link = Link::connect(server.address, &files.add_agent("probe")).await;
    let (token, _) = link.log_in("alice", PASSWORD).await;
    let page =
        format!("GET /private/kept HTTP/1.1\r\nHost: {HOST}\r\nCookie: CAMS_SID_MYCAMSCLUSTER_SYSTEM={token}\r\n\r\n");
    let (mut calm, mut beside, next) = (Vec::new(), Vec::new(), AtomicUsize::new(KNOWN));
    for _ in 0..TURNS {
        calm.extend(paced(agent.address, &page, Instant::now() + TURN));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| first_enrolments(agent.address, first, &next, &is_over));
            beside.extend(paced(agent.address, &page, Instant::now() + TURN));
            is_over.store(true, Ordering::Relaxed);
        });
    }
    spread("a remembered page, no enrolments", calm);
    spread("the same, keys for accounts made", beside);
    figure("first enrolments meanwhile", &(next.load(Ordering::Relaxed) - KNOWN).to_string());
}

/// People, and an authority.
fn prepare() -> Files {
    let files = Files::new("One", None);
    let digest = cams_with_input(["digest", "--scheme", "SSHA256"], PASSWORD.as_bytes()).success();
    replace(&files.path("conf/domains/system/cams-users.xml"), |text| {
        let users = (0..KNOWN + NEW).fold(String::new(), |mut users, number| {
            let name = person(number);
            writeln!(users, "<user name='{name}' password='{}'/>", digest.trim()).expect("a string");
            users
        });
        text.replace("</cams-users>", &format!("{users}</cams-users>"))
    });
    replace(&files.conf(), |text| format!("{text}\ncams.jami.devices.per.user=10000\n"));
    without_throttle(&files);
    files.cams(&["ca", "create"]).success();
    files
}

fn person(number: usize) -> String {
    format!("person{number}")
}

/// Signs on every core.
fn sign(key: &RsaKey) -> usize {
    on_every_core(|end| {
        let mut count = 0;
        while Instant::now() < end {
            key.sign_sha512(&[0; 600]).expect("it signs");
            count += 1;
        }
        count
    })
}

/// All of them, for people with accounts.
fn enrol_all(agent: SocketAddr, csrs: &[String]) -> usize {
    let left = Mutex::new(csrs.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut stream = connect(agent);
                loop {
                    let next = left.lock().expect("nobody panics with it").next();
                    let Some((number, csr)) = next else { return };
                    ask(&mut stream, &request(&person(number % KNOWN), csr), "200");
                }
            });
        }
    });
    csrs.len()
}

/// One person after the other, each with a first device.
fn first_enrolments(agent: SocketAddr, csrs: &[String], next: &AtomicUsize, is_over: &AtomicBool) {
    let mut stream = connect(agent);
    while !is_over.load(Ordering::Relaxed) {
        let number = next.load(Ordering::Relaxed);
        let Some(csr) = csrs.get(number) else { return };
        ask(&mut stream, &request(&person(number), csr), "200");
        next.store(number + 1, Ordering::Relaxed);
    }
}

fn request(user: &str, csr: &str) -> String {
    let body = json!({"csr": csr, "deviceName": "a figure's"}).to_string();
    format!(
        "POST /api/auth/device HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        basic(user, PASSWORD),
        body.len()
    )
}
