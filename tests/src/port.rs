//! Ports for servers that cannot be told to take any.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Where Linux and its kin begin to take ports for connections going out, and for listeners that take any. A port from
/// below is nobody's before its server has started.
const RESERVED: std::ops::Range<u64> = 10_000..32_000;

/// A port of 127.0.0.1 that nothing listens on, given out once.
#[must_use]
pub fn free() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let random = RandomState::new();
    let any = (0..1000_u32)
        .filter_map(|n| u16::try_from(RESERVED.start + random.hash_one(n) % (RESERVED.end - RESERVED.start)).ok());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    any.filter(is_free).find(|port| given.insert(*port)).expect("a free port")
}
