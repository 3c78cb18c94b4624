//! A TLS CA and certificate of our own to begin with; in production an admin replaces them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::files;
use crate::provision::Layout;

/// Browsers refuse certificates that live longer.
const LEAF_DAYS: i64 = 397;
const CA_DAYS: i64 = 3_650;
const CA_NAME: &str = "Cams temporary CA";
const DIR: &str = "tls";
const FILES: [&str; 3] = ["ca.pem", "server.pem", "server.key"];

/// Makes `tls/ca.pem` and `tls/server.{pem,key}` unless they are there; the CA's path. What an earlier call made is
/// moved aside and made anew when it has a day left at most.
pub fn create(layout: &Layout, names: &[&str], today: Date) -> anyhow::Result<PathBuf> {
    let dir = layout.path(DIR);
    if dir.exists() {
        for file in FILES.map(|file| dir.join(file)) {
            anyhow::ensure!(
                file.exists(),
                "{} is missing: put it back, or remove {} to have temporary certificates again",
                file.display(),
                dir.display()
            );
        }
        if !is_ours_and_over(layout, today)? {
            return Ok(dir.join("ca.pem"));
        }
        files::rename(&dir, &layout.path(&format!("{DIR}-until-{today}")))?;
    }
    make(layout, names, today)?;
    Ok(dir.join("ca.pem"))
}

/// All three together or none: they are of use together only.
///
/// The CA's key is thrown away: nobody can sign anything else with a CA that people were told to trust.
fn make(layout: &Layout, names: &[&str], today: Date) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = params(CA_NAME, today, CA_DAYS);
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

    let private = std::fs::Permissions::from_mode(0o700);
    let new = tempfile::Builder::new().permissions(private).tempdir_in(layout.path(""));
    let new = new.context("cannot make a directory for certificates")?;
    for (file, text) in
        FILES.into_iter().zip([&Zeroizing::new(ca_pem), &leaf.pem().into(), &key.serialize_pem().into()])
    {
        files::write_new(&new.path().join(file), text)?;
    }
    files::rename(new.path(), &layout.path(DIR))?;
    // It has another name now.
    let _ = new.keep();
    Ok(())
}

/// Whether the certificate is of our making and good for a day at most; one of an admin's is not for us to judge.
fn is_ours_and_over(layout: &Layout, today: Date) -> anyhow::Result<bool> {
    let file = layout.path(DIR).join("server.pem");
    let read = || -> anyhow::Result<(bool, Timestamp)> {
        let (_, pem) = parse_x509_pem(&std::fs::read(&file)?)?;
        let certificate = pem.parse_x509()?;
        let is_ours =
            certificate.issuer().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == CA_NAME));
        Ok((is_ours, Timestamp::from_second(certificate.validity().not_after.timestamp())?))
    };
    let (is_ours, end) = read().with_context(|| format!("cannot read {}", file.display()))?;
    let tomorrow = midnight(today.saturating_add(1.day()))?;
    Ok(is_ours && end <= tomorrow)
}

fn midnight(date: Date) -> anyhow::Result<Timestamp> {
    Ok(date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_stay_until_they_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let start = jiff::civil::date(2026, 1, 1);
        let read = |day: i64| {
            create(&layout, &["localhost"], start.saturating_add(day.days())).unwrap();
            FILES.map(|file| std::fs::read_to_string(layout.path("tls").join(file)).unwrap())
        };
        let first = read(0);
        assert_eq!(read(394), first);
        let second = read(396);
        assert!(first.iter().zip(&second).all(|(old, new)| old != new));
        assert_eq!(read(397), second);

        // An admin's own stays, whatever it says.
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        std::fs::write(layout.path("tls/server.pem"), &own).unwrap();
        assert_eq!(read(100_000)[1], own);
    }

    #[test]
    fn a_missing_one_is_named_and_none_is_replaced() {
        for missing in FILES {
            let dir = tempfile::tempdir().unwrap();
            let layout = Layout::create(dir.path()).unwrap();
            let today = jiff::civil::date(2026, 1, 1);
            create(&layout, &["localhost"], today).unwrap();
            std::fs::remove_file(layout.path("tls").join(missing)).unwrap();
            let error = create(&layout, &["localhost"], today).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }
}
