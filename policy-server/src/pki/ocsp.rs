//! OCSP (RFC 6960): what is asked, and the bytes of the answer. Pure.
//!
//! An answer is signed by the issuer itself, so that there is no certificate of a responder to hand out, and none to
//! check. Whatever can be read is echoed in the words of the client, because that is what it compares.

use std::time::Duration;

use der::asn1::{Any, BitString, GeneralizedTime, Int, Null, OctetString};
use der::oid::ObjectIdentifier;
use der::{Choice, Decode, Encode, Enumerated, Sequence};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA512, SignatureAlgorithm};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::crl::Reason;
use crate::token::hex;

/// Certificates that one request may be about.
const MAX_CERTIFICATES: usize = 16;
/// Octets of a nonce (RFC 9654, section 2.1).
const NONCE: std::ops::RangeInclusive<usize> = 1..=128;
/// Octets of the longest serial number (RFC 5280, section 4.1.2.2).
const MAX_SERIAL: usize = 20;

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const NONCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const SHA512_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// An answer without a status of certificates, which nobody signs (RFC 6960, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum Refusal {
    Malformed = 1,
    TryLater = 3,
    /// The request is about certificates of another issuer.
    Unauthorized = 6,
}

/// What is known of a certificate. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Good,
    Revoked {
        since: i64,
        reason: Reason,
    },
    /// It was never issued.
    Unknown,
}

/// Who issued the certificates in question and signs the answer.
#[derive(Debug, Clone, Copy)]
pub struct Issuer<'a> {
    /// Its subject, in DER.
    pub name: &'a [u8],
    /// Its public key: the content of the BIT STRING.
    pub key: &'a [u8],
}

