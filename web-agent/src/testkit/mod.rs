//! What several tests of this crate need: a certificate authority and the test data.

pub mod client;
pub mod devices;
pub mod events;
pub mod policy_server;
pub mod upstream;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;

use crate::pem::{self, KeyFiles};

/// `tests/data/NAME` of this crate.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// As the process does at its start.
pub fn install_provider() {
    pingora_rustls::install_default_crypto_provider();
}

/// A certificate authority, or just somebody to trust.
pub struct Ca {
    issuer: Option<CertifiedIssuer<'static, KeyPair>>,
    roots: RootCertStore,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        Self { issuer: Some(issuer), roots }
    }

    /// Issues nothing and trusts one file.
    pub fn trusting(certificate: &Path) -> Self {
        Self { issuer: None, roots: pem::authorities(certificate).unwrap() }
    }

    pub fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// A certificate for `host`, written as `STEM.pem` and `STEM.key`.
    pub fn issue(&self, dir: &Path, stem: &str, host: &str) -> KeyFiles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, self.issuer.as_ref().unwrap()).unwrap();
        let files = KeyFiles {
            certificate: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key")),
            passphrase: None,
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// The authority's own certificate, written as `ca.pem`.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        std::fs::write(&path, self.issuer.as_ref().unwrap().pem()).unwrap();
        path
    }
}
