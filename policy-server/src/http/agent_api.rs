//! The operations of the link, as `shared-proto` describes them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::post;
use shared_proto::PROTOCOL_VERSION;
use shared_proto::assertion::{AssertionKeyRequest, AssertionKeyResponse};
use shared_proto::check::{CheckRequest, CheckResponse};
use shared_proto::hello::{HelloRequest, HelloResponse};
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest, LogoutResponse};
use shared_proto::report::{AuditRequest, AuditResponse};

use super::who::Agent;
use super::{Message, Refusal};
use crate::enforcement::{self, EnforcementError};
use crate::wire::Server;

pub fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/check", post(check))
        .route("/agent/v1/login", post(login))
        .route("/agent/v1/logout", post(logout))
        .route("/agent/v1/assertion-key", post(assertion_key))
        .route("/agent/v1/audit", post(audit))
}

type Answer<T> = Result<Json<T>, Refusal>;

async fn hello(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<HelloRequest>,
) -> Answer<HelloResponse> {
    if request.protocol != PROTOCOL_VERSION {
        let error = format!(
            "this policy server speaks version {PROTOCOL_VERSION} of the link, the agent version {}: upgrade the older one",
            request.protocol
        );
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    tracing::info!(agent = %agent.name, version = %request.version, "an agent connected");
    Ok(Json(enforcement::hello(&server, &agent, &request)))
}

async fn check(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<CheckRequest>,
) -> Answer<CheckResponse> {
    enforcement::check(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn login(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<LoginRequest>,
) -> Answer<LoginResponse> {
    enforcement::login(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn logout(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<LogoutRequest>,
) -> Answer<LogoutResponse> {
    enforcement::logout(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn assertion_key(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(AssertionKeyRequest {}): Message<AssertionKeyRequest>,
) -> Answer<AssertionKeyResponse> {
    enforcement::assertion_key(&server, &agent).await.map(Json).map_err(Refusal::from)
}

async fn audit(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<AuditRequest>,
) -> Answer<AuditResponse> {
    server.reports.record(&server.audit, &agent, &request, server.now().as_second());
    Ok(Json(AuditResponse {}))
}

impl From<EnforcementError> for Refusal {
    fn from(error: EnforcementError) -> Self {
        let status = match &error {
            EnforcementError::NotAllowed(_) => StatusCode::FORBIDDEN,
            EnforcementError::Unavailable(internal) => {
                tracing::error!(error = %internal, "a request failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            EnforcementError::NoKey(internal) => {
                tracing::error!(error = %internal, "an agent gets no assertion key");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}
