//! The certificates this agent shows to browsers, chosen by the name they ask for (SNI) and replaced when their files
//! are. A replacement that cannot be used is reported once and changes nothing.

use std::any::Any;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::protocols::tls::TlsRef;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use shared_proto::client_cert::ClientCert;

use crate::pem::{KeyFiles, PemError};

/// One configured certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The host name it is shown for, lower case; `*.` in front covers one more label.
    pub host: String,
    pub files: KeyFiles,
}

/// A resolver for every TLS listener of the process.
#[derive(Debug)]
pub struct Certificates {
    shown: ArcSwap<Shown>,
}

#[derive(Debug, Clone, Default)]
struct Shown {
    by_host: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host (those that connect to an address) or one that is not configured. The gate
    /// refuses unknown hosts; here they only meet a certificate that does not match.
    fallback: Option<Arc<CertifiedKey>>,
}

/// The watch over the files of [`Certificates`].
#[derive(Debug)]
pub struct Watch {
    certificates: Arc<Certificates>,
    files: Vec<(Certificate, Vec<Stamp>)>,
}

/// What of a file changes when it is replaced; `None` while it is missing.
pub(crate) type Stamp = Option<(i64, i64, u64, u64)>;

impl Certificates {
    /// Loads all certificates; the first one is shown where no other fits.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(configured: &[Certificate]) -> Result<(Arc<Self>, Watch), PemError> {
        let mut shown = Shown::default();
        let mut files = Vec::new();
        for certificate in configured {
            // The stamps first: what changes between the two reads is then seen by the next look.
            let stamps = stamps(certificate.files.paths());
            shown.put(&certificate.host, certificate.files.load()?, files.is_empty());
            files.push((certificate.clone(), stamps));
        }
        let certificates = Arc::new(Self { shown: ArcSwap::from_pointee(shown) });
        Ok((certificates.clone(), Watch { certificates, files }))
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let exact = name.and_then(|name| {
            let wildcard = || name.split_once('.').and_then(|(_, rest)| shown.by_host.get(&format!("*.{rest}")));
            shown.by_host.get(name).or_else(wildcard)
        });
        exact.or(shown.fallback.as_ref()).cloned()
    }
}

impl Shown {
    fn put(&mut self, host: &str, key: CertifiedKey, fallback: bool) {
        let key = Arc::new(key);
        if fallback {
            self.fallback = Some(key.clone());
        }
        self.by_host.insert(host.to_owned(), key);
    }
}

