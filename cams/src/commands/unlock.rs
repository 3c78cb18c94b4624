//! `cams user unlock` and `cams user locks`: failed logins that are counted against somebody.

use jiff::Timestamp;
use policy_server::admin::Admin;
use policy_server::store::Kept;
use serde::Serialize;

use crate::cli::{LocksArgs, UnlockArgs};
use crate::output;

pub async fn forget(args: UnlockArgs) -> anyhow::Result<()> {
    let UnlockArgs { name, domain, network, conf, json } = args;
    let forgotten = Admin::open(&conf.conf).await?.unlock(&name, domain.as_deref(), network).await?;
    if json.json {
        return show(&forgotten, true);
    }
    if forgotten.is_empty() {
        output::line(format!("no failed login was counted against {}", output::plain(&name)))?;
    }
    for Kept { pair, count } in &forgotten {
        let (name, failures) = (output::plain(&name), count.failures);
        output::line(format!("unlocked {name} in {} for {}, failures: {failures}", pair.domain, pair.network))?;
    }
    Ok(())
}

pub async fn list(args: LocksArgs) -> anyhow::Result<()> {
    let LocksArgs { user, domain, conf, json } = args;
    let locked = Admin::open(&conf.conf).await?.locks(domain.as_deref(), user.as_deref()).await?;
    show(&locked, json.json)
}

/// What `--json` shows of a user name and a network. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Serialize)]
struct Row<'a> {
    /// Tells user names apart, and nothing more.
    name_hash: &'a str,
    domain: &'a str,
    network: String,
    failures: i64,
    /// Absent where it is not locked.
    locked_until: Option<i64>,
}

impl<'a> Row<'a> {
    fn of(kept: &'a Kept) -> Self {
        let Kept { pair, count } = kept;
        Self {
            name_hash: pair.bucket.get(..16).unwrap_or_default(),
            domain: &pair.domain,
            network: pair.network.to_string(),
            failures: count.failures,
            locked_until: kept.is_locked(Timestamp::now().as_second()).then_some(count.locked_until),
        }
    }
}

fn show(kept: &[Kept], json: bool) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = kept.iter().map(Row::of).collect();
    if json {
        return output::json(&rows);
    }
    let time = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
    let until = |row: &Row<'_>| row.locked_until.map(time).unwrap_or_default();
    let cells = |row: &Row<'_>| {
        vec![row.name_hash.to_owned(), row.domain.to_owned(), row.network.clone(), row.failures.to_string(), until(row)]
    };
    let table: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::table(&["NAME HASH", "DOMAIN", "NETWORK", "FAILURES", "LOCKED UNTIL"], &table)
}
