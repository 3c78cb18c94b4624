//! What keeps strangers who may ask anything from using up the machine: few signatures at once, few that wait, few questions
//! of one client, few answers that are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::limit::Allowance;
use crate::auth::valves::throttle::bucket;

/// Signatures that may wait for others. One takes some milliseconds, and nobody waits for an answer longer than two seconds.
const WAITING: usize = 32;
/// Clients that are told apart; more share allowances, at random.
const ALLOWANCES: usize = 4096;
/// Answers that are remembered, and the bytes of a longest key of one.
const ANSWERS: usize = 4096;
const LONGEST_KEY: usize = 1024;

/// Too much is being signed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many signatures are being made at once; try again")]
pub struct Busy;

/// Threads for signatures, no more than half of the machine's.
pub struct Signing {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Signing {
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
        Self { places: Arc::new(Semaphore::new(threads + WAITING)), turns: Arc::new(Semaphore::new(threads)) }
    }

    /// Does the work on a thread that may take its time.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        // The work holds both: it goes on when the client that asked for it is gone.
        let work = move || {
            let done = work();
            drop((place, turn));
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy)
    }
}

/// How much each client asks. Its size does not depend on how many there are.
pub struct Clients {
    since: Instant,
    hasher: RandomState,
    allowances: Mutex<Vec<Allowance>>,
}

impl Clients {
    pub fn new() -> Self {
        let allowances = Mutex::new(vec![Allowance::default(); ALLOWANCES]);
        Self { since: Instant::now(), hasher: RandomState::new(), allowances }
    }

    /// Whether this client may ask once more.
    pub fn allow(&self, client: IpAddr) -> bool {
        let network = bucket::network(client, 32, 64);
        let slot = usize::try_from(self.hasher.hash_one(network) % ALLOWANCES as u64).unwrap_or_default();
        let now = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        allowances.get_mut(slot).is_some_and(|allowance| allowance.take(now))
    }
}

struct Answer {
    until: Instant,
    bytes: Vec<u8>,
}

/// Answers that are good for more than one client, each for a short time.
pub struct Answers {
    kept: Mutex<HashMap<Vec<u8>, Answer>>,
}

impl Answers {
    pub fn new() -> Self {
        Self { kept: Mutex::default() }
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|answer| Instant::now() < answer.until).map(|answer| answer.bytes.clone())
    }

    pub fn keep(&self, key: Vec<u8>, answer: &[u8], time: Duration) {
        if key.len() > LONGEST_KEY {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= ANSWERS {
            kept.retain(|_, answer| now < answer.until);
        }
        if kept.len() < ANSWERS {
            kept.insert(key, Answer { until: now + time, bytes: answer.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_signed_or_waits_than_there_is_room_for() {
        let signing = Arc::new(Signing { places: Arc::new(Semaphore::new(3)), turns: Arc::new(Semaphore::new(1)) });
        let (go, stop) = std::sync::mpsc::channel::<()>();
        let stop = Arc::new(Mutex::new(stop));
        let mut works = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (signing, stop) = (Arc::clone(&signing), Arc::clone(&stop));
            works.spawn(async move { signing.run(move || stop.lock().unwrap().recv().is_ok()).await });
        }
        while signing.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(signing.run(|| ()).await, Err(Busy));
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!(works.join_all().await, [Ok(true); 3]);
        assert_eq!(signing.run(|| 1).await, Ok(1));
    }

    #[test]
    fn a_network_has_one_allowance_however_it_is_written() {
        let clients = Clients::new();
        let allowed = |address: &str| (0..200).filter(|_| clients.allow(address.parse().unwrap())).count();
        assert!((50..60).contains(&allowed("192.0.2.1")));
        assert!(allowed("::ffff:192.0.2.1") < 10);
        assert!(allowed("2001:db8::1") >= 50);
        assert!(allowed("2001:db8::2") < 10);
    }

    #[test]
    fn answers_are_kept_for_their_time_and_not_beyond_measure() {
        let answers = Answers::new();
        let hour = Duration::from_secs(3600);
        answers.keep(b"a".to_vec(), b"answer", hour);
        answers.keep(b"over".to_vec(), b"answer", Duration::ZERO);
        answers.keep(vec![0; LONGEST_KEY + 1], b"answer", hour);
        assert_eq!(answers.get(b"a").as_deref(), Some(&b"answer"[..]));
        assert_eq!((answers.get(b"over"), answers.get(&[0; LONGEST_KEY + 1])), (None, None));
        (0..2 * ANSWERS).for_each(|n| answers.keep(n.to_be_bytes().to_vec(), b"answer", hour));
        assert_eq!(answers.kept.lock().unwrap().len(), ANSWERS);
    }
}
