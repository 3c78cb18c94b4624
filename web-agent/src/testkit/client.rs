//! A client that sends exactly the bytes it is given.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer of the agent takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// A connection that takes nothing for so long takes nothing at all.
const STALLED: Duration = Duration::from_secs(1);

/// What a client speaks over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

/// Sends one request on a connection of its own. `None` where the connection ended without an answer.
pub async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Option<Answer> {
    let mut client = Client::connect(address).await;
    client.send(request).await;
    client.answer().await
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// On a connection that is there already.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    /// How much of endless bytes is taken before nothing is any more.
    pub async fn fill(&mut self, limit: usize) -> usize {
        let (part, mut taken) = ([b' '; 64 * 1024], 0);
        while taken < limit {
            match timeout(STALLED, self.stream.write(&part[..part.len().min(limit - taken)])).await {
                Ok(Ok(written)) => taken += written,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        taken
    }

    /// An agent that has closed the connection does not hear it, which is no matter.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()).await);
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Reads a head and the body its `Content-Length` announces. `None` at the end of the connection.
    pub async fn answer(&mut self) -> Option<Answer> {
        let head = self.until(b"\r\n\r\n").await?;
        let mut answer = Answer { status: head.get(9..12)?.parse().ok()?, head, body: String::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        answer.body = self.take(length).await?;
        Some(answer)
    }

    /// Reads up to and including `end`.
    pub async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|part| part == end) {
                return self.take(at + end.len()).await;
            }
            self.read().await?;
        }
    }

    pub async fn take(&mut self, length: usize) -> Option<String> {
        while self.unread.len() < length {
            self.read().await?;
        }
        let taken = self.unread.drain(..length).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(&taken).into_owned())
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> String {
        while self.read().await.is_some() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    async fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let read = timeout(LIMIT, self.stream.read(&mut buffer)).await.expect("the agent says nothing");
        let read = read.ok().filter(|read| *read > 0)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Some(())
    }
}
