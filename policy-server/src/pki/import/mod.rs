//! An existing certificate authority, brought along as PEM or PKCS#12: reads what openssl and others write, and keeps away
//! what could not work. Pure: files are read, and pass phrases asked for, elsewhere.

mod check;
mod keys;

use rcgen::PublicKeyData;
use shared_proto::secret::Secret;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use super::{CaKey, OrganisationCa};

pub use check::Doubt;

/// One line each, for the person who imports.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the certificate file holds no PEM certificate")]
    NoCertificate,
    #[error("the key file holds no PEM private key")]
    NoKey,
    #[error("{0} private keys are in there: give a file with the one of the CA")]
    ManyKeys(usize),
    #[error(
        "the key has the traditional encryption of openssl: convert it with `openssl pkcs8 -topk8 -in OLD -out NEW`"
    )]
    TraditionalEncryption,
    #[error("the key is encrypted, and there is no pass phrase: use --passphrase-file or standard input")]
    NoPassphrase,
    #[error("the pass phrase does not open the key")]
    WrongPassphrase,
    #[error(
        "the key's encryption is not supported: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`"
    )]
    Encryption,
    #[error("the PKCS#12 file cannot be read: {0}")]
    Pkcs12(String),
    #[error("the key cannot be used: RSA of 2048 to 8192 bits and ECDSA with P-256 or P-384 can")]
    Key,
    #[error("the RSA key is weak: {0}")]
    WeakKey(&'static str),
    #[error("the certificate is not signed by its own key, as it says it is")]
    Signature,
    #[error("the key is not the key of the certificate")]
    OtherKey,
    #[error("the certificate cannot be read")]
    Broken,
    #[error("the certificate is not one of a CA (basicConstraints without CA:TRUE)")]
    NoCa,
    #[error("the certificate has no keyUsage {0}")]
    Usage(&'static str),
    #[error("the certificate allows no CA below it (pathlen 0): every account is one")]
    PathLength,
    #[error("the certificate is valid only from {0} on")]
    NotYetValid(String),
    #[error("the certificate has expired at {0}")]
    Expired(String),
    #[error("the certificate is signed with {0}, which nobody accepts any more")]
    WeakSignature(&'static str),
    #[error("the certificate has the extension {0}, which would keep devices from being accepted")]
    Extension(String),
    #[error(
        "the certificate's subject cannot be repeated exactly in other certificates: it is empty, or has an attribute twice"
    )]
    Subject,
}

/// What was found in the files of somebody who imports.
pub struct Found {
    certificates: Vec<Vec<u8>>,
    /// PKCS#8.
    key: Zeroizing<Vec<u8>>,
}

/// A certificate authority that can work here.
pub struct Import {
    pub ca: OrganisationCa,
    /// What is allowed but should not surprise.
    pub doubts: Vec<Doubt>,
}

impl Found {
    /// The certificate and the key may be of one file.
    ///
    /// # Errors
    /// [`ImportError::NoPassphrase`] where one is needed and missing; what else cannot be read.
    pub fn in_pem(certificate: &[u8], key: &[u8], passphrase: Option<&Secret>) -> Result<Self, ImportError> {
        Ok(Self { certificates: keys::certificates(certificate)?, key: keys::private_key(key, passphrase)? })
    }

    /// # Errors
    /// As [`Found::in_pem`].
    pub fn in_pkcs12(file: &[u8], passphrase: Option<&Secret>) -> Result<Self, ImportError> {
        keys::pkcs12(file, passphrase)
    }

    /// The CA that it is, at this time in seconds since 1970.
    ///
    /// # Errors
    /// It could not be a CA of Jami accounts.
    pub fn into_ca(self, now: i64) -> Result<Import, ImportError> {
        let key = CaKey::from_pkcs8(&self.key).map_err(|_| ImportError::Key)?;
        let spki = key.subject_public_key_info();
        // A chain may lie beside it, in any order.
        let is_ours = |der: &Vec<u8>| {
            parse_x509_certificate(der).is_ok_and(|(rest, found)| rest.is_empty() && found.public_key().raw == spki)
        };
        let readable = self.certificates.iter().any(|der| parse_x509_certificate(der).is_ok());
        let otherwise = if readable { ImportError::OtherKey } else { ImportError::Broken };
        let certificate = self.certificates.into_iter().find(is_ours).ok_or(otherwise)?;
        let doubts = check::certificate(&certificate, now)?;
        let ca = OrganisationCa::new(key, certificate).map_err(|_| ImportError::Subject)?;
        check::name(&ca, now)?;
        Ok(Import { ca, doubts })
    }
}