/// When an answer was made, and until when it counts, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub made: i64,
    pub next_update: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum OcspError {
    #[error("an OCSP answer cannot be written: {0}")]
    Encoding(#[from] der::Error),
    #[error("an OCSP answer cannot be signed with a key of this kind")]
    Algorithm,
    #[error("an OCSP answer cannot be signed: {0}")]
    Signing(#[from] rcgen::Error),
}

/// The certificates that a client asks about.
#[derive(Debug, Clone)]
pub struct Request {
    certificates: Vec<CertId>,
    nonce: Option<Extension>,
}

impl Request {
    /// # Errors
    /// [`Refusal::Malformed`] also for what is well-formed but more than anybody needs to ask, or marked as critical and
    /// unknown.
    pub fn read(der: &[u8]) -> Result<Self, Refusal> {
        let TbsRequest { version, list, extensions, .. } =
            OcspRequest::from_der(der).map_err(|_| Refusal::Malformed)?.tbs;
        if version != 0 || list.is_empty() || list.len() > MAX_CERTIFICATES {
            return Err(Refusal::Malformed);
        }
        let single = list.iter().flat_map(|one| one.extensions.iter().flatten());
        let (nonces, others): (Vec<_>, Vec<_>) =
            extensions.into_iter().flatten().partition(|extension| extension.id == NONCE_ID);
        let unknown = others.iter().chain(single).any(|extension| extension.critical);
        if unknown || nonces.len() > 1 || !nonces.iter().all(Extension::is_nonce) {
            return Err(Refusal::Malformed);
        }
        let certificates = list.into_iter().map(|one| one.certificate).collect();
        Ok(Self { certificates, nonce: nonces.into_iter().next() })
    }

    /// Whether all of them are certificates of this issuer.
    pub fn is_about(&self, issuer: Issuer<'_>) -> bool {
        self.certificates.iter().all(|certificate| certificate.is_of(issuer))
    }

    /// The serial numbers, in the order of the request, as the store knows them; `None` for what nobody issues.
    pub fn serials(&self) -> impl Iterator<Item = Option<String>> {
        self.certificates.iter().map(|certificate| serial(certificate.serial.as_bytes()))
    }

    /// What an answer to it depends on beside the status; `None` where it is for this request alone.
    pub fn repeatable(&self) -> Option<Vec<u8>> {
        if self.nonce.is_some() {
            return None;
        }
        self.certificates.to_der().ok()
    }

    /// The answer: a status for each certificate, in the order of the request.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn answer(
        &self,
        statuses: &[Status],
        issuer: Issuer<'_>,
        times: Times,
        key: &impl rcgen::SigningKey,
    ) -> Result<Vec<u8>, OcspError> {
        let made = time(times.made)?;
        let next_update = time(times.next_update)?;
        let answer = |(certificate, status): (&CertId, &Status)| {
            let (certificate, status) = (certificate.clone(), CertStatus::of(*status)?);
            Ok(SingleResponse { certificate, status, this_update: made, next_update })
        };
        let data = ResponseData {
            responder: OctetString::new(Sha1::digest(issuer.key).to_vec())?,
            produced: made,
            responses: self.certificates.iter().zip(statuses).map(answer).collect::<Result<_, der::Error>>()?,
            extensions: self.nonce.clone().map(|nonce| vec![Extension { critical: false, ..nonce }]),
        };
        let signature = BitString::from_bytes(&key.sign(&data.to_der()?)?)?;
        let basic = BasicOcspResponse { data, algorithm: algorithm(key.algorithm())?, signature };
        let bytes = ResponseBytes { kind: BASIC, response: OctetString::new(basic.to_der()?)? };
        Ok(OcspResponse { status: ResponseStatus::Successful, bytes: Some(bytes) }.to_der()?)
    }
}

impl Refusal {
    pub fn to_der(self) -> Vec<u8> {
        // SEQUENCE { ENUMERATED }: the same five bytes, but for the last.
        vec![0x30, 0x03, 0x0a, 0x01, self as u8]
    }
}

/// The serial number that these octets of an INTEGER are, in the spelling of the store.
fn serial(octets: &[u8]) -> Option<String> {
    let is_negative = octets.first().is_some_and(|first| first & 0x80 != 0);
    let number = octets.strip_prefix(&[0]).unwrap_or(octets);
    (!is_negative && octets.len() <= MAX_SERIAL).then(|| hex(number))
}

fn time(seconds: i64) -> Result<GeneralizedTime, der::Error> {
    GeneralizedTime::from_unix_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

pub(super) fn algorithm(algorithm: &SignatureAlgorithm) -> Result<AlgorithmIdentifier, OcspError> {
    // RFC 4055, section 5: NULL for RSA; RFC 5758, section 3.2: nothing for ECDSA.
    let (id, parameters) = if *algorithm == PKCS_RSA_SHA512 {
        (SHA512_WITH_RSA, Some(Any::null()))
    } else if *algorithm == PKCS_ECDSA_P256_SHA256 {
        (ECDSA_WITH_SHA256, None)
    } else if *algorithm == PKCS_ECDSA_P384_SHA384 {
        (ECDSA_WITH_SHA384, None)
    } else {
        return Err(OcspError::Algorithm);
    };
    Ok(AlgorithmIdentifier { id, parameters })
}

#[derive(Debug, Clone, Sequence)]
struct OcspRequest {
    tbs: TbsRequest,
    /// Nobody has to sign here, and nothing is decided by who did.
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    signature: Option<Any>,
}

#[derive(Debug, Clone, Sequence)]
struct TbsRequest {
    #[asn1(context_specific = "0", default = "Default::default", tag_mode = "EXPLICIT")]
    version: u8,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    requestor: Option<Any>,
    list: Vec<SingleRequest>,
    #[asn1(context_specific = "2", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, Sequence)]
struct SingleRequest {
    certificate: CertId,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, Sequence)]
struct CertId {
    algorithm: AlgorithmIdentifier,
    name_hash: OctetString,
    key_hash: OctetString,
    serial: Int,
}

impl CertId {
    fn is_of(&self, issuer: Issuer<'_>) -> bool {
        let digest = |bytes: &[u8]| match self.algorithm.id {
            SHA1 => Some(Sha1::digest(bytes).to_vec()),
            SHA256 => Some(Sha256::digest(bytes).to_vec()),
            SHA384 => Some(Sha384::digest(bytes).to_vec()),
            SHA512 => Some(Sha512::digest(bytes).to_vec()),
            _ => None,
        };
        digest(issuer.name).is_some_and(|hash| hash == self.name_hash.as_bytes())
            && digest(issuer.key).is_some_and(|hash| hash == self.key_hash.as_bytes())
    }
}

#[derive(Debug, Clone, Sequence)]
pub(super) struct AlgorithmIdentifier {
    id: ObjectIdentifier,
    #[asn1(optional = "true")]
    parameters: Option<Any>,
}

#[derive(Debug, Clone, Sequence)]
struct Extension {
    id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: OctetString,
}

impl Extension {
    fn is_nonce(&self) -> bool {
        OctetString::from_der(self.value.as_bytes()).is_ok_and(|nonce| NONCE.contains(&nonce.as_bytes().len()))
    }
}

#[derive(Debug, Clone, Copy, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
enum ResponseStatus {
    Successful = 0,
}

#[derive(Debug, Clone, Sequence)]
struct OcspResponse {
    status: ResponseStatus,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    bytes: Option<ResponseBytes>,
}

#[derive(Debug, Clone, Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    response: OctetString,
}

#[derive(Debug, Clone, Sequence)]
struct BasicOcspResponse {
    data: ResponseData,
    algorithm: AlgorithmIdentifier,
    signature: BitString,
}

#[derive(Debug, Clone, Sequence)]
struct ResponseData {
    /// The one of the two ways to say who answers that fits every subject.
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder: OctetString,
    produced: GeneralizedTime,
    responses: Vec<SingleResponse>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Debug, Clone, Sequence)]
