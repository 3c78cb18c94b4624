//! How certificates of people and devices are made (RFC 5280): what all of them have in common, so that an issuer only says
//! whom a certificate names and what it is for. Decides nothing and keeps nothing.

use std::time::Duration;

use der::asn1::{Ia5StringRef, ObjectIdentifier};
use der::{Encode, Sequence};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{PkiError, fingerprint, key_id};
use crate::token::{self, hex};

/// Clocks of devices differ, by a day where the zone is wrong: so long before it is made a certificate is valid, in seconds.
const BACKDATED: i64 = 86_400;
/// A common name is cut after so many characters (ub-common-name, RFC 5280, appendix A.1). It is for people to read: what
/// names the holder is the UID.
const MAX_COMMON_NAME: usize = 64;
const UID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];
const AUTHORITY_INFO_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");

/// A certificate that was just made.
#[derive(Debug, Clone)]
pub struct Issued {
    pub der: Vec<u8>,
    /// The content of the INTEGER, in hexadecimal: 32 digits, the first of which is 4, 5, 6 or 7.
    pub serial: String,
    /// The last second it is valid.
    pub not_after: i64,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// Where others ask whether a certificate is revoked.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    /// Scheme, host and port, in ASCII. Without it certificates name no such place.
    pub base: Option<String>,
}

impl Urls {
    /// The list of the authority or account that has this id.
    pub fn crl(&self, issuer: &str) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/api/crl/{issuer}.crl"))
    }

    /// The responder that speaks for it.
    pub fn ocsp(&self, issuer: &str) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/api/ocsp/{issuer}"))
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Profile {
    /// May have other authorities below it, at most so many one below the other.
    Authority(u8),
    Device,
}

/// A key that issues, with its certificate.
pub(super) struct Signer<K> {
    /// SHA-1 of the public key, in hexadecimal.
    pub(super) id: String,
    pub(super) certificate: Vec<u8>,
    pub(super) issuer: Issuer<'static, K>,
    pub(super) subject: Vec<u8>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl<K: SigningKey> Signer<K> {
    /// # Errors
    /// [`PkiError::BrokenCertificate`] unless the certificate is one, and of this key.
    pub(super) fn new(key: K, certificate: Vec<u8>) -> Result<Self, PkiError> {
        let spki = key.subject_public_key_info();
        let (rest, parsed) = X509Certificate::from_der(&certificate).map_err(|_| PkiError::BrokenCertificate)?;
        if !rest.is_empty() || parsed.public_key().raw != spki {
            return Err(PkiError::BrokenCertificate);
        }
        let subject = parsed.subject().as_raw().to_vec();
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(certificate.as_slice()), key)?;
        Ok(Self { id: key_id(&spki), certificate, issuer, subject, not_before, not_after })
    }

    /// A certificate for somebody's key, for at most as long as the own one is valid.
    pub(super) fn issue(
        &self,
        subject: DistinguishedName,
        key: &impl PublicKeyData,
        profile: Profile,
        validity: (Timestamp, i64),
        urls: &Urls,
    ) -> Result<Issued, PkiError> {
        let (now, not_after) = (validity.0.as_second(), validity.1.min(self.not_after));
        if now < self.not_before || not_after <= now {
            return Err(PkiError::NotValidNow);
        }
        let mut params = params(subject, key, profile);
        let serial = set_serial(&mut params)?;
        set_validity(&mut params, self.not_before.max(now - BACKDATED), not_after);
        params.use_authority_key_identifier_extension = true;
        let crl = urls.crl(&self.id).map(|uri| CrlDistributionPoint { uris: vec![uri] });
        params.crl_distribution_points.extend(crl);
        params.custom_extensions.extend(urls.ocsp(&self.id).map(|uri| information_access(&uri)).transpose()?);
        let der = params.signed_by(key, &self.issuer)?.der().to_vec();
        // An imported authority may write its name as nobody writes it a second time: then nothing leads up to it.
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PkiError::BrokenCertificate)?;
        if parsed.issuer().as_raw() != self.subject {
            return Err(PkiError::Name);
        }
        Ok(Issued { serial, not_after, fingerprint: fingerprint(&der), der })
    }
}

/// What a certificate says apart from its serial number, its validity and what depends on its issuer.
pub(super) fn params(subject: DistinguishedName, key: &impl PublicKeyData, profile: Profile) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    // RFC 5280, section 4.2.1.2, method 1; what Jami calls a key's id is the hash of more than that.
    params.key_identifier_method = KeyIdMethod::PreSpecified(Sha1::digest(key.der_bytes()).to_vec());
    match profile {
        Profile::Authority(below) => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            // The same key signs OCSP responses, an account's also receipts: RFC 5280, section 4.2.1.3 has a bit for that.
            params.key_usages =
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        Profile::Device => {
            params.is_ca = IsCa::ExplicitNoCa;
            // Peers encrypt for a device with its key, beside any TLS: the client gives its own certificates these two.
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::DataEncipherment];
        }
    }
    params
}

/// The name a certificate is for: what people read and, unless there is more to come, what tells one from all others.
pub(super) fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name.chars().take(MAX_COMMON_NAME).collect::<String>());
    name
}

pub(super) fn with_uid(mut name: DistinguishedName, id: &str) -> DistinguishedName {
    name.push(DnType::CustomDnType(UID.to_vec()), id);
    name
}

/// 126 random bits in 16 octets, which begin with neither a zero nor a sign: one spelling in every encoding (RFC 5280,
/// section 4.1.2.2).
pub(super) fn set_serial(params: &mut CertificateParams) -> Result<String, PkiError> {
    let mut serial = token::random::<16>()?;
    let [first, ..] = &mut serial;
    *first = *first & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(hex(&serial))
}

pub(super) fn set_validity(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    let at = |second: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second.max(0).unsigned_abs());
    params.not_before = at(not_before);
    params.not_after = at(not_after);
}

/// When a certificate that has no issuer but itself begins.
pub(super) fn backdated(now: Timestamp) -> i64 {
    now.as_second() - BACKDATED
}

/// RFC 5280, section 4.2.2.1.
#[derive(Sequence)]
struct AccessDescription<'a> {
    method: ObjectIdentifier,
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT")]
    uri: Ia5StringRef<'a>,
}

fn information_access(uri: &str) -> Result<CustomExtension, PkiError> {
    let location = Ia5StringRef::new(uri).and_then(|uri| [AccessDescription { method: OCSP, uri }].to_der());
    Ok(CustomExtension::from_oid_content(AUTHORITY_INFO_ACCESS, location.map_err(|_| PkiError::Url)?))
}
