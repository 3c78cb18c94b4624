//! Where sessions were shown that count elsewhere only, so that each move is written down once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;

/// Sessions that are remembered; beyond them what was written down may be written down again.
const REMEMBERED: usize = 10_000;

/// Where each session was last shown away from home.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<HashMap<String, IpNet>>);

impl Sightings {
    /// Whether this network is another one than that of the last time.
    pub fn is_news(&self, session: &str, network: IpNet) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED && !seen.contains_key(session) {
            seen.clear();
        }
        seen.insert(session.to_owned(), network) != Some(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_move_is_news_once() {
        let seen = Sightings::default();
        let [a, b] = ["192.0.2.0/24", "198.51.100.0/24"].map(|network| network.parse::<IpNet>().unwrap());
        for (session, network, expected) in
            [("s", a, true), ("s", a, false), ("t", a, true), ("s", b, true), ("s", b, false), ("s", a, true)]
        {
            assert_eq!(seen.is_news(session, network), expected, "{session} {network}");
        }
        for number in 0..2 * REMEMBERED {
            assert!(seen.is_news(&format!("n{number}"), a));
        }
        assert!(seen.0.lock().unwrap().len() <= REMEMBERED);
    }
}
