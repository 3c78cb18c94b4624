//! A real Chromium, steered through chromedriver, in a home of its own that trusts one CA.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantoccini::error::NewSessionError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, descendants, is_alive, signal};
use crate::services::{command, missing, target_dir};
use crate::wait::within_async;

/// How long the browser may take to start, and a page to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key that submits a form, as WebDriver writes it.
const ENTER: &str = "\u{e007}";

/// The screens a page is looked at on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    Phone,
    Desktop,
}

/// A browser with one session. It and everything it started end when this is dropped.
#[derive(Debug)]
pub struct Browser {
    pub session: Client,
    chromium: PathBuf,
    /// Where the driver listens.
    port: u16,
    driver: Process,
    home: TempDir,
}

impl Browser {
    /// Starts a browser that trusts this CA besides nothing. None, with the skipped test's name printed, where the
    /// machine has no browser and the tests may do without.
    pub async fn start(ca_pem: Option<&[u8]>) -> Option<Self> {
        let Some(chromium) = command(&["chromium", "chromium-browser", "google-chrome"]) else {
            missing("chromium");
            return None;
        };
        let Some(chromedriver) = command(&["chromedriver"]) else {
            missing("chromedriver");
            return None;
        };
        let home = tempfile::tempdir().expect("a temporary folder");
        if let Some(ca_pem) = ca_pem
            && !trust(home.path(), ca_pem)
        {
            missing("certutil");
            return None;
        }
        let mut driver = Process::spawn(
            Command::new(chromedriver).arg("--port=0").env("HOME", home.path()).env("TMPDIR", home.path()),
        );
        let port = driver.line(PATIENCE, port).await;
        let session = open(&chromium, home.path(), port).await;
        let session = session.unwrap_or_else(|error| panic!("{error}\n{}", driver.output()));
        Some(Self { session, chromium, port, driver, home })
    }

    /// Closes the browser as people do, and starts it again: what it keeps it still has.
    pub async fn reopen(&mut self) {
        self.session.clone().close().await.expect("a browser to close");
        let session = open(&self.chromium, self.home.path(), self.port).await;
        self.session = session.unwrap_or_else(|error| panic!("{error}\n{}", self.driver.output()));
    }

