//! Bodies that are to exhaust or confuse whoever reads them. The agent reads the login form and no other.

use tests::process::memory;
use tests::{Answer, Quickstart};

const FORM: &str = "application/x-www-form-urlencoded";
const MIB: u64 = 1 << 20;

/// A login with these headers and, of its body, these bytes.
fn login(cams: &Quickstart, headers: &str, body: &[u8]) -> Vec<u8> {
    let host = cams.raw().authority();
    let head = format!("POST /cams/login HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\n{headers}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn whole(cams: &Quickstart, headers: &str, body: &[u8]) -> Vec<u8> {
    login(cams, &format!("{headers}\r\nContent-Length: {}\r\nConnection: close", body.len()), body)
}

#[tokio::test]
async fn no_login_is_unpacked_guessed_at_or_read_without_end() {
    let cams = Quickstart::start(&[]).await;
    let form = |body: &[u8]| whole(&cams, &format!("Content-Type: {FORM}"), body);
    let coded =
        |coding: &str| whole(&cams, &format!("Content-Type: {FORM}\r\nContent-Encoding: {coding}"), &[0; 10_240]);
    let typed = |kind: &str, body: &str| whole(&cams, &format!("Content-Type: {kind}"), body.as_bytes());
    let large = [b"cams_cb_password=".to_vec(), vec![b'x'; 60_000]].concat();
    let cases = [
        ("gzip", coded("gzip"), 415),
        ("br", coded("br"), 415),
        ("zstd", coded("zstd"), 415),
        ("packed twice", coded("gzip, gzip"), 415),
        ("multipart", typed("multipart/form-data; boundary=x", &"--x\r\n\r\n".repeat(1_000)), 415),
        ("deep JSON", typed("application/json", &"[".repeat(60_000)), 415),
        ("another charset", typed("application/x-www-form-urlencoded; charset=utf-7", "a=b"), 415),
        ("many fields", form(&b"a=b&".repeat(200)), 400),
        ("a million fields", form(&b"a=b&".repeat(1_000_000)), 413),
        ("two user names", form(b"cams_cb_username=alice&cams_cb_username=admin"), 400),
        ("two user names, one escaped", form(b"cams_cb_username=alice&cams_cb_%75sername=admin"), 400),
        ("half an escape", form(b"cams_cb_username=%4"), 400),
        ("a NUL", form(b"cams_cb_username=a%00b"), 400),
        (
            "a long password",
            login(&cams, &format!("Content-Type: {FORM}\r\nContent-Length: {}", 100 * MIB), &large),
            413,
        ),
        (
            "chunks without end",
            {
                let chunk = [b"ffff\r\n".to_vec(), vec![b'x'; 0xffff], b"\r\n".to_vec()].concat();
                login(&cams, &format!("Content-Type: {FORM}\r\nTransfer-Encoding: chunked"), &chunk.repeat(20))
            },
            413,
        ),
        // Case 70: the agent's limit for a form is 10 s.
        ("a body that does not come", login(&cams, &format!("Content-Type: {FORM}\r\nContent-Length: 9"), b"a"), 408),
    ];
    let (raw, pid) = (cams.raw(), cams.facts().web_agent_pid);
    let before = memory(pid);
    for (what, request, status) in cases {
        let answer = Answer::whole(raw.exchange(&request).await);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
    assert_eq!(cams.client_of("alice").await.get("/private/").await.status, 200);
}
