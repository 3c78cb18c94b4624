//! Bytes over TLS, for requests that no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::h2::H2;
use crate::tls::Origin;

/// How long a server may take to answer and close.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct RawClient {
    origin: Origin,
}

impl RawClient {
    pub fn new(url: &str, ca_pem: &[u8]) -> Self {
        Self { origin: Origin::new(url, Some(ca_pem)) }
    }

    /// `localhost:8443`.
    pub fn authority(&self) -> String {
        self.origin.authority()
    }

    /// A new connection of HTTP/2.
    pub async fn h2(&self) -> H2 {
        H2::connect(&self.origin).await
    }

    /// Sends the bytes on a new HTTP/1.1 connection and returns everything that comes back until the server closes.
    /// The request should ask for that (`Connection: close`).
    pub async fn exchange(&self, request: &[u8]) -> Vec<u8> {
        self.exchange_in_two(request, b"").await
    }

    /// As [`RawClient::exchange`], with further bytes once something came back for the first ones.
    pub async fn exchange_in_two(&self, request: &[u8], then: &[u8]) -> Vec<u8> {
        let mut stream = self.origin.connect("http/1.1").await;
        let mut answer = Vec::new();
        for (at, bytes) in [request, then].into_iter().filter(|bytes| !bytes.is_empty()).enumerate() {
            if at > 0 {
                drop(timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("the server answers"));
            }
            // A server that has answered may close before it has read everything: the answer is what counts.
            drop(stream.write_all(bytes).await);
            drop(stream.flush().await);
        }
        // A server may leave out TLS's good-bye. What was received before stands.
        drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server answers and closes"));
        answer
    }

    /// Sends the bytes, says that there will be no more, and returns everything that comes back.
    pub async fn send_and_end(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.origin.connect("http/1.1").await;
        let mut answer = Vec::new();
        drop(stream.write_all(request).await);
        drop(stream.shutdown().await);
        drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes"));
        answer
    }

    /// The status of the answer to these bytes; 0 when the server closed without one.
    pub async fn status(&self, request: &[u8]) -> u16 {
        let answer = String::from_utf8_lossy(&self.exchange(request).await).into_owned();
        answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }
}
