//! The organisation's certificate authority at the command line. Keys go into the store sealed and never come out.

use std::sync::Arc;

use der::pem::{LineEnding, encode_string};
use jiff::Timestamp;
use serde::Serialize;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

use super::{Admin, AdminError, actor};
use crate::audit::{Detail, Kind};
use crate::pki::import::Import;
use crate::pki::{OpenedAccounts, OrganisationCa, PkiError, Urls, fingerprint};
use crate::revocation::Revocation;
use crate::store::{Holders, KeptList, SealedAuthority};
use crate::token::hex;

/// What is known of a CA. Moments are RFC 3339, in UTC.
#[derive(Debug, Serialize)]
pub struct CaFacts {
    pub id: String,
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    pub serial: String,
    pub not_before: String,
    pub not_after: String,
    pub key: String,
    /// Where others find its revocation list; absent without `cams.jami.revocation.url`.
    pub crl: Option<String>,
    #[serde(skip)]
    pub pem: String,
}

impl CaFacts {
    fn of(ca: &OrganisationCa, urls: &Urls) -> Result<Self, AdminError> {
        let der = ca.certificate_der();
        let (_, certificate) = parse_x509_certificate(der).map_err(|_| PkiError::BrokenCertificate)?;
        let time = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
        let key = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
            Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
            _ => String::new(),
        };
        Ok(Self {
            id: ca.id().to_owned(),
            subject: certificate.subject().to_string(),
            fingerprint: fingerprint(der),
            serial: hex(certificate.raw_serial()),
            not_before: time(certificate.validity().not_before.timestamp()),
            not_after: time(certificate.validity().not_after.timestamp()),
            key,
            crl: urls.crl(ca.id()),
            pem: pem("CERTIFICATE", der)?,
        })
    }
}

impl Admin {
    /// Makes a CA with a key of its own; in the place of another one only where that is meant. Takes a second or two.
    pub async fn create_ca(
        &self,
        name: Option<&str>,
        organisation: Option<&str>,
        years: u8,
        replace: bool,
    ) -> Result<CaFacts, AdminError> {
        let former = self.former_ca(replace).await?;
        let name = name.map_or_else(|| format!("{} CA", self.conf.cluster), str::to_owned);
        let ca = OrganisationCa::create(&name, organisation, years, Timestamp::now())?;
        self.keep_ca(&ca, former, Kind::CaCreated).await
    }

    /// Takes over a CA that was made elsewhere.
    pub async fn import_ca(&self, import: &Import, replace: bool) -> Result<CaFacts, AdminError> {
        let former = self.former_ca(replace).await?;
        self.keep_ca(&import.ca, former, Kind::CaImported).await
    }

    /// The one that issues, and who has certificates.
    pub async fn ca(&self) -> Result<(CaFacts, Holders), AdminError> {
        let ca = self.current_ca().await?.ok_or(AdminError::NoCa)?;
        Ok((CaFacts::of(&ca, &self.urls())?, self.store.holders().await?))
    }

    /// The newest list of an issuer, by default of the CA, and its issuer; it is made where it has to be.
    pub async fn revocation_list(&self, issuer: Option<&str>) -> Result<(String, KeptList), AdminError> {
        let issuer = match issuer {
            Some(issuer) => issuer.to_owned(),
            None => self.current_ca().await?.ok_or(AdminError::NoCa)?.id().to_owned(),
        };
        let keys = self.vault.keys.clone();
        let opened = Arc::new(OpenedAccounts::new(keys.clone()));
        let revocation = Revocation::new(self.store.clone(), keys, opened, &self.conf.jami);
        let kept = revocation.list(&issuer, Timestamp::now()).await?;
        Ok((issuer.clone(), kept.ok_or(AdminError::NoIssuer(issuer))?))
    }

    async fn current_ca(&self) -> Result<Option<OrganisationCa>, AdminError> {
        Ok(OrganisationCa::current(&self.store, &self.vault.keys).await?)
    }

    /// The CA that is to be replaced, if there is any.
    async fn former_ca(&self, replace: bool) -> Result<Option<SealedAuthority>, AdminError> {
        match self.store.current_authority().await? {
            Some(former) if !replace => Err(AdminError::CaExists(former.id)),
            former => Ok(former),
        }
    }

    /// Only in the place of the one that was seen: whoever was quicker is not replaced by somebody who does not know.
    async fn keep_ca(
        &self,
        ca: &OrganisationCa,
        former: Option<SealedAuthority>,
        kind: Kind,
    ) -> Result<CaFacts, AdminError> {
        let number = former.as_ref().map_or(0, |former| former.number);
        if !ca.keep(&self.store, &self.vault.keys, number, Timestamp::now()).await? {
            let current = self.store.current_authority().await?.filter(|current| current.number != number);
            return Err(match current {
                Some(current) if current.id != ca.id() => AdminError::CaExists(current.id),
                _ => AdminError::CaKnown(ca.id().to_owned()),
            });
        }
        let reason = former.map(|former| format!("in the place of {}", former.id));
        let detail =
            Detail { authority: Some(ca.id()), reason: reason.as_deref(), actor: Some(actor()), ..Detail::default() };
        self.audit.record(kind, detail);
        CaFacts::of(ca, &self.urls())
    }

    fn urls(&self) -> Urls {
        Urls { base: self.conf.jami.revocation_url.clone() }
    }
}

/// RFC 7468.
pub fn pem(label: &'static str, der: &[u8]) -> Result<String, AdminError> {
    Ok(encode_string(label, LineEnding::LF, der).map_err(|_| PkiError::BrokenCertificate)?)
}
