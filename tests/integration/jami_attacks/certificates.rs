//! Client certificates: what counts is one that was issued here and is not revoked, proved in the handshake, at a site
//! where devices enrol. Whatever else a client shows or says is a stranger's.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, SerialNumber,
};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tests::jami_client::{Device, DeviceKey, basic};
use tests::quickstart::replace;
use tests::{Client, jami_keys, within_async};

use super::{JSON, PASSWORD, SOON, World};
use connection::Connection;

mod connection;
mod revoked;

/// `UID` (RFC 4519, section 2.39).
const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];

fn named(common_name: &str, uid: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::CustomDnType(UID.to_vec()), uid);
    name
}

/// A certificate that may sign others.
fn authority(name: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(name: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::DataEncipherment];
    params
}

fn rsa(pem: &str) -> KeyPair {
    KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).unwrap()
}

type Chain = Vec<CertificateDer<'static>>;

/// The names in a certificate, for another one that says the same.
fn same_name(certificate: &CertificateDer<'_>) -> DistinguishedName {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let value = |oid: &str| {
        let part = parsed.subject().iter_attributes().find(|part| part.attr_type().to_id_string() == oid);
        part.map(|part| part.as_str().unwrap().to_owned()).unwrap_or_default()
    };
    named(&value("2.5.4.3"), &value("0.9.2342.19200300.100.1.1"))
}

fn serial(certificate: &CertificateDer<'_>) -> SerialNumber {
    SerialNumber::from(x509_parser::parse_x509_certificate(certificate).unwrap().1.raw_serial().to_vec())
}

/// Chains that somebody can make who has the device's key; of `ca` also the key of the organisation's CA. None of them was
/// issued here.
fn forgeries(real: &Device, ca: &Issuer<'_, &KeyPair>, ca_key: &KeyPair) -> Vec<(&'static str, Chain, DeviceKey)> {
    let [device, own, other] = [0, 1, 2].map(|at| jami_keys::pems(3)[at].clone());
    let (device_key, own_key, other_key) = (rsa(&device), rsa(&own), rsa(&other));
    let of_device = || DeviceKey::from_pem(&device);
    let (leaf_name, account_name, ca_name) =
        (same_name(&real.chain[0]), same_name(&real.chain[1]), same_name(&real.chain[2]));
    let now = rcgen::date_time_ymd(2026, 1, 1);
    assert_eq!(of_device().id(), real.id());

    // Of another organisation, with the same names and numbers all the way.
    let (their_ca, their_account) = (authority(ca_name), authority(account_name.clone()));
    let root = their_ca.self_signed(&own_key).unwrap();
    let root_issuer = Issuer::from_params(&their_ca, &own_key);
    let account = their_account.signed_by(&other_key, &root_issuer).unwrap();
    let account_issuer = Issuer::from_params(&their_account, &other_key);
    let mut same = leaf(leaf_name.clone());
    same.serial_number = Some(serial(&real.chain[0]));
    let theirs = same.signed_by(&device_key, &account_issuer).unwrap();
    let self_signed = same.self_signed(&device_key).unwrap();
    // Signed by the device itself, which is no CA.
    let below = leaf(named("Jami device", &"0".repeat(40)));
    let device_issuer = Issuer::from_params(&same, &device_key);
    let by_leaf = below.signed_by(&own_key, &device_issuer).unwrap();
    // By the organisation's own key, but not by us.
    let our_account = their_account.signed_by(&other_key, ca).unwrap();
    let unknown = same.signed_by(&device_key, &account_issuer).unwrap();
    let direct = same.signed_by(&device_key, ca).unwrap();
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = same.clone();
        change(&mut params);
        vec![params.signed_by(&device_key, &account_issuer).unwrap().into(), our_account.der().clone()]
    };
    let expired = with(|params| params.not_after = rcgen::date_time_ymd(2025, 1, 1));
    let not_yet = with(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let server = with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let mut old = same.clone();
    old.not_before = now;
    let deep: Chain = {
        let (middle, lower) = (authority(named("x", "1")), authority(named("y", "2")));
        let first = middle.signed_by(&own_key, &account_issuer).unwrap();
        let second = lower.signed_by(&own_key, &Issuer::from_params(&middle, &own_key)).unwrap();
        let last = old.signed_by(&device_key, &Issuer::from_params(&lower, &own_key)).unwrap();
        vec![last.into(), second.into(), first.into(), our_account.der().clone()]
    };
    let real_rest = || real.chain[1..].iter().cloned();
    let ca_itself = DeviceKey::from_pem(&ca_key.serialize_pem());
    vec![
        ("self-signed", vec![self_signed.der().clone()], of_device()),
        ("self-signed, above it what is real", [vec![self_signed.into()], real_rest().collect()].concat(), of_device()),
        ("of another organisation", vec![theirs.der().clone(), account.der().clone(), root.der().clone()], of_device()),
        ("of another organisation, without its CA", vec![theirs.der().clone(), account.into()], of_device()),
        (
            "of another organisation, above it what is real",
            [vec![theirs.into()], real_rest().collect()].concat(),
            of_device(),
        ),
        ("signed by a device", [vec![by_leaf.into()], real.chain.clone()].concat(), DeviceKey::from_pem(&own)),
        ("an account of the CA's that we do not know", vec![unknown.into(), our_account.der().clone()], of_device()),
        ("a leaf straight from the CA", vec![direct.into()], of_device()),
        ("an account's own certificate", vec![our_account.der().clone()], DeviceKey::from_pem(&other)),
        ("the CA's own certificate", vec![real.chain[2].clone()], ca_itself),
        ("expired", expired, of_device()),
        ("not yet valid", not_yet, of_device()),
        ("for servers", server, of_device()),
        ("too deep", deep, of_device()),
    ]
}

