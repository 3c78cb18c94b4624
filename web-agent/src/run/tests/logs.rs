//! What the log says, and what it must never say.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// Everything that the tests of this program log: what is looked for in it is this test's alone.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The access line of a path, once it is there.
    async fn line(&self, path: &str) -> String {
        let found = async {
            loop {
                if let Some(line) = self.text().lines().find(|line| line.contains("access: ") && line.contains(path)) {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.unwrap_or_else(|_| panic!("{path}: {}", self.text()))
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_request_has_one_line_without_secrets() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    subscriber.with_writer(captured.clone()).init();
    let setting = Setting::new().await;

    ask(setting.http, get("/canary-unreadable", "Bad Name: canary\r\n")).await.unwrap();
    let unreadable = super::assertions::reported(&setting, 1).await;
    let unreadable = format!("id=\"{}\"", unreadable[0]["request_id"].as_str().unwrap());
    ask(setting.http, get("/private/log-granted?q=canary-query", ALICE)).await.unwrap();
    ask(setting.http, get("/private/log-asked", "Cookie: CAMS_SID_TEST_SYSTEM=canary-cookie\r\n")).await.unwrap();
    ask(setting.http, get("/public/refused/../x", "X-Client-Cert: canary-header\r\n")).await.unwrap();
    let body =
        "cams_cb_username=alice&cams_cb_password=canary-password&cams_security_domain=system&cams_login_config=http";
    let login = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
    let login =
        format!("POST /cams/login HTTP/1.1\r\nHost: app.test\r\n{login}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(ask(setting.http, login).await.unwrap().status, 401);
    let mut tunnel = Client::connect(setting.http).await;
    tunnel.send(get("/public/log/ws", WEBSOCKET)).await;
    tunnel.until(b"\r\n\r\n").await.unwrap();
    setting.agent.stop(Duration::from_millis(50)).await;

    for (path, expected) in [
        ("\"/private/log-granted\"", vec!["status=200", "user=\"alice\"", "method=\"GET\"", "peer=127.0.0.1"]),
        ("\"/private/log-asked\"", vec!["status=401"]),
        ("\"/cams/login\"", vec!["status=", "method=\"POST\""]),
        // Refused by the engine, and yet in the log.
        (&unreadable, vec!["status=400", "peer=127.0.0.1", "path=\"\""]),
        // Cut, and yet in the log.
        ("\"/public/log/ws\"", vec![" id="]),
    ] {
        let line = captured.line(path).await;
        assert!(expected.iter().all(|part| line.contains(part)), "{expected:?}: {line}");
    }
    let text = captured.text();
    assert!(!text.contains("canary"), "{}", text.lines().find(|line| line.contains("canary")).unwrap_or_default());
    assert!(text.lines().any(|line| line.contains("audit") && line.contains("LoginFailed")), "{text}");
}
