//! Certificates and private keys in the forms that openssl and others write them. Pure.

use der::asn1::{BitString, ObjectIdentifier, OctetStringRef};
use der::pem::PemLabel;
use der::{Decode, Encode, Sequence};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument, pkcs5};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use super::{Found, ImportError};
use crate::pki::RsaKey;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const TRADITIONAL: &str = "Proc-Type: 4,ENCRYPTED";

/// In DER, in the order of the file.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, ImportError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| ImportError::NoCertificate)?;
    if found.is_empty() {
        return Err(ImportError::NoCertificate);
    }
    Ok(found.into_iter().map(|der| der.to_vec()).collect())
}

/// The one private key of a PEM file, as PKCS#8.
pub fn private_key(pem: &[u8], passphrase: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let text = std::str::from_utf8(pem).map_err(|_| ImportError::NoKey)?;
    match text.matches("PRIVATE KEY-----").count() / 2 {
        0 | 1 => {}
        many => return Err(ImportError::ManyKeys(many)),
    }
    if text.contains(TRADITIONAL) {
        return Err(ImportError::TraditionalEncryption);
    }
    if let Some(encrypted) = section(text, EncryptedPrivateKeyInfoRef::PEM_LABEL) {
        let (_, sealed) = SecretDocument::from_pem(encrypted).map_err(|_| ImportError::NoKey)?;
        return decrypt(sealed.as_bytes(), passphrase.ok_or(ImportError::NoPassphrase)?);
    }
    match PrivateKeyDer::from_pem_slice(pem).map_err(|_| ImportError::NoKey)? {
        PrivateKeyDer::Pkcs8(key) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        PrivateKeyDer::Pkcs1(key) => {
            RsaKey::from_pkcs1(key.secret_pkcs1_der()).and_then(|key| key.to_pkcs8()).map_err(|_| ImportError::Key)
        }
        PrivateKeyDer::Sec1(key) => sec1_to_pkcs8(key.secret_sec1_der()),
        _ => Err(ImportError::Key),
    }
}

/// The certificates and the one private key of a PKCS#12 file.
pub fn pkcs12(file: &[u8], passphrase: Option<&Secret>) -> Result<Found, ImportError> {
    let text = passphrase.map_or(Some(""), Secret::expose_str).ok_or(ImportError::WrongPassphrase)?;
    let archive = Pkcs12Archive::from_pkcs12(file, text).map_err(|error| match error {
        Pkcs12Error::MacError(_) if passphrase.is_none() => ImportError::NoPassphrase,
        Pkcs12Error::MacError(_) => ImportError::WrongPassphrase,
        other => ImportError::Pkcs12(other.to_string()),
    })?;
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    match &archive.keys[..] {
        [] => Err(ImportError::Pkcs12("there is no private key in it".to_owned())),
        [key] => Ok(Found { certificates, key: Zeroizing::new(key.key.as_der().to_vec()) }),
        many => Err(ImportError::ManyKeys(many.len())),
    }
}

fn decrypt(sealed: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed).map_err(|_| ImportError::Encryption)?;
    let key = sealed.decrypt(passphrase.expose()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::AlgorithmParametersInvalid { .. },
        ) => ImportError::Encryption,
        // Of a wrong pass phrase in 256 one leads to bytes that look like an end, and are no key.
        _ => ImportError::WrongPassphrase,
    })?;
    Ok(Zeroizing::new(key.as_bytes().to_vec()))
}

/// RFC 5915, section 3.
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    curve: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    public_key: Option<BitString>,
}

fn sec1_to_pkcs8(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let curve = EcPrivateKey::from_der(key).ok().and_then(|key| key.curve).ok_or(ImportError::Key)?;
    let algorithm = AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters: Some((&curve).into()) };
    let octets = OctetStringRef::new(key).map_err(|_| ImportError::Key)?;
    let pkcs8 = PrivateKeyInfoRef::new(algorithm, octets).to_der().map_err(|_| ImportError::Key)?;
    Ok(Zeroizing::new(pkcs8))
}

/// The PEM section with this label, with its borders.
fn section<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let last = format!("-----END {label}-----");
    let rest = text.get(start..)?;
    rest.get(..rest.find(&last)? + last.len())
}
