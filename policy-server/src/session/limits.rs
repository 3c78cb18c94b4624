//! The limits of a security domain's sessions: how long they live, how many a person may have, from where they count.
//! Pure: the time and the address come in.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

/// The prefixes of a subnet: what a provider gives to one customer, more or less.
const IPV4_SUBNET: u8 = 24;
const IPV6_SUBNET: u8 = 56;

/// The limits of a security domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request for this long, a session ends.
    pub idle: Duration,
    /// After this long, it ends in any case.
    pub lifetime: Duration,
    /// How many one person may have; `None`: as many as they like.
    pub crowd: Option<Crowd>,
    pub network: ClientNetwork,
}

/// How many sessions a person may have at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    pub most: NonZeroUsize,
    pub beyond: WhenTooMany,
}

/// What a login does that would open one session too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenTooMany {
    #[default]
    EndOldest,
    Refuse,
}

impl Crowd {
    /// How many of the sessions that are there must go before another may come.
    pub fn surplus(self, there: usize) -> usize {
        (there + 1).saturating_sub(self.most.get())
    }
}

/// Whether a session counts in other networks than that of its login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientNetwork {
    /// It counts everywhere.
    #[default]
    None,
    Exact,
    Subnet,
}

impl ClientNetwork {
    /// Whether a session that was opened from `home` counts for a client at this address. `home` is as it was stored.
    pub fn admits(self, home: &str, client: IpAddr) -> bool {
        self == Self::None || home.parse().is_ok_and(|home| self.of(home) == self.of(client))
    }

    /// The network of an address. An IPv4 address in IPv6 clothes (RFC 4291, section 2.5.5.2) is one.
    pub fn of(self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let prefix = match (self, address) {
            (Self::None, _) => 0,
            (Self::Exact, IpAddr::V4(_)) => 32,
            (Self::Exact, IpAddr::V6(_)) => 128,
            (Self::Subnet, IpAddr::V4(_)) => IPV4_SUBNET,
            (Self::Subnet, IpAddr::V6(_)) => IPV6_SUBNET,
        };
        IpNet::new(address, prefix).map_or_else(|_| address.into(), |network| network.trunc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many() {
        for (most, there, expected) in [(1, 0, 0), (1, 1, 1), (3, 2, 0), (3, 3, 1), (3, 7, 5), (9, 0, 0)] {
            let crowd = Crowd { most: NonZeroUsize::new(most).unwrap(), beyond: WhenTooMany::Refuse };
            assert_eq!(crowd.surplus(there), expected, "{most} {there}");
        }
    }

    #[test]
    fn a_session_counts_at_home() {
        for (home, client, exact, subnet) in [
            ("192.0.2.1", "192.0.2.1", true, true),
            ("192.0.2.1", "::ffff:192.0.2.1", true, true),
            ("::ffff:192.0.2.1", "192.0.2.200", false, true),
            ("192.0.2.1", "192.0.3.1", false, false),
            ("192.0.2.1", "2001:db8::1", false, false),
            ("2001:db8:1:2::1", "2001:db8:1:2::1", true, true),
            ("2001:db8:1:2::1", "2001:db8:1:ff::9", false, true),
            ("2001:db8:1:2::1", "2001:db8:1:102::1", false, false),
            ("0.0.0.0", "::", false, false),
            ("", "192.0.2.1", false, false),
            ("nowhere", "192.0.2.1", false, false),
        ] {
            let client = client.parse().unwrap();
            let found = [ClientNetwork::None, ClientNetwork::Exact, ClientNetwork::Subnet];
            let found = found.map(|network| network.admits(home, client));
            assert_eq!(found, [true, exact, subnet], "{home} {client}");
        }
    }
}
