//! `X-Client-Cert`: a client's certificate as a proxy hands it on, the way nginx writes `$ssl_client_escaped_cert`.
//!
//! There is one way to write each certificate, and only that way is read: so nobody behind can read another one. That the
//! certificate is genuine is not decided here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest value, in bytes.
pub const MAX: usize = 16 * 1024;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----";
/// Characters of a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// A value that is exactly one certificate in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    escaped: String,
    der: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientCertError {
    #[error("it is longer than {MAX} bytes")]
    TooLong,
    #[error("it is not one certificate in URL-escaped PEM")]
    Malformed,
    #[error("it is not written the way nginx writes it")]
    NotCanonical,
}

impl ClientCert {
    /// Reads a header's value.
    ///
    /// # Errors
    /// Whatever is not exactly one certificate in its one spelling; only the last line break may be missing.
    pub fn parse(value: &[u8]) -> Result<Self, ClientCertError> {
        if value.len() > MAX {
            return Err(ClientCertError::TooLong);
        }
        let pem = unescape(value).ok_or(ClientCertError::Malformed)?;
        let der = certificate(&pem).ok_or(ClientCertError::Malformed)?;
        let mut canonical = escape(&to_pem(&der));
        if !pem.ends_with('\n') {
            canonical.truncate(canonical.len() - "%0A".len());
        }
        if canonical.as_bytes() != value {
            return Err(ClientCertError::NotCanonical);
        }
        Ok(Self { escaped: canonical, der })
    }

    /// Writes a certificate as nginx would.
    ///
    /// # Errors
    /// It is none, or too long.
    pub fn from_der(der: &[u8]) -> Result<Self, ClientCertError> {
        if !is_one_sequence(der) {
            return Err(ClientCertError::Malformed);
        }
        let escaped = escape(&to_pem(der));
        if escaped.len() > MAX {
            return Err(ClientCertError::TooLong);
        }
        Ok(Self { escaped, der: der.to_owned() })
    }

