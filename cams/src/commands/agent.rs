//! `cams agent`: the register of web agents.

use std::process::ExitCode;

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::Rights;

use crate::cli::{AgentAddArgs, AgentCommand};
use crate::{output, provision, runtime};

pub fn run(command: AgentCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            AgentCommand::Add(args) => add(args).await,
            AgentCommand::List { conf, json } => list(&Admin::open(&conf.conf).await?, json.json).await,
            AgentCommand::Remove { name, conf } => remove(&Admin::open(&conf.conf).await?, &name).await,
        }
    })
}

async fn add(args: AgentAddArgs) -> anyhow::Result<ExitCode> {
    let rights = Rights {
        domains: args.domains,
        hosts: args.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        entries: args.entries,
        capabilities: args.capabilities,
    };
    let base = args.conf.conf.parent().context("cams.conf has no directory")?;
    let dir = args.dir.unwrap_or_else(|| base.join("agents").join(&args.name));
    let sites: Vec<(String, String)> = rights.hosts.iter().map(|host| (host.clone(), args.upstream.clone())).collect();
    let admin = Admin::open(&args.conf.conf).await?;
    let conf = provision::register_agent(&admin, &dir, &args.name, rights, &sites).await?;
    output::line(format!("agent `{}` is registered; its configuration: {}", args.name, conf.display()));
    output::line("Next: set cams.tls.<host>.certificate and .key there, then `cams web-agent --conf` that file.");
    if admin.conf().listen.ip().is_unspecified() {
        output::notice(
            "The policy server listens on every address: set cams.policy.server.1 to one the agent can reach.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &Admin, json: bool) -> anyhow::Result<ExitCode> {
    let agents = admin.agents().await?;
    if json {
        output::json(&agents)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let capabilities: Vec<String> = agent.rights.capabilities.iter().map(|c| c.to_string()).collect();
            vec![
                agent.name.clone(),
                agent.rights.domains.join(","),
                agent.rights.entries.join(","),
                capabilities.join(","),
                agent.rights.hosts.join(","),
            ]
        })
        .collect();
    output::table(&["NAME", "DOMAINS", "ENTRIES", "CAPABILITIES", "HOSTS"], &rows);
    Ok(ExitCode::SUCCESS)
}

async fn remove(admin: &Admin, name: &str) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(admin.remove_agent(name).await?, "no agent named `{}` is registered", output::plain(name));
    output::line(format!("agent `{name}` is removed"));
    Ok(ExitCode::SUCCESS)
}
