//! Whose a Jami account is: rules over what a login proved and what accounts are bound to. Pure.
//!
//! An account opens a person's contacts and conversations, so another person of the same name never gets it. What cannot be
//! told is refused, until an administrator says which it is.

use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::subject::{Attributes, Subject};
use crate::directory::person::{Name, fold};

/// Classes of modules whose ids name one person whichever of them is asked: UUIDs, and random ones of ours. Primary keys of
/// two databases may be the same number.
const WORLDWIDE: [&str; 3] = [
    "com.cafesoft.cams.auth.login.module.ActiveDirectoryLoginModule",
    "com.cafesoft.cams.auth.login.module.LdapLoginModule",
    "com.cafesoft.cams.auth.login.module.LocalLoginModule",
];

/// What an account is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Class of the login module that knows the person. Empty, the next login under the account's name binds it: an
    /// administrator said so.
    pub source: String,
    /// What it knows the person by for ever; empty where it has no such thing.
    pub id: String,
}

impl Identity {
    pub fn of(subject: &Subject) -> Self {
        let named = subject.proofs.iter().find(|proof| proof.source_id.is_some());
        let proof = named.or_else(|| subject.proofs.first());
        proof.map_or_else(Self::default, |proof| Self {
            source: proof.class.clone(),
            id: proof.source_id.clone().unwrap_or_default(),
        })
    }

    /// Whether the person can be found by it, whatever the name is now.
    pub fn is_worldwide(&self) -> bool {
        !self.id.is_empty() && WORLDWIDE.contains(&self.source.as_str())
    }
}

/// What is known of an account that may be meant.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub user: &'a str,
    pub identity: &'a Identity,
    /// Its person was seen gone from a source that has no ids: who has the name now may be somebody else.
    pub seen_gone: bool,
}

/// Which account is the person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// None yet.
    New,
    /// That of the name.
    Named,
    /// That of the id, which takes the name.
    Renamed,
    /// None yet; that of the name was another person's, and loses it.
    InPlace,
    /// That of the id, which takes the name from another person's account.
    RenamedInPlace,
    /// An administrator must say whether the person of the named account is meant.
    Unclear,
}

/// `named` is the account of the name, `known` the one that is bound to the same id, where the id is worldwide.
pub fn decide(proved: &Identity, user: &str, named: Option<Bound<'_>>, known: Option<Bound<'_>>) -> Verdict {
    let by_id = known.filter(|known| proved.is_worldwide() && known.identity == proved).is_some();
    let Some(named) = named else { return if by_id { Verdict::Renamed } else { Verdict::New } };
    let bound = named.identity;
    if bound.source.is_empty() {
        return Verdict::Named;
    }
    let same_source = bound.source == proved.source;
    if named.seen_gone || !same_source || bound.id.is_empty() != proved.id.is_empty() {
        return Verdict::Unclear;
    }
    match bound.id == proved.id {
        // Sources without ids tell spellings apart, accounts do not.
        true if bound.id.is_empty() && named.user != user => Verdict::Unclear,
        true => Verdict::Named,
        false if by_id => Verdict::RenamedInPlace,
        false => Verdict::InPlace,
    }
}

/// Whether an account with this identity has to be taken for gone, not merely for disabled: its source has no ids, so that
/// nobody could tell its person from the next one of that name.
pub fn is_seen_gone(identity: &Identity, error: &LoginError) -> bool {
    identity.id.is_empty() && error.kind == ErrorKind::FailedLogin
}

/// What names are compared by; `None` for what is no name to show to others.
pub fn key(user: &str) -> Option<String> {
    user.parse::<Name>().ok().map(|name| fold(name.text()))
}

/// What an account keeps of a login. Passwords change, and a device does not depend on them.
pub fn to_keep(mut subject: Subject) -> Subject {
    subject.proofs.iter_mut().for_each(|proof| proof.credential = None);
    subject
}

/// What the person is called, where the directory was asked to tell: by one name, or by two that belong together.
pub fn full_name(attributes: &Attributes) -> Option<String> {
    let find = |name: &str| attributes.values().find_map(|values| values.get(name)).filter(|text| !text.is_empty());
    let whole = ["displayName", "display-name", "cn", "full-name"].into_iter().find_map(find).cloned();
    let parts = [["given-name", "family-name"], ["givenName", "sn"]];
    let parts = || parts.iter().map(|names| names.iter().copied().filter_map(find).cloned().collect::<Vec<_>>());
    whole.or_else(|| parts().find(|found| !found.is_empty()).map(|found| found.join(" ")))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
