//! CORS (the Fetch standard): a web page of the one origin that is configured may call the API. Without it nothing is said
//! about origins, and a browser lets no page read an answer.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Call;
use crate::wire::Server;

/// Answers what a browser asks before it lets the page call, and names the origin in every answer.
pub async fn cors(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let origin = server.conf.jami.cors_origin.as_deref().and_then(|origin| HeaderValue::from_str(origin).ok());
    let Some(origin) = origin else { return next.run(request).await };
    let mut response = if request.method() == Method::OPTIONS {
        let (mut parts, _) = request.into_parts();
        match Call::from_request_parts(&mut parts, &server).await {
            Ok(_) => preflight(),
            Err(refusal) => return refusal,
        }
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response
}

fn preflight() -> Response {
    let allowed = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}
