//! Whether a certificate can be that of an organisation's CA here. Pure.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{ExtendedKeyUsage, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::{oid_registry as oid, parse_x509_certificate};

use super::ImportError;
use crate::pki::OrganisationCa;
use crate::pki::crl::List;
use crate::pki::csr::is_exponent;
use crate::pki::modulus::{Weakness, weakness};

const YEAR: i64 = 365 * 86_400;

/// What works, but should not surprise anybody later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("the certificate ends in less than a year, and every account and device with it")]
    EndsSoon,
    #[error("the key has only {0} bits; new ones have 4096")]
    SmallKey(usize),
    #[error("the certificate is not self-signed: devices get the chain up to it, and no further")]
    Intermediate,
}

/// # Errors
/// The first thing that is in the way.
pub fn certificate(der: &[u8], now: i64) -> Result<Vec<Doubt>, ImportError> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| ImportError::Broken)?;
    role(&certificate)?;
    key(&certificate)?;
    validity(&certificate, now)?;
    signature(&certificate)?;
    extensions(&certificate)?;
    subject(&certificate)?;
    let mut doubts = Vec::new();
    if certificate.validity().not_after.timestamp() - now < YEAR {
        doubts.push(Doubt::EndsSoon);
    }
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() {
        doubts.extend(Some(key.key_size()).filter(|bits| *bits < 3072).map(Doubt::SmallKey));
    }
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        doubts.push(Doubt::Intermediate);
    }
    Ok(doubts)
}

fn role(certificate: &X509Certificate<'_>) -> Result<(), ImportError> {
    let constraints = certificate.basic_constraints().map_err(|_| ImportError::Broken)?;
    let constraints = constraints.filter(|found| found.value.ca).ok_or(ImportError::NoCa)?;
    // An account below it is a CA itself, for its devices.
    if constraints.value.path_len_constraint == Some(0) {
        return Err(ImportError::PathLength);
    }
    let usage = certificate.key_usage().map_err(|_| ImportError::Broken)?.map(|found| found.value);
    if !usage.is_some_and(|usage| usage.key_cert_sign()) {
        return Err(ImportError::Usage("keyCertSign, which signs accounts"));
    }
    if !usage.is_some_and(|usage| usage.crl_sign()) {
        return Err(ImportError::Usage("cRLSign, which signs revocation lists"));
    }
    Ok(())
}

/// What a device's key must not be, a CA's must not be either.
fn key(certificate: &X509Certificate<'_>) -> Result<(), ImportError> {
    let key = match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => key,
        // Which other kinds will do is said where the private key is read.
        Ok(_) => return Ok(()),
        Err(_) => return Err(ImportError::Broken),
    };
    let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
    match (weakness(modulus), key.try_exponent()) {
        (Some(Weakness::SmallFactor), _) => Err(ImportError::WeakKey("its modulus has a small factor")),
        (Some(Weakness::Roca), _) => Err(ImportError::WeakKey("its generator makes keys that can be broken (ROCA)")),
        (None, Ok(exponent)) if is_exponent(exponent) => Ok(()),
        (None, _) => Err(ImportError::WeakKey("its exponent is even, or not between 65537 and 2^32")),
    }
}

fn validity(certificate: &X509Certificate<'_>, now: i64) -> Result<(), ImportError> {
    let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let text = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    match now {
        now if now < from => Err(ImportError::NotYetValid(text(from))),
        now if now >= until => Err(ImportError::Expired(text(until))),
        _ => Ok(()),
    }
}

