//! `AutoLoginAuthValve`: browsers that are remembered. It keeps the keys and opens what they sealed; the login itself is
//! an ordinary one, with what was typed when the browser was remembered.
//!
//! Neither side alone holds the password: the cookie holds a key and no values, the store the values and no key. The
//! cookie is sealed besides, so that a stolen store and the keys of all servers open nothing either.

pub mod family;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shared_proto::check::Client;
use shared_proto::login::Remember;
use shared_proto::names::CookieNames;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::{Secret, on_the_wire_map};
use zeroize::Zeroizing;

use self::family::{Family, Rotation, Seen};
use crate::auth::error::LoginError;
use crate::auth::modules::Services;
use crate::auth::pipeline::LoginRun;
use crate::auth::subject::Subject;
use crate::auth::valve::{AuthValve, LoginAttempt, Note};
use crate::token::{Key, KeyRing, Purpose, SealError, hex, random};

pub const CLASS: &str = "com.cafesoft.security.engine.auth.AutoLoginAuthValve";

/// Of the format of cookies and stored values.
const VERSION: &str = "1";
const SERIES: usize = 16;
const KEY: usize = 32;

struct AutoLoginAuthValve(Option<AutoLogin>);

/// What remembers browsers, and knows them again.
pub struct AutoLogin {
    keys: KeyRing,
    cluster: String,
    domain: String,
    /// Seconds from the login until somebody has to type again.
    lifetime: i64,
    /// Seconds for which requests that were sent together are taken for that.
    pub grace: i64,
}

/// A cookie that we sealed; whether it counts is for its family to say.
pub struct Ticket {
    /// Hexadecimal.
    pub series: String,
    pub generation: i64,
    /// Seconds since 1970.
    issued: i64,
    key: CookieKey,
}

type CookieKey = Zeroizing<[u8; KEY]>;

/// Whom to remember, and how the person logged in.
pub struct Login<'a> {
    pub entry: &'a str,
    pub subject: &'a Subject,
    /// What was typed, by callback.
    pub answers: &'a BTreeMap<String, Secret>,
    pub client: &'a Client,
}

/// What was typed, under a key that nobody has yet.
pub struct Fresh {
    pub sealed: Vec<u8>,
    key: CookieKey,
}

pub fn construct(params: &mut Options, services: &Services, problems: &mut Problems) -> Box<dyn AuthValve> {
    let vault = services.shared.vault.as_ref();
    let cluster = vault.map(|vault| vault.cluster.clone()).unwrap_or_default();
    let settings = settings::take(params, services, problems);
    Box::new(AutoLoginAuthValve(settings.map(|settings::Settings { keys, lifetime, grace }| AutoLogin {
        keys,
        cluster,
        domain: services.domain.clone(),
        lifetime,
        grace,
    })))
}

/// It sees no login: who logs in with a cookie takes the way of all others, and brings what was typed.
#[async_trait]
impl AuthValve for AutoLoginAuthValve {
    async fn before(&self, _: &LoginAttempt<'_>) -> Result<(), LoginError> {
        Ok(())
    }

    async fn after(&self, _: &LoginAttempt<'_>, _: &LoginRun) -> Option<Note> {
        None
    }

    fn auto_login(&self) -> Option<&AutoLogin> {
        self.0.as_ref()
    }
}

