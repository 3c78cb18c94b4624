//! Agents that may not, installations that are not ready, directories that are down; and where secrets stand after all
//! that.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tests::jami_client::{Device, DeviceKey, basic, token};
use tests::policy_server::{Files, PASSWORD as FILES_PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, JamiClient, LinkClient, Slapd, jami_keys, slapd, within_async};
use web_agent::config::AgentConfig;

use super::{JSON, PASSWORD, SOON, World};
use crate::secrets::{Kept, files};

/// Of an agent before which somebody else ends TLS: here the test itself.
const BEHIND_A_PROXY: [(&str, &str); 3] = [
    ("cams.site.site1.jami", "true"),
    ("cams.trusted.proxies", "127.0.0.1"),
    ("cams.trusted.proxies.client.cert", "true"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_the_right_passes_nothing_on() {
    let world = World::start().await;
    let site = [("app.test", "http://127.0.0.1:9")];
    let agent = Agent::start(&world.cams, "plain", &site, &BEHIND_A_PROXY).await;
    let url = format!("http://app.test:{}", agent.address.port());
    let jami = JamiClient::new(&url, b"");
    let csr = DeviceKey::generate().csr();
    let refused = [
        jami.ask_to_enrol("eve", PASSWORD, &csr).await,
        jami.log_in_typing("eve", PASSWORD).await,
        jami.ask(Method::GET, "/api/info", None, None).await,
        jami.ask(Method::GET, "/api/auth/devices", Some("Bearer x"), None).await,
    ];
    for reply in refused {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    }
    assert!(world.devices("eve").is_empty());
    assert!(world.events("login").iter().all(|event| event["user"] != "eve" || event["entry"] != "plain"));
    assert!(!world.events("agent-refused").is_empty());

    // Straight at the policy server: without a certificate of an agent nobody is heard, with one that may not, neither.
    let facts = world.cams.facts();
    let config = AgentConfig::load(&facts.agent_conf).unwrap();
    let server = config.policy_servers[0].to_string();
    let own = agent.folder.clone();
    let (certificate, key, ca) = (own.join("agent.pem"), own.join("agent.key"), own.join("policy-server-ca.pem"));
    let stranger = Files::new("Other", None);
    let foreign = stranger.add_agent("stranger");
    let callers = [
        ("nobody", LinkClient::new(&server, &ca, None), None),
        (
            "an agent of others",
            LinkClient::new(&server, &ca, Some((&foreign.join("agent.pem"), &foreign.join("agent.key")))),
            None,
        ),
        ("an agent that may not", LinkClient::new(&server, &ca, Some((&certificate, &key))), Some(503)),
    ];
    let body = json!({"csr": csr, "deviceName": "x"}).to_string();
    for (who, client, expected) in callers {
        for (verb, path) in
            [(Method::POST, "/api/auth/device"), (Method::POST, "/api/login"), (Method::GET, "/api/info")]
        {
            let status = client.status(&verb, path, body.clone()).await.map(|status| status.as_u16());
            assert_eq!(status, expected, "{who} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authority_nobody_enrols() {
    let files = Files::new("One", None);
    let server = files.start().await;
    let address = server.address.to_string();
    let properties = [&[("cams.policy.server.1", &*address)], &BEHIND_A_PROXY[..]].concat();
    let agent = Agent::of_devices(&files.conf(), "a", &[("app.test", "http://127.0.0.1:9")], &properties).await;
    let jami = JamiClient::new(&format!("http://app.test:{}", agent.address.port()), b"");
    let key = &jami_keys::keys(1)[0];
    let info = jami.ask(Method::GET, "/api/info", None, None).await;
    assert_eq!(info.json::<Value>(), json!({"installed": "false"}));
    for _ in 0..2 {
        let reply = jami.ask_to_enrol("alice", FILES_PASSWORD, &key.csr()).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    }
    assert_eq!(jami.ask_to_enrol("alice", "wrong", &key.csr()).await.status, 401);
    assert!(server.process.output().contains("cams ca create"), "{}", server.process.output());
    files.cams(&["ca", "create"]).success();
    let enrols = async || jami.ask_to_enrol("alice", FILES_PASSWORD, &key.csr()).await.status == StatusCode::OK;
    within_async(SOON, "with the new authority, without a restart", enrols).await;
    let info = jami.ask(Method::GET, "/api/info", None, None).await;
    assert_eq!(info.json::<Value>(), json!({"installed": "true"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_down_is_no_verdict_on_anybody() {
    let Some(slapd) = Slapd::start().await else { return };
    let world = World::start().await;
    let module = format!(
        "<login-module-entry className='com.cafesoft.cams.auth.login.module.LdapLoginModule' flag='SUFFICIENT'><options>\
         <option name='host' value='127.0.0.1:{}'/><option name='userBaseDn' value='ou=people,dc=example,dc=test'/>\
         <option name='bindDn' value='cn=search,dc=example,dc=test'/><option name='bindPassword' value='{}'/>\
         </options></login-module-entry>",
        slapd.port,
        slapd::SEARCH_PASSWORD
    );
    replace(&world.cams.domain_file("login-config.xml"), |text| {
        let (before, rest) = text.split_once("<login-module-entry").expect("the sample's module");
        let (_, after) = rest.rsplit_once("</login-module-entry>").expect("its end");
        format!("{before}{module}{after}")
    });
    let logs_in = async || world.cams.client().log_in("bob", slapd::PASSWORD, "/private/").await.status == 303;
    within_async(SOON, "the new login module", logs_in).await;
    let key = &jami_keys::keys(1)[0];
    let device = Device::enrolled(
        DeviceKey::from_pem(&key.private_pem()),
        &world.jami.ask_to_enrol("bob", slapd::PASSWORD, &key.csr()).await,
    );
    let secret = token(&world.jami.log_in_typing("bob", slapd::PASSWORD).await);
    assert_eq!(world.login_status(&device).await, 200);

    drop(slapd);
    let other = DeviceKey::generate();
    for (password, what) in [(slapd::PASSWORD, "right"), ("wrong", "wrong")] {
        let enrol = world.jami.ask_to_enrol("bob", password, &other.csr()).await;
        assert_eq!(enrol.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {enrol:?}");
        let login = world.jami.log_in_typing("bob", password).await;
        assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {login:?}");
    }
    assert_eq!(world.login_status(&device).await, 503);
    assert_ne!(
        world.get("/api/auth/devices", &secret).await.status,
        StatusCode::UNAUTHORIZED,
        "a token lives its time"
    );
    assert_eq!(world.devices("bob"), [device.id()]);
    let log = std::fs::read_to_string(world.cams.dir().path().join("log/policy-server.log")).unwrap();
    assert!(log.contains("directory") || log.contains("LDAP"), "a line says what is down");
}

/// Typed by somebody who mistook a field.
const CANARY: &str = "canary-9kt3mw5z-password";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_devices_stand_nowhere() {
    let mut world = World::start().await;
    world.add_canary().await;
    let device = Device::enrolled(
        DeviceKey::from_pem(&jami_keys::pems(1)[0]),
        &world.jami.ask_to_enrol("nina", CANARY, &jami_keys::keys(1)[0].csr()).await,
    );
    let tokens = [world.jami.token(&device).await, token(&world.jami.log_in_typing("nina", CANARY).await)];
    // Where people and programs put what does not belong there.
    world.jami.ask_to_enrol("eve", CANARY, CANARY).await;
    world.post_enrolment("eve", JSON, format!("{{\"csr\": \"{CANARY}")).await;
    let path = format!("/api/auth/devices?access_token={}", tokens[0]);
    world.jami.ask(Method::GET, &path, Some(&basic("nina", CANARY)), None).await;
    world.jami.ask(Method::GET, &path, Some(&format!("Bearer {}x", tokens[1])), None).await;
    let pem = jami_keys::pems(1)[0].clone();
    world.enrol("eve", &pem).await;
    world.command(&["device", "revoke", &device.id(), "--reason", "lost"]).success();
    world.login_status(&device).await;

    let root = world.cams.dir();
    let mut secrets = vec![("the password", Kept::password("the password", CANARY, None))];
    secrets.extend(tokens.iter().map(|token| ("a token", Kept::new("a token", token, None))));
    let key_line = pem.lines().nth(12).unwrap();
    secrets.push(("a device's key", Kept::new("a device's key", key_line, None)));
    for moment in ["running", "stopped"] {
        let files = files(root.path());
        assert!(files.contains_key("data/cams.db") && files.contains_key("log/web-agent.log"));
        for (what, secret) in &secrets {
            let found: BTreeSet<_> =
                files.iter().filter(|(_, bytes)| secret.is_in(bytes)).map(|(name, _)| name).collect();
            assert!(found.is_empty(), "{moment}: {what} is in {found:?}");
        }
        // Keys of accounts and of the authority are sealed: nothing reads like one.
        for (name, bytes) in &files {
            let is_kept_key = name.starts_with("keys/") || name.ends_with(".key");
            let reads = bytes.windows(11).any(|window| window == b"PRIVATE KEY");
            assert!(is_kept_key || !reads, "{moment}: {name} holds a private key");
        }
        if moment == "running" {
            world.cams.process.terminate(Duration::from_secs(10)).await;
        }
    }
}

impl World {
    async fn add_canary(&self) {
        let digest = tests::command::cams_with_input(["digest"], CANARY.as_bytes()).success();
        self.cams.edit_users(|xml| {
            let user = format!("<user name=\"nina\" password=\"{}\"/>\n</cams-users>", digest.trim());
            xml.replace("</cams-users>", &user)
        });
        let logs_in = async || self.cams.client().log_in("nina", CANARY, "/private/").await.status == 303;
        within_async(SOON, "the new user", logs_in).await;
    }
}
