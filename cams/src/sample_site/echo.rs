//! Answers with what the site received, so that people and tests see what the agent forwards.

use std::borrow::Cow;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

#[derive(Serialize)]
pub(super) struct Echo {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body_bytes: u64,
    body_sha256: String,
}

/// The head of the request, and the length and hash of its body. The body is read frame by frame and never kept,
/// so its size is bounded by nothing here. A body that breaks off is the client's fault: 400.
pub(super) async fn echo(request: Request) -> Result<Json<Echo>, StatusCode> {
    let (head, body) = request.into_parts();
    let (body_bytes, body_sha256) = digest(body).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value).into_owned())).collect();
    Ok(Json(Echo {
        method: head.method.to_string(),
        target: target(&head.uri, head.version),
        version: format!("{:?}", head.version),
        headers,
        body_bytes,
        body_sha256,
    }))
}

async fn digest(mut body: Body) -> Result<(u64, String), axum::Error> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len() as u64;
            hash.update(&data);
        }
    }
    Ok((bytes, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The request's target as it came: HTTP/2 carries scheme and host apart from it, and hyper joins the three.
pub(super) fn target(uri: &Uri, version: Version) -> String {
    match uri.path_and_query() {
        Some(target) if version == Version::HTTP_2 => target.to_string(),
        _ => uri.to_string(),
    }
}

/// A header value as text: UTF-8 where it is that, else every byte as the Latin-1 character HTTP once meant by it.
pub(super) fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().copied().map(char::from).collect()),
    }
}
