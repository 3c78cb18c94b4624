//! Organisations as Jami devices know them: a CA, an account below it, and devices below that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

type Issuer = CertifiedIssuer<'static, KeyPair>;

pub struct Organisation {
    pub ca: Issuer,
    pub account: Issuer,
}

/// What a client shows, leaf first, and its key.
pub struct Device {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Organisation {
    pub fn new() -> Self {
        let ca = Issuer::self_signed(authority("Organisation"), KeyPair::generate().unwrap()).unwrap();
        let account = below(&ca, "alice");
        Self { ca, account }
    }

    /// As the policy server tells it.
    pub fn told(&self) -> String {
        STANDARD.encode(self.ca.der())
    }

    pub fn device(&self) -> Device {
        self.changed(|_| ())
    }

    pub fn changed(&self, change: impl FnOnce(&mut CertificateParams)) -> Device {
        issued(&self.account, &[&self.account, &self.ca], change)
    }
}

/// An authority below another.
pub fn below(issuer: &Issuer, name: &str) -> Issuer {
    Issuer::signed_by(authority(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

/// A device's certificate and what is shown with it.
pub fn issued(issuer: &Issuer, shown: &[&Issuer], change: impl FnOnce(&mut CertificateParams)) -> Device {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Jami device");
    params.is_ca = IsCa::ExplicitNoCa;
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap().der().clone();
    let chain = std::iter::once(leaf).chain(shown.iter().map(|issuer| issuer.der().clone())).collect();
    Device { chain, key: key.into() }
}

pub fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
