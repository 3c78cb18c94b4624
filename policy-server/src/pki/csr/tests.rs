//! Requests of every hostile kind: none yields a key that its sender does not have.

use rcgen::{CertificateParams, DnType};

use super::*;
use crate::pki::RsaKey;

/// What a device with this key sends.
pub(crate) fn request(key: &RsaKey) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Jami device");
    params.distinguished_name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), key.id());
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn a_request_of_ours_is_read() {
    let key = RsaKey::generate().unwrap();
    let device = read(&request(&key)).unwrap();
    assert_eq!((device.spki(), device.short_id()), (key.spki(), key.id()));
}