/// What makes handshakes: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3. Clients are asked for a certificate where there is
/// somebody to verify it. Sessions are resumed with the acceptor alone that they began with.
///
/// # Errors
/// The engine's own, of which it has none today.
pub fn acceptor(
    certificates: &Arc<Certificates>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> pingora::Result<Arc<Acceptor>> {
    let mut settings = TlsSettings::with_callbacks(Box::new(Remember))?;
    settings.set_cert_resolver(certificates.clone());
    if let Some(verifier) = verifier {
        settings.set_client_cert_verifier(verifier);
    }
    settings.enable_h2();
    Ok(Arc::new(settings.build()))
}

/// What a handshake left behind, kept with the connection.
#[derive(Debug)]
pub struct Handshake {
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// What it proved to hold, now or when the resumed session began.
    pub client_cert: Option<ClientCert>,
}

struct Remember;

#[async_trait]
impl TlsAccept for Remember {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let client_cert = tls.peer_certificate_der().and_then(|leaf| ClientCert::from_der(leaf).ok());
        Some(Arc::new(Handshake { server_name: tls.server_name().map(str::to_owned), client_cert }))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

impl Watch {
    /// Looks at the files once and takes over what was replaced since the last look.
    pub fn refresh(&mut self) {
        for (index, (certificate, seen)) in self.files.iter_mut().enumerate() {
            let now = stamps(certificate.files.paths());
            if now == *seen {
                continue;
            }
            *seen = now;
            match certificate.files.load() {
                Ok(key) => {
                    let mut shown = Shown::clone(&self.certificates.shown.load());
                    shown.put(&certificate.host, key, index == 0);
                    self.certificates.shown.store(Arc::new(shown));
                    tracing::info!(host = certificate.host, "took over the replaced certificate");
                }
                Err(error) => {
                    tracing::error!(host = certificate.host, "keeping the old certificate: {error}");
                }
            }
        }
    }

    /// Goes on with other certificates, which were loaded from a changed configuration; new handshakes are shown them.
    pub fn replace(&mut self, certificates: &Certificates, watch: Self) {
        self.certificates.shown.store(certificates.shown.load_full());
        self.files = watch.files;
    }
}

pub(crate) fn stamps<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<Stamp> {
    let stamp = |path: &Path| fs::metadata(path).ok().map(|m| (m.mtime(), m.mtime_nsec(), m.ino(), m.size()));
    files.map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use rustls::ClientConfig;
    use rustls_pki_types::{CertificateDer, ServerName};
    use shared_proto::secret::SecretRef;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::pem;
    use crate::testkit::{Ca, data};

    /// The leaf a client that asks for `name` is shown, by a handshake over an in-memory pipe.
    async fn shown(certificates: &Arc<Certificates>, ca: &Ca, name: &str) -> Option<CertificateDer<'static>> {
        crate::testkit::install_provider();
        let server = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificates.clone());
        let client = ClientConfig::builder().with_root_certificates(ca.roots()).with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (_server, client) = tokio::join!(
            TlsAcceptor::from(Arc::new(server)).accept(far),
            TlsConnector::from(Arc::new(client)).connect(name, near)
        );
        let client = client.ok()?;
        client.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned())
    }

    fn leaf(files: &KeyFiles) -> Option<CertificateDer<'static>> {
        pem::certificates(&files.certificate).unwrap().into_iter().next()
    }

    fn replace(from: &KeyFiles, to: &KeyFiles) {
        for (from, to) in from.paths().zip(to.paths()) {
            move_into_place(from, to);
        }
    }

    /// As `mv` does: the new file has another inode, whatever its time stamp.
    fn move_into_place(from: &Path, to: &Path) {
        let temporary = to.with_extension("new");
        std::fs::copy(from, &temporary).unwrap();
        std::fs::rename(&temporary, to).unwrap();
    }

    #[tokio::test]
    async fn the_certificate_follows_the_name() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let configured = ["a.test", "b.test", "*.w.test"].map(|host| Certificate {
            host: host.to_owned(),
            files: ca.issue(dir.path(), &host.replace('*', "any"), host),
        });
        let (certificates, _watch) = Certificates::load(&configured).unwrap();
        for (asked, index) in [("a.test", 0), ("b.test", 1), ("x.w.test", 2)] {
            assert_eq!(shown(&certificates, &ca, asked).await, leaf(&configured[index].files), "{asked}");
        }
        // Not its name, so the client refuses it; but it was the fallback that it was shown.
        assert_eq!(shown(&certificates, &ca, "c.test").await, None);
        assert_eq!(certificates.find(Some("c.test")).unwrap().cert.first().cloned(), leaf(&configured[0].files));
        assert_eq!(certificates.find(None).unwrap().cert.first().cloned(), leaf(&configured[0].files));
    }

    #[tokio::test]
    async fn replaced_files_are_taken_over_and_broken_ones_are_not() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let files = ca.issue(dir.path(), "live", "a.test");
        let configured = [Certificate { host: "a.test".into(), files: files.clone() }];
        let (certificates, mut watch) = Certificates::load(&configured).unwrap();
        let first = leaf(&files);

        std::fs::write(&files.certificate, "half writ").unwrap();
        watch.refresh();
        assert_eq!(shown(&certificates, &ca, "a.test").await, first, "a broken certificate");

        let next = ca.issue(dir.path(), "next", "a.test");
        move_into_place(&next.certificate, &files.certificate);
        watch.refresh();
        assert_eq!(shown(&certificates, &ca, "a.test").await, first, "the key is still the old one");

        std::fs::remove_file(&files.key).unwrap();
        watch.refresh();
        assert_eq!(shown(&certificates, &ca, "a.test").await, first, "the key is gone");

        replace(&next, &files);
        watch.refresh();
        assert_eq!(shown(&certificates, &ca, "a.test").await, leaf(&next), "both are new");
        assert_ne!(leaf(&next), first);
    }

    #[tokio::test]
    async fn an_encrypted_key_opens_the_handshake() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let to = dir.path().join(name);
            std::fs::copy(data("tls").join(name), &to).unwrap();
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
            to
        };
        let files = KeyFiles {
            certificate: put("certificate.pem"),
            key: put("key-pbkdf2.pem"),
            passphrase: Some(SecretRef::File(put("passphrase"))),
        };
        let configured = [Certificate { host: "encrypted.test".into(), files: files.clone() }];
        let (certificates, _watch) = Certificates::load(&configured).unwrap();
        let trusted = Ca::trusting(&files.certificate);
        assert_eq!(shown(&certificates, &trusted, "encrypted.test").await, leaf(&files));
    }
}
