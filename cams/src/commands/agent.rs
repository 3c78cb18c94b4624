//! `cams agent`: the register of web agents.

use std::process::ExitCode;

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::{Capability, Rights};

use crate::cli::{AgentAddArgs, AgentCommand};
use crate::provision::AgentFiles;
use crate::{output, runtime};

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
    let capabilities: Result<Vec<Capability>, String> = args.capabilities.iter().map(|text| text.parse()).collect();
    let rights = Rights {
        domains: args.domains,
        hosts: args.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        entries: args.entries,
        capabilities: capabilities.map_err(anyhow::Error::msg)?,
    };
    let base = args.conf.conf.parent().context("cams.conf has no directory")?;
    let out = args.dir.unwrap_or_else(|| base.join("agents").join(&args.name));
    anyhow::ensure!(
        !out.join("cams-webagent.conf").exists(),
        "{} holds an agent already: choose another with --dir",
        out.display()
    );
    let admin = Admin::open(&args.conf.conf).await?;
    let (domain, entry) = (rights.domains.first().cloned(), rights.entries.first().cloned());
    let hosts = rights.hosts.clone();
    let issued = admin.add_agent(&args.name, rights).await?;
    let written = AgentFiles {
        cluster: &admin.conf().cluster,
        domain: &domain.unwrap_or_default(),
        entry: &entry.unwrap_or_default(),
        certificate: &issued.certificate,
        key: &issued.key,
        policy_server_ca: admin.agent_ca(),
        policy_server: &admin.conf().listen.to_string(),
        hosts: &hosts,
        upstream: &args.upstream,
    }
    .write(&out);
    match written {
        Ok(conf) => {
            output::line(format!("agent `{}` is registered; its configuration: {}", args.name, conf.display()));
            output::line("Next: set its TLS certificates and upstreams there, then `cams web-agent --conf` that file.");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // An agent whose key nobody has is of no use.
            admin.remove_agent(&args.name).await?;
            Err(error)
        }
    }
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
            let capabilities: Vec<String> =
                agent.rights.capabilities.iter().map(|c| format!("{c:?}").to_lowercase()).collect();
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
