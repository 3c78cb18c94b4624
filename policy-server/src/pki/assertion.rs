//! The keys under which agents vouch for people to their sites: ECDSA P-256, one after the other for each agent, sealed in
//! the store. Which of them counts when is decided by their ages alone, so every server of the cluster says the same.
//!
//! A key belongs to an agent's certificate, not to its name: who is registered anew begins with new keys.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared_proto::assertion::{AssertionKeyResponse, LIFE_SECONDS, PublicKey};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use super::PkiError;
use crate::agents::{Capability, Registered};
use crate::store::{SealedKey, Store};
use crate::token::{KeyRing, Purpose, hex};

pub const PURPOSE: &str = "assertion";
/// A key is shown for so long before it is used, in seconds: every site has fetched it by then.
const AHEAD: i64 = 3_600;
/// An agent that has not heard of the next key yet may use the old one for so long, in seconds.
const SLACK: i64 = 300;
/// The old key is shown for so long after the next one came into use, in seconds: its last assertion is over by then,
/// also for a site whose clock is behind.
const AFTER: i64 = 600;
const _: () = assert!(AFTER >= SLACK + LIFE_SECONDS + 60);

/// The keys of all agents.
pub struct AssertionKeys {
    store: Store,
    keys: KeyRing,
    cluster: String,
    /// For how long a key is used, in seconds.
    period: i64,
}

/// What the store shows beside the sealed key.
#[derive(Serialize, Deserialize)]
struct Point {
    x: String,
    y: String,
}

/// A key of one agent: its number, counted from 1, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation {
    number: u32,
    created: i64,
}

impl Generation {
    /// The first one is used at once: there is no other.
    fn used_from(self) -> i64 {
        self.created + if self.number == 1 { 0 } else { AHEAD }
    }
}

/// What the generations of an agent, oldest first, mean now.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    current: Option<Generation>,
    not_after: i64,
    /// The number of the key that must be made now.
    wanted: Option<u32>,
    shown: Vec<Generation>,
}

fn plan(generations: &[Generation], period: i64, now: i64) -> Plan {
    let current = generations.iter().rev().find(|generation| generation.used_from() <= now);
    // Should the clock have been set back, the oldest one is best known.
    let current = current.or(generations.first()).copied();
    let next = generations.iter().find(|generation| current.is_some_and(|current| generation.number > current.number));
    // Without a next key there will be one that is used in an hour at the earliest.
    let not_after = next.map_or(now + AHEAD, |next| next.used_from()) + SLACK;
    let newest = generations.last().map_or(0, |newest| newest.number);
    let is_due = current.is_none_or(|current| next.is_none() && now >= current.used_from() + period - AHEAD);
    let is_shown = |generation: &&Generation| {
        let successor = generations.iter().find(|other| other.number > generation.number);
        successor.is_none_or(|successor| now < successor.used_from() + AFTER)
    };
    Plan {
        current,
        not_after,
        wanted: is_due.then_some(newest + 1),
        shown: generations.iter().filter(is_shown).copied().collect(),
    }
}

