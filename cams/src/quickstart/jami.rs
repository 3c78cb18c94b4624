//! What quickstart prepares for Jami devices beyond the sample: the CA, and a port without TLS for what says which of its
//! certificates are revoked. They name it, so it is chosen once.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use policy_server::admin::{Admin, AdminError};
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use tokio::net::TcpListener;

use super::bound;

/// Of the agent.
pub const CLEARTEXT: &str = "cams.jami.cleartext.listen.1";
/// Of the policy server.
pub const REVOCATION_URL: &str = "cams.jami.revocation.url";

/// Below the ports that systems take for connections going out, one of which could have it at the next start.
const PORTS: std::ops::Range<u64> = 20_000..32_000;
const TRIES: u32 = 100;
const CA: &str = "Cams quickstart CA";
const CA_YEARS: u8 = 20;

/// The port, ours until a child takes it: of an agent that is configured, the one it has, if it has one.
pub async fn cleartext(agent_conf: &Path) -> anyhow::Result<Option<TcpListener>> {
    let text = match std::fs::read_to_string(agent_conf) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return new().await.map(Some),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", agent_conf.display())),
    };
    let kept = Options::from_properties(agent_conf, &text, &mut Problems::default()).take(CLEARTEXT);
    // What is no address the agent will tell of.
    let Some(address) = kept.and_then(|(text, _)| text.trim().parse().ok()) else { return Ok(None) };
    let listener = bound(address).await.with_context(|| {
        format!("certificates name this port: free it, or change {CLEARTEXT} in {}", agent_conf.display())
    })?;
    Ok(Some(listener))
}

async fn new() -> anyhow::Result<TcpListener> {
    let random = RandomState::new();
    let any =
        (0..TRIES).filter_map(|n| u16::try_from(PORTS.start + random.hash_one(n) % (PORTS.end - PORTS.start)).ok());
    for port in any {
        if let Ok(listener) = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await {
            return Ok(listener);
        }
    }
    anyhow::bail!("there is no free port from {} to {} here", PORTS.start, PORTS.end)
}

/// Makes the CA, unless a start that was cut short has.
pub async fn authority(cams_conf: &Path) -> anyhow::Result<()> {
    match Admin::open(cams_conf).await?.create_ca(Some(CA), None, CA_YEARS, false).await {
        Ok(_) | Err(AdminError::CaExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
