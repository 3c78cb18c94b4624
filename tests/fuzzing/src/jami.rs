//! Requests of Jami devices: whose key is taken has signed for it, in the eyes of another reader too.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policy_server::pki::RsaKey;
use policy_server::pki::csr::read;
use policy_server::pki::ocsp::{Issuer, Refusal, Request, Status, Times};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// PEM, or else DER that is put into it.
pub fn csr(data: &[u8]) {
    let text = match std::str::from_utf8(data) {
        Ok(text) if text.starts_with("-----") => text.to_owned(),
        _ => format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(data)
        ),
    };
    let Ok(device) = read(&text) else { return };
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(base64).expect("it was read");
    let (rest, request) = X509CertificationRequest::from_der(&der).expect("it was read");
    assert!(rest.is_empty(), "something follows the request");
    request.verify_signature().expect("the key signed the request");
    let info = &request.certification_request_info;
    assert_eq!(info.subject_pki.raw, device.spki(), "the key is another one");
    assert_eq!((device.id().len(), device.short_id().len()), (64, 40));
}

/// Whatever is a request gets an answer, about no more certificates than it may name; what is none is malformed.
pub fn ocsp(data: &[u8]) {
    static KEY: OnceLock<RsaKey> = OnceLock::new();
    let request = match Request::read(data) {
        Ok(request) => request,
        Err(refusal) => return assert_eq!(refusal, Refusal::Malformed),
    };
    let serials: Vec<_> = request.serials().collect();
    assert!((1..=16).contains(&serials.len()), "{} certificates", serials.len());
    assert!(serials.iter().flatten().all(|serial| serial.len() <= 40), "{serials:?}");
    let issuer = Issuer { name: b"name", key: b"key" };
    let times = Times { made: 1_800_000_000, next_update: 1_800_000_300 };
    let key = KEY.get_or_init(|| RsaKey::generate().expect("a key"));
    let answer = request.answer(&vec![Status::Good; serials.len()], issuer, times, key).expect("an answer");
    assert!(answer.len() < data.len() + 1024, "{} bytes for {}", answer.len(), data.len());
}
