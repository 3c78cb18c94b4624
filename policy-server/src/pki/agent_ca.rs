//! The certificate authority of the link: it signs the policy servers' certificates and the web agents' ones.
//!
//! It vouches for nothing else; the organisation's CA for devices is another one. ECDSA P-256; the key is sealed in the
//! store. An agent's certificate lives long, because removing the agent from the register ends it at once.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use shared_proto::names::POLICY_SERVER_NAME;
use zeroize::Zeroizing;

use super::PkiError;
use crate::store::{SealedKey, Store};
use crate::token::{self, KeyRing, Purpose, hex};

const PURPOSE: &str = "agent-ca";
const RECORD: &str = "1";
const CA_YEARS: i64 = 20;
const AGENT_YEARS: i64 = 5;

pub struct AgentCa {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a new agent gets: its certificate and key (PEM), and how the register knows it.
pub struct AgentCertificate {
    pub certificate: String,
    pub key: Zeroizing<String>,
    pub fingerprint: String,
}

/// SHA-256 of a certificate's DER, in hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

impl AgentCa {
    /// The cluster's agent CA, made on first use.
    pub async fn open(store: &Store, keys: &KeyRing, cluster: &str, now: Timestamp) -> Result<Self, PkiError> {
        if let Some(found) = store.sealed_key(PURPOSE, RECORD).await? {
            return Self::unseal(&found, keys);
        }
        let key = KeyPair::generate()?;
        let certificate = ca_params(cluster, now)?.self_signed(&key)?.pem();
        let sealed = keys.seal(&purpose(), &Zeroizing::new(key.serialize_der()))?;
        store.add_sealed_key(PURPOSE, RECORD, &SealedKey { certificate, sealed }, now.as_second()).await?;
        // Another process may have been quicker: what the store holds is the truth.
        let kept = store.sealed_key(PURPOSE, RECORD).await?.ok_or(PkiError::BrokenCertificate)?;
        Self::unseal(&kept, keys)
    }

    fn unseal(found: &SealedKey, keys: &KeyRing) -> Result<Self, PkiError> {
        let der = keys.open(&purpose(), &found.sealed).map_err(|_| PkiError::WrongKey)?;
        let key = KeyPair::try_from(der.as_slice())?;
        let issuer = Issuer::from_ca_cert_pem(&found.certificate, key)?;
        Ok(Self { certificate: found.certificate.clone(), issuer })
    }

    /// The CA's certificate (PEM), which agents check the policy server against.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn issue_agent(&self, name: &str, now: Timestamp) -> Result<AgentCertificate, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(name, ExtendedKeyUsagePurpose::ClientAuth)?;
        set_validity(&mut params, now, AGENT_YEARS);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(AgentCertificate {
            fingerprint: fingerprint(certificate.der()),
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// TLS for the agents' listener: a certificate made now, whose key never leaves memory, and client certificates of
    /// this CA demanded.
    pub fn listener_tls(&self, now: Timestamp) -> Result<ServerConfig, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = leaf_params(POLICY_SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
        params.subject_alt_names = CertificateParams::new(vec![POLICY_SERVER_NAME.to_owned()])?.subject_alt_names;
        set_validity(&mut params, now, AGENT_YEARS);
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate_der()?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn certificate_der(&self) -> Result<CertificateDer<'static>, PkiError> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|_| PkiError::BrokenCertificate)
    }
}

fn purpose() -> Purpose {
    Purpose::new(&[PURPOSE, RECORD])
}

fn ca_params(cluster: &str, now: Timestamp) -> Result<CertificateParams, PkiError> {
    let mut params = named(&format!("{cluster} agent CA"))?;
    set_validity(&mut params, now, CA_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(name: &str, usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams, PkiError> {
    let mut params = named(name)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Valid from yesterday's midnight (clocks differ) for so many years, in whole days.
fn set_validity(params: &mut CertificateParams, now: Timestamp, years: i64) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let (from, until) = (today.saturating_sub(1.day()), today.saturating_add(years.years()));
    let midnight =
        |date: Date| rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    params.not_before = midnight(from);
    params.not_after = midnight(until);
}

fn named(name: &str) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // 128 random bits; the leading zero keeps the number positive (RFC 5280, section 4.1.2.2).
    params.serial_number = Some(SerialNumber::from_slice(&[&[0x00], token::random::<16>()?.as_slice()].concat()));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;
    use crate::token::Key;

    #[tokio::test]
    async fn the_ca_is_made_once_and_opens_with_its_key_only() {
        let (store, _dir) = temporary().await;
        let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
        let now = Timestamp::now();
        let first = AgentCa::open(&store, &keys, "C", now).await.unwrap();
        let second = AgentCa::open(&store, &keys, "C", now).await.unwrap();
        assert_eq!(first.certificate(), second.certificate());
        let other = KeyRing::new(Key::generate().unwrap(), vec![]);
        assert!(matches!(AgentCa::open(&store, &other, "C", now).await, Err(PkiError::WrongKey)));
    }

    #[tokio::test]
    async fn the_key_is_not_in_the_store_in_the_clear() {
        let (store, dir) = temporary().await;
        let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
        let ca = AgentCa::open(&store, &keys, "C", Timestamp::now()).await.unwrap();
        let der = ca.issuer.key().serialize_der();
        // The private scalar of a P-256 key stands at bytes 36 to 68 of its PKCS#8 form.
        let scalar = &der[36..68];
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(scalar.len()).any(|window| window == scalar));
        }
    }

    #[tokio::test]
    async fn agent_certificates_are_told_apart() {
        let (store, _dir) = temporary().await;
        let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
        let now = Timestamp::now();
        let ca = AgentCa::open(&store, &keys, "C", now).await.unwrap();
        let (one, two) = (ca.issue_agent("a", now).unwrap(), ca.issue_agent("a", now).unwrap());
        assert_ne!(one.fingerprint, two.fingerprint);
        let der = CertificateDer::from_pem_slice(one.certificate.as_bytes()).unwrap();
        assert_eq!(fingerprint(&der), one.fingerprint);
        assert!(ca.listener_tls(now).is_ok());
    }
}