struct SingleResponse {
    certificate: CertId,
    status: CertStatus,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    next_update: GeneralizedTime,
}

#[derive(Debug, Clone, Choice)]
enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

impl CertStatus {
    fn of(status: Status) -> Result<Self, der::Error> {
        Ok(match status {
            Status::Good => Self::Good(Null),
            Status::Unknown => Self::Unknown(Null),
            Status::Revoked { since, reason } => {
                // As in a list: an unspecified reason is not written.
                let reason = Some(reason).filter(|reason| *reason != Reason::Unspecified);
                Self::Revoked(RevokedInfo { since: time(since)?, reason })
            }
        })
    }
}

#[derive(Debug, Clone, Sequence)]
struct RevokedInfo {
    since: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    reason: Option<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(id: &str, critical: bool, value: Vec<u8>) -> Extension {
        Extension { id: ObjectIdentifier::new_unwrap(id), critical, value: OctetString::new(value).unwrap() }
    }

    fn nonce(length: usize) -> Extension {
        let nonce = OctetString::new(vec![7; length]).unwrap().to_der().unwrap();
        extension("1.3.6.1.5.5.7.48.1.2", false, nonce)
    }

    fn request(serials: &[&[u8]], extensions: Vec<Extension>) -> OcspRequest {
        let hash = || OctetString::new(vec![1; 20]).unwrap();
        let one = |serial: &&[u8]| {
            let algorithm = AlgorithmIdentifier { id: SHA1, parameters: Some(Any::null()) };
            let serial = Int::new(serial).unwrap();
            let certificate = CertId { algorithm, name_hash: hash(), key_hash: hash(), serial };
            SingleRequest { certificate, extensions: None }
        };
        let list = serials.iter().map(one).collect();
        let extensions = Some(extensions).filter(|extensions| !extensions.is_empty());
        OcspRequest { tbs: TbsRequest { version: 0, requestor: None, list, extensions }, signature: None }
    }

    #[test]
    fn what_nobody_has_to_ask_is_malformed() {
        let unknown = |critical| extension("1.2.3.4", critical, vec![5, 0]);
        let with = |extensions: Vec<Extension>| request(&[&[1]], extensions);
        let change = |change: fn(&mut OcspRequest)| {
            let mut request = with(vec![]);
            change(&mut request);
            request
        };
        for (name, request, is_good) in [
            ("plain", with(vec![]), true),
            ("one", request(&[&[1_u8][..]; 16], vec![]), true),
            ("many", request(&[&[1_u8][..]; 17], vec![]), false),
            ("none", request(&[], vec![]), false),
            ("short nonce", with(vec![nonce(1)]), true),
            ("long nonce", with(vec![nonce(128)]), true),
            ("empty nonce", with(vec![nonce(0)]), false),
            ("longer nonce", with(vec![nonce(129)]), false),
            ("bare nonce", with(vec![extension("1.3.6.1.5.5.7.48.1.2", false, vec![1, 2, 3])]), false),
            ("two nonces", with(vec![nonce(8), nonce(8)]), false),
            ("unknown", with(vec![unknown(false), nonce(8)]), true),
            ("critical", with(vec![unknown(true)]), false),
            ("version", change(|request| request.tbs.version = 1), false),
            ("signed", change(|request| request.signature = Some(Any::null())), true),
            ("named", change(|request| request.tbs.requestor = Some(Any::null())), true),
            (
                "critical of one",
                change(|request| request.tbs.list[0].extensions = Some(vec![extension("1.2.3.4", true, vec![])])),
                false,
            ),
        ] {
            let der = request.to_der().unwrap();
            assert_eq!(Request::read(&der).is_ok(), is_good, "{name}");
            for length in 0..der.len() {
                assert_eq!(Request::read(&der[..length]).err(), Some(Refusal::Malformed), "{name}, {length} bytes");
            }
            assert!(Request::read(&[&der[..], b"\0"].concat()).is_err(), "{name}, with something behind it");
        }
    }

    #[test]
    fn serials_are_spelt_as_the_store_does() {
        let long = [0x7f; 21];
        let serials: [&[u8]; 6] = [&[1], &[0x40, 0xab], &[0, 0xff], &[0xff], &long[..20], &long];
        let request = Request::read(&request(&serials, vec![]).to_der().unwrap()).unwrap();
        let found: Vec<_> = request.serials().collect();
        let expected = [Some("01"), Some("40ab"), Some("ff"), None, Some(&*"7f".repeat(20)), None];
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn refusals_are_what_they_are_called() {
        for (refusal, status) in [(Refusal::Malformed, 1), (Refusal::TryLater, 3), (Refusal::Unauthorized, 6)] {
            #[derive(Sequence)]
            struct Answer {
                status: Refusal,
            }
            assert_eq!(refusal.to_der(), Answer { status: refusal }.to_der().unwrap());
            assert_eq!(refusal.to_der().last(), Some(&status));
        }
    }
}
