//! `cams explain`: which permission and rule decide about a request, and why.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context;
use policy_server::access::{Request, Who, explain};

use crate::cli::ExplainArgs;
use crate::output;

pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (_, loaded) = policy_server::wire::check(&args.conf.conf)?;
    let domain =
        loaded.domains.get(&args.domain).with_context(|| format!("there is no security domain `{}`", args.domain))?;
    let url = Url::parse(&args.url).with_context(|| {
        format!("`{}` is not a URL such as https://app.example.org/private/?x=1", output::plain(&args.url))
    })?;
    let roles: BTreeSet<String> = args.roles.iter().filter(|role| !role.is_empty()).cloned().collect();
    let typed = (!args.remembered).then_some(args.typed_ago);
    let who =
        args.user.as_ref().map(|user| Who { user, roles: &roles, domain: &args.domain, entry: &args.entry, typed });
    let request = Request {
        scheme: url.scheme,
        host: &url.host,
        port: url.port,
        method: &args.method,
        path: url.path,
        query: url.query,
        domain: &args.domain,
        entry: &args.entry,
    };
    let explanation = explain(&domain.policy, &request, who.as_ref());
    if args.json.json {
        output::json(&explanation)?;
    } else {
        output::line(output::plain_lines(&explanation.to_string()))?;
    }
    Ok(if explanation.is_granted() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts of `scheme://host[:port]/path[?query]`.
struct Url<'a> {
    scheme: &'a str,
    host: String,
    port: u16,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default),
        };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        (!host.is_empty()).then(|| Self { scheme, host: host.to_ascii_lowercase(), port, path, query })
    }
}
