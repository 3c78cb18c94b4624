//! Certificates of clients: who is asked for one in the handshake, and which are believed. Those alone are asked that want a
//! site where Jami devices enrol, and only while there is an organisation CA; nobody has to have one.
//!
//! That a certificate was revoked is not found out here, since a resumed session brings its certificate back without a
//! question: that is asked with each request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::tls::TlsStream;
use pingora::{ErrorType, OrErr};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use shared_proto::client_cert::ClientCert;
use tokio::io::AsyncReadExt;

use crate::pem;
use crate::tls::{self, Certificates};

/// Between a device and the organisation there is its account.
const MAX_BETWEEN: usize = 1;
/// Bytes of the longest first message of a handshake that is looked into.
const MAX_HELLO: usize = 64 * 1024;

type Wants = dyn Fn(Option<&str>) -> bool + Send + Sync;

/// Makes the handshakes of all TLS listeners.
pub struct Handshakes {
    certificates: Arc<Certificates>,
    /// Whether somebody who wants this name is to be asked for a certificate, as the configuration says now.
    wants: Box<Wants>,
    plain: Arc<Acceptor>,
    /// `None` while there is nobody to trust.
    asking: ArcSwapOption<Acceptor>,
    /// In base64, as they were told.
    authorities: Mutex<Vec<String>>,
}

impl Handshakes {
    /// # Errors
    /// Those of [`tls::acceptor`].
    pub fn new(
        certificates: &Arc<Certificates>,
        wants: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> pingora::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            certificates: certificates.clone(),
            wants: Box::new(wants),
            plain: tls::acceptor(certificates, None)?,
            asking: ArcSwapOption::empty(),
            authorities: Mutex::default(),
        }))
    }

    /// Believes the devices of these organisation CAs from now on, and no others. Handshakes that are under way end as they
    /// began; no session from before is resumed.
    pub fn trust(&self, authorities: &[String]) {
        let mut current = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == authorities {
            return;
        }
        *current = authorities.to_vec();
        let asking =
            DeviceVerifier::trusting(authorities).map(|verifier| tls::acceptor(&self.certificates, Some(verifier)));
        let asking = asking.transpose().unwrap_or_else(|error| {
            tracing::error!("devices cannot show their certificates: {error}");
            None
        });
        tracing::info!(authorities = authorities.len(), asking = asking.is_some(), "took over the organisation CAs");
        self.asking.store(asking);
    }

    /// # Errors
    /// It fails, or the client went away.
    pub async fn make(&self, mut stream: Stream) -> pingora::Result<TlsStream<Stream>> {
        let Some(asking) = self.asking.load_full() else { return self.plain.tls_handshake(stream).await };
        let name = wanted(&mut stream).await.or_err(ErrorType::TLSHandshakeFailure, "while reading its beginning")?;
        let acceptor = if (self.wants)(name.as_deref()) { &asking } else { &self.plain };
        acceptor.tls_handshake(stream).await
    }
}

/// The name a client is about to ask for. Of what cannot be understood the handshake is left to make something.
async fn wanted(stream: &mut Stream) -> io::Result<Option<String>> {
    let (mut hello, mut seen) = (rustls::server::Acceptor::default(), Vec::new());
    let mut buffer = [0; 4096];
    let mut name = None;
    while seen.len() < MAX_HELLO {
        let read = stream.read(&mut buffer).await?;
        let mut part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(part);
        while !part.is_empty() && hello.read_tls(&mut part)? > 0 {}
        match hello.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                name = accepted.client_hello().server_name().map(str::to_owned);
                break;
            }
            Err(_) => break,
        }
    }
    stream.rewind(&seen);
    Ok(name)
}

