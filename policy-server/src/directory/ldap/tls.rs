//! TLS towards directories: the options, and the client configuration made of them. TLS 1.2 at least.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use shared_proto::options::Options;
use shared_proto::problem::Problems;

use crate::files::{self, MAX_TEXT, Readers};

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Takes `caFile`, `verifyHostname`, `clientCertFile` and `clientKeyFile`. `None` with the reasons in `problems`.
pub fn take(options: &mut Options, problems: &mut Problems) -> Option<Arc<ClientConfig>> {
    let file = options.file().to_owned();
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    let line = ["caFile", "clientCertFile", "clientKeyFile"].map(|name| options.line_of(name)).into_iter().max();
    let mut path = |name| options.take_string(name).map(|text| base.join(text.trim()));
    let (ca, certificate, key) = (path("caFile"), path("clientCertFile"), path("clientKeyFile"));
    let name_line = options.line_of("verifyHostname");
    let verify_name = options.take_bool("verifyHostname", true, problems);
    if !verify_name && ca.is_none() {
        let message = "option `verifyHostname`: `false` needs `caFile`: otherwise anybody with a certificate of any \
                       authority of the system would be the directory";
        problems.add(&file, name_line, message);
    }
    let made = roots(ca.as_deref()).and_then(|roots| {
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(identity(&certificate, &key)?),
            _ => return Err("`clientCertFile` and `clientKeyFile` go together".to_owned()),
        };
        config(roots, verify_name, identity)
    });
    made.map_err(|message| problems.add(&file, line.unwrap_or_default(), format!("TLS to the directory: {message}")))
        .ok()
}

/// The certificate authorities of the file, or those of the system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        // A system without any can still have directories without TLS.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = files::read(file, MAX_TEXT).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{} contains no certificate in PEM form", file.display())),
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain = certificates(certificate)?;
    let pem = files::read_secret(key, Readers::Owner).map_err(|error| format!("{}: {error}", key.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{} contains no unencrypted private key in PEM form", key.display()))?;
    Ok((chain, key))
}

fn config(roots: RootCertStore, verify_name: bool, identity: Option<Identity>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if verify_name || roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?,
    };
    Ok(Arc::new(config))
}

/// `verifyHostname=false`: everything is checked but for whom the certificate is.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Looked at last: the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
