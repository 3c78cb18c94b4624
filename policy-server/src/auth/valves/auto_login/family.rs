//! A remembered browser, and which of its cookies count. Pure: the time comes in, in seconds since 1970.
//!
//! Each automatic login hands out the next generation of the cookie. It is pending until the browser shows it; until
//! then the current one counts, so that a lost answer costs nobody anything.

use std::collections::BTreeSet;

use shared_proto::check::Client;

use crate::session::user_agent;

/// Generations that were handed out in vain and are remembered as such. One beyond that, which somebody shows all the
/// same, passes for one that was in use.
const MAX_SKIPPED: usize = 64;

/// What is kept of a remembered browser: a family of cookies, of which one or two count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Names the family; it opens nothing.
    pub series: String,
    pub domain: String,
    pub entry: String,
    pub user: String,
    /// Classes of the login modules that the person proved something to.
    pub methods: BTreeSet<String>,
    /// When somebody logged in and asked to be remembered.
    pub created: i64,
    pub expires: i64,
    /// Two people hold cookies of it: none of them counts any more.
    pub stolen: bool,
    pub seen: Seen,
    pub rotation: Rotation,
}

/// When, from where and as what it last logged in: for the person to know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub at: i64,
    pub address: String,
    pub user_agent: String,
}

/// One cookie of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub number: i64,
    /// When it was handed out or, of the current one, when it was first shown.
    pub since: i64,
    /// What was typed, as the cookie's own key sealed it.
    pub sealed: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The one that the browser is known to have.
    pub current: Generation,
    /// The one after it, until the browser is known to have that.
    pub pending: Option<Generation>,
    /// Those that were pending, and replaced before anybody showed them.
    pub skipped: Vec<i64>,
}

/// What a cookie of this generation is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// It counts, and its key opens this.
    Good(&'a [u8]),
    /// The current one was shown for the first time just now: this was sent before the browser had it.
    Late,
    /// It was replaced before it was shown, was never handed out, or is too old: of no use, but no theft either.
    Unknown,
    /// It was in use and replaced: whoever shows it is not the one who has the next.
    Stolen,
}

impl Seen {
    pub fn new(client: &Client, at: i64) -> Self {
        Self { at, address: client.address.to_string(), user_agent: user_agent(client) }
    }
}

impl Family {
    /// `ends` is when somebody has to type again.
    pub fn present(&self, number: i64, now: i64, ends: i64, grace: i64) -> Presented<'_> {
        match (self.stolen, now < ends) {
            (true, _) => Presented::Stolen,
            (false, false) => Presented::Unknown,
            (false, true) => self.rotation.present(number, now, grace),
        }
    }
}

impl Rotation {
    pub fn new(sealed: Vec<u8>, now: i64) -> Self {
        Self { current: Generation { number: 1, since: now, sealed }, pending: None, skipped: Vec::new() }
    }

    pub fn present(&self, number: i64, now: i64, grace: i64) -> Presented<'_> {
        let counts = [Some(&self.current), self.pending.as_ref()];
        if let Some(good) = counts.into_iter().flatten().find(|generation| generation.number == number) {
            return Presented::Good(&good.sealed);
        }
        if !(1..self.current.number).contains(&number) || self.skipped.contains(&number) {
            return Presented::Unknown;
        }
        if now.saturating_sub(self.current.since) < grace { Presented::Late } else { Presented::Stolen }
    }

    /// A login with this generation, which was [`Presented::Good`], succeeded: takes the next one in, `sealed` with it,
    /// and returns its number. `None` where the browser keeps what it has or is just being given.
    pub fn renew(&mut self, number: i64, sealed: Vec<u8>, now: i64, grace: i64) -> Option<i64> {
        match self.pending.take() {
            Some(pending) if pending.number == number => self.current = Generation { since: now, ..pending },
            // Another login with the same cookie was faster, or even the next cookie was.
            Some(pending) if self.current.number != number || now.saturating_sub(pending.since) < grace => {
                self.pending = Some(pending);
                return None;
            }
            Some(lost) => {
                self.skipped.push(lost.number);
                let surplus = self.skipped.len().saturating_sub(MAX_SKIPPED);
                self.skipped.drain(..surplus);
            }
            None if self.current.number != number => return None,
            None => {}
        }
        let next = self.skipped.last().map_or(self.current.number, |last| self.current.number.max(*last)) + 1;
        self.pending = Some(Generation { number: next, since: now, sealed });
        Some(next)
    }
}

#[cfg(test)]
#[path = "family_tests.rs"]
mod tests;
