//! The arguments.

#[cfg(feature = "policy-server")]
mod ca;
#[cfg(feature = "policy-server")]
mod device;
#[cfg(feature = "policy-server")]
mod directory;
#[cfg(feature = "policy-server")]
mod totp;

#[cfg(feature = "policy-server")]
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "policy-server")]
use policy_server::agents::Capability;
#[cfg(feature = "policy-server")]
use policy_server::digest::Scheme;
#[cfg(feature = "policy-server")]
use shared_proto::authority::Authority;

#[cfg(feature = "policy-server")]
use crate::address;
#[cfg(feature = "policy-server")]
pub use ca::{CaCommand, CaCreateArgs, CaCrlArgs, CaImportArgs};
#[cfg(feature = "policy-server")]
pub use device::{DeviceCommand, UserJamiArgs};
#[cfg(feature = "policy-server")]
pub use directory::{
    GroupCommand, LocksArgs, MembersArgs, NewPassword, UnlockArgs, UserAddArgs, UserCommand, UserSetArgs, Whose,
};
#[cfg(feature = "policy-server")]
pub use totp::TotpCommand;

/// Web access management with a device CA.
///
/// A policy server decides, web agents enforce. `cams quickstart` shows the whole of it on this machine.
#[derive(Debug, Parser)]
#[command(name = "cams", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole product here: policy server, web agent and a protected sample site
    #[cfg(all(feature = "policy-server", feature = "web-agent"))]
    Quickstart(QuickstartArgs),
    /// Write a complete configuration for production; starts nothing
    #[cfg(feature = "policy-server")]
    Init(InitArgs),
    /// Run the policy server, which decides who may pass
    #[cfg(feature = "policy-server")]
    PolicyServer(RunArgs),
    /// Run a web agent, which stands in front of the sites
    #[cfg(feature = "web-agent")]
    WebAgent(RunArgs),
    /// Validate every file reachable from a cams.conf or cams-webagent.conf; prints all problems
    Check {
        #[arg(long, value_name = "FILE")]
        conf: PathBuf,
    },
    /// Print a ready-to-paste key block for the AutoLoginAuthValve (successor of camsSecretKeyGen)
    #[cfg(feature = "policy-server")]
    Keygen,
    /// Make or verify a password digest; the password's bytes are read from standard input
    #[cfg(feature = "policy-server")]
    Digest(DigestArgs),
    /// Run a login stack once and show each module's outcome; the password is read from standard input
    ///
    /// Nothing counts: neither as a login nor as a failure. A terminal is asked without showing what is typed. From a pipe
    /// all of it is the password, but for one line end; with --callback each line is an answer, the password first.
    #[cfg(feature = "policy-server")]
    TestLogin(TestLoginArgs),
    /// Show which permission and rule decide about a request, and why
    #[cfg(feature = "policy-server")]
    Explain(ExplainArgs),
    /// Register web agents
    #[cfg(feature = "policy-server")]
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
    },
    /// People of the built-in directory; user names locked after too many failed logins
    #[cfg(feature = "policy-server")]
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Groups of the built-in directory; their members get their roles
    #[cfg(feature = "policy-server")]
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// The organisation's certificate authority, which vouches for people's Jami accounts
    #[cfg(feature = "policy-server")]
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Jami devices: list and revoke them
    #[cfg(feature = "policy-server")]
    Device {
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// List and end sessions
    #[cfg(feature = "policy-server")]
    Session {
        #[command(subcommand)]
        command: SessionCommand,
    },
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Where configuration, keys and data are written, and found again the next time
    #[arg(long, default_value = "cams-quickstart")]
    pub dir: PathBuf,
    /// Address of the protected site; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8443", value_parser = address::listen)]
    pub listen: SocketAddr,
    /// Protect this site, such as http://127.0.0.1:3000, instead of the built-in sample
    #[arg(long, value_name = "URL", value_parser = address::upstream)]
    pub upstream: Option<String>,
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write it
    #[arg(long, default_value = "cams")]
    pub dir: PathBuf,
    /// Host name of the site to protect
    #[arg(long, value_name = "HOST", default_value = "app.example.org", value_parser = address::host_name)]
    pub site: String,
    /// Host name kept for logging in; no site is behind it
    #[arg(long, value_name = "HOST", default_value = "login.example.org", value_parser = address::host_name)]
    pub login: String,
    /// Where the protected site is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = address::upstream)]
    pub upstream: String,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[arg(long, value_name = "FILE")]
    pub conf: PathBuf,
    /// Only validate the configuration
    #[arg(long)]
    pub check: bool,
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DigestArgs {
    /// Label of the scheme, such as ARGON2 or SSHA512
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<Scheme>,
    #[command(subcommand)]
    pub command: Option<DigestCommand>,
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Subcommand)]
pub enum DigestCommand {
    /// Exit with 0 when the password on standard input matches, else with 1
    Verify {
        /// The stored value, such as '{SSHA}…'
        stored: String,
    },
}

