//! `cams init`: the files of quickstart for production. Nothing is started and nobody can log in yet.
//!
//! The login has a host name of its own, without a site beside it, so that no script in a site reaches its password
//! field; hence the login URL and the cookie domain that differ from the sample's.

use std::process::ExitCode;

use anyhow::Context;
use policy_server::admin::Admin;
use policy_server::agents::{Capability, Rights};

use crate::cli::InitArgs;
use crate::provision::{self, Layout};
use crate::{certificates, output, runtime};

const AGENT: &str = "web1";
const LOGIN_CONFIG: &str = "domains/system/login-config.xml";

pub fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let (site, login) = (args.site.to_ascii_lowercase(), args.login.to_ascii_lowercase());
    let domain = common_domain(&site, &login)
        .with_context(|| format!("{site} and {login} share no domain, so no cookie could reach both"))?;
    let layout = Layout::create(&args.dir)?;
    let conf = layout.path("agent").join(provision::AGENT_CONF);
    anyhow::ensure!(!conf.exists(), "{} exists already: choose another directory with --dir", conf.display());
    let login_url = format!("https://{login}/cams/login");
    let login_config = provision::sample(LOGIN_CONFIG).replace("\"/cams/login\"", &format!("\"{login_url}\""));
    layout.write_server(&[(LOGIN_CONFIG, &login_config)])?;
    certificates::create(&layout, &[&site, &login])?;
    let sites = [(site.clone(), args.upstream.clone()), (login, "none".to_owned())];
    runtime::tokio()?.block_on(register_agent(&layout, &sites))?;
    configure(&layout, &sites, domain)?;
    explain(&layout);
    Ok(ExitCode::SUCCESS)
}

/// The longest domain that both names lie in: `example.org` for `app.example.org` and `login.example.org`.
fn common_domain<'a>(a: &'a str, b: &str) -> Option<&'a str> {
    let parents = |name: &'a str| std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest));
    parents(a).find(|domain| domain.contains('.') && (b == *domain || b.ends_with(&format!(".{domain}"))))
}

async fn register_agent(layout: &Layout, sites: &[(String, String)]) -> anyhow::Result<()> {
    let rights = Rights {
        domains: vec!["system".to_owned()],
        hosts: sites.iter().map(|(host, _)| host.clone()).collect(),
        entries: vec!["http".to_owned()],
        capabilities: vec![Capability::Enforce],
    };
    let admin = Admin::open(&layout.cams_conf()).await?;
    provision::register_agent(&admin, &layout.path("agent"), AGENT, rights, sites).await?;
    Ok(())
}

fn configure(layout: &Layout, sites: &[(String, String)], domain: &str) -> anyhow::Result<()> {
    let mut properties =
        vec![("cams.listen.1".to_owned(), "https://0.0.0.0:443"), ("cams.cookie.domain".to_owned(), domain)];
    for (host, _) in sites {
        properties.push((format!("cams.tls.{host}.certificate"), "../tls/server.pem"));
        properties.push((format!("cams.tls.{host}.key"), "../tls/server.key"));
    }
    let properties: Vec<(&str, &str)> = properties.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    provision::set_in_file(&layout.path("agent").join(provision::AGENT_CONF), &properties)
}

fn explain(layout: &Layout) {
    let show = |path: &str| layout.path(path).display().to_string();
    let (server, agent) = (show("conf/cams.conf"), show("agent/cams-webagent.conf"));
    output::line("Nothing runs yet, and nobody can log in. Next:");
    output::line(format!("  1. put people into     {}", show("conf/domains/system/cams-users.xml")));
    output::line(format!("  2. replace the temporary certificate and key in {}", show("tls")));
    output::line(format!("  3. check both sides:   cams check --conf {server}"));
    output::line(format!("                         cams check --conf {agent}"));
    output::line(format!("  4. run them:           cams policy-server --conf {server}"));
    output::line(format!("                         cams web-agent --conf {agent}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_that_both_names_lie_in() {
        for (a, b, expected) in [
            ("app.example.org", "login.example.org", Some("example.org")),
            ("a.b.example.org", "c.b.example.org", Some("b.example.org")),
            ("example.org", "login.example.org", Some("example.org")),
            ("app.example.org", "login.example.com", None),
            ("app.org", "login.org", None),
            ("xexample.org", "login.example.org", None),
        ] {
            assert_eq!(common_domain(a, b), expected, "{a} {b}");
        }
    }
}
