//! `cams test-login`: a login stack run once, each module's outcome shown. Counts nowhere as a login or a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use policy_server::auth::callback::{PASSWORD, USERNAME};
use policy_server::auth::pipeline::{LOGIN_LIMIT, LoginEntry, ModuleReport};
use policy_server::config::trial::{Setting, Trial};
use serde::Serialize;
use shared_proto::secret::Secret;
use tokio::time::Instant;

use crate::cli::TestLoginArgs;
use crate::output::Usage;
use crate::{answers, output, runtime};

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
    /// The entry as it was tried, for `login-config.xml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<&'a str>,
}

pub fn run(args: &TestLoginArgs) -> anyhow::Result<ExitCode> {
    let trial = Trial { domain: args.domain.clone(), entry: args.entry.clone(), settings: settings(&args.settings)? };
    let runtime = runtime::tokio()?;
    let loaded = runtime.block_on(policy_server::wire::check_trial(&args.conf.conf, &trial))?;
    let known = || loaded.domains.keys().cloned().collect::<Vec<_>>().join(", ");
    let domain = loaded
        .domains
        .get(&args.domain)
        .with_context(|| format!("there is no security domain `{}`; there are: {}", args.domain, known()))?;
    let entry = domain
        .entry(&args.entry)
        .with_context(|| format!("the security domain `{}` has no login entry `{}`", args.domain, args.entry))?;
    check(entry, &trial.settings, &args.callbacks)?;
    let answers = answers(entry, args)?;
    let run = runtime.block_on(entry.login(&answers, Timestamp::now(), None, Instant::now() + LOGIN_LIMIT));
    let (subject, error) = match &run.result {
        Ok(subject) => (Some(subject), None),
        Err(error) => (None, Some(error)),
    };
    let detail = error.map(|error| error.detail.clone() + &unasked(entry, &answers));
    let report = Report {
        ok: subject.is_some(),
        user: subject.map(|subject| subject.user.as_str()),
        roles: subject.map(|subject| subject.roles.iter().map(String::as_str).collect()).unwrap_or_default(),
        exception: error.map(|error| error.class()),
        message: error.map(|error| domain.messages.text(error.class())),
        detail: detail.as_deref(),
        modules: &run.modules,
        xml: args.xml.then_some(&entry.xml),
    };
    if args.json.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Not read by the parser of arguments, which repeats a wrong one: it may hold a password.
fn settings(texts: &[String]) -> anyhow::Result<Vec<Setting>> {
    let read = |text: &String| text.parse().map_err(|error| Usage(format!("--set: {error}")).into());
    texts.iter().map(read).collect()
}

/// What makes no sense for this entry.
fn check(entry: &LoginEntry, settings: &[Setting], callbacks: &[String]) -> Result<(), Usage> {
    if let Some(setting) = settings.iter().find(|setting| setting.place > entry.modules.len()) {
        let (place, modules) = (setting.place, entry.modules.len());
        return Err(Usage(format!("--set {place}.…: the entry `{}` has {modules} login modules", entry.name)));
    }
    let mut seen = BTreeSet::new();
    for name in callbacks {
        if !entry.handler.asks_for(name) {
            let asked: Vec<&str> = entry.handler.form().fields.iter().map(|field| field.name.as_str()).collect();
            let asked = if asked.is_empty() { "a name and a password alone".to_owned() } else { asked.join(", ") };
            return Err(Usage(format!("--callback {name}: the entry `{}` asks for {asked}", entry.name)));
        }
        if !seen.insert(name) {
            return Err(Usage(format!("--callback {name} is there twice")));
        }
    }
    Ok(())
}

/// The answers by callback: the password first, then those that `--callback` names.
fn answers(entry: &LoginEntry, args: &TestLoginArgs) -> anyhow::Result<BTreeMap<String, Secret>> {
    let label = |name: &String| {
        let field = entry.handler.form().fields.iter().find(|field| field.name == *name);
        field.map_or_else(|| name.clone(), |field| field.label.clone())
    };
    let questions: Vec<String> =
        std::iter::once(format!("Password of {}", args.user)).chain(args.callbacks.iter().map(label)).collect();
    let names = std::iter::once(PASSWORD.to_owned()).chain(args.callbacks.iter().cloned());
    let mut answers: BTreeMap<String, Secret> = names.zip(answers::read(&questions)?).collect();
    answers.insert(USERNAME.to_owned(), Secret::from(args.user.as_str()));
    Ok(answers)
}

/// How to give what the entry demands and nobody gave.
fn unasked(entry: &LoginEntry, answers: &BTreeMap<String, Secret>) -> String {
    let fields = entry.handler.form().fields.iter();
    let missing = fields.filter(|field| field.required && !answers.contains_key(&field.name));
    let missing: Vec<String> = missing.map(|field| format!("--callback {}", field.name)).collect();
    if missing.is_empty() {
        return String::new();
    }
    format!("; give `{}`, and each answer as a line of its own after the password", missing.join(" "))
}

fn show(report: &Report<'_>) -> anyhow::Result<()> {
    let Some(xml) = report.xml else { return lines(report).iter().try_for_each(output::line) };
    lines(report).iter().for_each(output::notice);
    output::line(xml.trim_end())
}

/// Each module with its detail below it, however long that is, and what came of all.
fn lines(report: &Report<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, module) in (1..).zip(report.modules) {
        let class = module.class.rsplit('.').next().unwrap_or_default();
        lines.push(format!("{place}. {class} ({}): {}", module.flag, module.outcome));
        if !module.detail.is_empty() {
            lines.push(format!("   {}", output::plain(&module.detail)));
        }
    }
    lines.push(String::new());
    match report.user {
        Some(user) if report.roles.is_empty() => {
            lines.push(format!("logged in as {}, without roles", output::plain(user)));
        }
        Some(user) => {
            lines.push(format!(
                "logged in as {}, roles: {}",
                output::plain(user),
                output::plain(&report.roles.join(", "))
            ));
        }
        None => {
            lines.push(format!("refused: {}", report.exception.unwrap_or_default()));
            lines.push(format!("because: {}", output::plain(report.detail.unwrap_or_default())));
            lines.push(format!("the person reads: {}", report.message.unwrap_or_default()));
        }
    }
    lines
}
