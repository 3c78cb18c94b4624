//! Connections that have not proved anything yet. They have room of their own, so that nobody without a certificate can
//! take the room of agents, and share it fairly: when it is full, whoever holds most of it loses the oldest.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Who is on the other side: an address or, as one machine has as many as it likes, an IPv6 network of 64 bits.
type Origin = IpAddr;

/// Handshakes under way.
#[derive(Debug)]
pub struct Handshakes {
    room: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    count: usize,
    next: u64,
    /// Oldest first. Whoever drops the sender ends the handshake.
    of: HashMap<Origin, VecDeque<(u64, oneshot::Sender<()>)>>,
}

/// The place of one handshake; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    under_way: Arc<Mutex<UnderWay>>,
    origin: Origin,
    id: u64,
    lost: oneshot::Receiver<()>,
}

impl Handshakes {
    pub fn new(room: usize) -> Self {
        Self { room: room.max(1), under_way: Arc::default() }
    }

    /// A place for a new connection, and whether another one lost its own for it.
    pub fn enter(&self, address: IpAddr) -> (Place, bool) {
        let origin = origin(address);
        let (keep, lost) = oneshot::channel();
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let full = under_way.count >= self.room;
        if full {
            under_way.drop_one();
        }
        let id = under_way.next;
        under_way.next += 1;
        under_way.count += 1;
        under_way.of.entry(origin).or_default().push_back((id, keep));
        (Place { under_way: Arc::clone(&self.under_way), origin, id, lost }, full)
    }
}

impl UnderWay {
    fn drop_one(&mut self) {
        let busiest = self.of.iter().max_by_key(|(_, places)| places.len()).map(|(origin, _)| *origin);
        let oldest = busiest.and_then(|origin| Some((origin, self.of.get(&origin)?.front()?.0)));
        if let Some((origin, id)) = oldest {
            self.remove(origin, id);
        }
    }

    fn remove(&mut self, origin: Origin, id: u64) {
        let Some(places) = self.of.get_mut(&origin) else { return };
        let before = places.len();
        places.retain(|(known, _)| *known != id);
        self.count -= before - places.len();
        if places.is_empty() {
            self.of.remove(&origin);
        }
    }
}

impl Place {
    /// Waits until the place is needed for another connection.
    pub async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(self.origin, self.id);
    }
}

fn origin(address: IpAddr) -> Origin {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Lets one line a second into the log, however often there is something to say.
#[derive(Debug, Default)]
pub struct Quietly {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Quietly {
    /// How often there was something to say since the last time it was said, if it may be said now.
    pub fn may_say(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.1 += 1;
        if last.0.is_some_and(|said| now.saturating_duration_since(said) < Duration::from_secs(1)) {
            return None;
        }
        let times = last.1;
        *last = (Some(now), 0);
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_lost(place: &mut Place) -> bool {
        place.lost.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn whoever_holds_most_loses_the_oldest() {
        let handshakes = Handshakes::new(4);
        let (attacker, agent) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut flood: VecDeque<Place> = VecDeque::new();
        let mut honest = handshakes.enter(agent).0;
        for number in 0..100 {
            let (place, full) = handshakes.enter(attacker);
            assert_eq!(full, number >= 3);
            flood.push_back(place);
            if full {
                assert!(is_lost(&mut flood.pop_front().unwrap()), "{number}");
            }
            assert!(!is_lost(&mut honest) && !flood.iter_mut().any(is_lost), "{number}");
        }
        // The agent takes what it needs from the flood, up to its share.
        let mut second = handshakes.enter(agent).0;
        assert!(!is_lost(&mut honest) && !is_lost(&mut second));
        drop((honest, second, flood));
        let under_way = handshakes.under_way.lock().unwrap();
        assert!(under_way.count == 0 && under_way.of.is_empty(), "every place was given back once");
    }

    #[test]
    fn a_machine_is_one_origin() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(origin(one.parse().unwrap()) == origin(other.parse().unwrap()), same, "{one} {other}");
        }
    }

    #[test]
    fn a_flood_is_one_line_a_second() {
        let quietly = Quietly::default();
        let start = Instant::now();
        let after = |milliseconds| quietly.may_say(start + Duration::from_millis(milliseconds));
        assert_eq!(after(0), Some(1));
        assert_eq!((1..1_000).filter_map(after).count(), 0);
        assert_eq!(after(1_000), Some(1_000));
        assert_eq!(after(5_000), Some(1));
    }
}
