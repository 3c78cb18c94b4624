//! The operations of the link, as `shared-proto` describes them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Deserialize;
use shared_proto::PROTOCOL_VERSION;
use shared_proto::account::{AccountEndRequest, AccountEndResponse, AccountRequest, AccountResponse};
use shared_proto::assertion::{AssertionKeyRequest, AssertionKeyResponse};
use shared_proto::check::{CheckRequest, CheckResponse};
use shared_proto::event::{LeaseRequest, LeaseResponse};
use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};
use shared_proto::hello::{HelloRequest, HelloResponse};
use shared_proto::login::{
    AutoLoginRequest, AutoLoginResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
};
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};
use shared_proto::report::{AuditRequest, AuditResponse};

use super::listener::Stop;
use super::who::{Agent, ReadFrom};
use super::{Message, Refusal};
use crate::audit::{Detail, Kind};
use crate::enforcement::{self, EnforcementError};
use crate::events::{self, Feed};
use crate::store::Position;
use crate::wire::Server;

/// A path, and the operation it takes.
type Route = (&'static str, fn() -> MethodRouter<Arc<Server>>);

/// Every operation there is: the router is made of this list, and the census of routes is held against it (I10).
const ROUTES: [Route; 15] = [
    ("/agent/v1/hello", || post(hello)),
    ("/agent/v1/check", || post(check)),
    ("/agent/v1/login", || post(login)),
    ("/agent/v1/autologin", || post(autologin)),
    ("/agent/v1/logout", || post(logout)),
    ("/agent/v1/parked", || post(park)),
    ("/agent/v1/parked/take", || post(take_parked)),
    ("/agent/v1/account", || post(account)),
    ("/agent/v1/account/end", || post(account_end)),
    ("/agent/v1/handover", || post(hand_over)),
    ("/agent/v1/handover/redeem", || post(redeem)),
    ("/agent/v1/lease", || post(lease)),
    ("/agent/v1/events", || get(events)),
    ("/agent/v1/assertion-key", || post(assertion_key)),
    ("/agent/v1/audit", || post(audit)),
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
        let detail = Detail { agent: Some(&agent.name), url: Some("hello"), reason: Some(&error), ..Detail::default() };
        server.audit.record(Kind::AgentRefused, detail);
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    tracing::info!(agent = %agent.name, version = %request.version, "an agent connected");
    Ok(Json(enforcement::hello(&server, &agent, &request)))
}

async fn check(
    State(server): State<Arc<Server>>,
    ReadFrom(position): ReadFrom,
    Agent(agent): Agent,
    Message(request): Message<CheckRequest>,
) -> Answer<CheckResponse> {
    enforcement::check(&server, position, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn login(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<LoginRequest>,
) -> Answer<LoginResponse> {
    enforcement::login(server, agent, request).await.map(Json).map_err(Refusal::from)
}

async fn autologin(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<AutoLoginRequest>,
) -> Answer<AutoLoginResponse> {
    enforcement::autologin(server, agent, request).await.map(Json).map_err(Refusal::from)
}

async fn logout(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<LogoutRequest>,
) -> Answer<LogoutResponse> {
    enforcement::logout(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn park(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<ParkRequest>,
) -> Answer<ParkResponse> {
    enforcement::park(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn take_parked(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<TakeRequest>,
) -> Answer<TakeResponse> {
    enforcement::take_parked(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn account(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<AccountRequest>,
) -> Answer<AccountResponse> {
    enforcement::account(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn account_end(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<AccountEndRequest>,
) -> Answer<AccountEndResponse> {
    enforcement::end_of_account(server, agent, request).await.map(Json).map_err(Refusal::from)
}

async fn hand_over(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<HandoverRequest>,
) -> Answer<HandoverResponse> {
    enforcement::hand_over(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn redeem(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<RedeemRequest>,
) -> Answer<RedeemResponse> {
    enforcement::redeem(&server, &agent, &request).await.map(Json).map_err(Refusal::from)
}

async fn lease(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Message(request): Message<LeaseRequest>,
) -> Answer<LeaseResponse> {
    events::lease(&server, &agent, request).await.map(Json).map_err(Refusal::from)
}

/// Up to where the agent has been told.
#[derive(Deserialize)]
struct Told {
    epoch: String,
    after: i64,
}

async fn events(
    State(server): State<Arc<Server>>,
    Agent(agent): Agent,
    Extension(Stop(stop)): Extension<Stop>,
    told: Result<Query<Told>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(told) = told.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    let told = Position { epoch: told.epoch, seq: told.after };
    tracing::info!(agent = %agent.name, "an agent listens to events");
    let feed = Feed::open(server, agent, told, stop).await?;
    // The next line is made when the connection has room for it.
    let lines = futures_util::stream::unfold(feed, |mut feed| async move {
        let line = feed.next().await?;
        let line = serde_json::to_vec(&line).map(|mut text| {
            text.push(b'\n');
            Bytes::from(text)
        });
        Some((line, feed))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(lines)).into_response())
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
            EnforcementError::Unsettled => StatusCode::SERVICE_UNAVAILABLE,
            EnforcementError::GivenUp(internal) => {
                tracing::error!(error = %internal, "a login was given up");
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
