//! One connection to one directory server: bytes in and out, within limits of time and size.
//!
//! Whatever the server does, an operation ends in time, and takes no more memory than [`MAX_MESSAGE`] for a message and
//! [`MAX_ANSWER`] for all that answers it. After an error, or when an operation was given up half-way, the connection is
//! not used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::FutureExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shared_proto::secret::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ber;
use super::endpoint::{Endpoint, Security};
use super::error::{Fault, LdapError, code_name};
use super::message::{self, Budget, Control, DerefAliases, Entry, Message, Outcome, Scope, Search, answer};
use super::ppolicy;

/// In bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
/// In bytes of memory: everything that answers one operation, all pages of a search together.
pub const MAX_ANSWER: usize = 8 << 20;
/// References to other servers in answer to one search. The root of a Windows domain has three, whatever is searched for.
const MAX_REFERENCES: usize = 1_000;
/// The bytes asked of the system at once.
const CHUNK: usize = 16 << 10;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How connections are made and used.
#[derive(Debug, Clone)]
pub struct Settings {
    pub tls: Arc<ClientConfig>,
    /// For the connection with its TLS handshake, per host.
    pub connect_timeout: Duration,
    /// For the whole answer to a request; a page of a search is one.
    pub read_timeout: Duration,
    pub deref: DerefAliases,
    /// Entries; more of them make a search incomplete.
    pub size_limit: usize,
    /// Entries; 0 asks for no pages.
    pub page_size: usize,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Who answered, as a URL.
    pub server: String,
    pub entries: Vec<Entry>,
    /// There was more than the limit, or than the server gives out.
    pub incomplete: bool,
    /// How many entries were asked for: what the caller wanted, or option `sizeLimit`.
    pub limit: usize,
    /// What was searched under is not there, or may not be seen.
    pub base_missing: bool,
    /// How many times the server pointed elsewhere. Nobody went there.
    pub references: usize,
}

pub struct Connection {
    stream: Box<dyn Stream>,
    /// Bytes of answers that nobody read yet.
    pending: BytesMut,
    server: String,
    settings: Settings,
    last_id: i64,
    /// False while an operation runs, and for ever after one that failed.
    healthy: bool,
    used: Instant,
    /// Shared with the other connections: which host the next one goes to first.
    prefer: Arc<AtomicUsize>,
    host: usize,
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).field("healthy", &self.healthy).finish()
    }
}

/// Which of several hosts a connection is to, and where the choice is kept.
pub(super) struct Home {
    pub prefer: Arc<AtomicUsize>,
    pub host: usize,
    pub place: OwnedSemaphorePermit,
}

impl Connection {
    /// Connects, and brings up TLS where there is to be any.
    pub(super) async fn open(endpoint: &Endpoint, settings: &Settings, home: Home) -> Result<Self, LdapError> {
        let server = endpoint.to_string();
        let opened = timeout(settings.connect_timeout, open_stream(endpoint, settings)).await;
        let stream = opened.map_err(Fault::from).flatten().map_err(|fault| fault.at(&server))?;
        Ok(Self {
            stream,
            pending: BytesMut::new(),
            server,
            settings: settings.clone(),
            last_id: 1,
            healthy: true,
            used: Instant::now(),
            prefer: home.prefer,
            host: home.host,
            _place: home.place,
        })
    }

    /// The server, as a URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether another operation may be tried: nothing failed, and the server has not closed it or said anything.
    pub(super) fn is_usable(&mut self, idle: Duration) -> bool {
        self.healthy
            && self.pending.is_empty()
            && self.used.elapsed() < idle
            && self.stream.read(&mut [0]).now_or_never().is_none()
    }

    /// A simple bind, asking for the password policy where `policy` says so. What the answer means is the caller's
    /// business.
    ///
    /// # Errors
    /// No answer, or none that can be read. An empty name or password is refused: it would be an anonymous bind, which
    /// succeeds (RFC 4513, section 5.1.2).
    pub async fn bind(&mut self, dn: &str, password: &Secret, policy: bool) -> Result<Outcome, LdapError> {
        if dn.trim().is_empty() || password.is_empty() {
            return Err(LdapError::EmptyBind);
        }
        let controls = if policy { vec![ppolicy::request()] } else { Vec::new() };
        self.single(&message::bind(dn, password.expose()), &controls, answer::BIND).await
    }