    /// The header's value, byte for byte as it came.
    pub fn escaped(&self) -> &str {
        &self.escaped
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// The DER of the only block of a PEM text, without regard to its line breaks.
fn certificate(pem: &str) -> Option<Vec<u8>> {
    let body = pem.strip_suffix('\n').unwrap_or(pem).strip_prefix(BEGIN)?.strip_suffix(END)?;
    let der = STANDARD.decode(body.replace('\n', "")).ok()?;
    is_one_sequence(&der).then_some(der)
}

/// Whether the bytes are one DER SEQUENCE and nothing after it (X.690, section 8.1.3), as every certificate is.
fn is_one_sequence(der: &[u8]) -> bool {
    let (length, rest) = match der {
        [0x30, short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x30, 0x81, one @ 0x80..=0xff, rest @ ..] => (usize::from(*one), rest),
        [0x30, 0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return false,
    };
    length > 0 && rest.len() == length
}

fn to_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = BEGIN.to_owned();
    for (at, character) in text.chars().enumerate() {
        pem.push(character);
        if (at + 1) % LINE == 0 || at + 1 == text.len() {
            pem.push('\n');
        }
    }
    pem.push_str(END);
    pem.push('\n');
    pem
}

/// Everything but the unreserved characters of RFC 3986, in capital hexadecimal.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `None` for a broken escape or anything but ASCII.
fn unescape(value: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'%', [high, low, next @ ..]) => (hex(*high)? << 4 | hex(*low)?, next),
            (b'%', _) => return None,
            (byte, next) => (*byte, next),
        };
        out.push(char::from(byte).is_ascii().then_some(char::from(byte))?);
        rest = next;
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SEQUENCE of so many bytes.
    fn der(length: usize) -> Vec<u8> {
        let head = match length {
            0..=0x7f => vec![0x30, length as u8],
            0x80..=0xff => vec![0x30, 0x81, length as u8],
            _ => vec![0x30, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, (0..length).map(|n| n as u8).collect()].concat()
    }

    #[test]
    fn every_certificate_passes_byte_for_byte() {
        for length in (1..2_000).step_by(7) {
            let value = escape(&to_pem(&der(length)));
            let cert = ClientCert::parse(value.as_bytes()).unwrap();
            assert_eq!((cert.escaped(), cert.der()), (value.as_str(), der(length).as_slice()));
            let without = value.strip_suffix("%0A").unwrap();
            assert_eq!(ClientCert::parse(without.as_bytes()).unwrap().escaped(), without);
        }
        let value = escape(&to_pem(&der(900)));
        assert!(value.starts_with("-----BEGIN%20CERTIFICATE-----%0AMIIDhAAB") && value.ends_with("CATE-----%0A"));
    }

    #[test]
    fn nothing_else_passes() {
        let good = escape(&to_pem(&der(900)));
        let pem = to_pem(&der(900));
        let other = |pem: String| escape(&pem);
        for bad in [
            String::new(),
            "a".to_owned(),
            pem.clone(),
            good.to_lowercase(),
            good.replace("%0A", "%0a"),
            good.replace("%20", "+"),
            good.replace("%20", " "),
            good.replace("%0A", "%0D%0A"),
            good.replace('-', "%2D"),
            good.replace("CERTIFICATE", "PRIVATE%20KEY"),
            good.replace("CERTIFICATE", "TRUSTED%20CERTIFICATE"),
            format!("{good}{good}"),
            format!("{good}%0A"),
            format!("%0A{good}"),
            format!("{good} "),
            format!("{good}%"),
            format!("{good}%0"),
            format!("{good}%C3%A9"),
            other(pem.replace("MII", "MI I")),
            other(pem.replace("MII", "MI\nI")),
            other(pem.replacen("-----\n", "-----\nComment: x\n\n", 1)),
            other(to_pem(&[der(900), vec![0]].concat())),
            other(to_pem(&der(900)[..500])),
            other(to_pem(&[0x30, 0x81, 0x01, 0x00])),
            other(to_pem(&[0x30, 0x80, 0x00, 0x00])),
            other(to_pem(&[0x30, 0x00])),
            other(to_pem(&[])),
            escape(&to_pem(&der(12_000))),
        ] {
            assert!(ClientCert::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ClientCert::parse(&[good.as_bytes(), b"\xff"].concat()).is_err());
    }

    /// What is written is what is read, whatever its length.
    #[test]
    fn a_certificate_is_written_the_way_it_is_read() {
        for length in [1, 40, 126, 127, 128, 255, 256, 900, 8000] {
            let written = ClientCert::from_der(&der(length)).unwrap();
            assert_eq!(ClientCert::parse(written.escaped().as_bytes()), Ok(written.clone()), "{length}");
            assert!(written.escaped().ends_with("%0A") && written.der() == der(length));
        }
        assert_eq!(ClientCert::from_der(&der(12_000)), Err(ClientCertError::TooLong));
        for none in [&b""[..], b"\x30\x00", b"\x31\x01\x00", b"\x30\x01\x00\x00"] {
            assert_eq!(ClientCert::from_der(none), Err(ClientCertError::Malformed), "{none:?}");
        }
    }

    /// Any one byte more or other is refused, or was no change.
    #[test]
    fn one_other_byte_is_never_read_as_the_same_certificate() {
        let good = escape(&to_pem(&der(40)));
        let known = ClientCert::parse(good.as_bytes()).unwrap();
        for at in 0..good.len() {
            for byte in 0..=255_u8 {
                let mut changed = good.clone().into_bytes();
                changed[at] = byte;
                if let Ok(read) = ClientCert::parse(&changed) {
                    assert_eq!(read.escaped().as_bytes(), changed);
                    assert_eq!(read.der() == known.der(), changed == good.as_bytes());
                }
            }
        }
    }
}
