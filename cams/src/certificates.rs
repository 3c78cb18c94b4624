//! A TLS CA and certificate of our own to begin with; in production an admin replaces them.

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::provision::{Layout, write_new};

/// Browsers refuse certificates that live longer.
const LEAF_DAYS: i64 = 397;
const CA_DAYS: i64 = 3_650;

/// Writes `tls/ca.pem` and `tls/server.{pem,key}` unless they are there; the CA's path.
///
/// The CA's key is thrown away: nobody can sign anything else with a CA that people were told to trust.
pub fn create(layout: &Layout, names: &[&str]) -> anyhow::Result<PathBuf> {
    let ca_file = layout.path("tls/ca.pem");
    if ca_file.exists() {
        return Ok(ca_file);
    }
    let today = Zoned::now().date();
    let ca_key = KeyPair::generate()?;
    let mut ca = params("Cams temporary CA", today, CA_DAYS);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let key = KeyPair::generate()?;
    let mut leaf = params(names.first().unwrap_or(&"localhost"), today, LEAF_DAYS);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    leaf.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, ca_key))?;

    write_new(&layout.path("tls/server.key"), &Zeroizing::new(key.serialize_pem()))?;
    write_new(&layout.path("tls/server.pem"), &leaf.pem())?;
    write_new(&ca_file, &ca_pem)?;
    Ok(ca_file)
}

fn params(name: &str, today: Date, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let midnight =
        |date: Date| rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    // From yesterday: clocks and time zones differ.
    params.not_before = midnight(today.saturating_sub(1.day()));
    params.not_after = midnight(today.saturating_add((days - 1).days()));
    params
}
