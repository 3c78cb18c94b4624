//! `cams quickstart`: the whole product on one machine, and `cams init`: the same files for production.

mod probe;
mod supervise;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::{Capability, Rights};
use policy_server::digest::{self, Scheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::certificates;
use crate::cli::QuickstartArgs;
use crate::provision::{self, Layout};
use crate::runtime;
use cams::sample_site;

const AGENT: &str = "quickstart";
const HOST: &str = "localhost";

/// `DIR/quickstart.json`: what scripts and people need to know.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    url: String,
    ca: PathBuf,
    users: Vec<User>,
    console: String,
    conf: PathBuf,
    agent_conf: PathBuf,
    policy_server_pid: u32,
    web_agent_pid: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct User {
    name: String,
    password: String,
    roles: Vec<String>,
}

pub fn run(args: &QuickstartArgs) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(quickstart(args))
}

async fn quickstart(args: &QuickstartArgs) -> anyhow::Result<ExitCode> {
    let stop = runtime::stop_signal()?;
    let layout = Layout::create(&args.dir)?;
    let users = users(&layout)?;
    layout.write_server(&[("domains/system/cams-users.xml", &users_xml(&users)?)])?;
    let ca = certificates::create(&layout, &[HOST, "127.0.0.1"])?;
    let agent_conf = register_agent(&layout).await?;

    let site = TcpListener::bind("127.0.0.1:0").await.context("cannot open a port for the sample site")?;
    let upstream = match &args.upstream {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", site.local_addr()?),
    };
    tokio::spawn(sample_site::serve(site));
    let listen = chosen(args.listen).await?;
    configure(&layout, &agent_conf, listen, &upstream).await?;

    let url = format!("https://{HOST}:{}", listen.port());
    let mut summary = Summary {
        console: format!("{url}/cams/console/"),
        url,
        ca,
        users,
        conf: layout.cams_conf(),
        agent_conf,
        policy_server_pid: 0,
        web_agent_pid: 0,
    };
    supervise::run(&layout, &mut summary, listen, stop).await
}

/// The sample users, with passwords made when the directory was.
fn users(layout: &Layout) -> anyhow::Result<Vec<User>> {
    let file = layout.path("quickstart.json");
    if let Ok(text) = std::fs::read_to_string(&file) {
        let summary: Summary = serde_json::from_str(&text).with_context(|| {
            format!("{} is not what quickstart wrote: remove the directory to start anew", file.display())
        })?;
        return Ok(summary.users);
    }
    let user = |name: &str, roles: &[&str]| -> anyhow::Result<User> {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Ok(User { name: name.to_owned(), password: password()?, roles })
    };
    Ok(vec![user("alice", &["user"])?, user("admin", &["user", "admin", "cams-admin"])?])
}

/// 80 random bits in letters and digits that cannot be mistaken for one another.
fn password() -> anyhow::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = policy_server::token::random::<16>()?;
    Ok(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).map(|c| char::from(*c)).collect())
}

fn users_xml(users: &[User]) -> anyhow::Result<String> {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- The sample users. Changes take effect within a second, without a restart.\n     \
         Make a digest with `printf %s PASSWORD | cams digest`. -->\n<cams-users>\n",
    );
    for user in users {
        let salt = policy_server::token::random()?;
        let digest = digest::create(Scheme::default(), user.password.as_bytes(), salt)?;
        xml += &format!("  <user name=\"{}\" password=\"{digest}\">\n", user.name);
        for role in &user.roles {
            xml += &format!("    <role name=\"{role}\"/>\n");
        }
        xml += "  </user>\n";
    }
    xml += "</cams-users>\n";
    Ok(xml)
}

/// Registers the agent on the first start; its files stay.
async fn register_agent(layout: &Layout) -> anyhow::Result<PathBuf> {
    let dir = layout.path("agent");
    let conf = dir.join(provision::AGENT_CONF);
    if conf.exists() {
        return Ok(conf);
    }
    let admin = Admin::open(&layout.cams_conf()).await?;
    // A start that was cut short may have left it in the register without its files.
    admin.remove_agent(AGENT).await?;
    let hosts = [HOST.to_owned(), "127.0.0.1".to_owned()];
    let rights = Rights {
        domains: vec!["system".to_owned()],
        hosts: hosts.to_vec(),
        entries: vec!["http".to_owned()],
        capabilities: vec![Capability::Enforce],
    };
    let sites: Vec<(String, String)> = hosts.into_iter().map(|host| (host, String::new())).collect();
    provision::register_agent(&admin, &dir, AGENT, rights, &sites).await
}

/// The address to listen on; one that is taken is refused here, in words, not by a child in its log.
async fn chosen(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: choose another address with --listen HOST:PORT"))?;
    Ok(listener.local_addr()?)
}

/// Ports change from start to start; everything else in the files stays as the admin left it.
async fn configure(layout: &Layout, agent_conf: &Path, listen: SocketAddr, upstream: &str) -> anyhow::Result<()> {
    let link = chosen(SocketAddr::from(([127, 0, 0, 1], 0))).await?.to_string();
    provision::set_in_file(&layout.cams_conf(), &[("cams.policy.server.listen", &link)])?;
    let mut properties =
        vec![("cams.listen.1".to_owned(), format!("https://{listen}")), ("cams.policy.server.1".to_owned(), link)];
    for (site, host) in [("site1", HOST), ("site2", "127.0.0.1")] {
        properties.push((format!("cams.site.{site}.upstream"), upstream.to_owned()));
        properties.push((format!("cams.tls.{host}.certificate"), "../tls/server.pem".to_owned()));
        properties.push((format!("cams.tls.{host}.key"), "../tls/server.key".to_owned()));
    }
    let properties: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    provision::set_in_file(agent_conf, &properties)
}
