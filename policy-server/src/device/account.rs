//! A person's Jami account and its devices, as the store keeps them, and whether the person still stands behind them.

use shared_proto::event::Change;

use super::identity::{Identity, is_seen_gone, to_keep};
use crate::audit::{Detail, Kind};
use crate::auth::pipeline::{Depth, RecheckRun};
use crate::auth::subject::Subject;
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
    /// A directory could not be asked: nothing changed.
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
    let run = match domain.entry(&account.entry) {
        Some(entry) => entry.recheck(&entry.adopt(&account.subject), depth, server.now()).await,
        None => {
            return end(server, account, Standing::Suspended, "its login entry is gone from the configuration").await;
        }
    };
    let (subject, look) = match run {
        RecheckRun::Current(subject) => (subject, Look::Stands),
        RecheckRun::Unsure(subject) => (subject, Look::Unsure),
        RecheckRun::Ended(error) => {
            let gone = is_seen_gone(&account.identity, &error);
            let standing = if gone { Standing::SeenGone } else { Standing::Suspended };
            return end(server, account, standing, &error.to_string()).await;
        }
    };
    keep(server, account, subject).await?;
    match (account.standing, look, depth) {
        (Standing::Stands, look, _) => Ok(look),
        // What was not asked about now may be what ended it.
        (_, Look::Stands, Depth::Full) => resume(server, account).await.map(|()| Look::Stands),
        (_, Look::Unsure, Depth::Full) => Ok(Look::Unsure),
        _ => Ok(Look::Ended),
    }
}

async fn keep(server: &Server, account: &mut Account, subject: Subject) -> Result<(), StoreError> {
    let subject = to_keep(subject);
    if subject != account.subject {
        account.subject = subject;
        server.store.renew_jami_subject(&account.id, &account.subject).await?;
    }
    Ok(())
}

async fn end(server: &Server, account: &mut Account, to: Standing, reason: &str) -> Result<Look, StoreError> {
    let changes = [Change::DomainChanged { domain: account.domain.clone() }];
    if account.standing != to && server.store.set_jami_standing(&account.id, account.standing, to, &changes).await? {
        let detail = Detail { reason: Some(reason), ..Detail::of_account(account) };
        server.audit.record(Kind::JamiAccountSuspended, detail);
        if to == Standing::SeenGone {
            tracing::warn!(
                domain = account.domain,
                user = account.user,
                "the person of a Jami account is gone from a source without ids: when the name is there again, say with \
                 `cams user jami {} --relink` that it is the same person, or with --release that it is another one",
                account.user
            );
        }
    }
    account.standing = to;
    Ok(Look::Ended)
}

/// The person is there again.
async fn resume(server: &Server, account: &mut Account) -> Result<(), StoreError> {
    let changes = [Change::DomainChanged { domain: account.domain.clone() }];
    let (from, to) = (account.standing, Standing::Stands);
    if from != to && server.store.set_jami_standing(&account.id, from, to, &changes).await? {
        server.audit.record(Kind::JamiAccountResumed, Detail::of_account(account));
    }
    account.standing = to;
    Ok(())
}
