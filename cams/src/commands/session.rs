//! `cams session`: who is logged in, and ending that.

use std::process::ExitCode;

use jiff::Timestamp;
use policy_server::admin::Admin;
use policy_server::session::{Filter, Session};

use crate::cli::SessionCommand;
use crate::{output, runtime};

pub fn run(command: SessionCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            SessionCommand::List { conf, filter, json } => {
                let filter = Filter { id: None, domain: filter.domain, user: filter.user };
                show(&Admin::open(&conf.conf).await?.sessions(&filter).await?, json.json)
            }
            SessionCommand::End { conf, which, json } => {
                let filter = Filter { id: which.id, domain: which.domain, user: which.user };
                let ended = Admin::open(&conf.conf).await?.end_sessions(&filter).await?;
                anyhow::ensure!(!ended.is_empty(), "no such session");
                if json.json {
                    return show(&ended, true);
                }
                for session in &ended {
                    output::line(format!("ended {} of {}", session.id, output::plain(&session.subject.user)));
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

fn show(sessions: &[Session], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&sessions)?;
        return Ok(ExitCode::SUCCESS);
    }
    let time = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
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
            ]
        })
        .collect();
    output::table(&["ID", "USER", "DOMAIN", "ENTRY", "CREATED", "LAST USED", "ADDRESS"], &rows);
    Ok(ExitCode::SUCCESS)
}
