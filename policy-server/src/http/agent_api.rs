//! The operations of the link, as `shared-proto` describes them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{MethodRouter, post};
use shared_proto::PROTOCOL_VERSION;
use shared_proto::check::{CheckRequest, CheckResponse};
use shared_proto::hello::{HelloRequest, HelloResponse};
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest, LogoutResponse};

use super::who::Agent;
use super::{Message, Refusal};
use crate::enforcement::{self, EnforcementError};
use crate::wire::Server;

/// A path, and the operation it takes.
type Route = (&'static str, fn() -> MethodRouter<Arc<Server>>);

/// Every operation there is: the router is made of this list, and the census of routes is held against it (I10).
const ROUTES: [Route; 4] = [
    ("/agent/v1/hello", || post(hello)),
    ("/agent/v1/check", || post(check)),
    ("/agent/v1/login", || post(login)),
    ("/agent/v1/logout", || post(logout)),
];

pub fn routes() -> Router<Arc<Server>> {
    ROUTES.iter().fold(Router::new(), |router, (path, operation)| router.route(path, operation()))
}

pub fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(path, _)| *path)
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

impl From<EnforcementError> for Refusal {
    fn from(error: EnforcementError) -> Self {
        let status = match &error {
            EnforcementError::NotAllowed(_) => StatusCode::FORBIDDEN,
            EnforcementError::Unavailable(internal) => {
                tracing::error!(error = %internal, "a request failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}
