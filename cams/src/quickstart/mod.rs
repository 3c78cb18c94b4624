//! `cams quickstart`: the whole product on one machine.
//!
//! First the folder is locked and the ports are chosen, then files are written: a start that cannot come to anything
//! leaves nothing behind that a later one would believe.

mod jami;
mod probe;
mod supervise;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use jiff::Zoned;
use policy_server::agents::{Capability, Rights};
use policy_server::digest::{self, Scheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::probe::Probes;
use crate::certificates;
use crate::cli::QuickstartArgs;
use crate::provision::{self, Layout, NewAgent};
use crate::{files, runtime};
use cams::sample_site;

const AGENT: &str = "quickstart";
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];
const SUMMARY: &str = "quickstart.json";
const USERS: &str = "domains/system/cams-users.xml";
const LOGIN_CONFIG: &str = "domains/system/login-config.xml";
const SECURITY_DOMAIN: &str = "domains/system/security-domain.xml";
const REMEMBER_ME_KEY: &str = "keys/remember-me.key";
/// Put at the end of the sample's auth pipeline.
const REMEMBER_ME: &str = r#"
      <!-- Remembers browsers, where people ask for it. docs/modules/auto-login.md explains each parameter. -->
      <auth-valve className="com.cafesoft.security.engine.auth.AutoLoginAuthValve" enabled="true">
        <param-list>
          <param name="secretKey" value="file:../../../keys/remember-me.key"/>
          <param name="cookieExpirationDays" value="30"/>
          <param name="grace" value="30s"/>
        </param-list>
      </auth-valve>
"#;

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
    let _lock = lock(&layout)?;
    let site = bound(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let link = bound(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let cleartext = jami::cleartext(&layout.path("agent").join(provision::AGENT_CONF)).await?;
    let front = bound(args.listen).await.context("choose another address with --listen HOST:PORT")?;
    let (link_address, listen) = (link.local_addr()?, front.local_addr()?);
    let upstream = match &args.upstream {
        Some(url) => url.clone(),
        None => format!("http://{}", site.local_addr()?),
    };
    tokio::spawn(sample_site::serve(site));

    let mut summary = summary(&layout, listen)?;
    layout.write_key(REMEMBER_ME_KEY)?;
    let (login_config, security_domain) = remember_me();
    let users = users_xml(&summary.users)?;
    layout.write_server(&[(USERS, &users), (LOGIN_CONFIG, &login_config), (SECURITY_DOMAIN, &security_domain)])?;
    certificates::create(&layout, &HOSTS, Zoned::now().date())?;
    let revocation = cleartext.as_ref().map(TcpListener::local_addr).transpose()?;
    configure(&layout, link_address, listen, revocation, &upstream).await?;
    let probes = Probes::new(&layout.path("agent"), link_address, &summary.ca, listen)?;
    // The children take these ports.
    drop((link, front, cleartext));
    supervise::run(&layout, &mut summary, probes, stop).await
}

/// The sample's login entry and auth pipeline, with remember me.
fn remember_me() -> (String, String) {
    let handler = "callback.NamePasswordCallbackHandler\"";
    let remembering = "callback.AutoLoginNamePasswordCallbackHandler\"";
    let end = "    </auth-pipeline>";
    (
        provision::sample(LOGIN_CONFIG).replace(handler, remembering),
        provision::sample(SECURITY_DOMAIN).replace(end, &format!("{REMEMBER_ME}{end}")),
    )
}

/// Two products in one folder would take each other's ports and processes. The lock goes with the process.
fn lock(layout: &Layout) -> anyhow::Result<File> {
    let file = layout.path("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&file);
    let lock = lock.with_context(|| format!("cannot open {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => anyhow::bail!("quickstart runs in {} already", layout.path("").display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
    }
}

/// A port of our own until a child takes it; one that is taken is refused here, in words, not by a child in its log.
async fn bound(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// What an earlier start wrote, or a new one, with the passwords of users that are about to be. It is written before
/// the users are: a password that nobody could read would be of no use.
fn summary(layout: &Layout, listen: SocketAddr) -> anyhow::Result<Summary> {
    let file = layout.path(SUMMARY);
    let users = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str::<Summary>(&text).map(|summary| summary.users).with_context(|| {
            format!("{} is not what quickstart wrote: remove the directory to start anew", file.display())
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let users = layout.path("conf").join(USERS);
            anyhow::ensure!(
                !users.exists(),
                "{} is gone, and with it the passwords of {}: remove the directory to start anew",
                file.display(),
                users.display()
            );
            vec![user("alice", &["user"])?, user("admin", &["user", "admin", "cams-admin"])?]
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let url = format!("https://localhost:{}", listen.port());
    let summary = Summary {
        console: format!("{url}/cams/console/"),
        url,
        ca: layout.path("tls/ca.pem"),
        users,
        conf: layout.cams_conf(),
        agent_conf: layout.path("agent").join(provision::AGENT_CONF),
        policy_server_pid: 0,
        web_agent_pid: 0,
    };
    summary.write(layout)?;
    Ok(summary)
}

impl Summary {
    fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        files::replace(&layout.path(SUMMARY), &(serde_json::to_string_pretty(self)? + "\n"))
    }
}

fn user(name: &str, roles: &[&str]) -> anyhow::Result<User> {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Ok(User { name: name.to_owned(), password: policy_server::token::readable(16)?, roles })
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

/// Registers the agent on the first start. Ports change from start to start; everything else in the files stays as the
/// admin left it.
async fn configure(
    layout: &Layout,
    link: SocketAddr,
    listen: SocketAddr,
    cleartext: Option<SocketAddr>,
    upstream: &str,
) -> anyhow::Result<()> {
    let link = link.to_string();
    set_in_file(&layout.cams_conf(), &[("cams.policy.server.listen".to_owned(), link.clone())])?;
    let mut first = vec![("cams.autologin.enabled".to_owned(), "true".to_owned())];
    let is_first = !layout.path("agent").join(provision::AGENT_CONF).exists();
    if let Some(address) = cleartext.filter(|_| is_first) {
        let url = (jami::REVOCATION_URL.to_owned(), format!("http://{address}"));
        set_in_file(&layout.cams_conf(), &[url])?;
        jami::authority(&layout.cams_conf()).await?;
        first.extend(provision::jami(HOSTS.len(), true));
        first.push((jami::CLEARTEXT.to_owned(), address.to_string()));
    }
    let hosts = HOSTS.map(str::to_owned);
    let rights = Rights {
        domains: vec!["system".to_owned()],
        hosts: hosts.to_vec(),
        entries: vec!["http".to_owned()],
        capabilities: vec![Capability::Enforce, Capability::Jami],
    };
    let mut properties = provision::sites(&hosts.clone().map(|host| (host, upstream.to_owned())));
    properties.extend(provision::temporary_certificates(&hosts));
    properties.push(("cams.listen.1".to_owned(), format!("https://{listen}")));
    properties.push(("cams.policy.server.1".to_owned(), link));
    first.extend(properties.iter().cloned());
    let agent = NewAgent { name: AGENT, rights, properties: first };
    let conf = provision::first_agent(layout, agent).await?;
    set_in_file(&conf, &properties)
}

/// Sets properties in a file, atomically and only where they differ.
fn set_in_file(file: &Path, properties: &[(String, String)]) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let new = properties.iter().fold(old.clone(), |text, (key, value)| provision::set_property(&text, key, value));
    if new != old {
        files::replace(file, &new)?;
    }
    Ok(())
}