/// Believes certificates that the organisation CAs vouch for, by way of an account at most.
#[derive(Debug)]
struct DeviceVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl DeviceVerifier {
    /// `None` where none of the authorities can be used.
    fn trusting(authorities: &[String]) -> Option<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        let mut usable = Vec::new();
        for text in authorities {
            let der = STANDARD.decode(text).map(CertificateDer::from).ok();
            match der.filter(|der| roots.add(der.clone()).is_ok()) {
                Some(der) => usable.push(der),
                None => tracing::error!("an organisation CA is no certificate of an authority, and is left out"),
            }
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        // It fails where there are no roots.
        let chains = builder.allow_unauthenticated().build().ok()?;
        Some(Arc::new(Self { chains, authorities: usable }))
    }

    /// Whether everybody behind us, the proxy engine included, can do something with the certificates.
    fn is_usable(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> bool {
        let is_between = |other: &&CertificateDer<'_>| !self.authorities.iter().any(|known| **known == ***other);
        others.iter().filter(is_between).count() <= MAX_BETWEEN
            && pem::is_readable(leaf)
            && ClientCert::from_der(leaf).is_ok()
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !self.is_usable(end_entity, intermediates) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::data;

    fn certificate(name: &str) -> CertificateDer<'static> {
        pem::certificates(&data("devices").join(format!("{name}.pem"))).unwrap().remove(0)
    }

    fn verifier() -> Arc<dyn ClientCertVerifier> {
        DeviceVerifier::trusting(&[STANDARD.encode(certificate("ca"))]).unwrap()
    }

    /// Case 61, with certificates that openssl made: weak keys and digests, and the version of 1988.
    #[test]
    fn weak_certificates_are_not_believed() {
        let verify = |names: &[&str]| {
            let chain: Vec<_> = names.iter().map(|name| certificate(name)).collect();
            let (leaf, others) = chain.split_first().unwrap();
            verifier().verify_client_cert(leaf, others, UnixTime::now())
        };
        for good in [["good", "account", "ca"].as_slice(), &["good", "account"]] {
            assert!(verify(good).is_ok(), "{good:?}");
        }
        for bad in [
            ["sha1", "account", "ca"].as_slice(),
            &["md5", "account", "ca"],
            &["v1", "account", "ca"],
            &["of-v1-account", "v1-account", "ca"],
            &["of-small-account", "small-account", "ca"],
            &["good", "ca"],
            &["good"],
            &["account", "ca"],
            &["ca"],
        ] {
            assert!(verify(bad).is_err(), "{bad:?}");
        }
    }

    /// The verifier of chains alone would go on with more between device and CA, and with what nobody behind can read.
    #[test]
    fn what_nobody_can_use_is_not_believed() {
        let verifier = DeviceVerifier { chains: verifier(), authorities: vec![certificate("ca")] };
        let (good, account, ca) = (certificate("good"), certificate("account"), certificate("ca"));
        assert!(verifier.is_usable(&good, &[account.clone(), ca.clone()]));
        assert!(!verifier.is_usable(&good, &[account.clone(), good.clone()]));
        for broken in [&good[..good.len() - 1], &[&good[..], b"x"].concat(), b"", b"\x30\x00", b"\x30\x03\x02\x01\x07"]
        {
            assert!(!verifier.is_usable(&CertificateDer::from(broken), &[]), "{broken:?}");
        }
    }

    /// It offers to ask, and does not insist; those who are asked learn whose certificates are meant.
    #[test]
    fn clients_are_asked_and_told_for_what() {
        let verifier = verifier();
        assert!(verifier.offer_client_auth() && !verifier.client_auth_mandatory());
        assert_eq!(verifier.root_hint_subjects().len(), 1);
        assert!(DeviceVerifier::trusting(&[]).is_none());
        assert!(DeviceVerifier::trusting(&["%".to_owned(), STANDARD.encode("no certificate")]).is_none());
    }

    /// What we can read, the engine can: it stops where it cannot.
    #[test]
    fn the_engine_reads_certificates_as_we_do() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let parser = |package: &str| {
            let block =
                lock.split("[[package]]").find(|block| block.contains(&format!("name = \"{package}\"\n"))).unwrap();
            block.lines().find(|line| line.contains("x509-parser")).unwrap().trim().to_owned()
        };
        assert_eq!(parser("web-agent"), parser("pingora-core"));
    }
}
