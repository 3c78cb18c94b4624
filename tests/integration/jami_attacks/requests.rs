//! Requests for certificates that no client would send: nothing is issued, or what anybody gets.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use futures_util::stream::iter;
use http::StatusCode;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tests::jami_client::Device;
use tests::{Reply, jami_keys};
use x509_parser::prelude::*;

use super::{PASSWORD, World};

/// As the real client wrote it.
const CAPTURED: &str = include_str!("../../data/jami/request.pem");
const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
/// Requests under way at a time.
const AT_ONCE: usize = 4;

/// Names and requests, as `tests/data/jami/hostile.py` makes them.
fn hostile(kind: &str) -> Vec<(String, String)> {
    let all: Value = serde_json::from_str(include_str!("../../data/jami/hostile.json")).unwrap();
    serde_json::from_value(all[kind].clone()).unwrap()
}

/// Sends each; none gets anything but a refusal, which is written down.
async fn are_refused(user: &str, csrs: impl IntoIterator<Item = (String, String)>) {
    let world = World::shared().await;
    let own = world.device(user).await;
    let devices = world.devices(user);
    let refusals = || world.events("device-refused").iter().filter(|event| event["user"] == user).count();
    let before = refusals();
    let asked = iter(csrs).map(async |(what, csr)| (what, world.enrol(user, &csr).await));
    let answers: Vec<(String, Reply)> = asked.buffer_unordered(AT_ONCE).collect().await;
    let is_refused = |reply: &Reply| [400, 413].contains(&reply.status.as_u16()) && reply.text().contains("\"error\"");
    let wrong: Vec<_> = answers.iter().filter(|(_, reply)| !is_refused(reply)).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), answers.len());
    assert_eq!(world.devices(user), devices);
    let kept_out = answers.iter().filter(|(_, reply)| reply.status == 400).count();
    assert_eq!(refusals() - before, kept_out, "each is in the audit log");
    assert_eq!(world.login_status(&own).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_keys_signatures_and_encodings_are_refused() {
    let csrs = hostile("refused");
    assert!(csrs.len() > 70);
    are_refused("bella", csrs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_request_is_one() {
    let der = pem(CAPTURED);
    let wrap = |der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN NEW CERTIFICATE REQUEST-----\n{text}\n-----END NEW CERTIFICATE REQUEST-----\n")
    };
    let cut = (0..der.len()).step_by(3).map(|end| (format!("its first {end} bytes"), wrap(&der[..end])));
    let cut_text = (0..CAPTURED.trim_end().len()).step_by(16);
    let cut_text = cut_text.map(|end| (format!("{end} characters"), CAPTURED[..end].to_owned()));
    let flipped = (0..der.len()).step_by(5).map(|at| {
        let mut der = der.clone();
        der[at] ^= 1 << (at % 8);
        (format!("another bit in byte {at}"), wrap(&der))
    });
    are_refused("carl", cut.chain(cut_text).chain(flipped)).await;
    // As it is it is good: none of them was refused for what they have in common.
    let world = World::shared().await;
    let whole = world.enrol("carl", CAPTURED).await;
    assert_eq!(whole.status, StatusCode::OK, "{whole:?}");
}

/// Signs for a public key that is another's.
struct Imposter {
    key: KeyPair,
    public: Vec<u8>,
}

impl PublicKeyData for Imposter {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for Imposter {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_others_are_refused() {
    let world = World::shared().await;
    let theirs = world.device("dora").await;
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&jami_keys::pems(1)[0], &rcgen::PKCS_RSA_SHA256).unwrap();
    let mut imposter = Imposter { key, public: Vec::new() };
    let mut csrs = Vec::new();
    for (what, certificate) in ["a device's", "an account's", "the authority's"].into_iter().zip(&theirs.chain) {
        let certificate = X509Certificate::from_der(certificate).unwrap().1;
        imposter.public = certificate.public_key().subject_public_key.data.to_vec();
        let csr = CertificateParams::default().serialize_request(&imposter).unwrap().pem().unwrap();
        csrs.push((format!("{what} key, signed by another"), csr));
    }
    csrs.push(("another user's key, signed with it".to_owned(), theirs.key.csr()));
    csrs.push(("a certificate".to_owned(), theirs.answer["certificateChain"].as_str().unwrap().to_owned()));
    csrs.push(("a megabyte".to_owned(), "A".repeat(1 << 20)));
    csrs.push(("just short of the limit".to_owned(), "A".repeat(60 << 10)));
    are_refused("eve", csrs).await;
    assert_eq!(world.devices("dora"), [theirs.id()]);
}

type Says = (Vec<u8>, Vec<Extension>, String);
type Extension = (String, bool, Vec<u8>);

/// What a certificate of a device says apart from what is its own: issuer, extensions, how it is signed.
fn says(leaf: &X509Certificate<'_>) -> Says {
    let extensions = leaf.extensions().iter().map(|extension| {
        let oid = extension.oid.to_id_string();
        let value = if oid == SUBJECT_KEY_IDENTIFIER { Vec::new() } else { extension.value.to_vec() };
        (oid, extension.critical, value)
    });
    let algorithm = leaf.signature_algorithm.algorithm.to_id_string();
    (leaf.issuer().as_raw().to_vec(), extensions.collect(), algorithm)
}

fn subject(leaf: &X509Certificate<'_>) -> Vec<(String, String)> {
    let parts = leaf.subject().iter_attributes();
    parts.map(|part| (part.attr_type().to_id_string(), part.as_str().unwrap().to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pem(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    BASE64_STANDARD.decode(lines.collect::<String>()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_asks_for_is_not_looked_at() {
    let world = World::shared().await;
    let honest: Device = world.device("fred").await;
    let model = X509Certificate::from_der(&honest.chain[0]).unwrap().1;
    let mut ids = BTreeSet::from([honest.id()]);
    let mut serials = BTreeSet::from([model.raw_serial().to_vec()]);
    let csrs = hostile("harmless");
    assert!(csrs.len() > 20);
    for (what, csr) in csrs {
        let reply = world.jami.ask_to_enrol("fred", PASSWORD, &csr).await;
        assert_eq!(reply.status, StatusCode::OK, "{what}: {reply:?}");
        let answer: Value = reply.json();
        let chain = CertificateDer::pem_slice_iter(answer["certificateChain"].as_str().unwrap().as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
        assert_eq!(chain[1..], honest.chain[1..], "{what}");
        let leaf = X509Certificate::from_der(&chain[0]).unwrap().1;
        let spki = leaf.public_key().raw;
        assert!(pem(&csr).windows(spki.len()).any(|window| window == spki), "{what}: another key");
        assert_eq!(says(&leaf), says(&model), "{what}");
        assert!(leaf.validity().not_after <= model.validity().not_after, "{what}");
        let short_id = hex(&Sha1::digest(spki));
        let mut expected = subject(&model);
        expected.iter_mut().filter(|(_, value)| *value == honest.key.short_id()).for_each(|(_, value)| {
            value.clone_from(&short_id);
        });
        assert_eq!(subject(&leaf), expected, "{what}");
        assert!(expected.iter().any(|(_, value)| *value == short_id), "{what}: {expected:?}");
        assert!(serials.insert(leaf.raw_serial().to_vec()), "{what}");
        ids.insert(hex(&Sha256::digest(spki)));
    }
    let unusual = model.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(basic) => basic.ca,
        ParsedExtension::KeyUsage(usage) => usage.key_cert_sign() || usage.crl_sign(),
        ParsedExtension::SubjectAlternativeName(_) | ParsedExtension::ExtendedKeyUsage(_) => true,
        _ => false,
    });
    assert!(!unusual, "{model:?}");
    assert_eq!(world.devices("fred").into_iter().collect::<BTreeSet<_>>(), ids);
}
