//! Counting and its ends.

use super::*;
use crate::site::GateConfig;
use crate::testing::gate_config;

fn connections(all: usize, per_network: usize) -> Arc<Connections> {
    let gate = GateConfig { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..gate_config() };
    let [all, per_network] = [all, per_network].map(|count| NonZeroUsize::new(count).unwrap());
    Connections::new(Caps { all, per_network }, move |peer| gate.trusts(peer))
}

#[test]
fn a_network_has_its_share() {
    let connections = connections(100, 2);
    for (first, second, stranger) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:192.0.2.8"),
        ("2001:db8:0:100::1", "2001:db8:0:1ff::2", "2001:db8:0:200::1"),
    ] {
        let admit = |peer: &str| connections.admit(peer.parse().unwrap());
        let (one, two) = (admit(first).unwrap(), admit(second).unwrap());
        assert!(admit(first).is_none() && admit(second).is_none(), "{first}");
        assert!(admit(stranger).is_some(), "{stranger}");
        drop(one);
        assert!(admit(first).is_some(), "{first}");
        drop(two);
    }
    assert!(connections.open().networks.is_empty(), "what was counted is forgotten");
    assert_eq!(connections.open().all, 0);
}

#[test]
fn all_together_have_an_end_and_trusted_proxies_no_share() {
    let connections = connections(5, 1);
    let admit = |peer: &str| connections.admit(peer.parse().unwrap());
    let held: Vec<Admitted> = (0..4).filter_map(|_| admit("10.1.2.3")).collect();
    assert_eq!(held.len(), 4);
    let last = admit("192.0.2.1").unwrap();
    for peer in ["10.1.2.3", "192.0.2.1", "192.0.2.2", "::1"] {
        assert!(admit(peer).is_none(), "{peer}");
    }
    drop(last);
    assert!(admit("192.0.2.2").is_some());
}

#[test]
fn refusals_are_counted_but_not_each_reported() {
    let connections = connections(1, 1);
    let _held = connections.admit("192.0.2.1".parse().unwrap()).unwrap();
    for _ in 0..50 {
        assert!(connections.admit("192.0.2.1".parse().unwrap()).is_none());
    }
    // The first was reported, the rest wait for the next report.
    assert_eq!(connections.open().refused, 49);
}