/// What a CA says of itself needs no signature to be believed; what another one says of it does.
fn signature(certificate: &X509Certificate<'_>) -> Result<(), ImportError> {
    let is_self_signed = certificate.subject().as_raw() == certificate.issuer().as_raw();
    let weak = [("1.2.840.113549.1.1.4", "MD5"), ("1.2.840.113549.1.1.5", "SHA-1"), ("1.2.840.10045.4.1", "SHA-1")];
    let id = certificate.signature_algorithm.algorithm.to_id_string();
    let found = weak.iter().find(|(weak, _)| *weak == id);
    // One that cannot be checked here, as of MD5, is of no weight: it is the key that counts.
    if is_self_signed && certificate.verify_signature(None) == Err(X509Error::SignatureVerificationError) {
        return Err(ImportError::Signature);
    }
    found.filter(|_| !is_self_signed).map_or(Ok(()), |(_, name)| Err(ImportError::WeakSignature(name)))
}

/// What limits the certificates below it in a way that theirs do not fit, or that nobody here understands.
fn extensions(certificate: &X509Certificate<'_>) -> Result<(), ImportError> {
    for extension in certificate.iter_extensions() {
        let known = [OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE].contains(&extension.oid);
        let refused = match extension.parsed_extension() {
            ParsedExtension::NameConstraints(_) | ParsedExtension::PolicyConstraints(_) => true,
            ParsedExtension::ExtendedKeyUsage(usage) => !allows_devices(usage),
            ParsedExtension::ParseError { .. } => true,
            _ => extension.critical && !known,
        };
        if refused {
            let id = extension.oid.to_id_string();
            let name = oid::format_oid(&extension.oid, &oid::OidRegistry::default().with_x509());
            return Err(ImportError::Extension(if name == id { id } else { format!("{name} ({id})") }));
        }
    }
    Ok(())
}

/// Verifiers take the usages of a CA for a limit on what is below it; a device is client and server.
fn allows_devices(usage: &ExtendedKeyUsage<'_>) -> bool {
    usage.any || (usage.client_auth && usage.server_auth)
}

/// An attribute set of none or of several is beyond what can be written.
fn subject(certificate: &X509Certificate<'_>) -> Result<(), ImportError> {
    let mut sets = certificate.subject().iter().map(|set| set.iter().count()).peekable();
    if sets.peek().is_none() || sets.any(|attributes| attributes != 1) {
        return Err(ImportError::Subject);
    }
    Ok(())
}

/// Signs a first list and reads it back: the issuer's name must be the subject, byte for byte, or nothing that the CA
/// signs would be taken for its own.
///
/// # Errors
/// It is not, or the key signs what does not verify.
pub fn name(ca: &OrganisationCa, now: i64) -> Result<(), ImportError> {
    let list = List { number: 1, this_update: now, next_update: now + YEAR, revoked: &[] };
    let list = list.sign(ca.issuer(), ca.certificate_der()).map_err(|_| ImportError::Subject)?;
    let (_, list) = CertificateRevocationList::from_der(&list).map_err(|_| ImportError::Subject)?;
    if list.tbs_cert_list.issuer.as_raw() != ca.subject_der() {
        return Err(ImportError::Subject);
    }
    let (_, certificate) = parse_x509_certificate(ca.certificate_der()).map_err(|_| ImportError::Broken)?;
    list.verify_signature(certificate.public_key()).map_err(|_| ImportError::OtherKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_and_wrong_signatures_are_refused() {
        let now = Timestamp::now();
        let ca = OrganisationCa::create("Test", None, 20, now).unwrap();
        let (sound, now) = (ca.certificate_der(), now.as_second());
        certificate(sound, now).unwrap();
        // 65537, after the last byte of the modulus.
        let exponent = sound.windows(5).position(|bytes| bytes == [2, 3, 1, 0, 1]).unwrap();
        for (place, bit, expected) in [
            (sound.len() - 1, 1, "not signed by its own key"),
            (exponent - 1, 1, "small factor"),
            (exponent + 4, 1, "exponent is even"),
            (exponent + 2, 1, "cannot be read"),
        ] {
            let mut changed = sound.to_vec();
            changed[place] ^= bit;
            let error = certificate(&changed, now).unwrap_err().to_string();
            assert!(error.contains(expected), "{place}: {error}");
        }
    }
}