    /// Whether the attribute of the entry has this value; `None` where the entry or the attribute is not there.
    ///
    /// # Errors
    /// No answer, or another one.
    pub async fn compare(&mut self, dn: &str, attribute: &str, value: &[u8]) -> Result<Option<bool>, LdapError> {
        let outcome = self.single(&message::compare(dn, attribute, value), &[], answer::COMPARE).await?;
        match outcome.code {
            message::COMPARE_TRUE => Ok(Some(true)),
            message::COMPARE_FALSE => Ok(Some(false)),
            message::NO_SUCH_OBJECT | message::NO_SUCH_ATTRIBUTE => Ok(None),
            _ => Err(self.refused(format!("compare of {attribute} of {dn}"), outcome)),
        }
    }

    /// # Errors
    /// No answer, one that is too large, or one that says the search failed. That `base` is not there is no error:
    /// nothing was found.
    pub async fn search(&mut self, search: &Search<'_>) -> Result<Found, LdapError> {
        self.healthy = false;
        let (found, outcome) = self.pages(search).await.map_err(|fault| self.failed(fault))?;
        self.healthy = true;
        self.used = Instant::now();
        match outcome.code {
            message::SUCCESS => Ok(found),
            message::NO_SUCH_OBJECT => Ok(Found { base_missing: true, ..found }),
            message::SIZE_LIMIT_EXCEEDED => Ok(Found { incomplete: true, ..found }),
            _ => Err(self.refused(format!("search under {}", search.base), outcome)),
        }
    }

    /// The error for an operation that ended with a result code which is no answer.
    pub fn refused(&self, operation: String, outcome: Outcome) -> LdapError {
        let Outcome { code, text, .. } = outcome;
        LdapError::Refused { server: self.server.clone(), operation, code, name: code_name(code), text }
    }

    async fn pages(&mut self, search: &Search<'_>) -> Result<(Found, Outcome), Fault> {
        let limit = search.limit.min(self.settings.size_limit);
        let page_size = self.settings.page_size;
        let paged = search.scope != Scope::Base && (1..limit).contains(&page_size);
        let seconds = self.settings.read_timeout.as_secs().max(1);
        let operation = message::search(search, self.settings.deref, if paged { 0 } else { limit }, seconds);
        let server = self.server.clone();
        let mut found =
            Found { server, entries: Vec::new(), incomplete: false, limit, base_missing: false, references: 0 };
        let (mut cookie, mut budget) = (Vec::new(), Budget(MAX_ANSWER));
        loop {
            let controls: Vec<Control> = paged.then(|| message::page(page_size, &cookie)).into_iter().collect();
            let wait = self.settings.read_timeout;
            let page = self.page(&operation, &controls, limit, &mut budget, &mut found);
            let outcome = timeout(wait, page).await??;
            cookie = message::next_page(&outcome)?;
            if found.entries.len() > limit {
                found.entries.truncate(limit);
                found.incomplete = true;
            }
            if outcome.code != message::SUCCESS || cookie.is_empty() || !paged {
                return Ok((found, outcome));
            }
            if found.entries.len() >= limit {
                // The rest of a paged search is forgotten with the connection.
                found.incomplete = true;
                return Ok((found, outcome));
            }
        }
    }

    async fn page(
        &mut self,
        operation: &[u8],
        controls: &[Control],
        limit: usize,
        budget: &mut Budget,
        found: &mut Found,
    ) -> Result<Outcome, Fault> {
        let id = self.send(operation, controls).await?;
        loop {
            let bytes = self.receive().await?;
            let message = Message::read(&bytes, budget)?;
            match answer_to(&message, id)? {
                answer::ENTRY => found.entries.push(message.entry(budget)?),
                answer::REFERENCE => found.references += 1,
                answer::SEARCH_DONE => return Ok(message.outcome()?),
                _ => return Err(Fault::Protocol("an answer of another kind")),
            }
            // What is beyond the limit proves that there is more; a server that goes on does not keep to the protocol.
            if found.entries.len() > limit.saturating_add(self.settings.page_size.max(1))
                || found.references > MAX_REFERENCES
            {
                return Err(Fault::Protocol("more entries than were asked for"));
            }
        }
    }