    /// The value of a cookie of the site that is shown.
    pub async fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.session.get_all_cookies().await.expect("a page");
        cookies.into_iter().find(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned())
    }

    /// Clicks on what stays on its page, such as a checkbox.
    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    pub async fn goto(&self, url: &str) {
        self.session.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    pub async fn url(&self) -> String {
        self.session.current_url().await.expect("a page").to_string()
    }

    /// The text of the first element that this CSS selector finds, as people see it.
    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("its text")
    }

    /// The present value of a form's field.
    pub async fn value(&self, css: &str) -> String {
        self.find(css).await.prop("value").await.expect("a field").unwrap_or_default()
    }

    pub async fn has(&self, css: &str) -> bool {
        !self.session.find_all(Locator::Css(css)).await.expect("a page").is_empty()
    }

    pub async fn source(&self) -> String {
        self.session.source().await.expect("a page")
    }

    /// Follows a link and waits for the page it leads to.
    pub async fn follow(&self, css: &str) {
        let link = self.find(css).await;
        self.leave(async || link.click().await.unwrap_or_else(|error| panic!("{css}: {error}"))).await;
    }

    /// Types into an emptied field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.expect("a field");
        field.send_keys(text).await.expect("a field");
    }

    /// Types into a field, submits its form with the Enter key and waits for the page that answers.
    pub async fn submit(&self, css: &str, text: &str) {
        self.fill(css, text).await;
        let field = self.find(css).await;
        self.leave(async || field.send_keys(ENTER).await.expect("a field")).await;
    }

    /// Opens another tab and goes on in it.
    pub async fn new_tab(&self) -> fantoccini::wd::WindowHandle {
        let tab = self.session.new_window(true).await.expect("a tab").handle;
        self.session.switch_to_window(tab.clone()).await.expect("the tab");
        tab
    }

    pub async fn back(&self) {
        self.session.back().await.expect("a page before this one");
    }

    /// Makes the pages believe in this screen and colour scheme.
    pub async fn emulate(&self, screen: Screen, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
        let (width, height, mobile) = match screen {
            Screen::Phone => (390, 844, true),
            Screen::Desktop => (1280, 800, false),
        };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Makes the pages do with or without their scripts.
    pub async fn allow_scripts(&self, allow: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({"value": !allow})).await;
    }

    /// Saves what the page looks like as `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) {
        let folder = target_dir().join("screenshots");
        fs::create_dir_all(&folder).expect("a writable target folder");
        let picture = self.session.screenshot().await.expect("a picture");
        fs::write(folder.join(format!("{name}.png")), picture).expect("a writable target folder");
    }

    /// Whether nothing of the page lies beyond the side of the screen.
    pub async fn fits(&self) -> bool {
        let script = "return document.documentElement.scrollWidth <= window.innerWidth";
        self.session.execute(script, vec![]).await.is_ok_and(|fits| fits == true)
    }

    /// What axe-core finds wrong with the page, one line each. None, with the skipped test's name printed, where
    /// axe-core is missing and the tests may do without.
    pub async fn violations(&self) -> Option<Vec<String>> {
        let Ok(axe) = fs::read_to_string(target_dir().join("test-tools/axe.min.js")) else {
            missing("axe-core");
            return None;
        };
        self.session.execute(&axe, vec![]).await.expect("axe-core loads");
        let run = "const done = arguments[0]; axe.run().then(done, error => done({error: String(error)}))";
        let result = self.session.execute_async(run, vec![]).await.expect("axe-core runs");
        assert!(!list(&result["passes"]).is_empty(), "axe-core looked at nothing: {result}");
        Some(list(&result["violations"]).iter().map(violation).collect())
    }

    /// chromedriver, the browser, and everything they started.
    pub fn processes(&self) -> Vec<u32> {
        let mut processes = descendants(self.driver.pid());
        processes.push(self.driver.pid());
        processes
    }

    async fn find(&self, css: &str) -> fantoccini::elements::Element {
        match self.session.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => panic!("{css} at {}: {error}\n{}", self.url().await, self.source().await),
        }
    }

    /// Does what leads to another page, and waits until that page is whole. WebDriver itself may be back before the
    /// old page is gone, and what comes next would then stop the request.
    async fn leave(&self, act: impl AsyncFnOnce()) {
        let before = self.find("html").await;
        act().await;
        within_async(PATIENCE, "another page", async || before.tag_name().await.is_err()).await;
        within_async(PATIENCE, "a whole page", async || {
            self.session.execute("return document.readyState", vec![]).await.is_ok_and(|state| state == "complete")
        })
        .await;
    }

    async fn devtools(&self, command: &'static str, parameters: Value) {
        let done = self.session.issue_cmd(DevTools { command, parameters }).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends without its browser, so the browser's processes are found first.
        let browser = descendants(self.driver.pid());
        for pid in &browser {
            signal(*pid, "KILL");
        }
        while browser.iter().any(|pid| is_alive(*pid)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Makes a certificate store that Chromium reads from its home. False without the command for it.
fn trust(home: &Path, ca_pem: &[u8]) -> bool {
    let Some(certutil) = command(&["certutil"]) else { return false };
    let store = home.join(".pki/nssdb");
    fs::create_dir_all(&store).expect("a new folder");
    fs::write(home.join("ca.pem"), ca_pem).expect("a new folder");
    let store = format!("sql:{}", store.display());
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-n", "ca", "-t", "C,,", "-i", "ca.pem"]] {
        let mut run = Command::new(&certutil);
        let output = run.current_dir(home).args(["-d", &store]).args(arguments).output().expect("certutil starts");
        assert!(output.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    true
}

async fn open(chromium: &Path, home: &Path, port: u16) -> Result<Client, NewSessionError> {
    let mut builder = ClientBuilder::new(HttpConnector::new());
    builder.capabilities(capabilities(chromium, home));
    builder.connect(&format!("http://127.0.0.1:{port}")).await
}

fn capabilities(chromium: &Path, home: &Path) -> serde_json::Map<String, Value> {
    let profile = format!("--user-data-dir={}", home.join("profile").display());
    let arguments = [
        "--headless=new",
        // The tests may run as root, where Chromium's own sandbox does not work; it sees our own pages only.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-breakpad",
        "--no-first-run",
        // Names that nobody has (RFC 6761, section 6.2) are this machine.
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        &profile,
    ];
    let options = json!({"binary": chromium, "args": arguments});
    [("goog:chromeOptions".to_owned(), options)].into_iter().collect()
}

/// chromedriver's line that names the port the system chose for it.
fn port(line: &str) -> Option<u16> {
    line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').parse().ok()
}

fn violation(found: &Value) -> String {
    let nodes: Vec<_> = list(&found["nodes"]).iter().map(|node| node["html"].as_str().unwrap_or("?")).collect();
    format!("{}: {}: {}", found["id"], found["help"], nodes.join(" | "))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A command of the DevTools protocol, which chromedriver passes on.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"cmd": self.command, "params": self.parameters}).to_string()))
    }
}
