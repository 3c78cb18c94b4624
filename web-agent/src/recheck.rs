//! Keeps the requests that are being served true to their grants: asks again about those a change may concern, and cuts
//! those on a session when no lease vouches for it any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared_proto::check::Decision;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use crate::decisions::{Decided, Decisions};
use crate::open::Doubted;

/// Questions at a time.
const AT_ONCE: usize = 16;
/// Parts of a lease after which its end is noticed at the latest.
const TICKS: u32 = 30;

/// Asks about doubted requests for ever. One that is not confirmed within the time of a lease is cut.
pub async fn ask_again(decisions: Arc<Decisions>) {
    let mut asking = JoinSet::new();
    loop {
        let doubted = decisions.open.next_doubted().await;
        while asking.len() >= AT_ONCE {
            asking.join_next().await;
        }
        let decisions = decisions.clone();
        asking.spawn(async move { settle(&decisions, &doubted).await });
        // What is done is taken out, so that the set stays small.
        while asking.try_join_next().is_some() {}
    }
}

async fn settle(decisions: &Decisions, doubted: &Doubted) {
    let limit = doubted.since + decisions.lease;
    let asked = timeout_at(limit.into(), decisions.check_again(&doubted.question)).await;
    match asked {
        Ok(Ok(decided)) if stands(doubted, &decided) => decisions.open.confirm(doubted.id, decided.standing.until),
        _ => decisions.open.cut(doubted.id),
    }
}

/// Whether the request would be let through again, for the same session and with the same certificate.
fn stands(doubted: &Doubted, decided: &Decided) -> bool {
    decided.answer.decision == Decision::Granted
        && (doubted.session.is_none() || doubted.session == decided.standing.session)
        && (!doubted.certificate || decided.standing.certificate)
}

/// Watches over the lease for ever.
pub async fn watch(decisions: Arc<Decisions>) {
    let mut ticks = interval((decisions.lease / TICKS).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_live = false;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let is_live = decisions.memory.is_live(now);
        match (was_live, is_live) {
            (false, true) => tracing::info!("the policy server holds the lease: grants are remembered"),
            (true, false) => tracing::warn!("the lease is lost: every request asks until there is another one"),
            _ => {}
        }
        was_live = is_live;
        if !is_live {
            decisions.open.cut_unleased(decisions.memory.stands_until(), now);
        }
    }
}
