//! The real Jami client without its windows: the daemon `jamid`, each on a bus and in a home of its own, and the DHT by
//! which they find one another, on this machine alone.
//!
//! `data/jami/driver.py` starts the daemon and carries its D-Bus to us. It ends with its standard input, and everything it
//! started ends with it.

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::services::{command, missing};
use crate::{Quickstart, port, within, within_async};

/// How long a busy machine may take for a key of 4096 bits, or for news to go through the DHT.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The Python that the system's packages are for.
const PYTHON: &str = "/usr/bin/python3";
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/jami/driver.py");

/// The first node of a DHT, which the clients begin with.
#[derive(Debug)]
pub struct Dht {
    _process: Process,
    port: u16,
}

impl Dht {
    /// `None` where it is not installed.
    pub async fn start() -> Option<Self> {
        let Some(dhtnode) = command(&["dhtnode"]) else {
            missing("dhtnode");
            return None;
        };
        let port = std::iter::repeat_with(port::free).find(|port| UdpSocket::bind(("127.0.0.1", *port)).is_ok())?;
        // All nodes have one address here, and would exceed together what one may ask.
        let arguments = ["-s", "-p", &port.to_string(), "--no-rate-limit"];
        let mut process = Process::spawn(Command::new(dhtnode).args(arguments));
        let bound = || UdpSocket::bind(("127.0.0.1", port)).is_err();
        within(PATIENCE, "the DHT's node listens", || {
            assert!(!process.has_ended(), "dhtnode ended:\n{}", process.output());
            bound()
        })
        .await;
        Some(Self { _process: process, port })
    }
}

/// A client with at most one account.
#[derive(Debug)]
pub struct Jamid {
    /// `None` when it is to end.
    input: Option<ChildStdin>,
    process: Process,
    requests: u64,
    account: String,
    // Last: the folder goes when everything has ended.
    home: TempDir,
}

impl Jamid {
    /// A client that trusts this CA alone; `None` where it is not installed.
    pub async fn start(ca: &Path) -> Option<Self> {
        let jamid = installed()?;
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| {
            let folder = home.path().join(name);
            fs::create_dir(&folder).expect("our own folder");
            folder
        };
        let mut driver = Command::new(PYTHON);
        driver.arg(DRIVER).arg(home.path()).arg(jamid).env_clear().env("SSL_CERT_FILE", ca).env("HOME", home.path());
        driver.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8");
        for (name, path) in [("CONFIG", "config"), ("DATA", "data"), ("CACHE", "cache"), ("STATE", "state")] {
            driver.env(format!("XDG_{name}_HOME"), folder(path));
        }
        // No sound server is found, and none is started.
        driver.env("TMPDIR", folder("tmp")).env("PULSE_SERVER", "unix:none");
        let (process, input) = Process::spawn_with_input(&mut driver);
        let mut client = Self { input: Some(input), process, requests: 0, account: String::new(), home };
        client.resume().await;
        Some(client)
    }

    /// Ends the client, as people do when they go home.
    pub async fn stop(&mut self) {
        self.request(json!({ "stop": true })).await.expect("it ends");
    }

    /// Starts it again.
    pub async fn resume(&mut self) {
        let started = self.request(json!({ "start": true })).await;
        started.unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
    }

    /// Connects to an account manager with a name and a password, and waits until the account is announced in the DHT.
    pub async fn enrol(&mut self, quickstart: &Quickstart, dht: &Dht, user: &str, password: &str) {
        self.ask_to_enrol(&quickstart.url, dht, user, password).await;
        self.is_registered().await;
    }

    /// As [`Jamid::enrol`], whatever comes of it.
    pub async fn ask_to_enrol(&mut self, manager: &str, dht: &Dht, user: &str, password: &str) {
        let dht = format!("127.0.0.1:{}", dht.port);
        let details = json!({
            "Account.type": "RING",
            "Account.managerUri": manager,
            "Account.managerUsername": user,
            "Account.archivePassword": password,
            "Account.hostname": dht,
            "Account.upnpEnabled": "false",
            "Account.peerDiscovery": "false",
            "Account.accountDiscovery": "false",
            "Account.accountPublish": "false",
            "Account.proxyEnabled": "false",
            "Account.dhtProxyListUrl": "",
            "TURN.enable": "false",
            "STUN.enable": "false",
        });
        let account = self.request(json!({ "call": "addAccount", "args": [details] })).await.expect("it is added");
        self.account = account.as_str().expect("an id").to_owned();
    }

