//! `cams user`: people of the built-in directory. A password is read from standard input and never shown, but for one
//! that the command made itself.

use std::collections::BTreeSet;
use std::process::ExitCode;

use jiff::Timestamp;
use policy_server::admin::Admin;
use policy_server::directory::local::{LocalUser, NewUser, UserEdit};
use policy_server::directory::person::{Person, Profile};
use policy_server::store::Edited;
use serde::Serialize;
use shared_proto::secret::Secret;

use super::digest::read_piped_password;
use super::{device, totp, unlock};
use crate::cli::{NewPassword, UserAddArgs, UserCommand, UserSetArgs, Whose};
use crate::{output, runtime};

pub fn run(command: UserCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            UserCommand::Add(args) => add(args).await?,
            UserCommand::Passwd { whose, password, json } => passwd(&whose, &password, json.json).await?,
            UserCommand::List { search, place, json } => {
                let admin = Admin::open(&place.conf.conf).await?;
                list(&admin.users(&place.domain, &search).await?, json.json)?;
            }
            UserCommand::Show { whose, json } => {
                let user = admin(&whose).await?.user(&whose.place.domain, &whose.name).await?;
                show(&Row::of(&user), json.json)?;
            }
            UserCommand::Set(args) => set(args).await?,
            UserCommand::Disable { whose } => {
                let edited = admin(&whose).await?.set_user_enabled(&whose.place.domain, &whose.name, false).await?;
                say("disabled", &edited)?;
            }
            UserCommand::Enable { whose } => {
                let edited = admin(&whose).await?.set_user_enabled(&whose.place.domain, &whose.name, true).await?;
                output::line(format!("user `{}` is enabled", output::plain(&edited.name)))?;
            }
            UserCommand::Remove { whose } => {
                let edited = admin(&whose).await?.remove_user(&whose.place.domain, &whose.name).await?;
                say("removed", &edited)?;
            }
            UserCommand::Unlock(args) => unlock::forget(args).await?,
            UserCommand::Locks(args) => unlock::list(args).await?,
            UserCommand::Totp { command } => totp::run(command).await?,
            UserCommand::Jami(args) => device::user(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn admin(whose: &Whose) -> anyhow::Result<Admin> {
    Ok(Admin::open(&whose.place.conf.conf).await?)
}

fn say(what: &str, Edited { name, ended }: &Edited) -> anyhow::Result<()> {
    output::line(format!("user `{}` is {what}; sessions ended: {}", output::plain(name), ended.len()))
}

/// What `--json` tells of a new user or password.
#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_ended: Option<usize>,
    /// The one that the command made.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

async fn add(args: UserAddArgs) -> anyhow::Result<()> {
    let admin = admin(&args.whose).await?;
    let profile = Profile {
        given_name: args.profile.given_name.unwrap_or_default(),
        family_name: args.profile.family_name.unwrap_or_default(),
        mail: args.profile.mail.unwrap_or_default(),
        phone: args.profile.phone.unwrap_or_default(),
        organisation: args.profile.organisation.unwrap_or_default(),
    };
    let user = NewUser { name: args.whose.name, profile, expires: args.expires.0, groups: args.groups };
    let domain = &args.whose.place.domain;
    let password = password(&args.password, &admin, domain)?;
    let id = admin.add_user(domain, &user, &password).await?;
    let password = made(&args.password, &password);
    if args.json.json {
        return output::json(&Made { name: user.name.text(), id: Some(&id), sessions_ended: None, password });
    }
    output::line(format!("user `{}` is added", user.name))?;
    tell(password)
}

async fn passwd(whose: &Whose, new: &NewPassword, json: bool) -> anyhow::Result<()> {
    let admin = admin(whose).await?;
    let domain = &whose.place.domain;
    let password = password(new, &admin, domain)?;
    let edited = admin.set_password(domain, &whose.name, &password).await?;
    let password = made(new, &password);
    if json {
        let sessions_ended = Some(edited.ended.len());
        return output::json(&Made { name: &edited.name, id: None, sessions_ended, password });
    }
    say("given the new password", &edited)?;
    tell(password)
}

/// From standard input, or new.
fn password(new: &NewPassword, admin: &Admin, domain: &str) -> anyhow::Result<Secret> {
    if new.generate { Ok(admin.generate_password(domain)?) } else { read_piped_password() }
}

fn made<'a>(new: &NewPassword, password: &'a Secret) -> Option<&'a str> {
    new.generate.then(|| password.expose_str()).flatten()
}

fn tell(password: Option<&str>) -> anyhow::Result<()> {
    password.map_or(Ok(()), |password| output::line(format!("password: {password}")))
}

async fn set(args: UserSetArgs) -> anyhow::Result<()> {
    let profile = args.profile;
    let edit = UserEdit {
        given_name: profile.given_name,
        family_name: profile.family_name,
        mail: profile.mail,
        phone: profile.phone,
        organisation: profile.organisation,
        expires: args.expires.map(|end| end.0),
        credential_expires: args.credential_expires.map(|end| end.0),
        must_change: args.must_change,
    };
    admin(&args.whose).await?.edit_user(&args.whose.place.domain, &args.whose.name, edit).await?;
    output::line(format!("user `{}` is changed", args.whose.name))
}

fn list(people: &[Person], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&people);
    }
    let row = |person: &Person| {
        let state = if person.enabled { "enabled" } else { "disabled" };
        let texts = [person.name.as_str(), &person.profile.full_name(), &person.profile.mail, state];
        texts.map(output::plain).to_vec()
    };
    output::table(&["NAME", "FULL NAME", "MAIL", "STATE"], &people.iter().map(row).collect::<Vec<_>>())
}

/// What `user show` tells. Moments are RFC 3339, in UTC.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    person: &'a Person,
    groups: &'a BTreeSet<String>,
    roles: &'a BTreeSet<String>,
    expires: Option<String>,
    credential_expires: Option<String>,
    must_change: bool,
    password_changed: String,
    created: String,
    changed: String,
}

impl<'a> Row<'a> {
    fn of(user: &'a LocalUser) -> Self {
        let time = |seconds| Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default();
        Self {
            person: &user.person,
            groups: &user.groups,
            roles: &user.roles,
            expires: user.expires.map(|end| end.to_string()),
            credential_expires: user.credential_expires.map(|end| end.to_string()),
            must_change: user.must_change,
            password_changed: time(user.password_changed),
            created: time(user.created),
            changed: time(user.changed),
        }
    }
}

fn show(row: &Row<'_>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(row);
    }
    let joined = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "never".to_owned());
    let Person { id, name, profile, enabled } = row.person;
    let fields = [
        ("name", name.clone()),
        ("id", id.clone()),
        ("given name", profile.given_name.clone()),
        ("family name", profile.family_name.clone()),
        ("mail", profile.mail.clone()),
        ("phone", profile.phone.clone()),
        ("organisation", profile.organisation.clone()),
        ("groups", joined(row.groups)),
        ("roles", joined(row.roles)),
        ("enabled", enabled.to_string()),
        ("expires", end(&row.expires)),
        ("password expires", end(&row.credential_expires)),
        ("password must be changed", row.must_change.to_string()),
        ("password changed", row.password_changed.clone()),
        ("created", row.created.clone()),
        ("changed", row.changed.clone()),
    ];
    let rows = fields.map(|(name, value)| vec![name.to_owned(), output::plain(&value)]);
    output::table(&["FIELD", "VALUE"], &rows)
}
