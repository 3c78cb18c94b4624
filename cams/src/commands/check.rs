//! `cams check`: every problem of every file, before anything runs.

use std::path::Path;
use std::process::ExitCode;

use shared_proto::problem::Problems;
use shared_proto::properties;

use crate::output;

pub fn run(conf: &Path) -> anyhow::Result<ExitCode> {
    match std::fs::read_to_string(conf).is_ok_and(|text| is_agents(conf, &text)) {
        #[cfg(feature = "web-agent")]
        true => web_agent(conf),
        #[cfg(feature = "policy-server")]
        false => policy_server(conf),
        #[allow(unreachable_patterns, reason = "reached only where one of the two halves is not compiled in")]
        _ => anyhow::bail!("{}: this build of cams lacks the half that reads this file", conf.display()),
    }
}

/// Whether the file is an agent's: it has more of what only an agent has than of what only the policy server has. No
/// single property tells, because just that one may be missing or misplaced.
fn is_agents(conf: &Path, text: &str) -> bool {
    const AGENT: [&str; 8] = [
        "cams.agent.",
        "cams.cookie.",
        "cams.listen.",
        "cams.loginconfig.",
        "cams.policy.server.1",
        "cams.policy.server.ca",
        "cams.site.",
        "cams.tls.",
    ];
    const SERVER: [&str; 5] =
        ["cams.audit.", "cams.key.encryption.", "cams.server.", "cams.store.", "security.domain.registry"];
    let properties = properties::parse(conf, text, &mut Problems::default());
    let count = |known: &[&str]| properties.iter().filter(|p| known.iter().any(|name| p.key.starts_with(name))).count();
    count(&AGENT) > count(&SERVER)
}

#[cfg(feature = "policy-server")]
pub fn policy_server(conf: &Path) -> anyhow::Result<ExitCode> {
    let (_, loaded) = policy_server::wire::check(conf)?;
    for warning in loaded.warnings.iter() {
        output::notice(format!("{warning} (a warning)"));
    }
    let domains: Vec<&str> = loaded.domains.keys().map(String::as_str).collect();
    output::line(format!("{}: good (security domains: {})", conf.display(), domains.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "web-agent")]
pub fn web_agent(conf: &Path) -> anyhow::Result<ExitCode> {
    web_agent::check(conf)?;
    output::line(format!("{}: good", conf.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_all_of_its_properties() {
        let server = include_str!("../../../conf/cams.conf");
        let agent = include_str!("../../../cams-webagent.conf");
        let check = |text: &str, expected| assert_eq!(is_agents(Path::new("c"), text), expected, "{text}");
        check("", false);
        for (text, expected) in [(server, false), (agent, true)] {
            check(text, expected);
            check(&format!("\u{feff}{text}"), expected);
            // A file without any one line is still what it was.
            for (n, _) in text.lines().enumerate() {
                let kept = text.lines().enumerate().filter(|(other, _)| *other != n).map(|(_, line)| line);
                check(&kept.collect::<Vec<_>>().join("\n"), expected);
            }
        }
        check(&format!("{server}\ncams.listen.1=https://0.0.0.0:443\n"), false);
        check(&format!("{agent}\ncams.store.url=sqlite:x\n"), true);
    }
}
