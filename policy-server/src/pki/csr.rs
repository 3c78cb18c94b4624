//! A device's certificate signing request (PKCS#10, RFC 2986), from a stranger: what it contributes is a public key whose
//! private half its sender has. What it asks for beyond that (subject, attributes, extensions) is not looked at, and what a
//! certificate says is none of this file's business.
//!
//! The key may still be somebody's: the caller refuses one that is an account's or an authority's (by
//! [`DeviceKey::short_id`], which is how those are named) or that another account enrolled (by [`DeviceKey::id`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, SetOfVec, UintRef};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, TagNumber, ValueOrd};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use sha1::{Digest, Sha1};
use thiserror::Error;

use super::modulus::{Weakness, weakness};
use super::{device_id, key_id};

/// In bytes of PEM: four times what a client sends, and enough for the largest key.
pub const MAX_TEXT: usize = 16 * 1024;
const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;
const MIN_EXPONENT: u64 = 65_537;
const MAX_EXPONENT: u64 = u32::MAX as u64;

/// GnuTLS, and so the Jami client, writes the second one.
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SIGNATURES: [(ObjectIdentifier, &RsaParameters); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), &RSA_PKCS1_2048_8192_SHA256),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), &RSA_PKCS1_2048_8192_SHA384),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), &RSA_PKCS1_2048_8192_SHA512),
];
const UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

/// What is wrong with a request, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CsrError {
    #[error("the request is longer than 16 KiB")]
    TooLong,
    #[error("this is not one PEM block with a certificate request and nothing beside it")]
    NotPem,
    #[error("the request is not DER as RFC 2986 wants it")]
    NotDer,
    #[error("the request is not of version 1")]
    Version,
    #[error("the key is not an RSA key")]
    NotRsa,
    #[error("the RSA key is not written in the one way it may be")]
    NotCanonical,
    #[error("the RSA key has {0} bits, and not 2048 to 8192")]
    KeySize(usize),
    #[error("the exponent of the RSA key is even, or not between 65537 and 2^32")]
    Exponent,
    #[error("the modulus of the RSA key has a small factor")]
    SmallFactor,
    #[error("the RSA key comes from a generator whose keys can be broken (ROCA, CVE-2017-15361)")]
    Roca,
    #[error("the request is not signed with RSASSA-PKCS1-v1_5 and SHA-256, SHA-384 or SHA-512")]
    SignatureAlgorithm,
    #[error("the request is not signed by the key in it")]
    Signature,
    #[error("the request names a device (UID) that is another one than its key says")]
    ForeignUid,
}

impl From<der::Error> for CsrError {
    fn from(_: der::Error) -> Self {
        Self::NotDer
    }
}

/// The public key of a device that has the private one: there is no other way to such a value than [`read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// `RSAPublicKey` (RFC 8017, appendix A.1.1).
    key: Vec<u8>,
    spki: Vec<u8>,
}

impl DeviceKey {
    /// SHA-256 of the public key, in hexadecimal: how Jami names the device in its API.
    pub fn id(&self) -> String {
        device_id(&self.spki)
    }

    /// SHA-1 of the same: how certificates and receipts name it.
    pub fn short_id(&self) -> String {
        key_id(&self.spki)
    }

    /// That, not in hexadecimal.
    pub fn short_id_bytes(&self) -> [u8; 20] {
        Sha1::digest(&self.spki).into()
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What is in the bit string of that.
    pub(super) fn rsa_public_key(&self) -> &[u8] {
        &self.key
    }
}

/// Reads a request in PEM and checks that its sender has the private key and that the key is a sound one.
pub fn read(text: &str) -> Result<DeviceKey, CsrError> {
    if text.len() > MAX_TEXT {
        return Err(CsrError::TooLong);
    }
    read_der(&unarmour(text).ok_or(CsrError::NotPem)?)
}

fn read_der(der: &[u8]) -> Result<DeviceKey, CsrError> {
    let request = Request::from_der(der)?;
    let info = Info::from_der(request.info)?;
    if info.version != 0 {
        return Err(CsrError::Version);
    }
    let key = public_key(info.spki)?;
    request.verify(&key)?;
    if names_another(info.subject, &key.short_id())? {
        return Err(CsrError::ForeignUid);
    }
    Ok(key)
}

/// The content of the only block (RFC 7468, section 3).
fn unarmour(text: &str) -> Option<Vec<u8>> {
    let mut lines = text.trim_ascii().split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let end = lines.next_back()?.strip_prefix("-----END ")?.strip_suffix("-----")?;
    if label != end || !LABELS.contains(&label) {
        return None;
    }
    STANDARD.decode(lines.collect::<String>()).ok()
}

/// `CertificationRequest`, the signed part as it was sent.
struct Request<'a> {
    info: &'a [u8],
    algorithm: Algorithm<'a>,
    signature: BitStringRef<'a>,
}

