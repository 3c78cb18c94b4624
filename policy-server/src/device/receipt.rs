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
