//! `cams device` and `cams user jami`: which Jami devices there are, whose they are, and their end.

use std::process::ExitCode;

use jiff::Timestamp;
use policy_server::admin::Admin;
use policy_server::device::{Account, Device};
use serde::Serialize;

use crate::cli::{DeviceCommand, UserJamiArgs};
use crate::{output, runtime};

/// What `--json` shows of a device. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    account: &'a str,
    created: i64,
    last_seen: i64,
    revoked: Option<i64>,
    reason: &'a str,
}

impl<'a> Row<'a> {
    fn of(device: &'a Device, account: Option<&'a Account>) -> Self {
        Self {
            id: &device.id,
            name: &device.name,
            user: account.map(|account| account.user.as_str()),
            domain: account.map(|account| account.domain.as_str()),
            account: &device.account,
            created: device.created,
            last_seen: device.last_seen,
            revoked: device.revoked,
            reason: &device.reason,
        }
    }
}

/// What `--json` shows of an account.
#[derive(Serialize)]
struct AccountRow<'a> {
    jami_id: &'a str,
    user: &'a str,
    domain: &'a str,
    entry: &'a str,
    /// Class of the login module that knows the person, and what it knows the person by.
    source: &'a str,
    source_id: &'a str,
    standing: &'a str,
    created: i64,
    devices: Vec<Row<'a>>,
}

pub fn run(command: DeviceCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            DeviceCommand::List { user, domain, conf, json } => {
                let admin = Admin::open(&conf.conf).await?;
                list(&admin.jami_devices(domain.as_deref(), user.as_ref()).await?, json.json)?;
            }
            DeviceCommand::Show { id, conf, json } => {
                let (device, account) = Admin::open(&conf.conf).await?.jami_device(&id).await?;
                show(&device, &account, json.json)?;
            }
            DeviceCommand::Revoke { id, reason, conf, json } => {
                let admin = Admin::open(&conf.conf).await?;
                let revoked = admin.revoke_jami_device(&id, &reason).await?;
                anyhow::ensure!(revoked, "the device is revoked already");
                if json.json {
                    let (device, account) = admin.jami_device(&id).await?;
                    return output::json(&Row::of(&device, Some(&account))).map(|()| ExitCode::SUCCESS);
                }
                output::line(format!("revoked {}", output::plain(&id)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn list(devices: &[(Device, Account)], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&devices.iter().map(|(device, of)| Row::of(device, Some(of))).collect::<Vec<_>>());
    }
    let row = |(device, account): &(Device, Account)| {
        let user = output::plain(&account.user);
        let seen = time(device.last_seen);
        vec![user, account.domain.clone(), output::plain(&device.name), seen, state(device), device.id.clone()]
    };
    let rows: Vec<Vec<String>> = devices.iter().map(row).collect();
    output::table(&["USER", "DOMAIN", "NAME", "LAST SEEN", "STATE", "ID"], &rows)
}

fn show(device: &Device, account: &Account, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&Row::of(device, Some(account)));
    }
    for (name, value) in [
        ("id", device.id.clone()),
        ("name", device.name.clone()),
        ("user", account.user.clone()),
        ("domain", account.domain.clone()),
        ("Jami ID", account.id.clone()),
        ("enrolled", time(device.created)),
        ("last seen", time(device.last_seen)),
        ("state", state(device)),
    ] {
        field(name, &value)?;
    }
    Ok(())
}

/// What happens to somebody's Jami account.
pub async fn user(args: UserJamiArgs) -> anyhow::Result<()> {
    let place = &args.whose.place;
    let (domain, name) = (&place.domain, &args.whose.name);
    let admin = Admin::open(&place.conf.conf).await?;
    if args.release {
        let (account, devices) = admin.release_jami_account(domain, name).await?;
        let (id, count) = (&account.id, devices.len());
        return output::line(format!("the account {id} has lost the name; devices revoked: {count}"));
    }
    if args.revoke {
        let (account, devices) = admin.revoke_jami_account(domain, name, &args.reason).await?;
        let (id, count) = (&account.id, devices.len());
        return output::line(format!("the account {id} is revoked, and the name is free; devices revoked: {count}"));
    }
    if args.relink {
        let (was, account) = admin.relink_jami_account(domain, name).await?;
        let known = |of: &Account| format!("{} {}", of.identity.source, output::plain(&of.identity.id));
        let (id, now, before) = (&account.id, known(&account), known(&was));
        return output::line(format!("the account {id} is bound to {}; it was bound to {}", now.trim(), before.trim()));
    }
    let (account, devices) = admin.jami_account(domain, name).await?;
    show_account(&account, &devices, args.json.json)
}

fn show_account(account: &Account, devices: &[Device], json: bool) -> anyhow::Result<()> {
    let standing = account.standing.text();
    if json {
        return output::json(&AccountRow {
            jami_id: &account.id,
            user: &account.user,
            domain: &account.domain,
            entry: &account.entry,
            source: &account.identity.source,
            source_id: &account.identity.id,
            standing,
            created: account.created,
            devices: devices.iter().map(|device| Row::of(device, None)).collect(),
        });
    }
    for (name, value) in [
        ("Jami ID", account.id.as_str()),
        ("user", &account.user),
        ("login entry", &account.entry),
        ("known to", &account.identity.source),
        ("known by", &account.identity.id),
        ("state", standing),
        ("since", &time(account.created)),
    ] {
        field(name, value)?;
    }
    let row =
        |device: &Device| vec![output::plain(&device.name), time(device.last_seen), state(device), device.id.clone()];
    output::table(&["NAME", "LAST SEEN", "STATE", "ID"], &devices.iter().map(row).collect::<Vec<_>>())
}

fn field(name: &str, value: &str) -> anyhow::Result<()> {
    output::line(format!("{name:<12} {}", output::plain(value)))
}

fn state(device: &Device) -> String {
    match device.revoked {
        Some(_) => output::plain(&format!("revoked: {}", device.reason)),
        None => "enrolled".to_owned(),
    }
}

fn time(second: i64) -> String {
    Timestamp::from_second(second).map(|time| time.to_string()).unwrap_or_default()
}
