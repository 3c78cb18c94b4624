//! Enrolment, login and devices.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared_proto::secret::Secret;

use super::credentials::{Bearer, basic, credentials, unauthorised};
use super::{ApiError, Call, Route, read_object};
use crate::audit::Detail;
use crate::auth::subject::Subject;
use crate::device::enrol::{self, Answer, Request};
use crate::device::login::{self, Ticket};
use crate::device::{Device, DeviceError, revoke, search};
use crate::store::Reason;
use crate::wire::Server;

/// Longer than any certificate request with its JSON around it.
const MAX_BODY: usize = 64 << 10;
const PUBLIC_NAME_SERVER: &str = "https://ns.jami.net";
const OWN_NAME_SERVER: &str = "/api/nameserver";

pub(super) const ROUTES: &[Route] = &[
    ("/api/auth/device", || post(enrol_device).layer(DefaultBodyLimit::max(MAX_BODY))),
    ("/api/auth/device/{id}", || delete(revoke_device)),
    ("/api/auth/devices", || get(devices)),
    ("/api/login", || post(log_in).layer(DefaultBodyLimit::max(MAX_BODY))),
    ("/api/info", || get(info)),
];

type Body = Result<Bytes, BytesRejection>;

#[derive(Deserialize)]
struct Enrol {
    csr: String,
    #[serde(default, rename = "deviceName")]
    device_name: String,
}

async fn enrol_device(
    State(server): State<Arc<Server>>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let credentials = basic(&headers).ok_or_else(|| unauthorised("Basic"))?;
    let Enrol { csr, device_name } = read_object(&headers, body)?;
    let public = server.conf.jami.public_name_server;
    let request = Request { csr, device_name };
    let answer = enrol::enrol(server, call.asker(), credentials, request).await;
    let answer = answer.map_err(|error| ApiError::from_device(error, "Basic"))?;
    let settings = settings(&call, &answer.subject).await;
    Ok(secret(Json(Value::Object(enrolled(answer, public, settings)))))
}

/// What the client's account is set to: the person's full name, and what the blueprint says.
async fn settings(call: &Call, subject: &Subject) -> Map<String, Value> {
    let Some(domain) = call.loaded.domains.get(&call.domain) else { return Map::new() };
    let name = match domain.entry(&call.entry) {
        Some(entry) => search::full_name(entry, subject).await,
        None => None,
    };
    let name = name.map(|name| ("Account.displayName".to_owned(), name.into()));
    let policies = domain.blueprints.settings(&subject.roles).into_iter();
    policies.map(|(name, value)| (name.to_owned(), value.into())).chain(name).collect()
}

/// What the client keeps. Members it does not know are settings of its account, and must be texts.
fn enrolled(answer: Answer, public_name_server: bool, settings: Map<String, Value>) -> Map<String, Value> {
    let Answer { chain, receipt, .. } = answer;
    let name_server = if public_name_server { PUBLIC_NAME_SERVER } else { OWN_NAME_SERVER };
    let mut members = settings;
    members.insert("certificateChain".to_owned(), chain.into());
    members.insert("deviceReceipt".to_owned(), receipt.text.into());
    members.insert("receiptSignature".to_owned(), receipt.signature.into());
    members.insert("nameServer".to_owned(), name_server.into());
    members
}

/// Scripts of JAMS send what they would send as `Authorization`.
#[derive(Default, Deserialize)]
struct Login {
    username: Option<String>,
    #[serde(default, deserialize_with = "secret_text")]
    password: Option<Secret>,
}

fn secret_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::from))
}

/// Clients take a 401 here for the end of their device, and delete its keys: no other error is one.
async fn log_in(
    State(server): State<Arc<Server>>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let is_empty = body.as_ref().is_ok_and(Bytes::is_empty);
    let Login { username, password } = if is_empty { Login::default() } else { read_object(&headers, body)? };
    let typed = match (headers.contains_key(AUTHORIZATION), username, password) {
        (true, ..) => Some(basic(&headers)),
        (false, None, None) => None,
        (false, username, password) => Some(credentials(&username.unwrap_or_default(), password.unwrap_or_default())),
    };
    let forbidden = || ApiError::new(StatusCode::FORBIDDEN, "this opens nothing");
    let ticket = match (typed, &call.certificate) {
        (Some(None), _) | (None, None) => return Err(forbidden()),
        (Some(Some(typed)), _) => login::by_password(server, call.asker(), typed).await,
        (None, Some(certificate)) => login::by_certificate(&server, &call.asker(), certificate).await,
    };
    let Ticket { token, scope } = ticket.map_err(|error| match error {
        DeviceError::Credentials => forbidden(),
        error => ApiError::from_device(error, "Basic"),
    })?;
    Ok(secret(Json(json!({
        "access_token": token.expose_str(), "expires_in": scope.seconds(), "scope": scope.name(),
    }))))
}