impl AssertionKeys {
    pub fn new(store: Store, keys: KeyRing, cluster: &str, period: std::time::Duration) -> Self {
        let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX / 4);
        Self { store, keys, cluster: cluster.to_owned(), period }
    }

    /// The agent's current key, made where there is none, and all public keys that may be shown at its hosts.
    pub async fn of(&self, agent: &Registered, now: i64) -> Result<AssertionKeyResponse, PkiError> {
        let mut all = self.all().await?;
        let owner = owner(agent);
        let mut ours = plan(&generations(&all, &owner), self.period, now);
        if let Some(number) = ours.wanted {
            self.make(&owner, number, now).await?;
            // Another server may have been quicker: what the store holds is the truth.
            all = self.all().await?;
            ours = plan(&generations(&all, &owner), self.period, now);
        }
        let current = ours.current.ok_or(PkiError::NoAssertionKey)?;
        let record = record(&owner, current.number);
        let found = self.store.sealed_key(PURPOSE, &record).await?.ok_or(PkiError::NoAssertionKey)?;
        let der = self.keys.open(&Purpose::new(&[PURPOSE, &record]), &found.sealed).map_err(|_| PkiError::WrongKey)?;
        Ok(AssertionKeyResponse {
            issuer: format!("cams:{}:{}", self.cluster, agent.name),
            kid: kid(&record),
            private_key: Secret::new(STANDARD.encode(&der)),
            not_after: ours.not_after,
            public_keys: self.shown_at(&agent.rights.hosts, &all, now).await?,
        })
    }

    /// Keys of every registered agent, each at those of `hosts` that it serves too.
    async fn shown_at(&self, hosts: &[String], all: &Records, now: i64) -> Result<Vec<PublicKey>, PkiError> {
        let mut shown = Vec::new();
        for agent in self.store.agents().await? {
            let serves = |host: &&String| agent.rights.hosts.contains(host);
            let hosts: Vec<String> = hosts.iter().filter(serves).cloned().collect();
            if hosts.is_empty() || !agent.rights.capabilities.contains(&Capability::Enforce) {
                continue;
            }
            let owner = owner(&agent);
            for generation in plan(&generations(all, &owner), self.period, now).shown {
                let record = record(&owner, generation.number);
                let Some((public, _)) = all.get(&record) else { continue };
                let point: Point = serde_json::from_str(public).map_err(|_| PkiError::BrokenCertificate)?;
                shown.push(PublicKey { kid: kid(&record), x: point.x, y: point.y, hosts: hosts.clone() });
            }
        }
        Ok(shown)
    }

    async fn make(&self, owner: &str, number: u32, now: i64) -> Result<(), PkiError> {
        let key = KeyPair::generate()?;
        let record = record(owner, number);
        let sealed = self.keys.seal(&Purpose::new(&[PURPOSE, &record]), &Zeroizing::new(key.serialize_der()))?;
        // An uncompressed point (SEC 1, section 2.3.3): 4, x, y.
        let (x, y) = key.public_key_raw().get(1..65).and_then(|point| point.split_at_checked(32)).unwrap_or_default();
        let point = Point { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) };
        let certificate = serde_json::to_string(&point).map_err(|_| PkiError::BrokenCertificate)?;
        self.store.add_sealed_key(PURPOSE, &record, &SealedKey { certificate, sealed }, now).await?;
        Ok(())
    }

    /// Removes keys that no assertion can be valid under any more, also those of agents that are gone.
    pub async fn purge(&self, now: i64) -> Result<(), PkiError> {
        let mut kept: Vec<String> = Vec::new();
        let all = self.all().await?;
        for agent in self.store.agents().await? {
            let owner = owner(&agent);
            let generations = generations(&all, &owner);
            let newest = generations.last().copied();
            let shown = plan(&generations, self.period, now).shown;
            kept.extend(shown.into_iter().chain(newest).map(|generation| record(&owner, generation.number)));
        }
        for record in all.keys().filter(|record| !kept.contains(record)) {
            self.store.remove_sealed_key(PURPOSE, record).await?;
        }
        Ok(())
    }

    async fn all(&self) -> Result<Records, PkiError> {
        Ok(self.store.public_keys(PURPOSE).await?)
    }
}

/// Record -> the public part, and when it was made.
type Records = BTreeMap<String, (String, i64)>;

/// Name and certificate of an agent: neither alone has keys.
fn owner(agent: &Registered) -> String {
    let certificate: String = agent.fingerprint.chars().take(16).collect();
    format!("{}.{certificate}", agent.name)
}

fn record(owner: &str, number: u32) -> String {
    format!("{owner}.{number}")
}

/// Tells nothing of the agent, and is different for every key there ever was.
fn kid(record: &str) -> String {
    hex(Sha256::digest(record).get(..8).unwrap_or_default())
}

