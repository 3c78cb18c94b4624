//! The one command people type. It parses arguments and prints; what is done is in the two libraries.

#[cfg(feature = "policy-server")]
mod certificates;
mod cli;
mod commands;
mod output;
#[cfg(feature = "policy-server")]
mod provision;
#[cfg(all(feature = "policy-server", feature = "web-agent"))]
mod quickstart;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

/// Exit codes: 0 done, allowed or valid; 1 refused, failed or invalid; 2 usage (clap's own).
fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