    /// Waits until the account is registered and its device announced.
    pub async fn is_registered(&mut self) {
        let is_there = |state: &Map<String, Value>| {
            state.get("Account.registrationStatus") == Some(&json!("REGISTERED"))
                && state.get("Account.deviceAnnounced") == Some(&json!("true"))
        };
        let mut state = Map::new();
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is_there(&state) {
            assert!(tokio::time::Instant::now() < end, "not registered: {state:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
            state = self.object("getVolatileAccountDetails").await;
        }
    }

    /// Waits until the client has thrown its account away, as it does when enrolment is refused.
    pub async fn has_no_account(&mut self) {
        within_async(PATIENCE, "the account is removed", async || {
            self.request(json!({ "call": "getAccountList", "args": [] })).await == Ok(json!([]))
        })
        .await;
    }

    /// The settings of the account.
    pub async fn details(&mut self) -> Map<String, Value> {
        self.object("getAccountDetails").await
    }

    /// The id of its device, and the Jami ID.
    pub async fn ids(&mut self) -> (String, String) {
        let text = |details: &Map<String, Value>, name: &str| details[name].as_str().expect("text").to_owned();
        let state = self.object("getVolatileAccountDetails").await;
        (text(&state, "Account.deviceID"), text(&self.details().await, "Account.username"))
    }

    /// A method that takes the account and answers an object.
    pub async fn object(&mut self, method: &str) -> Map<String, Value> {
        self.call(method, &[]).await.as_object().cloned().unwrap_or_else(|| panic!("{method} gives no object"))
    }

    /// A method of the daemon's configuration manager, with the account before these arguments.
    pub async fn call(&mut self, method: &str, args: &[Value]) -> Value {
        let args: Vec<Value> = [json!(self.account)].into_iter().chain(args.iter().cloned()).collect();
        let result = self.request(json!({ "call": method, "args": args })).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}\n{}", self.log()))
    }

    /// Calls a method, and waits for the signal that answers it: what comes after the account in it.
    pub async fn ask(&mut self, method: &str, args: &[Value], signal: &str) -> Vec<Value> {
        let before = self.signals(signal).len();
        self.call(method, args).await;
        self.signal_after(signal, before).await
    }

    /// Every signal of this name so far: what comes after the account in each.
    pub fn signals(&self, name: &str) -> Vec<Vec<Value>> {
        let said = self.process.output();
        let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = messages.filter(|message| message["signal"] == name && message["args"][0] == self.account.as_str());
        ours.map(|message| message["args"].as_array().map_or_else(Vec::new, |args| args[1..].to_vec())).collect()
    }

    /// Waits until there are more signals of this name than these many; the next one.
    pub async fn signal_after(&self, name: &str, before: usize) -> Vec<Value> {
        let what = format!("{name}:\n{}", self.log());
        within(PATIENCE, &what, || self.signals(name).len() > before).await;
        self.signals(name).swap_remove(before)
    }

    /// The last lines of what the daemon wrote down.
    pub fn log(&self) -> String {
        let log = fs::read(self.home.path().join("jamid.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    async fn request(&mut self, mut request: Value) -> Result<Value, String> {
        self.requests += 1;
        let id = self.requests;
        request["id"] = json!(id);
        let input = self.input.as_mut().expect("it runs");
        writeln!(input, "{request}").unwrap_or_else(|error| panic!("{error}: {}", self.process.output()));
        let answer = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|answer| answer["id"] == id);
        let answer = self.process.line(PATIENCE, answer).await;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].clone()),
        }
    }
}

impl Drop for Jamid {
    fn drop(&mut self) {
        // The end of its input ends it in good order. Longer than that it is not waited for: what is left is killed.
        self.input = None;
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !self.process.has_ended() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The daemon, where everything that it and its driver need is there.
fn installed() -> Option<PathBuf> {
    let places = ["/usr/libexec/jamid", "/usr/lib/jami/jamid", "/usr/lib/ring/jamid"].map(PathBuf::from);
    let jamid = places.into_iter().find(|file| file.is_file()).or_else(|| command(&["jamid"]));
    let mut import = Command::new(PYTHON);
    let import = import.args(["-c", "import dbus"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    let has_dbus = import.is_ok_and(|status| status.success());
    for (is_there, what) in [
        (jamid.is_some(), "jamid (the package jami-daemon)"),
        (has_dbus, "D-Bus for Python (the package python3-dbus)"),
        (command(&["dbus-daemon"]).is_some(), "dbus-daemon"),
    ] {
        if !is_there {
            missing(what);
            return None;
        }
    }
    jamid
}
