//! Certificate revocation lists (RFC 5280, section 5): a complete one of one issuer, signed by it. Pure.

use std::time::Duration;

use der::Enumerated;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
    SigningKey, date_time_ymd,
};
use sha1::{Digest, Sha1};
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;

use super::PkiError;
use crate::store::RevokedCertificate;

/// Why a certificate was revoked (RFC 5280, section 5.3.1): those of the reasons that can be true here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum Reason {
    Unspecified = 0,
    KeyCompromise = 1,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
    PrivilegeWithdrawn = 9,
}

impl Reason {
    /// The reason with this number in the store.
    pub fn of(number: i64) -> Self {
        let known = [
            Self::KeyCompromise,
            Self::AffiliationChanged,
            Self::Superseded,
            Self::CessationOfOperation,
            Self::PrivilegeWithdrawn,
        ];
        known.into_iter().find(|reason| i64::from(*reason as u8) == number).unwrap_or(Self::Unspecified)
    }
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

/// What a list says. Times are seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    pub number: i64,
    pub this_update: i64,
    pub next_update: i64,
    pub revoked: &'a [RevokedCertificate],
}

impl List<'_> {
    /// The list in DER, signed by the issuer that has this certificate.
    ///
    /// # Errors
    /// The issuer may not sign lists, or its key cannot.
    pub fn sign(&self, issuer: &Issuer<'_, impl SigningKey>, certificate: &[u8]) -> Result<Vec<u8>, PkiError> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + seconds(self.this_update),
            next_update: date_time_ymd(1970, 1, 1) + seconds(self.next_update),
            crl_number: u64::try_from(self.number).unwrap_or_default().into(),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.iter().map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::PreSpecified(key_identifier(certificate)?),
        };
        Ok(params.signed_by(issuer)?.der().to_vec())
    }
}

fn entry(revoked: &RevokedCertificate) -> Result<RevokedCertParams, PkiError> {
    let serial = unhex(&revoked.serial).ok_or(PkiError::BrokenCertificate)?;
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(1970, 1, 1) + seconds(revoked.revoked),
        reason_code: Some(Reason::of(revoked.reason).into()),
        invalidity_date: None,
    })
}

/// How the list says whose key signed it: as the certificate says it of itself, else as RFC 5280 does in section 4.2.1.2.
fn key_identifier(certificate: &[u8]) -> Result<Vec<u8>, PkiError> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| PkiError::BrokenCertificate)?;
    let told = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    });
    Ok(told.unwrap_or_else(|| Sha1::digest(&certificate.public_key().subject_public_key.data).to_vec()))
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? * 16 + digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(octet).collect()
}
