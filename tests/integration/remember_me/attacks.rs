//! Cookies that are not what they were, keys that change, processes that die, and what a thief of one half reads.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// All that a browser sees of an answer; the target says nothing of the cookie.
fn seen(reply: &Reply) -> String {
    let headers = reply.headers.iter().filter(|(name, _)| *name != "date");
    format!("{} {:?} {}", reply.status, headers.collect::<Vec<_>>(), reply.text())
}

#[tokio::test]
async fn every_spoilt_cookie_is_refused_alike() {
    let world = World::start().await;
    let client = world.client();
    let (mine, bobs) = (remembered(&client, "alice", PASSWORD).await, world.remembered("bob", PASSWORD).await);
    let session = client.cookie(SESSION).unwrap();
    // Of the same cluster and domain, under the same key: only the store does not know it.
    let stranger = Files::new("Two", None);
    fs::copy(domain_file(&world.files, "security-domain.xml"), domain_file(&stranger, "security-domain.xml")).unwrap();
    fs::copy(domain_file(&world.files, "login-config.xml"), domain_file(&stranger, "login-config.xml")).unwrap();
    let elsewhere = World::of(stranger).await.remembered("alice", PASSWORD).await;

    let (bytes, other) = (URL_SAFE_NO_PAD.decode(&mine).unwrap(), URL_SAFE_NO_PAD.decode(&bobs).unwrap());
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let cut = (1..bytes.len()).map(|length| bytes[..length].to_vec());
    let spliced = (1..bytes.len()).step_by(8).filter_map(|at| {
        let splice = [&bytes[..at], &other[at..]].concat();
        (splice != bytes && splice != other).then_some(splice)
    });
    let spoilt = flipped.chain(cut).chain(spliced).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    let texts = [elsewhere, session, format!("{mine}A"), format!("{mine}="), mine.to_uppercase(), "x".into()];
    let spoilt: Vec<String> = spoilt.chain(texts).collect();

    let mut answers = BTreeSet::new();
    for some in spoilt.chunks(16) {
        for visit in join_all(some.iter().map(|cookie| world.visit(cookie))).await {
            assert_eq!(visit.outcome(), Outcome::Forgotten);
            answers.insert(seen(&visit.reply));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    for (cookie, name) in [(&mine, "alice"), (&bobs, "bob")] {
        assert_eq!(world.visit(cookie).await.outcome(), Outcome::LoggedIn, "{name}: nobody else's try ends it");
    }
}

#[tokio::test]
async fn keys_are_changed_while_it_runs() {
    let world = World::start().await;
    // Version and the key's id stand before everything else.
    let key_of = |cookie: &str| URL_SAFE_NO_PAD.decode(cookie).unwrap()[..5].to_vec();
    let (kept, forgotten) = (world.remembered("alice", PASSWORD).await, world.remembered("alice", PASSWORD).await);
    let fresh = command(["keygen"]).success();
    let fresh = fresh.lines().find(|line| line.contains("\"secretKey\"")).unwrap().to_owned();
    let domain = domain_file(&world.files, "security-domain.xml");
    replace(&domain, |text| {
        text.replace("<param name=\"secretKey\"", &format!("{fresh}\n<param name=\"secretKeyPrevious\""))
    });
    let is_sealed_anew = async || key_of(&world.remembered("bob", PASSWORD).await) != key_of(&kept);
    within_async(SOON, "the new key seals", is_sealed_anew).await;

    let back = world.visit(&kept).await;
    assert_eq!(back.outcome(), Outcome::LoggedIn, "the key before still opens");
    assert_ne!(key_of(&back.cookie()), key_of(&kept), "the cookie has the new key");
    replace(&domain, |text| {
        text.lines().filter(|line| !line.contains("secretKeyPrevious")).collect::<Vec<_>>().join("\n")
    });
    let is_over = async || world.visit(&forgotten).await.outcome() == Outcome::Forgotten;
    within_async(SOON, "the key before is gone", is_over).await;
    assert_eq!(world.visit(&back.cookie()).await.outcome(), Outcome::LoggedIn);
}

/// Sends a request and does not wait for the answer.
async fn visit_in_vain(world: &World, cookie: &str) {
    use tokio::io::AsyncWriteExt;

    let client = world.client();
    let mut stream = client.connect().await;
    let host = client.origin().authority();
    let head =
        format!("GET {PAGE} HTTP/1.1\r\nHost: {host}\r\nCookie: {REMEMBERED}={cookie}\r\nAccept: text/html\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

/// Each of these answers would have brought the next cookie.
#[tokio::test]
async fn lost_answers_are_no_theft() {
    let world = World::start().await;
    let cookie = world.remembered("alice", PASSWORD).await;
    for logins in 2..5 {
        visit_in_vain(&world, &cookie).await;
        within_async(SOON, "the lost login", async || world.events("login").len() == logins).await;
        // So late that the agent does not share what came of it, and the grace is over.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    assert_eq!(world.visit(&cookie).await.outcome(), Outcome::LoggedIn);
    assert_eq!(world.events("remember-me-theft"), [] as [Value; 0]);
}

/// Processes die in the middle of twenty tabs that come back; nobody is asked for a password because of it.
#[tokio::test]
async fn processes_that_die_log_nobody_out() {
    let cams = Quickstart::start(&[]).await;
    let alice = cams.client();
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", "/private/"),
        ("cams_cb_username", "alice"),
        ("cams_cb_password", cams.user("alice").password.as_str()),
        ("cams_cb_autologin_flag", "true"),
    ];
    assert_eq!(alice.post_form("/cams/login", &fields).await.status, 303);
    let cookie = alice.cookie(REMEMBERED).unwrap();
    let tab = || {
        let client = cams.client();
        client.set_cookie(REMEMBERED, &cookie);
        client
    };
    for process in ["policy server", "agent"] {
        let facts = cams.facts();
        let tabs: Vec<Client> = (0..20).map(|_| tab()).collect();
        let under_way = join_all(tabs.iter().map(|tab| tab.get_unless_cut("/private/")));
        let dies = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            cams.kill9(if process == "agent" { facts.web_agent_pid } else { facts.policy_server_pid });
        };
        tokio::join!(under_way, dies);
        let listens = async || tokio::net::TcpStream::connect(cams.raw().authority()).await.is_ok();
        within_async(SOON, "the agent listens where it did", listens).await;
        let is_back =
            async |client: &Client| client.get_unless_cut("/private/").await.is_some_and(|reply| reply.status == 200);
        within_async(SOON, "the session goes on", async || is_back(&alice).await).await;
        within_async(SOON, "the browser is remembered", async || is_back(&tab()).await).await;
    }
    let thefts = cams.audit().into_iter().filter(|event| event["event"] == "remember-me-theft").count();
    assert_eq!(thefts, 0);
}
