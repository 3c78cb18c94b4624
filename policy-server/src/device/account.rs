//! A person's Jami account and its devices, as the store keeps them, and whether the person still stands behind them.

use shared_proto::event::Change;

use super::identity::{Identity, command, is_seen_gone, to_keep};
use crate::audit::{Detail, Kind};
use crate::auth::error::LoginError;
use crate::auth::pipeline::{Depth, RecheckRun};
use crate::auth::subject::{Proof, Subject};
use crate::store::StoreError;
use crate::wire::{Domain, Server};

/// Times are seconds since 1970.
#[derive(Debug, Clone)]
pub struct Account {
    /// The Jami ID: SHA-1 of the account's public key, in hexadecimal.
    pub id: String,
    pub domain: String,
    pub user: String,
    pub identity: Identity,
    /// The login entry of the last login.
    pub entry: String,
    /// Who the person is, as the last login or the last look proved.
    pub subject: Subject,
    pub standing: Standing,
    pub created: i64,
    pub rechecked: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Stands,
    /// Its person is disabled, or gone from a directory that would know the person again.
    Suspended,
    /// Its person was seen gone, and could not be told from another one of the name.
    SeenGone,
    /// For ever: the name is another person's.
    Detached,
}

impl Standing {
    /// What the store keeps, where the account has its name.
    pub fn code(self) -> i64 {
        match self {
            Self::Stands => 0,
            Self::Suspended => 1,
            Self::SeenGone | Self::Detached => 2,
        }
    }

    /// A code of a newer version opens nothing.
    pub fn of(code: i64, detached: Option<i64>) -> Self {
        match (detached, code) {
            (Some(_), _) => Self::Detached,
            (None, 0) => Self::Stands,
            (None, 1) => Self::Suspended,
            (None, _) => Self::SeenGone,
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Suspended => "suspended",
            Self::SeenGone => "seen gone",
            Self::Detached => "detached",
        }
    }
}

/// The key and the certificate of an account, as the store keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The organisation CA that signed the certificate.
    pub authority: String,
    /// As DER.
    pub certificate: Vec<u8>,
    /// The private key.
    pub sealed: Vec<u8>,
    pub issued: i64,
    pub not_after: i64,
}

/// Times are seconds since 1970.
#[derive(Debug, Clone)]
pub struct Device {
    /// SHA-256 of its public key, in hexadecimal.
    pub id: String,
    pub account: String,
    /// As the person sees it.
    pub name: String,
    pub created: i64,
    pub last_seen: i64,
    pub revoked: Option<i64>,
    /// Why it was revoked.
    pub reason: String,
}

/// What looking at an account again came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Stands,
    /// A directory could not be asked, or says for the first time that it does not find the person: nothing changed.
    Unsure,
    /// Its person cannot log in any more, or an administrator has to say who that is.
    Ended,
}

/// Looks up whether the person still stands behind the account, and writes down what changed: a person who is disabled or
/// gone suspends it, one who is there again brings it back, changed roles count. A directory that is down ends nothing.
pub(crate) async fn look(
    server: &Server,
    domain: &Domain,
    account: &mut Account,
    depth: Depth,
) -> Result<Look, StoreError> {
    if matches!(account.standing, Standing::SeenGone | Standing::Detached) {
        return Ok(Look::Ended);
    }
    let Some(entry) = domain.entry(&account.entry) else {
        return end(server, account, Standing::Suspended, "its login entry is gone from the configuration").await;
    };
    let Some(adopted) = entry.adopt(&account.subject) else { return Ok(moved(account, depth)) };
    let (subject, look) = match weigh(entry.recheck(&adopted, depth, server.now()).await, depth) {
        Ok(known) => known,
        Err(error) => {
            let gone = is_seen_gone(&account.identity, &error);
            let standing = if gone { Standing::SeenGone } else { Standing::Suspended };
            return end(server, account, standing, &error.to_string()).await;
        }
    };
    let is_sure = look == Look::Stands && depth == Depth::Full || adopted == account.subject;
    let subject = if is_sure { subject } else { with_absent(&account.subject, &subject) };
    keep(server, account, subject).await?;
    match (account.standing, look, depth) {
        (Standing::Stands, look, _) => Ok(look),
        // What was not asked about now may be what ended it.
        (_, Look::Stands, Depth::Full) => resume(server, account).await,
        (_, Look::Unsure, Depth::Full) => Ok(Look::Unsure),
        _ => Ok(Look::Ended),
    }
}

/// What the modules' word is worth.
fn weigh(run: RecheckRun, depth: Depth) -> Result<(Subject, Look), LoginError> {
    match run {
        // Gone or merely not shown: the next look tells.
        RecheckRun::Current(subject) if depth == Depth::Full && subject.proofs.iter().any(|proof| proof.absent) => {
            Ok((subject, Look::Unsure))
        }
        RecheckRun::Current(subject) => Ok((subject, Look::Stands)),
        RecheckRun::Unsure(subject) => Ok((subject, Look::Unsure)),
        RecheckRun::Ended(error) => Err(error),
    }
}