/// `CertificationRequestInfo` without its attributes.
struct Info<'a> {
    version: u8,
    subject: &'a [u8],
    spki: &'a [u8],
}

#[derive(Sequence)]
struct Algorithm<'a> {
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct PublicKeyInfo<'a> {
    algorithm: Algorithm<'a>,
    key: BitStringRef<'a>,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

#[derive(Sequence, ValueOrd)]
struct NamePart<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

/// Reads a SEQUENCE that is all there is.
fn sequence<'a, T>(der: &'a [u8], read: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>) -> der::Result<T> {
    let mut reader = SliceReader::new(der)?;
    let read = reader.sequence(read)?;
    reader.finish()?;
    Ok(read)
}

impl<'a> Request<'a> {
    fn from_der(der: &'a [u8]) -> der::Result<Self> {
        sequence(der, |reader| {
            Ok(Self { info: reader.tlv_bytes()?, algorithm: reader.decode()?, signature: reader.decode()? })
        })
    }

    fn verify(&self, key: &DeviceKey) -> Result<(), CsrError> {
        let known = SIGNATURES.iter().find(|(oid, _)| *oid == self.algorithm.oid);
        // The parameters are NULL (RFC 4055, section 5).
        let is_null = self.algorithm.parameters.is_some_and(AnyRef::is_null);
        let (_, parameters) = known.filter(|_| is_null).ok_or(CsrError::SignatureAlgorithm)?;
        let signature = self.signature.as_bytes().ok_or(CsrError::Signature)?;
        let verified = UnparsedPublicKey::new(*parameters, &key.key).verify(self.info, signature);
        verified.map_err(|_| CsrError::Signature)
    }
}

impl<'a> Info<'a> {
    fn from_der(der: &'a [u8]) -> der::Result<Self> {
        const ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
        sequence(der, |reader| {
            let info = Self { version: reader.decode()?, subject: reader.tlv_bytes()?, spki: reader.tlv_bytes()? };
            // Some leave them out where there are none.
            if !reader.is_finished() {
                Tag::peek(reader)?.assert_eq(ATTRIBUTES)?;
                reader.tlv_bytes()?;
            }
            Ok(info)
        })
    }
}

/// The key in a SubjectPublicKeyInfo, if it is a sound RSA key in the one encoding that its ids can be hashes of.
fn public_key(spki: &[u8]) -> Result<DeviceKey, CsrError> {
    let info = PublicKeyInfo::from_der(spki)?;
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Err(CsrError::NotRsa);
    }
    let key = RsaPublicKey::from_der(info.key.as_bytes().ok_or(CsrError::NotCanonical)?)?;
    let canonical = encode(&key)?;
    if canonical.spki != spki {
        return Err(CsrError::NotCanonical);
    }
    check(key.modulus.as_bytes(), key.exponent.as_bytes())?;
    Ok(canonical)
}

fn encode(key: &RsaPublicKey<'_>) -> der::Result<DeviceKey> {
    let key = key.to_der()?;
    let algorithm = Algorithm { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
    let spki = PublicKeyInfo { algorithm, key: BitStringRef::from_bytes(&key)? }.to_der()?;
    Ok(DeviceKey { key, spki })
}

/// Both numbers are big-endian and begin with a byte that is not zero.
fn check(modulus: &[u8], exponent: &[u8]) -> Result<(), CsrError> {
    let unused = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(CsrError::KeySize(bits));
    }
    let exponent = exponent.iter().try_fold(0_u64, |number, byte| Some(number.checked_mul(256)? + u64::from(*byte)));
    if !exponent.is_some_and(is_exponent) {
        return Err(CsrError::Exponent);
    }
    match weakness(modulus) {
        Some(Weakness::SmallFactor) => Err(CsrError::SmallFactor),
        Some(Weakness::Roca) => Err(CsrError::Roca),
        None => Ok(()),
    }
}

/// Whether a subject has a UID in the form of a device's that is not the key's own. Any other is as good as none.
fn names_another(subject: &[u8], id: &str) -> der::Result<bool> {
    let names = Vec::<SetOfVec<NamePart<'_>>>::from_der(subject)?;
    let is_id = |value: &[u8]| value.len() == id.len() && value.iter().all(u8::is_ascii_hexdigit);
    let mut uids = names.iter().flat_map(|name| name.iter()).filter(|part| part.oid == UID);
    Ok(uids.any(|part| is_id(part.value.value()) && !part.value.value().eq_ignore_ascii_case(id.as_bytes())))
}

/// Whether a public exponent is one that RSA keys here may have.
pub(super) fn is_exponent(exponent: u64) -> bool {
    exponent % 2 == 1 && (MIN_EXPONENT..=MAX_EXPONENT).contains(&exponent)
}

#[cfg(test)]
pub(crate) mod tests;