/// As it is sealed in the store.
#[derive(Serialize, Deserialize)]
struct Answers(#[serde(with = "on_the_wire_map")] BTreeMap<String, Secret>);

impl AutoLogin {
    /// Remembers a browser from this login on.
    pub fn begin(&self, series: &str, login: &Login<'_>, now: i64) -> Result<(Family, Remember), SealError> {
        let Fresh { sealed, key } = self.fresh(series, login.answers)?;
        let family = Family {
            series: series.to_owned(),
            domain: self.domain.clone(),
            entry: login.entry.to_owned(),
            user: login.subject.user.clone(),
            methods: login.subject.proofs.iter().map(|proof| proof.class.clone()).collect::<BTreeSet<_>>(),
            created: now,
            expires: now.saturating_add(self.lifetime),
            stolen: false,
            seen: Seen::new(login.client, now),
            rotation: Rotation::new(sealed, now),
        };
        let remember = self.remember(&family, family.rotation.current.number, &key, now)?;
        Ok((family, remember))
    }

    /// The same values under a new key, for the next generation of the family.
    pub fn fresh(&self, series: &str, answers: &BTreeMap<String, Secret>) -> Result<Fresh, SealError> {
        let key = Zeroizing::new(random::<KEY>()?);
        // Never reallocated: that would leave copies behind. Escaped, a byte is six at most.
        let size: usize = answers.iter().map(|(name, value)| name.len() + 6 * value.expose().len() + 6).sum();
        let mut text = Zeroizing::new(Vec::with_capacity(size + 2));
        serde_json::to_writer(&mut *text, &Answers(answers.clone())).map_err(|_| SealError::Unusable)?;
        let sealed = ring(&key).seal(&self.purpose("remember-me-values", series), &text)?;
        Ok(Fresh { sealed, key })
    }

    /// The cookie of the family's next generation.
    pub fn next(&self, family: &Family, generation: i64, fresh: &Fresh, now: i64) -> Result<Remember, SealError> {
        self.remember(family, generation, &fresh.key, now)
    }

    fn remember(&self, family: &Family, generation: i64, key: &CookieKey, now: i64) -> Result<Remember, SealError> {
        let series = unhex(&family.series).ok_or(SealError::Unusable)?;
        let plain = Zeroizing::new(
            [&series, key.as_slice(), generation.to_be_bytes().as_slice(), now.to_be_bytes().as_slice()].concat(),
        );
        let sealed = self.keys.seal(&self.cookie_purpose(), &plain)?;
        let max_age_seconds = u64::try_from(self.ends(family).saturating_sub(now)).unwrap_or(0);
        Ok(Remember { cookie: Secret::new(URL_SAFE_NO_PAD.encode(sealed)), max_age_seconds })
    }

    /// A cookie of ours that is not too old; nothing says what is wrong with another one.
    pub fn open(&self, cookie: &Secret, now: i64) -> Option<Ticket> {
        let sealed = URL_SAFE_NO_PAD.decode(cookie.expose()).ok()?;
        let plain = self.keys.open(&self.cookie_purpose(), &sealed).ok()?;
        let (series, rest) = plain.split_first_chunk::<SERIES>()?;
        let (key, rest) = rest.split_first_chunk::<KEY>()?;
        let (generation, issued) = rest.split_first_chunk::<8>()?;
        let ticket = Ticket {
            series: hex(series),
            generation: i64::from_be_bytes(*generation),
            issued: i64::from_be_bytes(issued.try_into().ok()?),
            key: Zeroizing::new(*key),
        };
        (now < ticket.issued.saturating_add(self.lifetime)).then_some(ticket)
    }

    /// What was typed; `None` where the ticket's key does not open it.
    pub fn answers(&self, ticket: &Ticket, sealed: &[u8]) -> Option<BTreeMap<String, Secret>> {
        let text = ring(&ticket.key).open(&self.purpose("remember-me-values", &ticket.series), sealed).ok()?;
        serde_json::from_slice::<Answers>(&text).ok().map(|answers| answers.0)
    }

    /// When somebody has to type again: a lifetime that was shortened counts at once.
    pub fn ends(&self, family: &Family) -> i64 {
        family.expires.min(family.created.saturating_add(self.lifetime))
    }

    /// A name for a new family.
    pub fn new_series() -> Result<String, SealError> {
        Ok(hex(&random::<SERIES>()?))
    }

    /// The name that the cookie has by default; an agent may spell the prefix otherwise.
    fn cookie_purpose(&self) -> Purpose {
        let name = CookieNames::new("CAMS", &self.cluster, &self.domain).auto_login;
        self.purpose("remember-me-cookie", &name)
    }

    fn purpose(&self, purpose: &str, record: &str) -> Purpose {
        Purpose::new(&[purpose, VERSION, &self.cluster, &self.domain, record])
    }
}

fn ring(key: &CookieKey) -> KeyRing {
    KeyRing::new(Key::from_bytes(**key), Vec::new())
}

fn unhex(text: &str) -> Option<[u8; SERIES]> {
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests;
