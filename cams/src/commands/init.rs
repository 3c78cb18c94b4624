//! `cams init`: the files of quickstart for production. Nothing is started and nobody can log in yet.
//!
//! The login has a host name of its own, without a site beside it, so that no script in a site reaches its password
//! field; hence the login URL and the cookie domain that differ from the sample's.

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
    let domain = common_domain(site, login)
        .ok_or_else(|| Usage(format!("{site} and {login} share no domain, so no cookie could reach both")))?;
    let layout = Layout::create(&args.dir)?;
    let conf = layout.path("agent").join(provision::AGENT_CONF);
    anyhow::ensure!(!conf.exists(), "{} exists already: choose another directory with --dir", conf.display());
    let login_url = format!("https://{login}/cams/login");
    let login_config = provision::sample(LOGIN_CONFIG).replace("\"/cams/login\"", &format!("\"{login_url}\""));
    layout.write_server(&[(LOGIN_CONFIG, &login_config)])?;
    certificates::create(&layout, &[site, login], Zoned::now().date())?;
    runtime::tokio()?.block_on(provision::first_agent(&layout, agent(args, domain)))?;
    explain(&layout)?;
    if domain.matches('.').count() == 1 {
        output::notice(format!(
            "The session's cookie is for all of {domain}. That domain must be yours: browsers refuse a cookie for one in \
             which anybody gets names, such as co.uk, and nobody could log in."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent for both hosts, its configuration complete.
fn agent(args: &InitArgs, domain: &str) -> NewAgent<'static> {
    let hosts = vec![args.site.clone(), args.login.clone()];
    let mut properties = provision::sites(&[
        (args.site.clone(), args.upstream.clone()),
        (args.login.clone(), address::NO_UPSTREAM.to_owned()),
    ]);
    properties.extend(provision::temporary_certificates(&hosts));
    properties.push(("cams.listen.1".to_owned(), "https://0.0.0.0:443".to_owned()));
    properties.push(("cams.cookie.domain".to_owned(), domain.to_owned()));
    let rights = Rights {
        domains: vec!["system".to_owned()],
        hosts,
        entries: vec!["http".to_owned()],
        capabilities: vec![Capability::Enforce],
    };
    NewAgent { name: AGENT, rights, properties }
}

/// The longest domain that both names lie in: `example.org` for `app.example.org` and `login.example.org`.
fn common_domain<'a>(a: &'a str, b: &str) -> Option<&'a str> {
    let parents = |name: &'a str| std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest));
    parents(a).find(|domain| domain.contains('.') && (b == *domain || b.ends_with(&format!(".{domain}"))))
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
    output::line(format!("                         cams web-agent --conf {agent}"))
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
