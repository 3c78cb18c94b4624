//! Tells the policy server what the agent decided alone, for the audit log there. No request waits for it: what does not
//! fit in the queue is counted, and the count is told instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared_proto::report::{AgentEvent, AuditRequest, RefusedRequest};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::access_log::Record;
use crate::client::{Link, LinkError};
use crate::target::Target;

/// Events that wait while no policy server answers.
const QUEUE: usize = 1_000;
/// Events of one message; together with [`PAUSE`] also the rate.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// Characters of a client's text; longer ones are cut off, so that a batch never outgrows what the server reads.
const PATH: usize = 512;
const HOST: usize = 256;
const METHOD: usize = 32;
const REASON: usize = 2_048;

/// The end at which events go in.
#[derive(Debug, Clone)]
pub struct Reports {
    queue: mpsc::Sender<AgentEvent>,
    dropped: Arc<AtomicU64>,
}

/// The end at which they come out.
#[derive(Debug)]
pub struct Courier {
    queue: mpsc::Receiver<AgentEvent>,
    dropped: Arc<AtomicU64>,
}

pub fn channel() -> (Reports, Courier) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    (Reports { queue: sender, dropped: dropped.clone() }, Courier { queue: receiver, dropped })
}

impl Reports {
    /// A request that was refused without asking anybody. `target` is as the client wrote it.
    pub fn refused(&self, record: &Record, target: &[u8], status: u16, reason: &str) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.send(AgentEvent::RequestRefused(RefusedRequest {
            request_id: record.id.clone(),
            client: record.peer,
            method: escaped(record.method.as_bytes(), METHOD),
            host: record.host.clone(),
            path: path(target),
            status,
            reason: reason.to_owned(),
            time: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        }));
    }

    /// A changed configuration that was not taken over.
    pub fn configuration_refused(&self, old_hash: &str, reason: &str) {
        let reason = reason.chars().take(REASON).collect();
        self.send(AgentEvent::ConfigurationRefused { old_hash: old_hash.to_owned(), reason });
    }

    pub fn send(&self, event: AgentEvent) {
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The path of a target without its query: canonical, or escaped where it has no canonical form.
fn path(target: &[u8]) -> String {
    if let Ok(target) = Target::parse(target) {
        return target.path().chars().take(PATH).collect();
    }
    escaped(target.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default(), PATH)
}

/// The name of a host as a client wrote it.
pub fn host(bytes: &[u8]) -> String {
    escaped(bytes, HOST)
}

/// Bytes of a client as text that fits on a line, cut off.
fn escaped(bytes: &[u8], limit: usize) -> String {
    bytes.iter().take(limit).copied().flat_map(std::ascii::escape_default).map(char::from).take(limit).collect()
}

impl Courier {
    /// Carries events for as long as it runs.
    pub async fn run(mut self, link: Arc<Link>) {
        while let Some(batch) = self.batch().await {
            self.deliver(&link, batch).await;
            sleep(PAUSE).await;
        }
    }

    async fn batch(&mut self) -> Option<AuditRequest> {
        let mut events = Vec::new();
        (self.queue.recv_many(&mut events, BATCH).await > 0).then_some(())?;
        Some(AuditRequest { events, dropped: self.dropped.swap(0, Ordering::Relaxed) })
    }

    /// Tries until it is clear what became of the batch; one that may have arrived is not sent again.
    async fn deliver(&self, link: &Link, batch: AuditRequest) {
        loop {
            match link.report(&batch).await {
                Ok(_) => return,
                Err(LinkError::Down | LinkError::Overloaded) => sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(events = batch.events.len(), "events may not be in the audit log: {error}");
                    self.dropped.fetch_add(batch.dropped + batch.events.len() as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_counted() {
        let (reports, mut courier) = channel();
        for _ in 0..QUEUE + 7 {
            reports.send(AgentEvent::Unknown);
        }
        let first = courier.batch().await.unwrap();
        assert_eq!((first.events.len(), first.dropped), (BATCH, 7));
        let second = courier.batch().await.unwrap();
        assert_eq!((second.events.len(), second.dropped), (BATCH, 0));
    }

    #[test]
    fn a_reported_path_is_short_printable_and_without_its_query() {
        for (target, expected) in [
            (&b"/a/%62?secret=1"[..], "/a/b"),
            (b"/a/../b?secret=1", "/a/../b"),
            (b"/a#/../x?secret", "/a"),
            (b"/\x00\x1b[31m\xff\n\"", "/\\x00\\x1b[31m\\xff\\n\\\""),
            (b"", ""),
        ] {
            assert_eq!(path(target), expected);
        }
        assert_eq!(path(&[b'\n'; 100_000]).len(), PATH);
    }

    /// Whatever clients write: 256 KiB is what the policy server reads.
    #[tokio::test]
    async fn a_full_batch_of_the_longest_events_is_read() {
        let (reports, mut courier) = channel();
        for byte in [b'\n', b'"', b'\\', 0xff] {
            let nasty = [byte; 1_000];
            let method = String::from_utf8_lossy(&nasty).into_owned();
            let mut record = Record::default();
            (record.method, record.host, record.id) = (method, host(&nasty), "0".repeat(32));
            for _ in 0..BATCH {
                reports.refused(&record, &nasty, 400, &"r".repeat(100));
            }
            let batch = serde_json::to_vec(&courier.batch().await).unwrap();
            assert!(batch.len() < 256 << 10, "{}", batch.len());
        }
    }
}