/// All of them, revoked ones too: a client forgets those by the mark, not by their absence.
async fn devices(State(server): State<Arc<Server>>, bearer: Bearer) -> Result<Response, ApiError> {
    let devices = server.store.jami_devices(&bearer.account.id).await;
    let devices = devices.map_err(|error| ApiError::from_device(error.into(), "Bearer"))?;
    let row = |Device { id, name, revoked, .. }: Device| json!({ "deviceId": id, "alias": name, "revoked": revoked.is_some() });
    Ok(secret(Json(devices.into_iter().map(row).collect::<Vec<_>>())))
}

async fn revoke_device(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let Bearer { call, account, device, token } = bearer;
    if device.is_some() {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "revoking a device takes the password"));
    }
    let unavailable = |error| ApiError::from_device(DeviceError::Store(error), "Bearer");
    let reason = Reason::out_of_use("by the person");
    let by = Detail { entry: None, ..call.detail() };
    let revoked = revoke::revoke(&server.store, &server.audit, &account, &id, &reason, Some(&token), by).await;
    if !revoked.map_err(unavailable)? {
        // Once more is no mistake: the client may not have heard the answer.
        let own = server.store.jami_device(&id).await.map_err(unavailable)?;
        own.filter(|own| own.account == account.id).ok_or_else(ApiError::no_device)?;
    }
    Ok(secret(Json(json!({}))))
}

/// Whether devices can enrol here.
async fn info(State(server): State<Arc<Server>>, _: Call) -> Result<Response, ApiError> {
    let current = server.store.current_authority().await;
    let current = current.map_err(|error| ApiError::from_device(error.into(), "Basic"))?;
    Ok(Json(json!({ "installed": current.is_some().to_string() })).into_response())
}

fn secret(body: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], body).into_response()
}

impl ApiError {
    fn no_device() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such device")
    }

    /// The texts say what the client may know; the reason is in the audit log.
    pub(super) fn from_device(error: DeviceError, scheme: &str) -> Self {
        match error {
            DeviceError::Credentials => unauthorised(scheme),
            DeviceError::Revoked => unauthorised("Basic"),
            DeviceError::Throttled(seconds) => Self::new(StatusCode::TOO_MANY_REQUESTS, "too many failed logins")
                .with(RETRY_AFTER, seconds.to_string()),
            DeviceError::Busy(seconds) | DeviceError::TooOften(seconds) => {
                let again = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not now: try again later");
                again.with(RETRY_AFTER, seconds.to_string())
            }
            DeviceError::Bad(reason) => {
                tracing::info!(reason, "what a device sent cannot be used");
                Self::new(StatusCode::BAD_REQUEST, "the certificate request cannot be used")
            }
            DeviceError::Refused(reason) => {
                tracing::info!(reason, "a device is refused");
                Self::new(StatusCode::FORBIDDEN, "refused: ask the people who run this service")
            }
            error => {
                tracing::error!(%error, "a device cannot be answered now");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not now: try again later")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::receipt::Receipt;

    #[test]
    fn the_setting_says_whose_name_server_clients_ask() {
        for (is_public, expected) in [(false, "/api/nameserver"), (true, "https://ns.jami.net")] {
            let receipt = Receipt { text: "receipt".to_owned(), signature: "signature".to_owned() };
            let subject = Subject {
                user: "alice".to_owned(),
                roles: Default::default(),
                attributes: Default::default(),
                proofs: vec![],
            };
            let answer = Answer { chain: "chain".to_owned(), receipt, subject };
            let members = enrolled(answer, is_public, Map::from_iter([("nameServer".to_owned(), "other".into())]));
            let members = Value::Object(members);
            let sound = json!({
                "certificateChain": "chain", "deviceReceipt": "receipt", "receiptSignature": "signature",
                "nameServer": expected,
            });
            assert_eq!(members, sound);
        }
    }
}
