//! `cams user totp`: who has an authenticator app, and its secret, which is shown once.

use jiff::Timestamp;
use policy_server::admin::Admin;

use crate::cli::TotpCommand;
use crate::output;

pub async fn run(command: TotpCommand) -> anyhow::Result<()> {
    match command {
        TotpCommand::Enrol { conf, person, issuer } => {
            let admin = Admin::open(&conf.conf).await?;
            let invitation = admin.enrol_totp(&person.domain, &person.name, issuer.as_deref()).await?;
            output::line(&*invitation.uri)?;
            output::line(&*invitation.secret)?;
            output::notice("This is shown once. Give it to the person and to nobody else.");
        }
        TotpCommand::Remove { conf, person } => {
            let removed = Admin::open(&conf.conf).await?.remove_totp(&person.domain, &person.name).await?;
            anyhow::ensure!(removed, "`{}` is not enrolled in `{}`", person.name, person.domain);
            output::line(format!("removed the codes of {}", output::plain(&person.name)))?;
        }
        TotpCommand::List { conf, json } => list(&Admin::open(&conf.conf).await?, json.json).await?,
    }
    Ok(())
}

async fn list(admin: &Admin, json: bool) -> anyhow::Result<()> {
    let users = admin.totp_users().await?;
    if json {
        return output::json(&users);
    }
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let created = Timestamp::from_second(user.created).map(|time| time.to_string()).unwrap_or_default();
            vec![output::plain(&user.user), user.domain.clone(), created]
        })
        .collect();
    output::table(&["USER", "DOMAIN", "ENROLLED"], &rows)
}
