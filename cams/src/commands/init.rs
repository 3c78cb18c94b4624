//! `cams init`: the files of quickstart for production. Nothing is started and nobody can log in yet.
//!
//! Jami devices are prepared for, and let in nowhere: there is no CA before an admin makes or imports it.
//! The login has a host name of its own, without a site beside it, so that no script in a site reaches its password
//! field; hence the login URL that differs from the sample's.

use std::process::ExitCode;

use jiff::Zoned;
use policy_server::agents::{Capability, Rights};

use crate::cli::InitArgs;
use crate::output::Usage;
use crate::provision::{self, Layout, NewAgent};
use crate::{address, certificates, output, runtime};

const AGENT: &str = "web1";
const LOGIN_CONFIG: &str = "domains/system/login-config.xml";

pub fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (site, login) = (&args.site, &args.login);
    if site == login {
        return Err(
            Usage("the login needs a host name of its own: give --site and --login different ones".into()).into()
        );
    }
    let layout = Layout::create(&args.dir)?;
    let conf = layout.path("agent").join(provision::AGENT_CONF);
    anyhow::ensure!(!conf.exists(), "{} exists already: choose another directory with --dir", conf.display());
    let login_url = format!("https://{login}/cams/login");
    let login_config = provision::sample(LOGIN_CONFIG).replace("\"/cams/login\"", &format!("\"{login_url}\""));
    layout.write_server(&[(LOGIN_CONFIG, &login_config)])?;
    certificates::create(&layout, &[site, login], Zoned::now().date())?;
    runtime::tokio()?.block_on(provision::first_agent(&layout, agent(args)))?;
    explain(&layout)?;
    Ok(ExitCode::SUCCESS)
}

/// The agent for both hosts, its configuration complete.
fn agent(args: &InitArgs) -> NewAgent<'static> {
    let hosts = vec![args.site.clone(), args.login.clone()];
    let mut properties = provision::sites(&[
        (args.site.clone(), args.upstream.clone()),
        (args.login.clone(), address::NO_UPSTREAM.to_owned()),
    ]);
    properties.extend(provision::jami(2, false));
    properties.extend(provision::temporary_certificates(&hosts));
    properties.push(("cams.listen.1".to_owned(), "https://0.0.0.0:443".to_owned()));
    let rights = Rights {
        domains: vec!["system".to_owned()],
        hosts,
        entries: vec!["http".to_owned()],
        capabilities: vec![Capability::Enforce, Capability::Jami],
    };
    NewAgent { name: AGENT, rights, properties }
}

fn explain(layout: &Layout) -> anyhow::Result<()> {
    let show = |path: &str| layout.path(path).display().to_string();
    let (server, agent) = (show("conf/cams.conf"), show("agent/cams-webagent.conf"));
    output::line("Nothing runs yet, and nobody can log in. Next:")?;
    output::line(format!("  1. put people into     {}", show("conf/domains/system/cams-users.xml")))?;
    output::line(format!("  2. replace the temporary certificate and key in {}", show("tls")))?;
    output::line(format!("  3. check both sides:   cams check --conf {server}"))?;
    output::line(format!("                         cams check --conf {agent}"))?;
    output::line(format!("  4. run them:           cams policy-server --conf {server}"))?;
    output::line(format!("                         cams web-agent --conf {agent}"))?;
    output::line("For Jami devices also:")?;
    output::line(format!("  5. make the CA:        cams ca create --conf {server}"))?;
    output::line(format!("  6. let them in:        cams.site.site1.jami=true in {agent}"))
}
