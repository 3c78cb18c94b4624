//! Whose a Jami account is: rules over what a login proved and what accounts are bound to. Pure.
//!
//! An account opens a person's contacts and conversations, so another person of the same name never gets it. What cannot be
//! told is refused, until an administrator says which it is.

use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::subject::{Attributes, Proof, Subject};
use crate::directory::person::{Name, fold};

/// What an account is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Class of the login module that knows the person.
    pub source: String,
    /// What it knows the person by for ever; empty where it has no such thing.
    pub id: String,
}

impl Identity {
    pub fn of(subject: &Subject) -> Self {
        naming(subject).map_or_else(Self::default, |proof| Self {
            source: proof.class.clone(),
            id: proof.source_id.clone().unwrap_or_default(),
        })
    }

    /// The proof that an account with this identity rests on.
    pub fn proof<'a>(&self, subject: &'a Subject) -> Option<&'a Proof> {
        let is_it = |proof: &&Proof| proof.class == self.source && proof.source_id.as_deref().unwrap_or("") == self.id;
        subject.proofs.iter().find(is_it)
    }
}

/// The proof that says who it is: the first one with an id, else the first.
pub fn naming(subject: &Subject) -> Option<&Proof> {
    let named = subject.proofs.iter().find(|proof| proof.source_id.is_some());
    named.or_else(|| subject.proofs.first())
}

/// Who somebody is, as a login proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    pub identity: Identity,
    /// Which directory said so: see [`Proof::settings`].
    pub place: String,
    /// Its ids name one person whichever directory is asked. Primary keys of two databases may be the same number.
    pub worldwide: bool,
}

impl Proved {
    pub fn of(subject: &Subject, worldwide: bool) -> Self {
        let identity = Identity::of(subject);
        let place = naming(subject).map(|proof| proof.settings.clone()).unwrap_or_default();
        Self { worldwide: worldwide && !identity.id.is_empty(), identity, place }
    }
}

/// What is known of an account that may be meant.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub user: &'a str,
    pub identity: &'a Identity,
    /// As in [`Proved`].
    pub place: &'a str,
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
    /// None yet; that of the name was another person's, and loses it where its directory says so too.
    InPlace,
    /// That of the id, which takes the name from another person's account, where that one's directory says so too.
    RenamedInPlace,
    /// An administrator must say whether the person of the named account is meant.
    Unclear,
    /// The directory of the named account was configured anew, and nothing there tells one person from another.
    Moved,
}

/// `named` is the account of the name, `known` the one that is bound to the same id, where the id is worldwide.
pub fn decide(proved: &Proved, user: &str, named: Option<Bound<'_>>, known: Option<Bound<'_>>) -> Verdict {
    let own = &proved.identity;
    let by_id = known.filter(|known| proved.worldwide && known.identity == own).is_some();
    let Some(named) = named else { return if by_id { Verdict::Renamed } else { Verdict::New } };
    let bound = named.identity;
    if named.seen_gone || bound.source != own.source || bound.id.is_empty() != own.id.is_empty() {
        return Verdict::Unclear;
    }
    let same_place = named.place == proved.place;
    match bound.id == own.id {
        true if proved.worldwide => Verdict::Named,
        true if !same_place => Verdict::Moved,
        // Sources without ids tell spellings apart, accounts do not.
        true if own.id.is_empty() && named.user != user => Verdict::Unclear,
        true => Verdict::Named,
        // A directory that was filled anew, or names that only look alike, are no proof of another person.
        false if !same_place || named.user != user => Verdict::Unclear,
        false if by_id => Verdict::RenamedInPlace,
        false => Verdict::InPlace,
    }
}

/// The command that settles whose an account is, for logs: to be pasted into a shell as it is.
pub fn command(domain: &str, user: &str, option: &str) -> String {
    let option = if option.is_empty() { String::new() } else { format!("{option} ") };
    let end = if user.starts_with('-') { "-- " } else { "" };
    format!("cams user jami --domain {} {option}{end}{}", quoted(domain), quoted(user))
}

/// One word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
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
