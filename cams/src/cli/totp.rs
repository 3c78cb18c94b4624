//! The arguments of `cams user totp`.

use clap::{Args, Subcommand};

use super::{ConfArgs, JsonArgs};

#[derive(Debug, Subcommand)]
pub enum TotpCommand {
    /// Make a secret for a person and print it, once
    Enrol {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        person: Person,
        /// What the person's app shows as where the codes are for; the default is the cluster's name
        #[arg(long)]
        issuer: Option<String>,
    },
    /// Take the secret of a person away; sessions that rest on it end
    Remove {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        person: Person,
    },
    /// List who has a secret
    List {
        #[command(flatten)]
        conf: ConfArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub struct Person {
    /// The user, as the login module before the codes names them
    pub name: String,
    /// Security domain
    #[arg(long, default_value = "system")]
    pub domain: String,
}
