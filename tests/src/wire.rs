//! A connection that is kept open, for bytes that no client library would send and in numbers that need no new
//! connection each.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Speaks HTTP/1.1 without TLS; connects again where the server closed.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

/// What came back for one request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 0 where the server closed without an answer.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Takes apart all that a server sent until it closed the connection.
    pub fn whole(mut bytes: Vec<u8>) -> Self {
        let end = find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let body = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        Self { status, head, body }
    }

    /// The header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn is_last(&self) -> bool {
        self.head.starts_with("HTTP/1.0") || self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

impl Wire {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends the bytes of one request and reads the answer to it. A request of the method HEAD has to say so: its
    /// answer announces a body that never comes.
    pub async fn ask(&mut self, request: &[u8], is_head: bool) -> Answer {
        let reused = self.stream.is_some();
        match self.try_ask(request, is_head).await {
            // The server may have closed the connection before it saw this request.
            None if reused => self.try_ask(request, is_head).await.unwrap_or_default(),
            answer => answer.unwrap_or_default(),
        }
    }

    async fn try_ask(&mut self, request: &[u8], is_head: bool) -> Option<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.expect("the server listens"),
        };
        // A server that refuses the first bytes may close before it has read the others: the answer is what counts.
        drop(stream.write_all(request).await);
        let answer = read(&mut stream, is_head).await?;
        if !answer.is_last() {
            self.stream = Some(stream);
        }
        Some(answer)
    }
}

async fn read(stream: &mut TcpStream, is_head: bool) -> Option<Answer> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let mut answer =
        Answer { head: String::from_utf8_lossy(&bytes[..end]).into_owned(), body: bytes.split_off(end), status: 0 };
    answer.status = answer.head.get(9..12)?.parse().ok()?;
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let chunked = answer.header("transfer-encoding").is_some();
    let is_whole = |body: &[u8]| match length {
        _ if is_head || matches!(answer.status, 204 | 304) => true,
        _ if chunked => {
            body.starts_with(b"0\r\n") || find(body, b"\r\n0\r\n").is_some_and(|_| body.ends_with(b"\r\n\r\n"))
        }
        Some(length) => body.len() >= length,
        None => false,
    };
    let mut body = std::mem::take(&mut answer.body);
    while !is_whole(&body) && stream.read_buf(&mut body).await.is_ok_and(|read| read > 0) {}
    Some(Answer { body, ..answer })
}

/// Where `wanted` begins.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
