//! Requests of Jami devices: whose key is taken has signed for it, in the eyes of another reader too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policy_server::pki::csr::read;
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
