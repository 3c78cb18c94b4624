//! A client's connection while a head is awaited on it: keeps the bytes that came, bounds them, and lets nothing pass that
//! the proxy engine answers meanwhile. The engine says nothing of heads that it refuses by itself and answers them with
//! nothing; so [`crate::app`] gets the connection back from here, and answers. Otherwise nothing of what passes changes.

use std::io::{Cursor, IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::head::MAX_HEAD;

/// What came over a connection since it became ready for the request that is being read.
#[derive(Debug, Default)]
pub struct Seen {
    awaiting: AtomicBool,
    unread: Mutex<Unread>,
}

#[derive(Debug, Default)]
struct Unread {
    /// As it came, up to [`MAX_HEAD`].
    head: Vec<u8>,
    refused: bool,
    connection: Option<Stream>,
}

/// Handed through the engine to its first hook, which says that the head was read. Dropped without a word where the
/// engine refuses the head.
#[derive(Debug)]
pub struct Awaited {
    seen: Arc<Seen>,
    read: oneshot::Sender<()>,
}

impl Awaited {
    pub fn is_read(self) {
        self.seen.awaiting.store(false, Ordering::Relaxed);
        self.seen.unread().head = Vec::new();
        // Nobody waits any more where the deadline is over.
        let _ = self.read.send(());
    }
}

impl Seen {
    /// Forgets the request before and waits for the next one.
    pub fn begin(self: &Arc<Self>) -> (Awaited, oneshot::Receiver<()>) {
        *self.unread() = Unread::default();
        self.awaiting.store(true, Ordering::Relaxed);
        let (read, is_read) = oneshot::channel();
        (Awaited { seen: Arc::clone(self), read }, is_read)
    }

    /// What came of a head that was not read to its end.
    pub fn head(&self) -> Vec<u8> {
        std::mem::take(&mut self.unread().head)
    }

    /// The connection, where the engine refused the head and let it go: to be answered on and closed.
    pub fn refused(&self) -> Option<Stream> {
        let mut unread = self.unread();
        unread.connection.take().filter(|_| unread.refused)
    }

    fn is_awaiting(&self) -> bool {
        self.awaiting.load(Ordering::Relaxed)
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        // Nothing in here stops half-way.
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the engine may read on; without an end, more than this is no head.
    fn takes_more(&self) -> bool {
        let mut unread = self.unread();
        unread.refused |= unread.head.len() >= MAX_HEAD;
        !unread.refused
    }

    fn take(&self, bytes: &[u8]) {
        let mut unread = self.unread();
        let room = MAX_HEAD.saturating_sub(unread.head.len());
        unread.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// The connection itself.
#[derive(Debug)]
pub struct Watched {
    inner: Stream,
    seen: Arc<Seen>,
}

impl Watched {
    pub fn new(inner: Stream) -> Self {
        Self { inner, seen: Arc::default() }
    }

    /// What comes over this connection, if it is one of these.
    pub fn seen(stream: &Stream) -> Option<Arc<Seen>> {
        stream.as_ref().as_any().downcast_ref::<Self>().map(|watched| Arc::clone(&watched.seen))
    }
}

/// A connection whose head was not read goes to whoever asks for it.
impl Drop for Watched {
    fn drop(&mut self) {
        if self.seen.is_awaiting() {
            let inner = std::mem::replace(&mut self.inner, Box::new(Cursor::new(Vec::new())));
            self.seen.unread().connection = Some(inner);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let awaiting = self.seen.is_awaiting();
        if awaiting && !self.seen.takes_more() {
            // To the engine this is the end of the connection.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if awaiting {
            self.seen.take(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        if self.seen.is_awaiting() {
            self.seen.unread().refused = true;
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if self.seen.is_awaiting() {
            self.seen.unread().refused = true;
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.seen.is_awaiting() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        if !self.seen.is_awaiting() {
            Shutdown::shutdown(self.inner.as_mut()).await;
        }
    }
}

#[async_trait]
impl Peek for Watched {
    async fn try_peek(&mut self, buf: &mut [u8]) -> Result<bool> {
        self.inner.try_peek(buf).await
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}
