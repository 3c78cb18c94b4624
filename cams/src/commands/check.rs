//! `cams check`: every problem of every file, before anything runs.

use std::path::Path;
use std::process::ExitCode;

use crate::output;

pub fn run(conf: &Path) -> anyhow::Result<ExitCode> {
    // An agent's configuration is told by what only an agent has.
    let is_agent = std::fs::read_to_string(conf)
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with("cams.listen.")));
    match is_agent {
        #[cfg(feature = "web-agent")]
        true => web_agent(conf),
        #[cfg(feature = "policy-server")]
        false => policy_server(conf),
        #[allow(unreachable_patterns, reason = "reached only where one of the two halves is not compiled in")]
        _ => anyhow::bail!("{}: this build of cams lacks the half that reads this file", conf.display()),
    }
}

#[cfg(feature = "policy-server")]
pub fn policy_server(conf: &Path) -> anyhow::Result<ExitCode> {
    let (_, loaded) = policy_server::wire::check(conf)?;
    for warning in loaded.warnings.iter() {
        output::notice(format!("{warning} (a warning)"));
    }
    let domains: Vec<&str> = loaded.domains.keys().map(String::as_str).collect();
    output::line(format!("{}: good (security domains: {})", conf.display(), domains.join(", ")));
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "web-agent")]
pub fn web_agent(conf: &Path) -> anyhow::Result<ExitCode> {
    web_agent::check(conf)?;
    output::line(format!("{}: good", conf.display()));
    Ok(ExitCode::SUCCESS)
}
