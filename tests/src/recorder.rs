//! A site that answers everything and remembers the bytes of every request it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::find;

#[derive(Debug, Clone)]
pub struct Recorder {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    seen: Arc<Mutex<Vec<Received>>>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Up to the empty line.
    pub head: String,
    /// As framed: with chunk sizes and trailers.
    pub body: Vec<u8>,
}

impl Received {
    /// The request target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The headers, names as received.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name, value.trim()))
    }

    /// The values by name as CGI, WSGI and PHP see it: upper case, and all that is no letter or digit the same.
    pub fn folded(&self) -> BTreeMap<String, Vec<String>> {
        let mut folded: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in self.fields() {
            let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
            folded.entry(name.chars().map(fold).collect()).or_default().push(value.to_owned());
        }
        folded
    }
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let recorder = Self { url, seen: Arc::default() };
        let seen = Arc::clone(&recorder.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        recorder
    }

    /// Everything received so far.
    pub fn seen(&self) -> Vec<Received> {
        self.seen.lock().expect("nothing panics with it").clone()
    }

    /// The requests whose target contains this text.
    pub fn about(&self, text: &str) -> Vec<Received> {
        self.seen().into_iter().filter(|received| received.target().contains(text)).collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Received>>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(head) = until(&mut stream, &mut bytes, |bytes| Some(find(bytes, b"\r\n\r\n")? + 4)).await else {
            return;
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut received = Received { head, body: Vec::new() };
        let fields = received.folded();
        let length = fields.get("CONTENT_LENGTH").and_then(|values| values.first()?.parse().ok()).unwrap_or(0);
        let body = if fields.contains_key("TRANSFER_ENCODING") {
            until(&mut stream, &mut bytes, chunks).await
        } else {
            until(&mut stream, &mut bytes, |bytes| (bytes.len() >= length).then_some(length)).await
        };
        received.body = body.unwrap_or_default();
        seen.lock().expect("nothing panics with it").push(received);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Site: recorder\r\nContent-Length: 2\r\n\r\nok";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// The length of a chunked body (RFC 9112, section 7.1) once it is complete, with its trailers.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(bytes.get(at..)?, b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(at..at + line)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            // The trailers, if any, and the empty line.
            return Some(at + line + find(bytes.get(at + line..)?, b"\r\n\r\n")? + 4);
        }
        at += line + 2 + size + 2;
    }
}

/// Reads until `end` knows where the part that is wanted ends, and takes it off.
async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, end: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = end(bytes) {
            return Some(bytes.drain(..end).collect());
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
