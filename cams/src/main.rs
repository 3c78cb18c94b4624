//! The one command people type. It parses arguments and prints; what is done is in the two libraries.

#[cfg(feature = "policy-server")]
mod address;
#[cfg(feature = "policy-server")]
mod answers;
#[cfg(feature = "policy-server")]
mod certificates;
mod cli;
mod commands;
#[cfg(feature = "policy-server")]
mod files;
mod output;
#[cfg(feature = "policy-server")]
mod provision;
#[cfg(all(feature = "policy-server", feature = "web-agent"))]
mod quickstart;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

/// Exit codes: 0 done, allowed or valid; 1 refused, failed or invalid; 2 usage.
fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        // What was typed is shown, not obeyed.
        Err(error) if error.use_stderr() => {
            output::notice(output::plain_lines(&error.to_string()));
            return output::USAGE.into();
        }
        Err(help) => help.exit(),
    };
    commands::run(cli.command).unwrap_or_else(|error| output::error(&error))
}
