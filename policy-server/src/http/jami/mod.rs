//! What Jami devices ask, as their agents pass it on: `/api/…` on the agents' listener.
//!
//! Every handler takes a [`Call`]: the proof that an agent which may do so passed the request on, and for which site. No
//! header counts without it (I4). Handlers translate; what they mean is decided in `crate::device`.

mod cors;
mod credentials;
mod device;
mod revocation;
mod sync;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::MethodRouter;
pub use credentials::Bearer;
use serde::de::DeserializeOwned;
use shared_proto::client_cert::ClientCert;
use shared_proto::names::header;

use super::who::Agent;
use crate::agents::{Capability, Registered};
use crate::audit::{Detail, Kind};
use crate::device::Asker;
use crate::wire::{Loaded, Server};

/// When a client may try again whose agent is not registered as it has to be: somebody has to do something first.
const RETRY_SECONDS: &str = "30";

/// A path, and the operations it takes.
pub(super) type Route = (&'static str, fn() -> MethodRouter<Arc<Server>>);

/// Every operation there is: the router is made of this list, and the census of routes is held against it (I10).
const ROUTES: &[&[Route]] = &[device::ROUTES, revocation::ROUTES, sync::ROUTES];

pub fn routes(server: &Arc<Server>) -> Router<Arc<Server>> {
    let called_from_pages = server.conf.jami.cors_origin.is_some();
    let routes = ROUTES.iter().copied().flatten().map(|(path, operation)| match called_from_pages {
        true => (path, operation().options(cors::preflight)),
        false => (path, operation()),
    });
    let router = routes.fold(Router::new(), |router, (path, operation)| router.route(path, operation));
    router.route_layer(from_fn_with_state(Arc::clone(server), cors::cors))
}

pub fn paths() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().copied().flatten().map(|(path, _)| *path)
}

/// A request of a client, passed on by an agent that may: registered, with the capability `jami`, for this security domain,
/// login entry and host.
pub struct Call {
    pub agent: Registered,
    /// The configuration that the request began with; it holds `domain` and `entry`.
    pub loaded: Arc<Loaded>,
    pub domain: String,
    pub entry: String,
    /// Scheme, host and port that the client used.
    pub origin: String,
    pub client: IpAddr,
    pub request_id: String,
    /// The leaf that the client proved to hold in its handshake with the agent. Whose it is, and whether it still counts,
    /// only the store says.
    pub certificate: Option<ClientCert>,
}

impl Call {
    /// The way this request came.
    pub fn asker(&self) -> Asker {
        Asker {
            loaded: Arc::clone(&self.loaded),
            domain: self.domain.clone(),
            entry: self.entry.clone(),
            agent: self.agent.name.clone(),
            client: self.client,
            request_id: self.request_id.clone(),
        }
    }

    /// For the audit log.
    pub fn detail(&self) -> Detail<'_> {
        Detail {
            request_id: Some(&self.request_id),
            agent: Some(&self.agent.name),
            domain: Some(&self.domain),
            entry: Some(&self.entry),
            client: Some(self.client.to_string()),
            ..Detail::default()
        }
    }
}

impl FromRequestParts<Arc<Server>> for Call {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Response> {
        let agent = Agent::from_request_parts(parts, server).await;
        let Agent(agent) = agent.map_err(|refusal| ApiError::not_passed_on(refusal.error).into_response())?;
        Self::read(parts, server, agent).map_err(|reason| ApiError::not_passed_on(reason).into_response())
    }
}

impl Call {
    /// The error is what is wrong with the agent, or with what it says.
    fn read(parts: &Parts, server: &Server, agent: Registered) -> Result<Self, String> {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let told = |name: &str| text(name).map(str::to_owned).ok_or_else(|| format!("the agent does not say {name}"));
        let (domain, entry, origin) =
            (told(header::SECURITY_DOMAIN)?, told(header::LOGIN_ENTRY)?, told(header::ORIGIN)?);
        let request_id = told(header::REQUEST_ID)?;
        let loaded = server.loaded();
        let refusal = agent.rights.refusal(Capability::Jami, &domain, &entry, host(&origin)).or_else(|| {
            let is_there = loaded.domains.get(&domain).is_some_and(|domain| domain.entry(&entry).is_some());
            (!is_there).then(|| format!("there is no login entry `{entry}` in a security domain `{domain}` here"))
        });
        if let Some(reason) = refusal {
            let (request_id, domain, entry) = (Some(&*request_id), Some(&*domain), Some(&*entry));
            let (agent, url, reason) = (Some(&*agent.name), Some(parts.uri.path()), Some(&*reason));
            let detail = Detail { request_id, agent, domain, entry, url, reason, ..Detail::default() };
            server.audit.record(Kind::AgentRefused, detail);
            return Err("this agent may not pass on requests of Jami devices".to_owned());
        }
        let bad = |what| format!("{what} of the agent cannot be read");
        let client = told(header::CLIENT_ADDRESS)?.parse().map_err(|_| bad("the client address"))?;
        let certificate = parts.headers.get(header::CLIENT_CERT).map(|value| ClientCert::parse(value.as_bytes()));
        let certificate = certificate.transpose().map_err(|_| bad("the client certificate"))?;
        Ok(Self { agent, loaded, domain, entry, origin, client, request_id, certificate })
    }
}

/// The JSON that a request carries, and says it does.
fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON, as application/json"));
    }
    let body = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "this is not the JSON that is asked for"))
}

/// The same where it is an object: for serde a list would do, with the members in their order.
fn read_object<T: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let is_object = body.as_ref().is_ok_and(|body| body.trim_ascii_start().starts_with(b"{"));
    let read = read_json(headers, body)?;
    is_object.then_some(read).ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "this is no JSON object"))
}

/// The host name of an origin.
fn host(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// An answer other than success. Jami clients look at the status alone; the text is for people, and names nobody.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    text: String,
    headers: Vec<(HeaderName, String)>,
}

impl ApiError {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), headers: Vec::new() }
    }

    /// What is the agent's fault, or ours, is nobody's verdict on the client: it would delete its keys at a 401. The text is
    /// for the log, and for whoever looks at the answer.
    fn not_passed_on(reason: String) -> Self {
        tracing::warn!(reason, "a request of a Jami device is refused for what its agent is");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason).with(RETRY_AFTER, RETRY_SECONDS.to_owned())
    }

    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.text }));
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], body).into_response();
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_origin() {
        for (origin, expected) in [
            ("https://jami.example.org", "jami.example.org"),
            ("https://jami.example.org:8443", "jami.example.org"),
            ("http://127.0.0.1:80", "127.0.0.1"),
            ("https://[::1]:8443", "[::1]"),
            ("https://[::1]", "[::1]"),
            ("jami.example.org", ""),
        ] {
            assert_eq!(host(origin), expected, "{origin}");
        }
    }
}
