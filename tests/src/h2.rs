//! Frames of HTTP/2 made by hand (RFC 9113, RFC 7541), for what no library would send. One reader takes up all that comes
//! back, so that neither side waits for the other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::tls::{Origin, Stream};
use crate::wait::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest payload that anybody has to take.
const FRAME: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of which the preface and empty settings were sent. It asks for no dynamic table, so that every status
/// comes as it is.
#[derive(Debug)]
pub struct H2 {
    write: WriteHalf<Box<dyn Stream>>,
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
}

/// What came back, of each stream what ended it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Stream and status, in the order they came.
    pub answers: Vec<(u32, u16)>,
    /// Stream and reason.
    pub resets: Vec<(u32, u32)>,
    /// The reason.
    pub goaway: Option<u32>,
    pub closed: bool,
}

impl Seen {
    pub fn status(&self, stream: u32) -> Option<u16> {
        self.answers.iter().find(|(of, _)| *of == stream).map(|(_, status)| *status)
    }

    /// Whether nothing more is to be expected of this stream.
    pub fn is_over(&self, stream: u32) -> bool {
        self.is_cut() || self.status(stream).is_some() || self.resets.iter().any(|(of, _)| *of == stream)
    }

    pub fn is_cut(&self) -> bool {
        self.closed || self.goaway.is_some_and(|reason| reason != 0)
    }
}

impl H2 {
    pub(crate) async fn connect(origin: &Origin) -> Self {
        let (read, write) = split(origin.connect("h2").await);
        let seen = Arc::default();
        let reader = tokio::spawn(take_up(read, Arc::clone(&seen)));
        let mut client = Self { write, seen, reader };
        let no_table = [0, 1, 0, 0, 0, 0];
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &no_table), &frame(SETTINGS, ACK, 0, b"")].concat()).await;
        client
    }

    /// Whether the bytes could be sent; a server that has had enough closes, or reads no more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let written = async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        };
        matches!(timeout(PATIENCE, written).await, Ok(Ok(())))
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("nothing panics with it").clone()
    }

    /// Waits until what came back is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        within(PATIENCE, what, || wanted(&self.seen.lock().expect("nothing panics with it"))).await;
        self.seen()
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request, in as many frames as its head needs.
pub fn request(stream: u32, flags: u8, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(0, name, value)).collect();
    let mut parts: Vec<(u8, u8, &[u8])> = block.chunks(FRAME).map(|part| (CONTINUATION, 0, part)).collect();
    if let Some(first) = parts.first_mut() {
        (first.0, first.1) = (HEADERS, flags);
    }
    if let Some(last) = parts.last_mut() {
        last.1 |= END_HEADERS;
    }
    parts.into_iter().flat_map(|(kind, flags, part)| frame(kind, flags, stream, part)).collect()
}

/// A field as it stands (RFC 7541, section 6.2): `kind` 0 without indexing, 0x40 into the dynamic table.
pub fn literal(kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kind], &*string(name), &*string(value)].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    const PREFIX: usize = 127;
    let mut bytes = Vec::new();
    match text.len().checked_sub(PREFIX) {
        None => bytes.push(text.len() as u8),
        Some(mut rest) => {
            bytes.push(PREFIX as u8);
            while rest > PREFIX {
                bytes.push((rest & PREFIX) as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text);
    bytes
}

async fn take_up(mut read: ReadHalf<Box<dyn Stream>>, seen: Arc<Mutex<Seen>>) {
    while let Some((kind, stream, payload)) = next(&mut read).await {
        let mut seen = seen.lock().expect("nothing panics with it");
        let word =
            |at: usize| payload.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
        match kind {
            HEADERS => seen.answers.push((stream, status(&payload))),
            RST_STREAM => seen.resets.push((stream, word(0))),
            GOAWAY => seen.goaway = Some(word(4)),
            _ => {}
        }
    }
    seen.lock().expect("nothing panics with it").closed = true;
}

async fn next(read: &mut ReadHalf<Box<dyn Stream>>) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, _, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    read.read_exact(&mut payload).await.ok()?;
    Some((kind, u32::from_be_bytes(stream), payload))
}

/// `:status`, which is the first field; 0 where it cannot be read.
fn status(block: &[u8]) -> u16 {
    // The table was made smaller: 6.3.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(0);
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match block[start..] {
        [index @ 0x88..=0x8e, ..] => indexed[usize::from(index - 0x88)],
        // Its name is entry 8, the value Huffman-coded or not.
        [0x08 | 0x18 | 0x48, length, ref value @ ..] if length & 0x80 != 0 => {
            digits(&value[..usize::from(length & 0x7f)])
        }
        [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |n, digit| n * 10 + u16::from(digit & 0xf)),
        _ => 0,
    }
}

/// Three digits of RFC 7541, appendix B: 0 to 2 have 5 bits, 3 to 9 have 6.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let mut rest = &bits[..];
    let mut number = 0;
    for _ in 0..3 {
        let value = |bits: &[u16]| bits.iter().fold(0, |n, bit| n << 1 | bit);
        let length = if rest.len() >= 5 && value(&rest[..5]) <= 2 { 5 } else { 6 };
        let Some(code) = rest.get(..length) else { return 0 };
        number = number * 10 + if length == 5 { value(code) } else { value(code) - 0x16 };
        rest = &rest[length..];
    }
    number
}
