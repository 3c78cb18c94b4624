//! Looks at the accounts of live sessions and of Jami devices again, every few minutes and whether or not they are used: who
//! is disabled or gone loses the session and all that is open on it, and has no use of a device until it is otherwise;
//! changed roles count. A directory that is down ends nothing. Directories that are at hand are asked with every request besides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::task::{Id, JoinSet};

use crate::auth::pipeline::Depth;
use crate::device::{Account, account};
use crate::enforcement::{EnforcementError, recheck};
use crate::session::{Session, SessionError};
use crate::wire::{Domain, Server};

/// How often it is looked whose turn it is; the finest interval that makes sense to configure.
const TURN: Duration = Duration::from_secs(1);
/// Accounts of a domain that are looked up at the same time.
const AT_ONCE: usize = 8;
/// Sessions that are taken from the store at a time. A server that dies has let so many wait for one interval more.
const TAKEN: i64 = 64;

/// Never ends. A security domain whose directory is slow delays no other one.
pub(crate) async fn follow(server: Arc<Server>) {
    let mut turn = tokio::time::interval(TURN);
    let mut rounds = JoinSet::new();
    let mut running: BTreeMap<Id, String> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = turn.tick() => {
                let loaded = server.loaded();
                for name in loaded.domains.keys() {
                    if running.values().any(|busy| busy == name) {
                        continue;
                    }
                    let round = rounds.spawn(round(Arc::clone(&server), name.clone()));
                    running.insert(round.id(), name.clone());
                }
            }
            Some(done) = rounds.join_next_with_id() => {
                running.remove(&done.map_or_else(|error| error.id(), |(id, ())| id));
            }
        }
    }
}

/// Until nobody's turn is due.
async fn round(server: Arc<Server>, name: String) {
    loop {
        let loaded = server.loaded();
        let Some(domain) = loaded.domains.get(&name) else { return };
        match tokio::try_join!(some(&server, domain), some_devices(&server, domain)) {
            Ok((0, 0)) => return,
            Ok(_) => {}
            Err(error) => return tracing::error!(%error, domain = name, "accounts cannot be rechecked"),
        }
    }
}

async fn some(server: &Server, domain: &Domain) -> Result<usize, EnforcementError> {
    let now = server.now().as_second();
    let sessions = server.sessions.take_unchecked(&domain.name, domain.recheck_interval, now, TAKEN).await?;
    let taken = sessions.len();
    let look = |mut session: Session| async move {
        if let Err(error) = recheck(server, domain, &mut session, Depth::Full).await {
            tracing::error!(%error, session = session.id, "an account cannot be rechecked");
        }
    };
    stream::iter(sessions).for_each_concurrent(AT_ONCE, look).await;
    Ok(taken)
}

/// The same for people who have Jami devices.
async fn some_devices(server: &Server, domain: &Domain) -> Result<usize, EnforcementError> {
    let now = server.now().as_second();
    let before = now.saturating_sub_unsigned(domain.recheck_interval.as_secs());
    let accounts = server.store.take_unchecked_accounts(&domain.name, before, now, TAKEN).await;
    let accounts = accounts.map_err(SessionError::from)?;
    let taken = accounts.len();
    let look = |mut account: Account| async move {
        if let Err(error) = account::look(server, domain, &mut account, Depth::Full).await {
            tracing::error!(%error, account = account.id, "the person of a Jami account cannot be looked up again");
        }
    };
    stream::iter(accounts).for_each_concurrent(AT_ONCE, look).await;
    Ok(taken)
}
