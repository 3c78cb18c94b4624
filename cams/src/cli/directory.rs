//! The arguments of `cams user` and `cams group`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;
use policy_server::auth::account::parse_end;
use policy_server::directory::person::{self, Name};

use super::{ConfArgs, JsonArgs, TotpCommand, UserJamiArgs};
use crate::address;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; the password is read from standard input
    Add(UserAddArgs),
    /// Set a user's password, read from standard input; ends the user's sessions
    Passwd {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// List users
    List {
        /// Only those with this text in their name, mail address or full name
        #[arg(long, value_name = "TEXT", default_value = "")]
        search: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Show what is known of a user
    Show {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Change what is known of a user, or when the account ends
    Set(UserSetArgs),
    /// Refuse a user's logins and end the user's sessions
    Disable {
        #[command(flatten)]
        whose: Whose,
    },
    /// Take a user's logins again
    Enable {
        #[command(flatten)]
        whose: Whose,
    },
    /// Remove a user and end the user's sessions; a later user of the same name is another person
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
    /// Forget the failed logins of a user name, of any directory; it can log in at once
    Unlock(UnlockArgs),
    /// List what is locked now after too many failed logins. User names are kept as keyed hashes alone
    Locks(LocksArgs),
    /// One-time codes of authenticator apps, of users of any directory
    Totp {
        #[command(subcommand)]
        command: TotpCommand,
    },
    /// Somebody's Jami account and its devices, of users of any directory
    Jami(UserJamiArgs),
}

#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// In any spelling
    pub name: String,
    /// Only in this security domain
    #[arg(long)]
    pub domain: Option<String>,
    /// Only from this address or network
    #[arg(long, value_name = "NETWORK", value_parser = address::network)]
    pub network: Option<IpNet>,
    #[command(flatten)]
    pub conf: ConfArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct LocksArgs {
    /// Only this user name
    #[arg(long)]
    pub user: Option<String>,
    /// Only in this security domain
    #[arg(long)]
    pub domain: Option<String>,
    #[command(flatten)]
    pub conf: ConfArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct Place {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// Security domain
    #[arg(long, default_value = "system")]
    pub domain: String,
}

#[derive(Debug, Args)]
pub struct Whose {
    pub name: Name,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct NewPassword {
    /// Make a random password and print it, this once
    #[arg(long)]
    pub generate: bool,
}

#[derive(Debug, Args)]
pub struct UserAddArgs {
    #[command(flatten)]
    pub whose: Whose,
    #[command(flatten)]
    pub password: NewPassword,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Group the user joins; may be given more than once
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<Name>,
    /// Last day of the account in UTC, or the moment it ends (RFC 3339)
    #[arg(long, value_name = "DATE|never", default_value = "never")]
    pub expires: End,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct ProfileArgs {
    #[arg(long, value_name = "NAME", value_parser = person::line)]
    pub given_name: Option<String>,
    #[arg(long, value_name = "NAME", value_parser = person::line)]
    pub family_name: Option<String>,
    #[arg(long, value_name = "ADDRESS", value_parser = person::line)]
    pub mail: Option<String>,
    #[arg(long, value_name = "NUMBER", value_parser = person::line)]
    pub phone: Option<String>,
    #[arg(long, value_name = "NAME", value_parser = person::line)]
    pub organisation: Option<String>,
}

/// An empty text takes a field away.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("field").required(true).multiple(true).args(
    ["given_name", "family_name", "mail", "phone", "organisation", "expires", "credential_expires", "must_change"]
)))]
pub struct UserSetArgs {
    #[command(flatten)]
    pub whose: Whose,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Last day of the account in UTC, or the moment it ends (RFC 3339)
    #[arg(long, value_name = "DATE|never")]
    pub expires: Option<End>,
    /// The same for the password
    #[arg(long, value_name = "DATE|never")]
    pub credential_expires: Option<End>,
    /// Whether the password counts only after it was set anew
    #[arg(long, value_name = "true|false")]
    pub must_change: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add a group
    Add {
        #[command(flatten)]
        whose: Whose,
        /// Role of its members; may be given more than once. The default is the group's name
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Name>,
    },
    /// List groups and their members
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Remove a group; its members lose its roles
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
    /// Put users into a group
    Join(MembersArgs),
    /// Take users out of a group
    Leave(MembersArgs),
}

#[derive(Debug, Args)]
pub struct MembersArgs {
    pub group: Name,
    #[arg(required = true, value_name = "USER")]
    pub users: Vec<Name>,
    #[command(flatten)]
    pub place: Place,
}

/// The end of an account or a password; `None` is never.
#[derive(Debug, Clone, Copy)]
pub struct End(pub Option<Timestamp>);

impl FromStr for End {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self(None));
        }
        parse_end(text)
            .map(|end| Self(Some(end)))
            .ok_or("write a date or time such as 2027-01-31 or 2027-01-31T18:00:00Z")
    }
}
