//! What Jami devices, and whoever passes for one, can do to the whole product, at its front door: nothing that was not
//! meant for them.

mod bodies;
mod certificates;
mod credentials;
mod others;
mod races;
mod requests;
mod states;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tests::command::{Output, cams, cams_with_input};
use tests::jami_client::{Device, DeviceKey, basic};
use tests::quickstart::replace;
use tests::tls::Origin;
use tests::{Client, JamiClient, Quickstart, Reply, within_async};
use tokio::sync::Mutex;

pub const PASSWORD: &str = "correct horse";
pub const SOON: Duration = Duration::from_secs(30);
pub const JSON: &str = "application/json";
/// A test of its own has each: what one does to an account is not counted by another.
const USERS: [&str; 9] = ["bella", "carl", "dora", "eve", "fred", "gina", "hugo", "ivan", "jana"];

/// The product with people whose passwords cost nothing to check, and without a throttle: one address that enrols many
/// devices is what guessing looks like.
pub struct World {
    pub cams: Quickstart,
    pub jami: JamiClient,
}

impl World {
    pub async fn start() -> Self {
        Self::of(Quickstart::start(&[]).await).await
    }

    async fn of(cams: Quickstart) -> Self {
        let world = Self { jami: JamiClient::of(&cams), cams };
        let loaded = world.events("configuration-loaded").len();
        replace(&world.cams.domain_file("security-domain.xml"), |text| {
            let on = "ThrottleAuthValve\" enabled=\"true\"";
            assert!(text.contains(on), "{text}");
            text.replace(on, &on.replace("true", "false"))
        });
        let is_loaded = async || world.events("configuration-loaded").len() > loaded;
        within_async(SOON, "the changed security domain", is_loaded).await;
        world.add_users(&USERS).await;
        world
    }

    /// One that tests running at the same time share, each with users of its own.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// Returns when they can log in.
    pub async fn add_users(&self, names: &[impl AsRef<str>]) {
        let digest = cams_with_input(["digest", "--scheme", "SSHA256"], PASSWORD.as_bytes()).success();
        let user = |name: &str| format!("<user name=\"{name}\" password=\"{}\"/>\n", digest.trim());
        let users: String = names.iter().map(|name| user(name.as_ref())).collect();
        self.cams.edit_users(|xml| xml.replace("</cams-users>", &format!("{users}</cams-users>")));
        let last = names.last().expect("somebody").as_ref();
        let logs_in = async || self.cams.client().log_in(last, PASSWORD, "/private/").await.status == 303;
        within_async(SOON, "the new users", logs_in).await;
    }

    pub fn command(&self, arguments: &[&str]) -> Output {
        let conf = ["--conf", self.cams.conf.to_str().expect("UTF-8")];
        cams(arguments.iter().copied().chain(conf))
    }

    /// The ids of somebody's devices, revoked ones among them.
    pub fn devices(&self, user: &str) -> Vec<String> {
        let list = self.command(&["device", "list", "--user", user, "--json"]);
        assert_eq!(list.code, 0, "{list:?}");
        let list = list.json();
        let devices = list.as_array().unwrap_or_else(|| panic!("{list}"));
        devices.iter().map(|device| device["id"].as_str().expect("an id").to_owned()).collect()
    }

    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.cams.audit().into_iter().filter(|event| event["event"] == kind).collect()
    }

    pub fn origin(&self) -> Origin {
        Origin::new(&self.cams.url, Some(&self.cams.ca_pem))
    }

    /// The answer to anything; `None` where the connection ends before.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Option<Reply> {
        Client::of(self.origin()).try_request(request).await
    }

    /// Asks to enrol with any body, as somebody whose password is right.
    pub async fn post_enrolment(&self, user: &str, kind: &str, body: impl Into<Bytes>) -> Reply {
        let request = Request::post("/api/auth/device")
            .header(AUTHORIZATION, basic(user, PASSWORD))
            .header(CONTENT_TYPE, kind)
            .body(Full::from(body.into()));
        self.ask(request.expect("a request")).await.expect("an answer")
    }

    pub async fn enrol(&self, user: &str, csr: &str) -> Reply {
        self.post_enrolment(user, JSON, json!({"csr": csr, "deviceName": "a test's"}).to_string()).await
    }

    /// A new device of somebody.
    pub async fn device(&self, user: &str) -> Device {
        let key = DeviceKey::generate();
        let reply = self.enrol(user, &key.csr()).await;
        Device::enrolled(key, &reply)
    }

    /// The status that a device's login is answered with; 0 where its handshake fails.
    pub async fn login_status(&self, device: &Device) -> u16 {
        self.jami.log_in(device).await.map_or(0, |reply| reply.status.as_u16())
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.jami.call(Method::GET, path, token, None).await
    }

    /// It still does what it is for.
    pub async fn is_alive(&self, user: &str) {
        let device = self.device(user).await;
        assert_eq!(self.login_status(&device).await, StatusCode::OK);
    }
}

/// What somebody sees of an answer, without what differs from request to request.
pub fn seen(reply: &Reply) -> (StatusCode, Vec<(String, String)>, Bytes) {
    let own = ["date", "x-request-id", "cams-request-id"];
    let headers = reply.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    (reply.status, headers, reply.body.clone())
}
