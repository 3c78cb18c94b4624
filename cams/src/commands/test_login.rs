//! `cams test-login`: a login stack run once, each module's outcome shown. Counts nowhere as a login or a failure.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use policy_server::auth::pipeline::{LoginEntry, ModuleReport};
use serde::Serialize;
use shared_proto::secret::Secret;

use super::digest::read_piped_password;
use crate::cli::TestLoginArgs;
use crate::{output, runtime};

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    user: Option<&'a str>,
    roles: Vec<&'a str>,
    exception: Option<&'a str>,
    message: Option<&'a str>,
    /// Why, for administrators; people never see it.
    detail: Option<&'a str>,
    modules: &'a [ModuleReport],
}

pub fn run(args: &TestLoginArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime::tokio()?;
    let (_, mut loaded) = policy_server::wire::check(&args.conf.conf)?;
    // Only then: a login that needs no store must not make one.
    let entry = loaded.domains.get(&args.domain).and_then(|domain| domain.entry(&args.entry));
    if entry.is_some_and(LoginEntry::needs_store) {
        loaded = runtime.block_on(policy_server::wire::check_with_store(&args.conf.conf))?;
    }
    let known = || loaded.domains.keys().cloned().collect::<Vec<_>>().join(", ");
    let domain = loaded
        .domains
        .get(&args.domain)
        .with_context(|| format!("there is no security domain `{}`; there are: {}", args.domain, known()))?;
    let entry = domain
        .entry(&args.entry)
        .with_context(|| format!("the security domain `{}` has no login entry `{}`", args.domain, args.entry))?;
    let answers = BTreeMap::from([
        ("username".to_owned(), Secret::from(args.user.as_str())),
        ("password".to_owned(), read_piped_password()?),
    ]);
    let run = runtime.block_on(entry.login(&answers, Timestamp::now()));
    let (subject, error) = match &run.result {
        Ok(subject) => (Some(subject), None),
        Err(error) => (None, Some(error)),
    };
    let report = Report {
        ok: subject.is_some(),
        user: subject.map(|subject| subject.user.as_str()),
        roles: subject.map(|subject| subject.roles.iter().map(String::as_str).collect()).unwrap_or_default(),
        exception: error.map(|error| error.class()),
        message: error.map(|error| domain.messages.text(error.class())),
        detail: error.map(|error| error.detail.as_str()),
        modules: &run.modules,
    };
    if args.json.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(report: &Report<'_>) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = report
        .modules
        .iter()
        .map(|m| vec![m.flag.to_string(), m.class.to_owned(), m.outcome.to_owned(), output::plain(&m.detail)])
        .collect();
    output::table(&["FLAG", "MODULE", "OUTCOME", "DETAIL"], &rows)?;
    output::line("")?;
    match report.user {
        Some(user) => output::line(format!("logged in as {}, roles: {}", output::plain(user), report.roles.join(", "))),
        None => {
            output::line(format!("refused: {}", report.exception.unwrap_or_default()))?;
            output::line(format!("because: {}", output::plain(report.detail.unwrap_or_default())))?;
            output::line(format!("the person reads: {}", report.message.unwrap_or_default()))
        }
    }
}
