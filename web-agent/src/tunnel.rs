//! Connections to sites for requests that may become tunnels.
//!
//! The engine hands the end of a request on beside reading the site's answer, and chooses by chance where both are ready. A
//! request for a tunnel ends with its head; where its end is handed on after a quick 101, the engine takes it for the end
//! of the tunnel. So these connections give way once before each read: what else is ready goes first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Keeps the connections of tunnels and of other requests apart in the engine's pool.
const GROUP: u64 = 1 << 63;

/// Makes a peer's new connections give way.
pub fn prepare(peer: &mut HttpPeer) {
    peer.group_key |= GROUP;
    peer.options.custom_l4 = Some(Arc::new(Connector));
}

#[derive(Debug)]
struct Connector;

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address
            .as_inet()
            .ok_or_else(|| Error::explain(ErrorType::ConnectError, "a site's address is not one of the internet"))?;
        let stream = TcpStream::connect(address).await.or_err(ErrorType::ConnectError, "connecting for a tunnel")?;
        Ok(VirtualSocketStream::new(Box::new(Courteous { stream, has_yielded: false })).into())
    }
}

/// A TCP connection that lets others go first once before each read.
#[derive(Debug)]
struct Courteous {
    stream: TcpStream,
    has_yielded: bool,
}

impl AsyncRead for Courteous {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.has_yielded {
            self.has_yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.has_yielded = false;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Courteous {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl VirtualSocket for Courteous {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            // Dead peers are found by reading and writing.
            _ => Ok(()),
        }
    }
}
