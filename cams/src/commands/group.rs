//! `cams group`: groups of the built-in directory, and who is in them.

use std::process::ExitCode;

use policy_server::admin::Admin;
use policy_server::directory::local::Group;

use crate::cli::{GroupCommand, MembersArgs};
use crate::{output, runtime};

pub fn run(command: GroupCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            GroupCommand::Add { whose, roles } => {
                let roles = roles.iter().map(ToString::to_string).collect();
                let admin = Admin::open(&whose.place.conf.conf).await?;
                admin.add_group(&whose.place.domain, &whose.name, roles).await?;
                output::line(format!("group `{}` is added", whose.name))?;
            }
            GroupCommand::List { place, json } => {
                list(&Admin::open(&place.conf.conf).await?.groups(&place.domain).await?, json.json)?;
            }
            GroupCommand::Remove { whose } => {
                let admin = Admin::open(&whose.place.conf.conf).await?;
                admin.remove_group(&whose.place.domain, &whose.name).await?;
                output::line(format!("group `{}` is removed", whose.name))?;
            }
            GroupCommand::Join(args) => set_members(&args, true).await?,
            GroupCommand::Leave(args) => set_members(&args, false).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn list(groups: &[Group], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&groups);
    }
    let joined = |names: &std::collections::BTreeSet<String>| {
        output::plain(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    let row = |group: &Group| vec![output::plain(&group.name), joined(&group.roles), joined(&group.members)];
    output::table(&["NAME", "ROLES", "MEMBERS"], &groups.iter().map(row).collect::<Vec<_>>())
}

async fn set_members(args: &MembersArgs, are_members: bool) -> anyhow::Result<()> {
    let admin = Admin::open(&args.place.conf.conf).await?;
    for user in &args.users {
        let changed = admin.set_member(&args.place.domain, &args.group, user, are_members).await?;
        let how = match (are_members, changed) {
            (true, true) => "is now in",
            (true, false) => "was already in",
            (false, true) => "is no longer in",
            (false, false) => "was not in",
        };
        output::line(format!("user `{user}` {how} the group `{}`", args.group))?;
    }
    Ok(())
}