#[cfg(feature = "policy-server")]
fn seconds(text: &str) -> Result<u64, String> {
    let time = shared_proto::options::parse_duration(text);
    time.map(|time| time.as_secs()).ok_or_else(|| "write a time such as 30s, 15m or 8h".to_owned())
}

/// The policy server's configuration, for commands that work on its files or its store.
#[derive(Debug, Args)]
pub struct ConfArgs {
    /// The policy server's cams.conf
    #[arg(long, value_name = "FILE", default_value = "conf/cams.conf")]
    pub conf: PathBuf,
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TestLoginArgs {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// Security domain
    #[arg(long)]
    pub domain: String,
    /// Login entry
    #[arg(long)]
    pub entry: String,
    /// User name, as it would be typed
    #[arg(long)]
    pub user: String,
    /// Also answer this callback of the entry: one more line of standard input, in the order of these options
    #[arg(long = "callback", value_name = "NAME")]
    pub callbacks: Vec<String>,
    /// Try another value of an option of the N-th module (of the first without N); an empty one takes the option away.
    /// No file changes. A password is given as file:PATH or env:NAME
    #[arg(long = "set", value_name = "[N.]OPTION=VALUE")]
    pub settings: Vec<String>,
    /// Print the entry as it was tried, ready for login-config.xml, and the outcome on standard error
    #[arg(long)]
    pub xml: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// Absent: somebody who is not logged in
    #[arg(long)]
    pub user: Option<String>,
    /// Roles of the user
    #[arg(long, value_delimiter = ',')]
    pub roles: Vec<String>,
    #[arg(long, default_value = "GET")]
    pub method: String,
    #[arg(long)]
    pub url: String,
    #[arg(long, default_value = "system")]
    pub domain: String,
    /// Login entry the site demands, and the session was made by
    #[arg(long, default_value = "http")]
    pub entry: String,
    /// The user did not type: a remembered browser logged in by itself
    #[arg(long, conflicts_with = "typed_ago")]
    pub remembered: bool,
    /// How long ago the user typed at the login page, such as 20m
    #[arg(long, default_value = "0s", value_parser = seconds)]
    pub typed_ago: u64,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Register an agent; writes its certificate, key and a ready cams-webagent.conf
    Add(AgentAddArgs),
    /// List the registered agents
    List {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Remove an agent; its next request is refused
    Remove {
        name: String,
        #[command(flatten)]
        conf: ConfArgs,
    },
}

#[cfg(feature = "policy-server")]
#[derive(Debug, Args)]
pub struct AgentAddArgs {
    pub name: String,
    #[command(flatten)]
    pub conf: ConfArgs,
    /// Security domain the agent may use; the first is the one it is configured for
    #[arg(long = "domain", value_name = "DOMAIN", default_value = "system")]
    pub domains: Vec<String>,
    /// Host name the agent answers for, with a port if only that one is meant
    #[arg(long = "host", value_name = "HOST[:PORT]", required = true, value_parser = address::site)]
    pub hosts: Vec<Authority>,
    /// Login entry the agent may use; the first is the one it is configured for
    #[arg(long = "entry", value_name = "ENTRY", default_value = "http")]
    pub entries: Vec<String>,
    /// enforce, jami or console
    #[arg(long = "capability", value_name = "CAPABILITY", default_value = "enforce")]
    pub capabilities: Vec<Capability>,
    /// Where the site behind the agent is; `none` for the agent's own pages alone
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = address::upstream_or_none)]
    pub upstream: String,
    /// Where to write; the default is agents/NAME beside cams.conf
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List live sessions, or remembered browsers
    List {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        filter: SessionFilter,
        /// The browsers that log in by themselves, instead of sessions
        #[arg(long)]
        browsers: bool,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// End sessions; the next request of each is asked to log in
    End {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        which: SessionChoice,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub struct SessionFilter {
    /// Only this person's
    #[arg(long)]
    pub user: Option<String>,
    /// Only this security domain's
    #[arg(long)]
    pub domain: Option<String>,
}

#[derive(Debug, Args)]
pub struct SessionChoice {
    /// The id of a session or a remembered browser, as `cams session list` shows it
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    pub id: Option<String>,
    /// Every session of this person
    #[arg(long)]
    pub user: Option<String>,
    /// With --user: only this security domain's
    #[arg(long, requires = "user")]
    pub domain: Option<String>,
}
