//! In which order the servers that the DNS names are tried (RFC 2782). Pure: the randomness comes in.

/// A server and how it ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Lower ones first.
    pub priority: u16,
    /// Among those of one priority, how often it comes first.
    pub weight: u16,
    pub host: String,
}

impl Server {
    /// Whether the host is in this domain. The DNS is not to be trusted: whoever forges its answer has a certificate for a
    /// host of his own too.
    pub fn is_of(&self, domain: &str) -> bool {
        let (host, domain) = (self.host.to_lowercase(), domain.to_lowercase());
        host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// `random` gives a number from 0 to its argument, both included.
pub fn order(mut servers: Vec<Server>, mut random: impl FnMut(u32) -> u32) -> Vec<String> {
    // Those without weight stand first, so that a draw of 0 is theirs.
    servers.sort_by_key(|server| (server.priority, server.weight != 0));
    let mut hosts = Vec::new();
    while let Some(first) = servers.first() {
        let priority = first.priority;
        let peers = servers.iter().take_while(|server| server.priority == priority);
        let drawn = random(peers.clone().map(|server| u32::from(server.weight)).sum());
        let mut sum = 0;
        let chosen = peers.map(|server| u32::from(server.weight)).position(|weight| {
            sum += weight;
            sum >= drawn
        });
        hosts.push(servers.remove(chosen.unwrap_or_default()).host);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(list: &[(u16, u16)]) -> Vec<Server> {
        let server = |(number, (priority, weight)): (usize, &(u16, u16))| Server {
            priority: *priority,
            weight: *weight,
            host: number.to_string(),
        };
        list.iter().enumerate().map(server).collect()
    }

    #[test]
    fn priority_comes_first_and_a_draw_decides_the_rest() {
        let lowest: fn(u32) -> u32 = |_| 0;
        let highest: fn(u32) -> u32 = |sum| sum;
        for (list, random, expected) in [
            (&[][..], lowest, ""),
            (&[(20, 0), (10, 5), (0, 0)], highest, "210"),
            (&[(0, 10), (0, 20), (0, 30)], lowest, "012"),
            (&[(0, 10), (0, 20), (0, 30)], highest, "210"),
            (&[(0, 10), (0, 0)], lowest, "10"),
            (&[(0, 0), (0, 0), (0, 0)], highest, "012"),
            (&[(1, 65535), (0, 65535), (0, 65535)], highest, "210"),
        ] {
            assert_eq!(order(servers(list), random).concat(), expected, "{list:?}");
        }
    }

    #[test]
    fn weights_are_shares() {
        // Every draw once: of 1 + 3 parts, and the 0 that falls to the first.
        let mut firsts = [0, 0];
        for drawn in 1..=4 {
            let first = order(servers(&[(0, 1), (0, 3)]), |sum| if sum == 4 { drawn } else { 0 });
            firsts[first[0].parse::<usize>().unwrap()] += 1;
        }
        assert_eq!(firsts, [1, 3]);
    }
}
