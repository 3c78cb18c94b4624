//! What keeps strangers who may ask anything from using up the machine: few signatures at once, few that wait, few questions
//! of one client, few answers that are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::limit::{Allowance, Rate};
use crate::auth::valves::throttle::bucket;
use crate::store::KeptList;

/// Signatures that may wait for others. One takes some milliseconds, and nobody waits for an answer longer than two seconds.
const WAITING: usize = 32;
/// Those that are told apart; more share allowances, at random.
const ALLOWANCES: usize = 16_384;
/// Questions of a client about certificates.
pub const CERTIFICATES: Rate = Rate { burst: 50, cost: 200 };
/// Of names there are more: each client asks for all of its contacts, and a whole office may have one address.
pub const NAMES: Rate = Rate { burst: 1_000, cost: 20 };
/// Answers that are remembered, and the bytes of a longest key of one.
const ANSWERS: usize = 4096;
const LONGEST_KEY: usize = 1024;

/// Lists that are remembered, and the bytes of all of them.
const LISTS: usize = 256;
const LIST_BYTES: usize = 16 << 20;

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

/// How often each of many does something. Its size does not depend on how many there are.
pub struct Allowances {
    rate: Rate,
    since: Instant,
    hasher: RandomState,
    allowances: Mutex<Vec<Allowance>>,
}

impl Allowances {
    pub fn new(rate: Rate) -> Self {
        let allowances = Mutex::new(vec![Allowance::default(); ALLOWANCES]);
        Self { rate, since: Instant::now(), hasher: RandomState::new(), allowances }
    }

    /// Whether this one may do it once more.
    pub fn allow(&self, who: impl Hash) -> bool {
        let slot = usize::try_from(self.hasher.hash_one(who) % ALLOWANCES as u64).unwrap_or_default();
        let now = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        allowances.get_mut(slot).is_some_and(|allowance| allowance.take(self.rate, now))
    }
}

/// How much each client asks.
pub struct Clients(Allowances);

impl Clients {
    pub fn new(rate: Rate) -> Self {
        Self(Allowances::new(rate))
    }

    /// Whether this client may ask once more.
    pub fn allow(&self, client: IpAddr) -> bool {
        self.0.allow(bucket::network(client, 32, 64))
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

/// Lists as they were last signed, so that a long one is not fetched for everybody who asks.
#[derive(Default)]
pub struct Lists {
    kept: Mutex<HashMap<String, KeptList>>,
}

impl Lists {
    /// The DER of the list of this issuer with the number and the end that the store says.
    pub fn get(&self, issuer: &str, head: &KeptList) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&KeptList| (kept.number, kept.next_update) == (head.number, head.next_update);
        kept.get(issuer).filter(same).map(|kept| kept.list.clone())
    }

    pub fn keep(&self, issuer: &str, list: &KeptList) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(issuer);
        let bytes: usize = kept.values().map(|kept| kept.list.len()).sum();
        if kept.len() >= LISTS || bytes + list.list.len() > LIST_BYTES {
            kept.clear();
        }
        if list.list.len() <= LIST_BYTES {
            kept.insert(issuer.to_owned(), list.clone());
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
        let clients = Clients::new(CERTIFICATES);
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
    #[test]
    fn a_list_stands_for_its_number_alone_and_few_are_kept() {
        let lists = Lists::default();
        let list = |number, bytes| KeptList { number, list: vec![0; bytes], next_update: 9, stale: 0 };
        lists.keep("a", &list(1, 10));
        assert_eq!(lists.get("a", &list(1, 0)).map(|list| list.len()), Some(10));
        assert_eq!((lists.get("a", &list(2, 0)), lists.get("b", &list(1, 0))), (None, None));
        assert_eq!(lists.get("a", &KeptList { next_update: 8, ..list(1, 0) }), None);
        lists.keep("b", &list(1, LIST_BYTES));
        assert_eq!((lists.get("a", &list(1, 0)).is_some(), lists.get("b", &list(1, 0)).is_some()), (false, true));
        lists.keep("b", &list(2, LIST_BYTES + 1));
        assert_eq!(lists.kept.lock().unwrap().len(), 0);
        (0..2 * LISTS).for_each(|issuer| lists.keep(&issuer.to_string(), &list(1, 1)));
        assert!((1..=LISTS).contains(&lists.kept.lock().unwrap().len()));
    }
}
