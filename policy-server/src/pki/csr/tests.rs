//! Requests of every hostile kind: none yields a key that its sender does not have.

use rcgen::{CertificateParams, DistinguishedName, DnType};

use super::*;
use crate::pki::RsaKey;
use crate::token::hex;

/// From the client itself.
const CAPTURED: &str = include_str!("../../../../tests/data/jami/request.pem");
const CAPTURED_ID: &str = "211066ca3a439d5dc1d245f6ac371c749ad0b04e";
const SHA256_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
const NULL: &[u8] = b"\x05\x00";

/// What a device with this key sends.
pub(crate) fn request(key: &RsaKey) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Jami device");
    params.distinguished_name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), key.id());
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn armour(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// One value of DER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![tag];
    if content.len() >= 128 {
        der.push(0x80 | octets.len() as u8);
    }
    der.extend(if content.is_empty() { vec![0] } else { octets });
    der.extend(content);
    der
}

fn sequence_of(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// A name of one attribute, which is a UID.
fn uid(value: &str) -> Vec<u8> {
    let part = sequence_of(&[b"\x06\x0a\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", &tlv(0x0c, value.as_bytes())]);
    sequence_of(&[&tlv(0x31, &part)])
}

/// A request in pieces, each of them DER.
struct Pieces {
    version: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    attributes: Vec<u8>,
    algorithm: Vec<u8>,
    /// After the bit string's tag and length.
    unused_bits: u8,
}

impl Pieces {
    fn of(key: &RsaKey) -> Self {
        Self {
            version: tlv(2, &[0]),
            subject: sequence_of(&[]),
            spki: key.spki().to_vec(),
            attributes: tlv(0xa0, &[]),
            algorithm: sequence_of(&[SHA256_WITH_RSA, NULL]),
            unused_bits: 0,
        }
    }

    fn info(&self) -> Vec<u8> {
        sequence_of(&[&self.version, &self.subject, &self.spki, &self.attributes])
    }

    fn with_signature(&self, signature: &[u8]) -> Vec<u8> {
        let signature = tlv(3, &[&[self.unused_bits], signature].concat());
        sequence_of(&[&self.info(), &self.algorithm, &signature])
    }

    fn signed(&self, key: &RsaKey) -> Vec<u8> {
        self.with_signature(&key.sign_sha256(&self.info()))
    }
}

/// What is read of the request that these changes make.
fn changed(key: &RsaKey, change: impl FnOnce(&mut Pieces)) -> Result<DeviceKey, CsrError> {
    let mut pieces = Pieces::of(key);
    change(&mut pieces);
    read_der(&pieces.signed(key))
}

#[test]
fn requests_of_clients_are_read() {
    let device = read(CAPTURED).unwrap();
    assert_eq!(
        (device.short_id(), device.id().len(), device.rsa_public_key().len()),
        (CAPTURED_ID.to_owned(), 64, 526)
    );
    assert_eq!(hex(&device.short_id_bytes()), CAPTURED_ID);
    let key = RsaKey::small();
    let device = read(&request(&key)).unwrap();
    assert_eq!((device.spki(), device.short_id()), (key.spki(), key.id()));
    for lines in [CAPTURED.replace('\n', "\r\n"), CAPTURED.replace("NEW ", ""), CAPTURED.trim_end().to_owned()] {
        assert_eq!(read(&lines).map(|device| device.short_id()).unwrap(), CAPTURED_ID);
    }
}

/// Made by openssl, or by hand where it would not: see `requests.py` beside them. All are signed by the key in them.
#[test]
fn requests_of_others_are_judged_by_their_keys() {
    macro_rules! requests {
        ($($name:literal: $expected:expr,)*) => {
            [$(($name, include_str!(concat!("../../../../tests/data/jami/requests/", $name, ".pem")), $expected)),*]
        };
    }
    let requests = requests! {
        "sound": None,
        "sha384": None,
        "sha512": None,
        "asks-for-more": None,
        "1024-bits": Some(CsrError::KeySize(1024)),
        "small-factor": Some(CsrError::SmallFactor),
        "even": Some(CsrError::SmallFactor),
        "roca": Some(CsrError::Roca),
        "exponent-1": Some(CsrError::Exponent),
        "exponent-3": Some(CsrError::Exponent),
        "exponent-257": Some(CsrError::Exponent),
        "exponent-65535": Some(CsrError::Exponent),
        "exponent-too-large": Some(CsrError::Exponent),
        "sha1": Some(CsrError::SignatureAlgorithm),
        "md5": Some(CsrError::SignatureAlgorithm),
        "pss-signature": Some(CsrError::SignatureAlgorithm),
        "pss-key": Some(CsrError::NotRsa),
        "p256": Some(CsrError::NotRsa),
        "ed25519": Some(CsrError::NotRsa),
        "foreign-uid": Some(CsrError::ForeignUid),
    };
    for (name, text, expected) in requests {
        assert_eq!(read(text).err(), expected, "{name}");
    }
}

#[test]
fn what_is_not_one_block_is_refused() {
    let block = CAPTURED.trim_end();
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    for text in [
        String::new(),
        "-----BEGIN CERTIFICATE REQUEST-----".to_owned(),
        "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned(),
        format!("{block}\n{block}"),
        format!("{block}\n{other}"),
        format!("{other}\n{block}"),
        format!("{block}\nmore"),
        format!("more\n{block}"),
        block.replace("REQUEST", "REQUESTS"),
        block.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE"),
        block.replacen("NEW ", "", 1),
        block.replace("-----END", "---- END"),
        block.replace('I', "!"),
        block.replacen("\nM", "\nProc-Type: 4,ENCRYPTED\n\nM", 1),
        block.replace('\n', " "),
        block.replace("\n-----END", "=\n-----END"),
        block.replace("\n-----END", "\0\n-----END"),
    ] {
        assert_eq!(read(&text), Err(CsrError::NotPem), "{text}");
    }
    assert_eq!(read(&format!("{block}{}", "\n".repeat(1 << 20))), Err(CsrError::TooLong));
    assert_eq!(read(&armour(LABELS[0], &[0; MAX_TEXT])), Err(CsrError::TooLong));
    assert_eq!(read(&armour(LABELS[0], &[])), Err(CsrError::NotDer));
}

#[test]
fn der_is_read_strictly() {
    let key = RsaKey::small();
    let whole = Pieces::of(&key).signed(&key);
    assert!(read_der(&whole).is_ok());
    assert_eq!(read_der(&[&whole[..], &[0]].concat()), Err(CsrError::NotDer), "something follows");
    assert_eq!(read_der(&[&whole[..], &whole].concat()), Err(CsrError::NotDer), "it follows twice");
    let inner = &whole[4..];
    let indefinite = [b"\x30\x80", inner, b"\0\0"].concat();
    let long_length = [b"\x30\x83\x00", &whole[2..4], inner].concat();
    let one_more = sequence_of(&[inner, NULL]);
    for der in [indefinite, long_length, one_more, b"\x30\x84\xff\xff\xff\xff".to_vec(), b"\x30\x80".repeat(5_000)] {
        assert_eq!(read_der(&der), Err(CsrError::NotDer));
    }
    let mut deep = vec![];
    while deep.len() < 8_000 {
        deep = sequence_of(&[&deep]);
    }
    assert_eq!(read_der(&deep), Err(CsrError::NotDer));
    // Attributes are nobody's business, however deep they are.
    assert!(changed(&key, |pieces| pieces.attributes = tlv(0xa0, &deep)).is_ok());
    assert_eq!(changed(&key, |pieces| pieces.subject = deep).err(), Some(CsrError::NotDer));
}

#[test]
fn every_piece_has_one_form() {
    let key = RsaKey::small();
    let numbers = &key.spki()[24..];
    let spki = |algorithm: &[u8], bits: &[u8]| sequence_of(&[algorithm, &tlv(3, bits)]);
    let rsa: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    assert_eq!(spki(&sequence_of(&[rsa, NULL]), &key.spki()[23..]), key.spki());
    let (modulus, exponent) = (&key.spki()[28..289], b"\x02\x03\x01\x00\x01");
    assert_eq!(sequence_of(&[modulus, exponent]), numbers);
    let of_numbers = |parts: &[&[u8]]| spki(&sequence_of(&[rsa, NULL]), &[&[0], &sequence_of(parts)[..]].concat());

    let check = |expected: Option<CsrError>, change: &dyn Fn(&mut Pieces)| {
        assert_eq!(changed(&key, change).err(), expected);
    };
    check(None, &|_| {});
    check(None, &|pieces| pieces.attributes.clear());
    check(None, &|pieces| pieces.subject = uid(&key.id()));
    check(None, &|pieces| pieces.subject = uid(&key.id().to_uppercase()));
    check(None, &|pieces| pieces.subject = uid("eve"));
    check(Some(CsrError::ForeignUid), &|pieces| pieces.subject = uid(CAPTURED_ID));
    check(Some(CsrError::Version), &|pieces| pieces.version = tlv(2, &[1]));
    check(Some(CsrError::NotDer), &|pieces| pieces.version = tlv(2, &[0, 0]));
    check(Some(CsrError::NotDer), &|pieces| pieces.version = tlv(2, &[0xff]));
    check(Some(CsrError::NotDer), &|pieces| pieces.attributes = tlv(0xa1, &[]));
    check(Some(CsrError::NotDer), &|pieces| pieces.attributes.extend(tlv(0xa0, &[])));
    check(Some(CsrError::SignatureAlgorithm), &|pieces| {
        pieces.algorithm = sequence_of(&[SHA256_WITH_RSA, &tlv(4, &[])])
    });
    check(Some(CsrError::SignatureAlgorithm), &|pieces| pieces.algorithm = sequence_of(&[SHA256_WITH_RSA]));
    check(Some(CsrError::NotDer), &|pieces| pieces.algorithm = sequence_of(&[SHA256_WITH_RSA, NULL, NULL]));
    check(Some(CsrError::NotDer), &|pieces| pieces.unused_bits = 8);
    check(Some(CsrError::Signature), &|pieces| pieces.unused_bits = 1);
    check(Some(CsrError::NotCanonical), &|pieces| pieces.spki = spki(&sequence_of(&[rsa]), &key.spki()[23..]));
    check(Some(CsrError::NotCanonical), &|pieces| {
        pieces.spki = spki(&sequence_of(&[rsa, &tlv(4, &[])]), &key.spki()[23..]);
    });
    check(Some(CsrError::NotDer), &|pieces| pieces.spki = of_numbers(&[modulus, exponent, NULL]));
    check(Some(CsrError::NotDer), &|pieces| pieces.spki = of_numbers(&[modulus, b"\x02\x04\x00\x01\x00\x01"]));
    check(Some(CsrError::Exponent), &|pieces| pieces.spki = of_numbers(&[modulus, b"\x02\x03\x01\x00\x00"]));
    check(Some(CsrError::Exponent), &|pieces| pieces.spki = of_numbers(&[modulus, modulus]));
    check(Some(CsrError::KeySize(17)), &|pieces| pieces.spki = of_numbers(&[exponent, exponent]));
    check(Some(CsrError::NotDer), &|pieces| pieces.spki = of_numbers(&[&tlv(2, &[0xc1; 256]), exponent]));
    let odd = |bytes: usize| tlv(2, &[&[0], &vec![0xc1; bytes][..]].concat());
    check(Some(CsrError::KeySize(8200)), &|pieces| pieces.spki = of_numbers(&[&odd(1025), exponent]));
    check(Some(CsrError::KeySize(2040)), &|pieces| pieces.spki = of_numbers(&[&odd(255), exponent]));
}

#[test]
fn only_the_keys_own_signature_counts() {
    let (key, other) = (RsaKey::small(), RsaKey::small());
    let pieces = Pieces::of(&key);
    let refused = |der: &[u8]| assert_eq!(read_der(der), Err(CsrError::Signature));
    refused(&pieces.signed(&other));
    refused(&pieces.with_signature(&[]));
    refused(&pieces.with_signature(&[0; 256]));
    refused(&pieces.with_signature(&key.sign_sha256(b"something else")));
    refused(&pieces.with_signature(&key.sign_sha512(&pieces.info()).unwrap()));
    refused(&pieces.with_signature(&[&[0], &key.sign_sha256(&pieces.info())[..]].concat()));
    let mut swapped = Pieces::of(&key);
    swapped.spki = other.spki().to_vec();
    refused(&swapped.with_signature(&key.sign_sha256(&pieces.info())));
    refused(&swapped.signed(&key));
}

#[test]
fn no_truncation_and_no_flipped_byte_passes() {
    let key = RsaKey::small();
    let whole = Pieces { subject: uid(&key.id()), ..Pieces::of(&key) }.signed(&key);
    for end in 0..whole.len() {
        assert!(read_der(&whole[..end]).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = whole.clone();
            flipped[at] ^= mask;
            assert!(read_der(&flipped).is_err(), "{at}: {mask:x}");
        }
    }
    let text = armour(LABELS[0], &whole);
    for at in 0..text.len() {
        let mut flipped = text.clone().into_bytes();
        flipped[at] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        assert!(read(&text[..at]).is_err() || text[at..].trim().is_empty(), "{at}");
        // What stands around the base64 may have more than one form.
        assert!(read(&flipped).map_or(true, |device| device.spki() == key.spki()), "{at}");
    }
}
