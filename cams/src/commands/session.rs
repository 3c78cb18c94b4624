//! `cams session`: who is logged in, which browsers are remembered, and ending that.

use std::collections::BTreeSet;
use std::process::ExitCode;

use jiff::Timestamp;
use policy_server::admin::Admin;
use policy_server::auth::valves::auto_login::family::Family;
use policy_server::session::{Filter, Session};
use serde::Serialize;

use crate::cli::SessionCommand;
use crate::{output, runtime};

pub fn run(command: SessionCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            SessionCommand::List { conf, filter, browsers, json } => {
                let filter = Filter { id: None, domain: filter.domain, user: filter.user };
                let admin = Admin::open(&conf.conf).await?;
                match browsers {
                    true => show_browsers(&admin.browsers(&filter).await?, json.json),
                    false => show(&admin.sessions(&filter).await?, json.json),
                }
            }
            SessionCommand::End { conf, which, json } => {
                let filter = Filter { id: which.id, domain: which.domain, user: which.user };
                let admin = Admin::open(&conf.conf).await?;
                let ended = admin.end_sessions(&filter).await?;
                let forgotten = admin.forget_browsers(&ended, &filter).await?;
                anyhow::ensure!(!ended.is_empty() || forgotten > 0, "no such session");
                if forgotten > 0 {
                    output::notice(format!("forgot {forgotten} remembered browser(s)"));
                }
                if json.json {
                    return show(&ended, true);
                }
                for session in &ended {
                    output::line(format!("ended {} of {}", session.id, output::plain(&session.subject.user)))?;
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// What `--json` shows of a session. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    user: &'a str,
    roles: &'a BTreeSet<String>,
    domain: &'a str,
    entry: &'a str,
    created: i64,
    last_used: i64,
    ends: i64,
    address: &'a str,
    user_agent: &'a str,
    /// Nobody typed anything: a remembered browser.
    remembered: bool,
}

impl<'a> Row<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            id: &session.id,
            user: &session.subject.user,
            roles: &session.subject.roles,
            domain: &session.domain,
            entry: &session.entry,
            created: session.created,
            last_used: session.last_used,
            ends: session.ends,
            address: &session.address,
            user_agent: &session.user_agent,
            remembered: session.remembered,
        }
    }
}

fn show(sessions: &[Session], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&sessions.iter().map(Row::of).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            vec![
                session.id.clone(),
                output::plain(&session.subject.user),
                session.domain.clone(),
                session.entry.clone(),
                time(session.created),
                time(session.last_used),
                session.address.clone(),
                if session.remembered { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    output::table(&["ID", "USER", "DOMAIN", "ENTRY", "CREATED", "LAST USED", "ADDRESS", "BY ITSELF"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// What `--json` shows of a remembered browser. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Serialize)]
struct BrowserRow<'a> {
    id: &'a str,
    user: &'a str,
    domain: &'a str,
    entry: &'a str,
    created: i64,
    /// Its last login by itself, or the one at which it was asked to be remembered.
    last_login: i64,
    ends: i64,
    address: &'a str,
    user_agent: &'a str,
}

impl<'a> BrowserRow<'a> {
    fn of(family: &'a Family) -> Self {
        Self {
            id: &family.series,
            user: &family.user,
            domain: &family.domain,
            entry: &family.entry,
            created: family.created,
            last_login: family.seen.at,
            ends: family.expires,
            address: &family.seen.address,
            user_agent: &family.seen.user_agent,
        }
    }
}

fn show_browsers(browsers: &[Family], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&browsers.iter().map(BrowserRow::of).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = browsers
        .iter()
        .map(|family| {
            vec![
                family.series.clone(),
                output::plain(&family.user),
                family.domain.clone(),
                family.entry.clone(),
                time(family.created),
                time(family.seen.at),
                time(family.expires),
                family.seen.address.clone(),
            ]
        })
        .collect();
    output::table(&["ID", "USER", "DOMAIN", "ENTRY", "CREATED", "LAST LOGIN", "ENDS", "ADDRESS"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}
