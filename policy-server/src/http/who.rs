//! Who is calling. A proof, taken from the connection's certificate and the register, on every request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::Refusal;
use super::listener::PeerFingerprint;
use crate::agents::Registered;
use crate::audit::{Detail, Kind};
use crate::store::Position;
use crate::wire::Server;

/// How far the event log goes, read before whatever is looked up next: as a parameter it stands before [`Agent`].
pub struct ReadFrom(pub Position);

impl FromRequestParts<Arc<Server>> for ReadFrom {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        server.store.position().await.map(Self).map_err(|error| {
            tracing::error!(%error, "the event log cannot be read");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the policy server cannot read its store")
        })
    }
}

/// A web agent that is in the register now.
pub struct Agent(pub Registered);

impl FromRequestParts<Arc<Server>> for Agent {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let fingerprint = parts.extensions.get::<PeerFingerprint>().map(|peer| peer.0.as_str()).unwrap_or_default();
        match server.store.agent_by_fingerprint(fingerprint).await {
            Ok(Some(agent)) => Ok(Self(agent)),
            Ok(None) => {
                let reason = format!("no agent with the certificate {fingerprint} is registered");
                let url = Some(parts.uri.path());
                server.audit.record(Kind::AgentRefused, Detail { url, reason: Some(&reason), ..Detail::default() });
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "this agent is not registered (any more)"))
            }
            Err(error) => {
                tracing::error!(%error, "the register of agents cannot be read");
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the policy server cannot read its store"))
            }
        }
    }
}
