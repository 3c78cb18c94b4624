//! Certificates and private keys in PEM files, as this agent shows them to browsers and to policy servers.
//!
//! No word that leaves this module contains a key or a pass phrase.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use pingora::utils::tls::CertKey;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shared_proto::secret::{self, Secret, SecretRef};
use x509_parser_of_engine::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// The PEM label of a PKCS#8 key under a pass phrase (RFC 7468, section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A certificate chain, leaf first, and its private key.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Opens an encrypted key.
    pub passphrase: Option<SecretRef>,
}

#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path}: {reason}")]
    Content { path: PathBuf, reason: String },
}

impl PemError {
    fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.into() }
    }
}

impl KeyFiles {
    /// Reads both files and checks that they belong together.
    ///
    /// # Errors
    /// Names the file at fault: unreadable, not PEM, readable by others, wrong pass phrase, not a pair.
    pub fn load(&self) -> Result<CertifiedKey, PemError> {
        let (chain, key) = self.read()?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                PemError::content(&self.key, format!("is not the key of {}", self.certificate.display()))
            }
            error => PemError::content(&self.certificate, error.to_string()),
        })
    }

    /// The chain and its key, unchecked.
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PemError> {
        Ok((certificates(&self.certificate)?, private_key(&self.key, self.passphrase.as_ref())?))
    }

    /// The same as [`KeyFiles::load`], as the proxy engine wants it.
    ///
    /// # Errors
    /// As there, and a certificate that the engine cannot read.
    pub fn load_for_engine(&self) -> Result<CertKey, PemError> {
        self.load()?;
        let (chain, key) = self.read()?;
        if !chain.iter().all(|certificate| is_readable(certificate)) {
            return Err(PemError::content(&self.certificate, "has a certificate that cannot be read"));
        }
        let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
        Ok(CertKey::new(chain, key.secret_der().to_vec()))
    }

    /// The files whose replacement means a new certificate.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let passphrase = match &self.passphrase {
            Some(SecretRef::File(path)) => Some(path.as_path()),
            _ => None,
        };
        [self.certificate.as_path(), self.key.as_path()].into_iter().chain(passphrase)
    }
}

/// Whether the proxy engine can read a certificate; it would stop where it cannot.
pub fn is_readable(certificate: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The certificates of one PEM file, at least one.
///
/// # Errors
/// Unreadable, not PEM, or empty of certificates.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PemError::content(path, format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(PemError::content(path, "contains no certificate"));
    }
    Ok(chain)
}

/// The certificate authorities of one PEM file.
///
/// # Errors
/// As [`certificates`], or a certificate that cannot be a trust anchor.
pub fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| PemError::content(path, error.to_string()))?;
    }
    Ok(roots)
}

fn private_key(path: &Path, passphrase: Option<&SecretRef>) -> Result<PrivateKeyDer<'static>, PemError> {
    let pem = secret_file(path)?;
    let text = std::str::from_utf8(&pem).map_err(|_| PemError::content(path, "is not PEM"))?;
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        let reason = "is in the traditional encrypted form: convert it with `openssl pkcs8 -topk8`";
        return Err(PemError::content(path, reason));
    }
    if !text.contains(ENCRYPTED) {
        return PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| PemError::content(path, format!("contains no private key: {error}")));
    }
    let passphrase = passphrase.ok_or_else(|| PemError::content(path, "is encrypted and no pass phrase is set"))?;
    let passphrase = passphrase
        .resolve(
            |file| secret_file(file).map(|bytes| bytes.to_vec()).map_err(io::Error::other),
            |name| env::var(name).ok(),
        )
        .map_err(|reason| PemError::content(path, reason))?;
    decrypt(text, &passphrase).map_err(|reason| PemError::content(path, reason))
}

fn decrypt(pem: &str, passphrase: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    let (label, document) = SecretDocument::from_pem(pem).map_err(|error| format!("is not PEM: {error}"))?;
    if label != ENCRYPTED {
        return Err(format!("holds a {label} beside the key"));
    }
    let key = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .and_then(|sealed| sealed.decrypt(passphrase.expose()))
        .map_err(|error| format!("cannot be opened with the pass phrase: {error}"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    // The opening of a FIFO would wait for ever.
    let regular = fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    });
    regular.and_then(|()| fs::read(path)).map_err(|error| PemError::Read { path: path.to_owned(), error })
}

/// The bytes of a file that only its owner may read.
fn secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let metadata = fs::metadata(path).map_err(|error| PemError::Read { path: path.to_owned(), error })?;
    if let Some(problem) = secret::mode_problem(metadata.mode()) {
        return Err(PemError::content(path, problem));
    }
    read(path).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::data;

    fn files(dir: &Path, key: &str, phrase: Option<&str>, mode: u32) -> KeyFiles {
        use std::os::unix::fs::PermissionsExt;
        let put = |name: &str| {
            let to = dir.join(name);
            fs::copy(data("tls").join(name), &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
            to
        };
        KeyFiles {
            certificate: put("certificate.pem"),
            key: put(key),
            passphrase: phrase.map(put).map(SecretRef::File),
        }
    }

    /// `openssl` made the files, so that both programs agree on what an encrypted key is.
    #[test]
    fn keys_of_openssl_are_read() {
        let cases = [
            ("key-plain.pem", None, 0o600, None),
            ("key-pbkdf2.pem", Some("passphrase"), 0o600, None),
            ("key-scrypt.pem", Some("passphrase"), 0o400, None),
            ("key-pbkdf2.pem", None, 0o600, Some("no pass phrase is set")),
            ("key-pbkdf2.pem", Some("key-plain.pem"), 0o600, Some("cannot be opened")),
            ("key-traditional.pem", Some("passphrase"), 0o600, Some("openssl pkcs8 -topk8")),
            ("certificate.pem", None, 0o600, Some("contains no private key")),
            ("key-plain.pem", None, 0o640, Some("mode 0640")),
            ("key-plain.pem", None, 0o604, Some("mode 0604")),
        ];
        for (key, phrase, mode, refusal) in cases {
            let dir = tempfile::tempdir().unwrap();
            match (files(dir.path(), key, phrase, mode).load(), refusal) {
                (Ok(_), None) => {}
                (Err(error), Some(text)) => {
                    let error = error.to_string();
                    assert!(error.contains(text), "{key} {phrase:?} {mode:o}: {error}");
                    assert!(!error.contains("sesame"), "{error}");
                }
                (result, _) => panic!("{key} {phrase:?} {mode:o}: {:?}", result.err()),
            }
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), "key-plain.pem", None, 0o600);
        files.certificate = crate::testkit::Ca::new().issue(dir.path(), "other", "other.test").certificate;
        let error = files.load().unwrap_err().to_string();
        assert!(error.contains("is not the key of"), "{error}");
    }
}
