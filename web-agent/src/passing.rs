//! Requests of Jami devices that are being passed on: how many at once, how long a policy server may take for one, and what
//! is left of it. A burst must not become hundreds of connections to a policy server, and no client's be all there is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::listen::network;

/// From the end of a body to the head of its answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Bytes a second of a client that is slow, but not too slow.
const SLOW: u64 = 16 * 1024;
/// Bytes of the longest body that a policy server takes.
const LONGEST: u64 = 8 * 1024 * 1024;
/// Networks that are kept in mind although nothing of them is under way.
const KNOWN: usize = 256;

/// How many requests may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub all: usize,
    /// Of one IPv4 address, or one IPv6 /56.
    pub of_network: usize,
    /// How long one waits until others are done.
    pub wait: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: 64, of_network: 16, wait: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
pub struct Passing {
    room: Room,
    all: Arc<Semaphore>,
    networks: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A request that is counted until this is dropped, and what is known of its way.
#[derive(Debug)]
pub struct Passed {
    /// Bytes of its body that may still go on.
    pub left: u64,
    retried: bool,
    _of_network: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Passing {
    pub fn new(room: Room) -> Self {
        Self { room, all: Arc::new(Semaphore::new(room.all)), networks: Mutex::default() }
    }

    /// Waits for its turn; `None` where that does not come.
    pub async fn enter(&self, client: IpAddr) -> Option<Passed> {
        let enter = async {
            let of_network = self.network(network(client)).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Passed { left: 0, retried: false, _of_network: of_network, _of_all: of_all })
        };
        timeout(self.room.wait, enter).await.ok().flatten()
    }

    fn network(&self, network: IpAddr) -> Arc<Semaphore> {
        // Nothing in here stops half-way.
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if networks.len() >= KNOWN {
            networks.retain(|_, requests| Arc::strong_count(requests) > 1);
        }
        let requests = networks.entry(network).or_insert_with(|| Arc::new(Semaphore::new(self.room.of_network)));
        Arc::clone(requests)
    }
}

impl Passed {
    /// Whether it may be tried once more.
    pub fn retry(&mut self) -> bool {
        !std::mem::replace(&mut self.retried, true)
    }
}

/// How long the head of an answer may take from the head of the request on: the engine knows no other beginning. `body` is
/// what is still to come, where that is known.
pub fn patience(limit: Duration, body: Option<u64>) -> Duration {
    limit + Duration::from_millis(body.unwrap_or(LONGEST).min(LONGEST).saturating_mul(1000) / SLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_network_has_its_part_and_all_have_an_end() {
        let passing = Passing::new(Room { all: 3, of_network: 2, wait: Duration::from_secs(10) });
        let [one, neighbour, other, third] =
            ["2001:db8::1", "2001:db8:0:ff::2", "192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let (first, second) = (passing.enter(one).await.unwrap(), passing.enter(neighbour).await.unwrap());
        assert!(passing.enter(one).await.is_none(), "its network has what it may");
        let last = passing.enter(other).await.unwrap();
        assert!(passing.enter(third).await.is_none(), "that is all");
        let (waited, ()) = tokio::join!(passing.enter(third), async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(first);
        });
        assert!(waited.is_some(), "what ends in time lets another pass");
        drop((second, last, waited));
        for number in 0..1000_u32 {
            assert!(passing.enter(IpAddr::V4(number.into())).await.is_some());
        }
        assert!(passing.networks.lock().unwrap().len() <= KNOWN);
    }

    #[test]
    fn a_slow_client_takes_nothing_from_the_server() {
        for (body, expected) in [(Some(0), 60), (Some(SLOW * 10), 70), (None, 60 + 512), (Some(u64::MAX), 60 + 512)] {
            assert_eq!(patience(ANSWER_LIMIT, body), Duration::from_secs(expected), "{body:?}");
        }
    }
}