/// Looks at all accounts of a domain whose sources have no ids, as far as those are at hand.
pub(crate) async fn look_for_gone(server: &Server, domain: &Domain) -> Result<(), StoreError> {
    for mut account in server.store.jami_accounts_without_ids(&domain.name).await? {
        look(server, domain, &mut account, Depth::AtHand).await?;
    }
    Ok(())
}

/// The stack was configured anew, and nothing in it tells the person from another one of the name. The account stays as it
/// is for an administrator to decide; meanwhile it opens nothing.
fn moved(account: &Account, depth: Depth) -> Look {
    if depth == Depth::AtHand {
        return Look::Ended;
    }
    say_moved(&account.domain, &account.user);
    Look::Unsure
}

/// What an administrator has to do about an account whose directory was configured anew.
pub(super) fn say_moved(domain: &str, user: &str) {
    let relink = command(domain, user, "--relink");
    tracing::warn!(
        domain,
        user,
        "the directory of a Jami account was configured anew, and has no ids that are the same everywhere: if it knows the \
         same people, run `{relink}`"
    );
}

/// What modules that were configured anew do not find; their other word is kept once all of them gave it.
fn with_absent(former: &Subject, now: &Subject) -> Subject {
    let mut subject = former.clone();
    for proof in &mut subject.proofs {
        let is_it = |other: &&Proof| other.class == proof.class && other.user == proof.user;
        proof.absent = now.proofs.iter().find(is_it).map_or(proof.absent, |other| other.absent);
    }
    subject
}

/// What is known of the person now; where the account changed meanwhile, that counts.
async fn keep(server: &Server, account: &mut Account, subject: Subject) -> Result<(), StoreError> {
    let subject = to_keep(subject);
    if subject != account.subject && server.store.renew_jami_subject(account, &subject).await? {
        account.subject = subject;
    }
    Ok(())
}

async fn end(server: &Server, account: &mut Account, to: Standing, reason: &str) -> Result<Look, StoreError> {
    let changes = [Change::DomainChanged { domain: account.domain.clone() }];
    if account.standing == to {
        return Ok(Look::Ended);
    }
    if !server.store.set_jami_standing(account, to, &changes).await? {
        return read_again(server, account).await;
    }
    let detail = Detail { reason: Some(reason), ..Detail::of_account(account) };
    server.audit.record(Kind::JamiAccountSuspended, detail);
    if to == Standing::SeenGone {
        let [relink, release] = ["--relink", "--release"].map(|option| command(&account.domain, &account.user, option));
        tracing::warn!(
            domain = account.domain,
            user = account.user,
            "the person of a Jami account is gone from a source without ids: when the name is there again, say with \
             `{relink}` that it is the same person, or with `{release}` that it is another one"
        );
    }
    account.standing = to;
    Ok(Look::Ended)
}

/// The person is there again.
async fn resume(server: &Server, account: &mut Account) -> Result<Look, StoreError> {
    let changes = [Change::DomainChanged { domain: account.domain.clone() }];
    if !server.store.set_jami_standing(account, Standing::Stands, &changes).await? {
        return read_again(server, account).await;
    }
    server.audit.record(Kind::JamiAccountResumed, Detail::of_account(account));
    account.standing = Standing::Stands;
    Ok(Look::Stands)
}

/// Somebody else changed the account since it was read, so that this look was at what is no more.
async fn read_again(server: &Server, account: &mut Account) -> Result<Look, StoreError> {
    let Some(now) = server.store.jami_account(&account.id).await? else { return Ok(Look::Ended) };
    *account = now;
    Ok(if account.standing == Standing::Stands { Look::Unsure } else { Look::Ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_found_for_the_first_time_neither_goes_nor_comes_back() {
        let proof = |absent| Proof {
            module: 0,
            class: "class".to_owned(),
            user: "alice".to_owned(),
            source_id: Some("1".to_owned()),
            credential: None,
            roles: Default::default(),
            attributes: Default::default(),
            settings: String::new(),
            absent,
        };
        for (absent, depth, expected) in [
            (false, Depth::Full, Look::Stands),
            (true, Depth::Full, Look::Unsure),
            // Not asked now.
            (true, Depth::AtHand, Look::Stands),
        ] {
            let subject = Subject::from_proofs(vec![proof(false), proof(absent)]).unwrap();
            assert_eq!(weigh(RecheckRun::Current(subject), depth).unwrap().1, expected, "{absent} {depth:?}");
        }
        let before = Subject::from_proofs(vec![proof(false)]).unwrap();
        let mut now = Subject::from_proofs(vec![proof(true)]).unwrap();
        now.proofs[0].settings = "of now".to_owned();
        assert_eq!(with_absent(&before, &now).proofs, [proof(true)], "not found by what was configured anew");
    }
}
