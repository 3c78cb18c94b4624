use std::path::Path;
use std::time::Instant;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ber::{self, Ber};
use super::message::{self, answer};
use super::*;

fn take(text: &str, ssl: bool) -> (Option<Directory>, String) {
    let mut problems = Problems::default();
    let mut options = Options::from_properties(Path::new("t"), text, &mut problems);
    let directory = Directory::take(&mut options, ssl, &mut problems);
    options.finish(&mut problems);
    (directory, problems.to_string())
}

#[test]
fn options_say_where_the_directory_is() {
    for (text, ssl, expected) in [
        ("host=a.test", false, "ldap://a.test:389"),
        ("host=a.test", true, "ldaps://a.test:636"),
        ("host=a.test\nstartTls=true", true, "ldap://a.test:389"),
        ("host=a.test b.test:1, ldaps://c.test\nport=3", false, "ldap://a.test:3 ldap://b.test:1 ldaps://c.test:3"),
        ("", false, ""),
    ] {
        let (directory, problems) = take(text, ssl);
        assert_eq!(problems, "", "{text}");
        let endpoints = directory.unwrap().endpoints();
        assert_eq!(endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn wrong_options_are_problems() {
    for (text, expected) in [
        ("host=ldaps://a.test\nstartTls=true", "write ldap://"),
        ("ssl=true\nstartTls=true", "keep one"),
        ("port=0", "`0` is not a port"),
        ("port=x", "`x` is not a port"),
        ("readTimeout=0s", "more than nothing"),
        ("connectTimeout=2m", "at most 60s"),
        ("sizeLimit=0", "from 1 to"),
        ("pageSize=-1", "not a number"),
        ("referrals=follow", "servers that are not configured"),
        ("derefAliases=sometimes", "never, searching, finding or always"),
        ("bindDn=cn=x", "needs `bindPassword`"),
        ("bindPassword=x", "needs `bindDn`"),
        ("bindDn=cn=x\nbindPassword=", "it is empty"),
        ("bindDn= \nbindPassword=x", "`bindDn` is empty"),
        ("bindDn=cn=x\nbindPassword=env:NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
        ("bindDn=cn=x\nbindPassword=file:/no/such/file", "cannot read the secret file"),
        ("verifyHostname=false", "`false` needs `caFile`"),
        ("caFile=/no/such/file", "cannot read /no/such/file"),
        ("caFile=/dev/null", "not a regular file"),
        ("clientCertFile=/no/such/file", "go together"),
        ("hots=a", "unknown property `hots`"),
    ] {
        let (directory, problems) = take(text, false);
        assert!(problems.contains(expected), "{text}: {problems}");
        assert!(directory.is_none() || text.starts_with("hots"), "{text}");
    }
}

/// A directory that is `behave`, whatever it is asked. The address is the only thing it shares with a real one.
async fn server<F, B>(behave: B) -> String
where
    B: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

async fn hang(stream: TcpStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

fn directory(hosts: &str, more: &str) -> Directory {
    let read = if more.contains("readTimeout") { "" } else { "readTimeout=300ms" };
    let text = format!("host={hosts}\nconnectTimeout=300ms\n{read}\n{more}");
    let (directory, problems) = take(&text, false);
    directory.unwrap_or_else(|| panic!("{problems}"))
}

fn result(tag: u8, id: i64, code: i64) -> Ber {
    let (code, empty) = (ber::integer(ber::ENUMERATED, code), ber::octets(""));
    message::request(id, &ber::element(tag, &[&code, &empty, &empty]), &[])
}

fn entry(id: i64, size: usize) -> Ber {
    let values = ber::element(ber::SET, &[&ber::octets(vec![b'x'; size])]);
    let attributes = ber::element(ber::SEQUENCE, &[&ber::element(ber::SEQUENCE, &[&ber::octets("cn"), &values])]);
    message::request(id, &ber::element(answer::ENTRY, &[&ber::octets("cn=a"), &attributes]), &[])
}

async fn search(directory: &Directory) -> Result<Found, LdapError> {
    let filter = Filter::parse("(cn=*)", 0).unwrap().encode::<&str>(&[]);
    directory.search(&Search { base: "dc=test", scope: Scope::Sub, filter, attributes: &["cn"], limit: 10 }).await
}

/// Ids of requests begin with this one.
const FIRST: i64 = 2;

/// Answers the first thing it hears with these bytes, again and again.
async fn repeating(mut stream: TcpStream, bytes: Vec<u8>, times: usize) {
    _ = stream.read(&mut [0; 4096]).await;
    for _ in 0..times {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
    hang(stream).await;
}

#[tokio::test]
async fn a_hostile_server_costs_a_bounded_time_and_gets_no_answer_believed() {
    const EVER: usize = usize::MAX;
    let junk: Vec<(&str, Vec<u8>, usize, &str)> = vec![
        ("silence", Vec::new(), 0, "in time"),
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 1, "malformed"),
        ("a length of 2^63", vec![0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0], 1, "malformed"),
        ("a length of 4 GB", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff], 1, "too large"),
        ("an indefinite length", vec![0x30, 0x80], 1, "malformed"),
        ("nesting without end", [0x30, 0x84, 0, 0x08, 0, 0].repeat(150_000), 1, "malformed"),
        ("an empty message", vec![0x30, 0x00], 1, "malformed"),
        ("a message that ends early", vec![0x30, 0x7f, 0x02], 1, "in time"),
        ("entries without end", entry(FIRST, 10).to_vec(), EVER, "more entries"),
        ("large entries without end", entry(FIRST, 1 << 19).to_vec(), EVER, "too large"),
        ("one too large entry", entry(FIRST, 2 << 20).to_vec(), 1, "too large"),
        ("an entry and no end", entry(FIRST, 10).to_vec(), 1, "in time"),
        ("an answer to something else", result(answer::SEARCH_DONE, 7, 0).to_vec(), 1, "something else"),
        ("an answer of another kind", result(answer::BIND, FIRST, 0).to_vec(), 1, "another kind"),
        ("a notice of disconnection", result(answer::EXTENDED, 0, 52).to_vec(), 1, "ends the connection"),
        ("an intermediate answer nobody asked for", result(0x79, FIRST, 0).to_vec(), EVER, "another kind"),
        ("references without end", result(answer::REFERENCE, FIRST, 0).to_vec(), EVER, "more entries"),
    ];
    for (what, bytes, times, expected) in junk {
        let address = server(move |stream| repeating(stream, bytes.clone(), times)).await;
        // Time is for what hangs; the rest is over when it is read.
        let directory = directory(&address, if expected == "in time" { "" } else { "readTimeout=20s" });
        let error = search(&directory).await.map(|found| found.entries.len()).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(directory.idle().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn references_are_no_entries() {
    let reference = result(answer::REFERENCE, FIRST, 0).repeat(12);
    let bytes = [reference.as_slice(), &entry(FIRST, 10), &result(answer::SEARCH_DONE, FIRST, 0)].concat();
    let address = server(move |stream| repeating(stream, bytes.clone(), 1)).await;
    let found = search(&directory(&address, "readTimeout=20s")).await.unwrap();
    assert_eq!((found.entries.len(), found.references, found.incomplete), (1, 12, false));
}

/// A byte now and then is no answer: the time is for the whole of it.
#[tokio::test]
async fn a_slow_drip_is_given_up() {
    let address = server(|mut stream| async move {
        for byte in result(answer::SEARCH_DONE, FIRST, 0).iter() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            _ = stream.write_all(&[*byte]).await;
        }
    })
    .await;
    let started = Instant::now();
    assert!(matches!(search(&directory(&address, "")).await, Err(LdapError::Timeout { .. })));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

async fn nothing(stream: TcpStream) {
    repeating(stream, result(answer::SEARCH_DONE, FIRST, 0).to_vec(), 1).await;
}

#[tokio::test]
async fn the_next_host_is_asked_when_one_is_dead_or_hangs() {
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let good = server(nothing).await;
    let directory = directory(&format!("{dead} {good}"), "");
    assert_eq!(search(&directory).await.unwrap().entries, []);

    let hanging = server(hang).await;
    let tls = self::directory(&format!("ldaps://{hanging} {good}"), "");
    assert_eq!(search(&tls).await.unwrap().entries, [], "the handshake hangs");

    let plain = self::directory(&format!("{hanging} {good}"), "");
    assert!(matches!(search(&plain).await, Err(LdapError::Timeout { .. })), "it took the connection");
    assert_eq!(search(&plain).await.unwrap().entries, [], "the other one is asked from now on");

    let none = self::directory(&dead, "");
    assert!(matches!(search(&none).await, Err(LdapError::Unreachable(_))));
}

/// Whoever answers no, nothing, or more than yes to StartTLS, hears nothing after it.
#[tokio::test]
async fn without_tls_nothing_is_said_where_tls_was_asked_for() {
    let yes = result(answer::EXTENDED, 1, 0).to_vec();
    let no = result(answer::EXTENDED, 1, 2).to_vec();
    let injected = [yes.clone(), result(answer::BIND, 2, 0).to_vec()].concat();
    let other = result(answer::BIND, 1, 0).to_vec();
    for first in [no, injected, other, yes, b"junk".to_vec()] {
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let answer = first.clone();
        let address = server(move |mut stream| {
            let (answer, heard) = (answer.clone(), heard.clone());
            async move {
                let mut bytes = vec![0; 4096];
                let length = stream.read(&mut bytes).await.unwrap();
                _ = heard.send(bytes[..length].to_vec());
                _ = stream.write_all(&answer).await;
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    _ = heard.send(bytes[..length].to_vec());
                }
            }
        })
        .await;
        let directory = directory(&address, "startTls=true\nbindDn=cn=x\nbindPassword=canary");
        assert!(matches!(search(&directory).await, Err(LdapError::Unreachable(_))), "{first:?}");
        assert!(matches!(directory.connect().await, Err(LdapError::Unreachable(_))), "{first:?}");
        drop(directory);
        let mut all = Vec::new();
        while let Ok(bytes) = hears.try_recv() {
            all.extend(bytes);
        }
        assert!(!all.windows(6).any(|window| window == b"canary"), "{first:?}");
        assert!(!all.windows(4).any(|window| window == b"cn=x"), "{first:?}");
    }
}

#[tokio::test]
async fn an_empty_bind_is_never_sent() {
    let address = server(|mut stream| async move {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    })
    .await;
    let directory = directory(&address, "");
    for (dn, password) in [("", "pw"), (" ", "pw"), ("cn=a", ""), ("", "")] {
        let mut connection = directory.connect().await.unwrap();
        let refused = connection.bind(dn, &Secret::from(password), true).await;
        assert!(matches!(refused, Err(LdapError::EmptyBind)), "{dn:?} {password:?}");
    }
}

#[tokio::test]
async fn connections_to_one_directory_are_counted() {
    let address = server(hang).await;
    let directory = directory(&address, "");
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        open.push(directory.connect().await.unwrap());
    }
    assert!(matches!(directory.connect().await, Err(LdapError::Busy)));
    open.pop();
    assert!(directory.connect().await.is_ok());
}

/// The server closes each connection after two answers; the pool has to see that.
#[tokio::test]
async fn only_good_connections_are_kept() {
    let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let closed = closed.clone();
        async move {
            for id in FIRST..FIRST + 2 {
                _ = stream.read(&mut [0; 4096]).await;
                _ = stream.write_all(&result(answer::SEARCH_DONE, id, 0)).await;
            }
            drop(stream);
            _ = closed.send(());
        }
    })
    .await;
    let directory = directory(&address, "poolSize=1");
    for _ in 0..3 {
        search(&directory).await.unwrap();
        assert_eq!(directory.idle().len(), 1);
        search(&directory).await.unwrap();
        closes.recv().await.unwrap();
    }
    assert!(closes.try_recv().is_err(), "two searches a connection");
}
