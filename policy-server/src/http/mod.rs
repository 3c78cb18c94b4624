//! The agents' listener: mutual TLS, HTTP/2, JSON.
//!
//! Handlers translate; what they mean is decided in [`crate::enforcement`]. Each takes an [`who::Agent`] as a parameter, so
//! none can forget to ask who is calling.

mod agent_api;
mod handshakes;
pub mod jami;
pub mod listener;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::de::DeserializeOwned;
use shared_proto::hello::LinkError;

use crate::wire::Server;

/// Larger than any message of an agent.
const MAX_BODY: usize = 256 << 10;

/// The paths of all operations.
pub fn paths() -> impl Iterator<Item = &'static str> {
    agent_api::paths().chain(jami::paths())
}

pub fn router(server: Arc<Server>) -> Router {
    agent_api::routes()
        .merge(jami::routes(&server))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is no such operation"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this operation has another method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(server)
}

/// An answer other than 200. The text is for the agent's log; it names no user.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(LinkError { error: self.error })).into_response()
    }
}

/// The JSON body of a request; a broken one is refused in the link's own words.
struct Message<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Message<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(message) = Json::from_request(request, state)
            .await
            .map_err(|rejection: JsonRejection| Refusal::new(rejection.status(), rejection.body_text()))?;
        Ok(Self(message))
    }
}
