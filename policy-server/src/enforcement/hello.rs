//! The first words of an agent, and what does not fit. Nothing is refused here: what an agent may not do is refused when it
//! does it.

use shared_proto::PROTOCOL_VERSION;
use shared_proto::hello::{HelloRequest, HelloResponse};

use crate::agents::{Capability, Registered};
use crate::wire::{Loaded, Server};

/// Compares what the agent is configured for with what it is registered for, so that a mistake shows at its start.
pub fn hello(server: &Server, agent: &Registered, request: &HelloRequest) -> HelloResponse {
    let mut problems = Vec::new();
    if request.cluster != server.conf.cluster {
        problems.push(format!(
            "the agent belongs to the cluster `{}`, this server to `{}`",
            request.cluster, server.conf.cluster
        ));
    }
    let loaded = server.loaded();
    for host in &request.hosts {
        let refusal = agent.rights.refusal(Capability::Enforce, &request.domain, &request.entry, host);
        problems.extend(refusal.filter(|refusal| !problems.contains(refusal)));
    }
    problems.extend(jami_problems(&loaded, agent, request));
    match loaded.domains.get(&request.domain) {
        None => problems.push(format!("there is no security domain `{}` here", request.domain)),
        Some(domain) if domain.entry(&request.entry).is_none() => {
            problems.push(format!("the security domain `{}` has no login entry `{}`", request.domain, request.entry));
        }
        Some(_) => {}
    }
    HelloResponse {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        server: server.conf.server.clone(),
        cluster: server.conf.cluster.clone(),
        agent: agent.name.clone(),
        problems,
    }
}

/// The same for the sites at which Jami devices enrol.
fn jami_problems(loaded: &Loaded, agent: &Registered, request: &HelloRequest) -> Vec<String> {
    let HelloRequest { domain, jami_entry: entry, jami_hosts: hosts, .. } = request;
    let refusal = |host: &String| {
        let refusal = agent.rights.refusal(Capability::Jami, domain, entry, host)?;
        Some(format!("Jami devices cannot enrol at `{host}`: {refusal}"))
    };
    let mut problems: Vec<String> = hosts.iter().filter_map(refusal).collect();
    if hosts.is_empty() {
        return problems;
    }
    // Without the domain there is more to say than this.
    let Some(known) = loaded.domains.get(domain) else { return problems };
    match known.entry(entry) {
        None => problems.push(format!(
            "Jami devices cannot enrol: the security domain `{domain}` has no login entry `{entry}` \
             (cams.jami.loginconfig.entry)"
        )),
        Some(found) if found.handler.form().fields.iter().any(|field| field.required) => problems.push(format!(
            "Jami devices cannot enrol: the login entry `{entry}` asks for more than a name and a password, and the Jami \
             client does not"
        )),
        Some(_) => {}
    }
    problems
}
