//! One function for each command: what it does is in the libraries, how it is shown is here.

#[cfg(feature = "policy-server")]
mod agent;
#[cfg(feature = "policy-server")]
mod ca;
mod check;
#[cfg(feature = "policy-server")]
mod device;
#[cfg(feature = "policy-server")]
mod digest;
#[cfg(feature = "policy-server")]
mod explain;
#[cfg(feature = "policy-server")]
mod group;
#[cfg(feature = "policy-server")]
mod init;
#[cfg(feature = "policy-server")]
mod session;
#[cfg(feature = "policy-server")]
mod test_login;
#[cfg(feature = "policy-server")]
mod totp;
#[cfg(feature = "policy-server")]
mod unlock;
#[cfg(feature = "policy-server")]
mod user;

use std::process::ExitCode;
#[cfg(feature = "policy-server")]
use std::time::Duration;

use crate::cli::{Command, RunArgs};
#[cfg(feature = "policy-server")]
use crate::output;
#[cfg(all(feature = "policy-server", feature = "web-agent"))]
use crate::quickstart;
use crate::runtime;

/// How long threads may take to end when the policy server stops. Requests have had their time.
#[cfg(feature = "policy-server")]
const LEAVE: Duration = Duration::from_secs(1);

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(all(feature = "policy-server", feature = "web-agent"))]
        Command::Quickstart(args) => quickstart::run(&args),
        #[cfg(feature = "policy-server")]
        Command::Init(args) => init::run(&args),
        #[cfg(feature = "policy-server")]
        Command::PolicyServer(args) => policy_server(&args),
        #[cfg(feature = "web-agent")]
        Command::WebAgent(args) => web_agent(&args),
        Command::Check { conf } => check::run(&conf),
        #[cfg(feature = "policy-server")]
        Command::Keygen => keygen(),
        #[cfg(feature = "policy-server")]
        Command::Digest(args) => digest::run(args),
        #[cfg(feature = "policy-server")]
        Command::TestLogin(args) => test_login::run(&args),
        #[cfg(feature = "policy-server")]
        Command::Explain(args) => explain::run(&args),
        #[cfg(feature = "policy-server")]
        Command::Agent { command } => agent::run(command),
        #[cfg(feature = "policy-server")]
        Command::User { command } => user::run(command),
        #[cfg(feature = "policy-server")]
        Command::Group { command } => group::run(command),
        #[cfg(feature = "policy-server")]
        Command::Ca { command } => ca::run(command),
        #[cfg(feature = "policy-server")]
        Command::Device { command } => device::run(command),
        #[cfg(feature = "policy-server")]
        Command::Session { command } => session::run(command),
    }
}

#[cfg(feature = "policy-server")]
fn policy_server(args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.check {
        return check::policy_server(&args.conf);
    }
    runtime::init_logs();
    runtime::stop_with_parent();
    let runtime = runtime::tokio()?;
    let ended = runtime.block_on(async {
        let stop = runtime::stop_signal()?;
        let server = policy_server::wire::Server::open(&args.conf).await?;
        server.run(stop).await?;
        Ok(ExitCode::SUCCESS)
    });
    // Not to wait for a thread that hangs, on a dead file server perhaps.
    runtime.shutdown_timeout(LEAVE);
    ended
}

#[cfg(feature = "web-agent")]
fn web_agent(args: &RunArgs) -> anyhow::Result<ExitCode> {
    if args.check {
        return check::web_agent(&args.conf);
    }
    runtime::init_logs();
    runtime::stop_with_parent();
    web_agent::run(&args.conf)?;
    Ok(ExitCode::SUCCESS)
}

/// The parameters of the original's key tool that are still needed: with AES-GCM every cookie has a nonce of its own,
/// so there is no initialisation vector to configure.
#[cfg(feature = "policy-server")]
fn keygen() -> anyhow::Result<ExitCode> {
    let key = policy_server::token::Key::generate()?;
    output::line(format!("<!-- key id {}, AES-256-GCM; keep it secret -->", key.id()))?;
    output::line("<param name=\"algorithm\" value=\"AES-256-GCM\"/>")?;
    output::line(format!("<param name=\"secretKey\" value=\"{}\"/>", key.to_base64().as_str()))?;
    Ok(ExitCode::SUCCESS)
}
