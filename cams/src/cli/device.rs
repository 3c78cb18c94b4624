//! The arguments of what is about Jami devices and the accounts they belong to.

use clap::{Args, Subcommand};
use policy_server::directory::person::{self, Name};

use super::directory::Whose;
use super::{ConfArgs, JsonArgs};

#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List devices, revoked ones too
    List {
        /// Only those of this user
        #[arg(long, value_name = "NAME")]
        user: Option<Name>,
        /// Only those of this security domain
        #[arg(long)]
        domain: Option<String>,
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Show a device and the account it belongs to
    Show {
        /// As `cams device list` shows it
        id: String,
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Revoke a device for ever: its certificate, its tokens; its key cannot be enrolled again
    Revoke {
        /// As `cams device list` shows it
        id: String,
        /// Why, for the audit log; `key-compromise`, `affiliation-changed`, `superseded`, `cessation-of-operation` and
        /// `privilege-withdrawn` are also what the revocation list says, which otherwise says `cessation-of-operation`
        #[arg(long, value_name = "TEXT", default_value = "by an administrator", value_parser = person::line)]
        reason: String,
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub struct UserJamiArgs {
    #[command(flatten)]
    pub whose: Whose,
    /// The person who has the name now is the account's: bind it to what proves the name now
    #[arg(long)]
    pub relink: bool,
    /// The person who has the name now is another one: take the name from the account and revoke its devices
    #[arg(long, conflicts_with = "relink")]
    pub release: bool,
    /// End the account for ever: revoke it with all its devices, and free the name
    #[arg(long, conflicts_with_all = ["relink", "release"])]
    pub revoke: bool,
    /// Why it is revoked, for the register and the audit log
    #[arg(long, requires = "revoke", value_name = "TEXT", default_value = "revoked by an administrator")]
    pub reason: String,
    #[command(flatten)]
    pub json: JsonArgs,
}
