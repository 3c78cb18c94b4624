//! The receipt that binds a device to its account: a text the client keeps and checks, with its signature, at every start.
//! In it is the announcement of the device that the client puts into the DHT as it is.
//!
//! Every byte of both counts: clients serialise the announcement again and verify what comes out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::pki::csr::DeviceKey;
use crate::pki::{PkiError, RsaKey};

/// An account of the public name register that ours have nothing to do with.
const NOBODY: &str = "0000000000000000000000000000000000000000";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// JSON; whoever delivers it changes no byte.
    pub text: String,
    /// Over the bytes of the text, by the account's key: base64.
    pub signature: String,
}

/// The same for the same two keys, always.
pub fn make(account: &RsaKey, device: &DeviceKey) -> Result<Receipt, PkiError> {
    let body = body(account.spki(), device);
    let announcement = announcement(&body, &account.sign_sha512(&body)?);
    // None of these has a character that JSON would want escaped.
    let text = format!(
        r#"{{"id":"{}","dev":"{}","eth":"{NOBODY}","announce":"{}"}}"#,
        account.id(),
        device.short_id(),
        STANDARD.encode(announcement)
    );
    let signature = STANDARD.encode(account.sign_sha512(text.as_bytes())?);
    Ok(Receipt { text, signature })
}

/// What the signature of the announcement is over, in OpenDHT's order.
fn body(account: &[u8], device: &DeviceKey) -> Vec<u8> {
    let mut data = Pack::map(2);
    data.text("dev").binary(&device.short_id_bytes());
    data.text("pk").binary(device.spki());
    let mut body = Pack::map(4);
    body.text("seq").zero();
    body.text("owner").binary(account);
    body.text("type").zero();
    body.text("data").binary(&data.0);
    body.0
}

fn announcement(body: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut value = Pack::map(2);
    value.text("id").zero();
    value.text("dat").raw(&[0x82]);
    value.text("body").raw(body);
    value.text("sig").binary(signature);
    value.0
}

/// MessagePack, each value in its shortest form; what is longer than a form's length may say has no place here.
struct Pack(Vec<u8>);

impl Pack {
    /// At most 15 pairs are to follow.
    fn map(pairs: u8) -> Self {
        Self(vec![0x80 | pairs])
    }

    /// At most 31 bytes.
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(0xa0 | text.len() as u8);
        self.raw(text.as_bytes())
    }

    fn zero(&mut self) -> &mut Self {
        self.raw(&[0])
    }

    fn binary(&mut self, bytes: &[u8]) -> &mut Self {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.raw(&[0xc4, length]),
            Err(_) => self.raw(&[0xc5]).raw(&(bytes.len() as u16).to_be_bytes()),
        };
        self.raw(bytes)
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::Value;
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::pki::csr;

    /// What the client accepted, at its start too, and the request it was for.
    const ACCEPTED: &str = include_str!("../../../tests/data/jami/enrolment.json");
    const REQUEST: &str = include_str!("../../../tests/data/jami/request.pem");

    /// The public key of the account in a chain: as a whole, and its bit string.
    fn account(chain: &str) -> (Vec<u8>, Vec<u8>) {
        let account = CertificateDer::pem_slice_iter(chain.as_bytes()).nth(1).unwrap().unwrap();
        let (_, account) = X509Certificate::from_der(&account).unwrap();
        (account.public_key().raw.to_vec(), account.public_key().subject_public_key.data.to_vec())
    }

    fn verify(key: &[u8], message: &[u8], signature: &[u8]) {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, key).verify(message, signature).unwrap();
    }

    #[test]
    fn the_announcement_is_what_clients_accept_byte_for_byte() {
        let accepted: Value = serde_json::from_str(ACCEPTED).unwrap();
        let (owner, key) = account(accepted["certificateChain"].as_str().unwrap());
        let text = accepted["deviceReceipt"].as_str().unwrap();
        verify(&key, text.as_bytes(), &STANDARD.decode(accepted["receiptSignature"].as_str().unwrap()).unwrap());

        let receipt: Value = serde_json::from_str(text).unwrap();
        let announce = STANDARD.decode(receipt["announce"].as_str().unwrap()).unwrap();
        let body = body(&owner, &csr::read(REQUEST).unwrap());
        let signature = announce.last_chunk::<512>().unwrap();
        verify(&key, &body, signature);
        assert_eq!(announcement(&body, signature), announce);
    }

    #[test]
    fn a_receipt_is_of_its_two_keys_and_signed_by_the_account() {
        let (key, device) = (RsaKey::generate().unwrap(), csr::read(REQUEST).unwrap());
        let receipt = make(&key, &device).unwrap();
        assert_eq!(receipt, make(&key, &device).unwrap());
        let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(key.spki()).unwrap();
        let public = &spki.subject_public_key.data;
        verify(public, receipt.text.as_bytes(), &STANDARD.decode(&receipt.signature).unwrap());

        let accepted: Value = serde_json::from_str(ACCEPTED).unwrap();
        let (head, _) = accepted["deviceReceipt"].as_str().unwrap().split_once(r#","announce":"#).unwrap();
        let parsed: Value = serde_json::from_str(&receipt.text).unwrap();
        let (ours, _) = receipt.text.split_once(r#","announce":"#).unwrap();
        let former = account(accepted["certificateChain"].as_str().unwrap()).0;
        assert_eq!(ours, head.replace(&crate::pki::key_id(&former), &key.id()), "as it was accepted");
        let announce = STANDARD.decode(parsed["announce"].as_str().unwrap()).unwrap();
        assert_eq!(announce.len(), 1696);
        verify(public, &body(key.spki(), &device), announce.last_chunk::<512>().unwrap());
    }
}