fn generations(all: &Records, owner: &str) -> Vec<Generation> {
    let number = |record: &str| record.strip_prefix(owner)?.strip_prefix('.')?.parse().ok();
    let of_owner = all.iter().filter_map(|(record, (_, created))| Some((number(record)?, *created)));
    let mut found: Vec<_> = of_owner.map(|(number, created)| Generation { number, created }).collect();
    found.sort_by_key(|generation| generation.number);
    found
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::agents::Rights;
    use crate::store::tests::temporary;
    use crate::token::Key;

    const DAY: i64 = 86_400;

    fn agent(name: &str, fingerprint: &str, hosts: &[&str]) -> Registered {
        Registered {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            rights: Rights {
                domains: vec!["system".into()],
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                entries: vec!["http".into()],
                capabilities: vec![Capability::Enforce],
            },
            created: 0,
        }
    }

    async fn keys() -> (AssertionKeys, tempfile::TempDir) {
        let (store, dir) = temporary().await;
        let ring = KeyRing::new(Key::generate().unwrap(), vec![]);
        (AssertionKeys::new(store, ring, "C", std::time::Duration::from_secs(30 * 86_400)), dir)
    }

    /// Whenever an agent asks, and however rarely: its key and every key it may still sign under are shown, each was
    /// shown for an hour before it was used, and ten minutes after.
    #[test]
    fn no_assertion_is_ever_without_its_key() {
        for step in [60, 1_000, 3_700, 100_000, 40 * DAY] {
            let mut generations: Vec<Generation> = Vec::new();
            let mut may_sign: Vec<(u32, i64)> = Vec::new();
            let mut used = Vec::new();
            let mut now = 1_000;
            while now < 100 * DAY {
                if let Some(number) = plan(&generations, 30 * DAY, now).wanted {
                    generations.push(Generation { number, created: now });
                }
                let plan = plan(&generations, 30 * DAY, now);
                let current = plan.current.unwrap();
                may_sign.retain(|(_, until)| now < *until);
                may_sign.push((current.number, plan.not_after + LIFE_SECONDS));
                for (number, _) in &may_sign {
                    assert!(plan.shown.iter().any(|shown| shown.number == *number), "{number} at {now} by {step}");
                }
                if used.last() != Some(&current.number) {
                    used.push(current.number);
                    let published = generations[current.number as usize - 1].created;
                    assert!(current.number == 1 || now - published >= AHEAD);
                }
                assert!(plan.shown.len() <= 3);
                now += step;
            }
            assert!(step > DAY || used.len() == 4, "{used:?} by {step}");
        }
    }

    #[tokio::test]
    async fn every_agent_has_keys_of_its_own_for_its_hosts_only() {
        let (keys, _dir) = keys().await;
        let agents = [agent("one", "aa", &["a", "b"]), agent("two", "bb", &["b", "c"]), agent("three", "cc", &["d"])];
        for agent in &agents {
            assert!(keys.store.add_agent(agent).await.unwrap());
            keys.of(agent, 0).await.unwrap();
        }
        let one = keys.of(&agents[0], 5).await.unwrap();
        assert_eq!((one.issuer.as_str(), one.not_after), ("cams:C:one", 5 + AHEAD + SLACK));
        let two = keys.of(&agents[1], 5).await.unwrap();
        assert_ne!((&one.kid, one.private_key.expose()), (&two.kid, two.private_key.expose()));
        let shown: Vec<_> = one.public_keys.iter().map(|key| (key.kid.clone(), key.hosts.join(" "))).collect();
        assert_eq!(shown, [(one.kid.clone(), "a b".to_owned()), (two.kid, "b".to_owned())]);
        assert_eq!(keys.of(&agents[0], 5).await.unwrap().private_key.expose(), one.private_key.expose());
    }

    #[tokio::test]
    async fn who_is_registered_anew_has_new_keys() {
        let (keys, _dir) = keys().await;
        let (old, new) = (agent("one", "aa", &["a"]), agent("one", "bb", &["a"]));
        keys.store.add_agent(&old).await.unwrap();
        let first = keys.of(&old, 0).await.unwrap();
        keys.store.remove_agent("one").await.unwrap();
        keys.store.add_agent(&new).await.unwrap();
        let second = keys.of(&new, 0).await.unwrap();
        assert_ne!(first.kid, second.kid);
        assert_eq!(second.public_keys.iter().map(|key| &key.kid).collect::<Vec<_>>(), [&second.kid]);
        keys.purge(0).await.unwrap();
        assert_eq!(keys.all().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn rotation_keeps_what_is_needed_and_nothing_else() {
        let (keys, _dir) = keys().await;
        let agent = agent("one", "aa", &["a"]);
        keys.store.add_agent(&agent).await.unwrap();
        let mut seen = Vec::new();
        for day in 0..100 {
            let answer = keys.of(&agent, day * DAY).await.unwrap();
            keys.purge(day * DAY).await.unwrap();
            assert!(answer.public_keys.iter().any(|key| key.kid == answer.kid));
            if !seen.contains(&answer.kid) {
                seen.push(answer.kid);
            }
        }
        assert_eq!(seen.len(), 4);
        assert_eq!(keys.all().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn keys_are_sealed_each_for_its_own_record() {
        let (keys, _dir) = keys().await;
        let agent = agent("one", "aa", &["a"]);
        keys.store.add_agent(&agent).await.unwrap();
        let now = Timestamp::now().as_second();
        let der = STANDARD.decode(keys.of(&agent, now).await.unwrap().private_key.expose()).unwrap();
        let found = keys.store.sealed_key(PURPOSE, "one.aa.1").await.unwrap().unwrap();
        assert!(!found.sealed.windows(32).any(|window| window == &der[36..68]));
        assert!(keys.keys.open(&Purpose::new(&[PURPOSE, "one.aa.2"]), &found.sealed).is_err());
    }
}
