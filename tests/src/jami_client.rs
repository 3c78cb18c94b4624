//! What a Jami client says to its account manager, without the rest of the client: keys and requests for certificates,
//! enrolment, login by certificate, calls with a token. Nothing is checked but what a test cannot go on without.

use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA384, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::tls::Origin;
use crate::{Client, Quickstart, Reply};

/// `UID` of RFC 4519, section 2.39, by which Jami names keys in subjects.
const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];

/// The key of a device, of 2048 bits: a client's 4096 take seconds to make.
#[derive(Debug)]
pub struct DeviceKey(KeyPair);

impl DeviceKey {
    pub fn generate() -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let made = openssl.stdin(Stdio::null()).output().expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::from_pem(&String::from_utf8(made.stdout).expect("PEM"))
    }

    /// Of a key as PKCS#8.
    pub fn from_pem(pem: &str) -> Self {
        Self(KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA384).expect("an RSA key"))
    }

    /// The device's id: 64 digits.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0.subject_public_key_info()))
    }

    /// Its id in receipts and in the subject of its request: 40 digits.
    pub fn short_id(&self) -> String {
        hex(&Sha1::digest(self.0.subject_public_key_info()))
    }

    /// The request for a certificate, as the client writes it.
    pub fn csr(&self) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Jami device");
        params.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), self.short_id());
        let pem = params.serialize_request(&self.0).expect("a request").pem().expect("PEM");
        pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
    }

    /// The private key as PKCS#8 in PEM.
    pub fn private_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The private key.
    pub fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

/// An enrolled device.
#[derive(Debug)]
pub struct Device {
    pub key: DeviceKey,
    /// Its certificate, its account's and the organisation CA's.
    pub chain: Vec<CertificateDer<'static>>,
    /// All that enrolment answered.
    pub answer: Value,
}

impl Device {
    /// What enrolment answered to this key. Panics where that was a refusal.
    #[track_caller]
    pub fn enrolled(key: DeviceKey, reply: &Reply) -> Self {
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let answer: Value = reply.json();
        let pem = answer["certificateChain"].as_str().expect("a chain");
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates");
        Self { key, chain, answer }
    }

    pub fn id(&self) -> String {
        self.key.id()
    }

    /// What the account has signed for the device: its `id` is the Jami ID.
    pub fn receipt(&self) -> Value {
        serde_json::from_str(self.answer["deviceReceipt"].as_str().expect("a receipt")).expect("JSON")
    }

    /// The Jami ID.
    pub fn account(&self) -> String {
        self.receipt()["id"].as_str().expect("an id").to_owned()
    }
}

/// Speaks to one site where Jami devices enrol.
#[derive(Debug)]
pub struct JamiClient {
    origin: Origin,
}

impl JamiClient {
    pub fn new(url: &str, ca_pem: &[u8]) -> Self {
        Self { origin: Origin::new(url, Some(ca_pem)) }
    }

    pub fn of(quickstart: &Quickstart) -> Self {
        Self::new(&quickstart.url, &quickstart.ca_pem)
    }

    /// Enrols a device with a new key.
    pub async fn enrol(&self, user: &str, password: &str) -> Device {
        let key = DeviceKey::generate();
        let reply = self.ask_to_enrol(user, password, &key.csr()).await;
        Device::enrolled(key, &reply)
    }

    pub async fn ask_to_enrol(&self, user: &str, password: &str, csr: &str) -> Reply {
        let body = json!({ "csr": csr, "deviceName": "a test's" });
        self.ask(Method::POST, "/api/auth/device", Some(&basic(user, password)), Some(&body)).await
    }

    /// Logs in with the device's certificate; `None` where the handshake came to nothing.
    pub async fn log_in(&self, device: &Device) -> Option<Reply> {
        self.log_in_showing(device.chain.clone(), &device.key).await
    }

    /// Logs in with any certificate.
    pub async fn log_in_showing(&self, chain: Vec<CertificateDer<'static>>, key: &DeviceKey) -> Option<Reply> {
        let client = Client::of(self.origin.clone().with_identity(chain, key.private()));
        client.try_request(request(Method::POST, "/api/login", None, Some(&json!({})))).await
    }

    /// Logs in with a password, as before another device is revoked.
    pub async fn log_in_typing(&self, user: &str, password: &str) -> Reply {
        self.ask(Method::POST, "/api/login", Some(&basic(user, password)), Some(&json!({}))).await
    }

    /// A token for the device.
    pub async fn token(&self, device: &Device) -> String {
        token(&self.log_in(device).await.expect("an answer"))
    }

    /// An operation that takes a token.
    pub async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Reply {
        self.ask(method, path, Some(&format!("Bearer {token}")), body).await
    }

    /// Anything, with or without an `Authorization`.
    pub async fn ask(&self, method: Method, path: &str, authorization: Option<&str>, body: Option<&Value>) -> Reply {
        Client::of(self.origin.clone()).request(request(method, path, authorization, body)).await
    }
}

/// The token of a login that succeeded.
#[track_caller]
pub fn token(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.json::<Value>()["access_token"].as_str().expect("a token").to_owned()
}

/// The value of an `Authorization` header with a name and a password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn request(method: Method, path: &str, authorization: Option<&str>, body: Option<&Value>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let body = match body {
        None => Bytes::new(),
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        }
    };
    request.body(Full::from(body)).expect("a request")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
