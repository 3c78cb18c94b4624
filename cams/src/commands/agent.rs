//! `cams agent`: the register of web agents.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::{Capability, Rights};
use shared_proto::authority::Authority;

use crate::cli::{AgentAddArgs, AgentCommand};
use crate::output::Usage;
use crate::provision::NewAgent;
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
    check(&args)?;
    let base = args.conf.conf.parent().context("cams.conf has no directory")?;
    let dir = args.dir.unwrap_or_else(|| base.join("agents").join(&args.name));
    let sites: Vec<_> = args.hosts.iter().map(|host| (host.to_string(), args.upstream.clone())).collect();
    let mut properties = provision::sites(&sites);
    if args.capabilities.contains(&Capability::Jami) {
        properties.extend(provision::jami(sites.len(), true));
    }
    let hosts: BTreeSet<String> = args.hosts.into_iter().map(|host| host.host).collect();
    let rights = Rights {
        domains: args.domains,
        hosts: hosts.into_iter().collect(),
        entries: args.entries,
        capabilities: args.capabilities,
    };
    let admin = Admin::open(&args.conf.conf).await?;
    let agent = NewAgent { name: &args.name, rights, properties };
    let conf = provision::register_agent(&admin, &dir, agent).await?;
    output::line(format!("agent `{}` is registered; its configuration: {}", args.name, conf.display()))?;
    output::line("Next: set cams.tls.<host>.certificate and .key there, then `cams web-agent --conf` that file.")?;
    if admin.conf().listen.ip().is_unspecified() {
        output::notice(
            "The policy server listens on every address: set cams.policy.server.1 to one the agent can reach.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What the server's configuration does not have, no agent can use; nor can it tell sites of one name apart.
fn check(args: &AgentAddArgs) -> anyhow::Result<()> {
    let (_, loaded) = policy_server::wire::check(&args.conf.conf)?;
    let usage = |text: String| Err(Usage(text).into());
    if let Some(unknown) = args.domains.iter().find(|name| !loaded.domains.contains_key(*name)) {
        return usage(format!("there is no security domain `{unknown}`"));
    }
    let has = |entry: &String| {
        args.domains.iter().any(|name| loaded.domains.get(name).is_some_and(|d| d.entry(entry).is_some()))
    };
    if let Some(unknown) = args.entries.iter().find(|entry| !has(entry)) {
        return usage(format!("there is no login entry `{unknown}` in {}", args.domains.join(", ")));
    }
    let clash =
        |a: &Authority, b: &Authority| a.host == b.host && (a.port == b.port || a.port.is_none() || b.port.is_none());
    for (n, host) in args.hosts.iter().enumerate() {
        if args.hosts.iter().skip(n + 1).any(|other| clash(host, other)) {
            return usage(format!("the host {} is given twice", host.host));
        }
    }
    Ok(())
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
    output::table(&["NAME", "DOMAINS", "ENTRIES", "CAPABILITIES", "HOSTS"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(admin: &Admin, name: &str) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(admin.remove_agent(name).await?, "no agent named `{}` is registered", output::plain(name));
    output::line(format!("agent `{name}` is removed"))?;
    Ok(ExitCode::SUCCESS)
}
