//! Revocation lists and the OCSP responder. Anybody may ask: what they tell is signed, and in certificates already.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ApiError, Call, Route};
use crate::revocation::RevocationError;
use crate::wire::Server;

/// Bytes of the longest OCSP request.
const MAX_REQUEST: usize = 64 << 10;
const OCSP_REQUEST: &str = "application/ocsp-request";
const OCSP_RESPONSE: &str = "application/ocsp-response";
const LIST: &str = "application/pkix-crl";
/// A list may lie in caches for so long, in seconds: it is the price of what is revoked meanwhile.
const LIST_SECONDS: i64 = 60;

pub(super) const ROUTES: &[Route] = &[
    ("/api/crl/{list}", || get(list)),
    ("/api/ocsp/{issuer}", || post(ask).layer(DefaultBodyLimit::max(MAX_REQUEST))),
    ("/api/ocsp/{issuer}/{*request}", || get(ask_in_path)),
];

async fn list(call: Call, State(server): State<Arc<Server>>, Path(file): Path<String>) -> Result<Response, ApiError> {
    call.may_ask(&server)?;
    let issuer = file.strip_suffix(".crl").ok_or_else(unknown)?;
    let now = server.now();
    let kept = server.revocation.list(issuer, now).await.map_err(failed)?.ok_or_else(unknown)?;
    let seconds = LIST_SECONDS.min(kept.next_update - now.as_second()).max(0);
    let cache = format!("public, max-age={seconds}");
    Ok(([(CONTENT_TYPE, LIST.to_owned()), (CACHE_CONTROL, cache)], kept.list).into_response())
}

impl Call {
    /// What anybody may ask, everybody may ask so often.
    fn may_ask(&self, server: &Server) -> Result<(), ApiError> {
        let too_many = || ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many questions");
        let is_allowed = server.revocation.may_ask(self.client);
        is_allowed.then_some(()).ok_or_else(|| too_many().with(RETRY_AFTER, "1".to_owned()))
    }
}

/// RFC 6960, appendix A.1.
async fn ask(
    call: Call,
    State(server): State<Arc<Server>>,
    Path(issuer): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim();
    if !kind.eq_ignore_ascii_case(OCSP_REQUEST) {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send {OCSP_REQUEST}")));
    }
    let request = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    answer(&call, &server, &issuer, &request).await
}

/// The same in the path: base64, whose slashes may be among those of the path.
async fn ask_in_path(
    call: Call,
    State(server): State<Arc<Server>>,
    Path((issuer, request)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    // What cannot be decoded is as little of a request as what can be and is none.
    let request = STANDARD.decode(request).unwrap_or_default();
    answer(&call, &server, &issuer, &request).await
}

async fn answer(call: &Call, server: &Server, issuer: &str, request: &[u8]) -> Result<Response, ApiError> {
    let answer = server.revocation.answer(issuer, request, call.client, server.now()).await.map_err(failed)?;
    let answer = answer.ok_or_else(unknown)?;
    // Whoever revokes must not wait for caches between here and there.
    Ok(([(CONTENT_TYPE, OCSP_RESPONSE), (CACHE_CONTROL, "no-store")], answer).into_response())
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is no such certificate authority")
}

fn failed(error: RevocationError) -> ApiError {
    tracing::error!(%error, "what is revoked cannot be told");
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "what is revoked cannot be told now");
    error.with(RETRY_AFTER, "1".to_owned())
}