    /// An operation with one answer.
    async fn single(&mut self, operation: &[u8], controls: &[Control], tag: u8) -> Result<Outcome, LdapError> {
        self.healthy = false;
        let wait = self.settings.read_timeout;
        let exchange = async {
            let id = self.send(operation, controls).await?;
            let bytes = self.receive().await?;
            let message = Message::read(&bytes, &mut Budget(MAX_ANSWER))?;
            if answer_to(&message, id)? != tag {
                return Err(Fault::Protocol("an answer of another kind"));
            }
            Ok(message.outcome()?)
        };
        let outcome =
            timeout(wait, exchange).await.map_err(Fault::from).flatten().map_err(|fault| self.failed(fault))?;
        self.healthy = true;
        self.used = Instant::now();
        Ok(outcome)
    }

    /// The next connection goes to another host first.
    fn failed(&self, fault: Fault) -> LdapError {
        // Only from here: somebody else may have found a good one meanwhile.
        let next = self.host.wrapping_add(1);
        _ = self.prefer.compare_exchange(self.host, next, Ordering::Relaxed, Ordering::Relaxed);
        fault.at(&self.server)
    }

    async fn send(&mut self, operation: &[u8], controls: &[Control]) -> Result<i64, Fault> {
        self.last_id += 1;
        send(&mut self.stream, self.last_id, operation, controls).await?;
        Ok(self.last_id)
    }

    async fn receive(&mut self) -> Result<BytesMut, Fault> {
        receive(&mut self.stream, &mut self.pending).await
    }
}

/// The tag of an answer, if it is one to this request.
fn answer_to(message: &Message<'_>, id: i64) -> Result<u8, Fault> {
    match message.id {
        0 => Err(Fault::Protocol("the server ends the connection")),
        found if found == id => Ok(message.tag),
        _ => Err(Fault::Protocol("an answer to something else")),
    }
}

async fn open_stream(endpoint: &Endpoint, settings: &Settings) -> Result<Box<dyn Stream>, Fault> {
    let mut stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    match endpoint.security {
        Security::None => return Ok(Box::new(stream)),
        Security::Tls => {}
        Security::StartTls => start_tls(&mut stream).await?,
    }
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| Fault::Protocol("no name for a certificate"))?;
    Ok(Box::new(TlsConnector::from(Arc::clone(&settings.tls)).connect(name, stream).await?))
}

/// Asks for TLS (RFC 4511, section 4.14). Without a yes there is no connection; nothing else was sent.
async fn start_tls(stream: &mut TcpStream) -> Result<(), Fault> {
    let mut pending = BytesMut::new();
    send(stream, 1, &message::start_tls(), &[]).await?;
    let bytes = receive(stream, &mut pending).await?;
    let message = Message::read(&bytes, &mut Budget(MAX_ANSWER))?;
    if answer_to(&message, 1)? != answer::EXTENDED || message.outcome()?.code != message::SUCCESS {
        return Err(Fault::Protocol("StartTLS is refused"));
    }
    // What came before the handshake was not protected by it: somebody else may have put it there.
    if !pending.is_empty() {
        return Err(Fault::Protocol("more than a yes to StartTLS"));
    }
    Ok(())
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    id: i64,
    operation: &[u8],
    controls: &[Control],
) -> Result<(), Fault> {
    stream.write_all(&message::request(id, operation, controls)).await?;
    Ok(stream.flush().await?)
}

/// One whole message; what was read beyond it stays in `pending`.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, pending: &mut BytesMut) -> Result<BytesMut, Fault> {
    loop {
        if pending.first().is_some_and(|first| *first != ber::SEQUENCE) {
            return Err(Fault::Protocol("malformed message"));
        }
        if let Some((header, length)) = ber::lengths(pending)? {
            let total = header.saturating_add(length);
            if total > MAX_MESSAGE {
                return Err(Fault::Protocol("the message is too large"));
            }
            if pending.len() >= total {
                return Ok(pending.split_to(total));
            }
        }
        pending.reserve(CHUNK);
        if stream.read_buf(pending).await? == 0 {
            return Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