/// A product whose CA was made elsewhere: whoever made it still has the key.
async fn with_known_ca() -> (World, KeyPair, CertificateParams) {
    let world = World::start().await;
    let key = rsa(&jami_keys::pems(4)[3]);
    let mut params = authority(named("An organisation", "f00d"));
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    let folder = world.cams.dir();
    let (certificate, key_file) = (folder.path().join("ca.pem"), folder.path().join("keys/ca.key"));
    std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    assert!(std::process::Command::new("chmod").arg("600").arg(&key_file).status().unwrap().success());
    let [certificate, key_file] = [certificate, key_file].map(|file| file.display().to_string());
    world.command(&["ca", "import", "--certificate", &certificate, "--key", &key_file, "--replace"]).success();
    (world, key, params)
}

/// The certificate that the site was shown of this connection.
async fn shown(connection: &mut Connection) -> Option<String> {
    let echo: Value = connection.get("/public/echo").await?.json();
    let headers = echo["headers"].as_array().unwrap();
    let mut found = headers.iter().filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case("x-client-cert"));
    let value = found.next().map(|pair| pair[1].as_str().unwrap().to_owned());
    assert!(found.next().is_none(), "{headers:?}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_not_issued_here_is_worth_nothing() {
    let (world, ca_key, ca_params) = with_known_ca().await;
    let key = || DeviceKey::from_pem(&jami_keys::pems(1)[0]);
    let takes_over = async || {
        let reply = world.enrol("eve", &key().csr()).await;
        reply.status == StatusCode::OK && Device::enrolled(key(), &reply).chain.len() == 3 && {
            let ca = Device::enrolled(key(), &reply).chain[2].clone();
            same_name(&ca) == ca_params.distinguished_name
        }
    };
    within_async(SOON, "the imported CA signs", takes_over).await;
    let real = Device::enrolled(key(), &world.enrol("eve", &key().csr()).await);
    let is_let_in = async || world.login_status(&real).await == 200;
    within_async(SOON, "the agent trusts the imported CA", is_let_in).await;
    let origin = world.origin();
    let mut connection = Connection::of(&origin, Some(&real), &[&TLS13]).open().await.expect("a handshake");
    assert!(shown(&mut connection).await.is_some(), "a real one is shown to sites");

    let ca = Issuer::from_params(&ca_params, &ca_key);
    let mut wrong = Vec::new();
    for (what, chain, key) in forgeries(&real, &ca, &ca_key) {
        let forged = Device { key, chain, answer: Value::Null };
        let status = world.login_status(&forged).await;
        if ![0, 403].contains(&status) {
            wrong.push(format!("{what}: its login is answered {status}"));
        }
        for version in [&TLS12, &TLS13] {
            if let Some(mut connection) = Connection::of(&origin, Some(&forged), &[version]).open().await
                && let Some(certificate) = shown(&mut connection).await
            {
                wrong.push(format!("{what}: a site is shown {certificate}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let without_certificate = world.jami.ask(Method::POST, "/api/login", None, Some(&json!({}))).await;
    assert_eq!(without_certificate.status, StatusCode::FORBIDDEN);
    // A leaf without its chain, as some clients send it, may fail, but harms nobody.
    let bare = Device { key: key(), chain: real.chain[..1].to_vec(), answer: Value::Null };
    assert_ne!(world.login_status(&bare).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_a_header_is_refused() {
    let world = World::shared().await;
    let device = world.device("gina").await;
    let escaped: String = {
        let text = device.answer["certificateChain"].as_str().unwrap();
        let leaf = text.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
        form_urlencoded::byte_serialize(leaf.as_bytes()).collect::<String>().replace('+', "%20")
    };
    let names = [
        "X-Client-Cert",
        "x-client-cert",
        "X-CLIENT-CERT",
        "X_Client_Cert",
        "X-Client_Cert",
        "X_CLIENT-CERT",
        "CAMS-HTTP-ORIGIN",
        "CAMS-HTTP-SECURITY-DOMAIN",
        "CAMS-HTTP-LOGIN-ENTRY",
        "CAMS_HTTP_LOGIN_ENTRY",
        "Cams-Http-Client-Address",
        "CAMS-HTTP-USER",
    ];
    let raw = world.cams.raw();
    let mut wrong = Vec::new();
    for name in names {
        for value in [escaped.as_str(), "", "x"] {
            for path in ["/api/login", "/api/auth/device", "//api/login", "/api/info", "/public/echo"] {
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {JSON}\r\n{name}: {value}\r\n\
                     Content-Length: 2\r\n\r\n{{}}",
                    raw.authority()
                );
                let status = raw.status(request.as_bytes()).await;
                if status != 400 {
                    wrong.push(format!("{name}: {:.10} at {path}: {status}", value));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Over HTTP/2 as well, and beside a certificate that is real.
    let origin = world.origin().with_identity(device.chain.clone(), device.key.private());
    for client in [Client::of(origin.clone()), Client::of(world.origin()).http2()] {
        let request = Request::post("/api/login").header("x-client-cert", &escaped).header("content-type", JSON);
        let reply = client.request(request.body(Full::from("{}")).unwrap()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_where_no_devices_enrol_sees_none() {
    let world = World::start().await;
    let device = world.device("hugo").await;
    replace(&world.cams.facts().agent_conf, |text| {
        let on = "cams.site.site2.jami=true";
        assert!(text.contains(on), "{text}");
        text.replace(on, "cams.site.site2.jami=false")
    });
    let elsewhere = world.cams.url.replace("localhost", "127.0.0.1");
    let there = tests::tls::Origin::new(&elsewhere, Some(&world.cams.ca_pem));
    let is_off = async || Client::of(there.clone()).get("/api/info").await.status != StatusCode::OK;
    within_async(SOON, "the agent has the site without jami", is_off).await;
    for origin in [world.origin(), there.clone()] {
        let mut connection = Connection::of(&origin, Some(&device), &[&TLS13]).open().await.expect("a handshake");
        let is_jami = origin.url.host_str() == Some("localhost");
        assert_eq!(shown(&mut connection).await.is_some(), is_jami, "{}", origin.url);
        let login = connection.post("/api/login", "{}").await.expect("an answer");
        assert_eq!(login.status == StatusCode::OK, is_jami, "{login:?}");
    }
    // What was shown at one site's handshake is not taken to the other.
    for (from, to) in [(world.origin(), there.authority()), (there.clone(), world.origin().authority())] {
        let mut connection = Connection::of(&from, Some(&device), &[&TLS13]).open().await.expect("a handshake");
        let request = Request::post("/api/login").header("host", to).header("content-type", JSON);
        let status =
            connection.send(request.body(Full::from("{}")).unwrap()).await.map_or(0, |reply| reply.status.as_u16());
        assert!([0, 400, 403, 404, 421].contains(&status), "{}: {status}", from.url);
    }
    let enrol = Request::post("/api/auth/device").header("authorization", basic("hugo", PASSWORD));
    let body = json!({"csr": DeviceKey::generate().csr()}).to_string();
    let reply = Client::of(there).request(enrol.header("content-type", JSON).body(Full::from(body)).unwrap()).await;
    assert_ne!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(world.devices("hugo"), [device.id()]);
}

/// How soon a revocation counts.
const AT_ONCE: Duration = Duration::from_secs(5);
