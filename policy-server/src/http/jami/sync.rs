//! What the devices of an account share, who can be found, and what names stand for.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::credentials::{Bearer, unauthorised};
use super::{ApiError, Call, Route, read_json};
use crate::device::merge::{Kind, Records, Unfit};
use crate::device::search::{self, Contact, Directories, Page, SearchError};
use crate::device::sync::{self, MAX_RECORDS, SyncError};
use crate::device::turns::{AGAIN, Busy};
use crate::directory::person::Name;
use crate::store::Holder;
use crate::wire::{Domain, Server};

/// Longer than a whole list, with the blanks that clients write into it.
const MAX_BODY: usize = 8 << 20;
/// Commas and brackets in a list: each value of JSON takes many times its bytes in memory.
const MAX_VALUES: usize = 100_000;
/// Hexadecimal digits of a Jami ID.
const ID_DIGITS: usize = 40;

pub(super) const ROUTES: &[Route] = &[
    ("/api/auth/contacts", || {
        post(async |state, bearer, headers, body| share(Kind::Contacts, state, bearer, headers, body).await)
            .layer(DefaultBodyLimit::max(MAX_BODY))
    }),
    ("/api/auth/conversations", || {
        post(async |state, bearer, headers, body| share(Kind::Conversations, state, bearer, headers, body).await)
            .layer(DefaultBodyLimit::max(MAX_BODY))
    }),
    ("/api/auth/conversationRequests", || {
        post(async |state, bearer, headers, body| share(Kind::ConversationRequests, state, bearer, headers, body).await)
            .layer(DefaultBodyLimit::max(MAX_BODY))
    }),
    ("/api/auth/policyData", || get(policies)),
    ("/api/auth/directory/search", || get(look_for)),
    ("/api/auth/userprofile/{username}", || get(profile)),
    ("/api/nameserver/name/{name}", || get(address).post(no_registration)),
    ("/api/nameserver/addr/{id}", || get(name)),
];

type Body = Result<Bytes, BytesRejection>;
type Segment = Result<Path<String>, PathRejection>;

/// A list of a device, merged into what its account has: all of that is the answer. In a task of its own: the account's turn
/// ends with the work, also where nobody waits for it.
async fn share(
    kind: Kind,
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let account = bearer.account.id;
    let turn = sync::TURNS.take(&account).await.map_err(busy)?;
    let work = async move {
        let _turn = turn;
        let now = server.now().as_millisecond();
        let sent = spawn_blocking(move || read(kind, &headers, body, now)).await.map_err(SyncError::from);
        let merged = sync::sync(&server.store, &account, kind, sent.map_err(|error| refused(&account, error))??, now);
        let merged = merged.await.map_err(|error| refused(&account, error))?;
        let answer = spawn_blocking(move || private(Json(merged.into_values().collect::<Vec<_>>()))).await;
        answer.map_err(|error| refused(&account, error.into()))
    };
    tokio::spawn(work).await.map_err(|error| unavailable(&error))?
}

/// Takes its time.
fn read(kind: Kind, headers: &HeaderMap, body: Body, now: i64) -> Result<Records, ApiError> {
    let values = |body: &Bytes| body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if body.as_ref().is_ok_and(|body| values(body) > MAX_VALUES) {
        return Err(too_large(format!("a list has at most {MAX_VALUES} values")));
    }
    let elements: Vec<Value> = read_json(headers, body)?;
    if elements.len() > MAX_RECORDS {
        return Err(too_large(format!("a list has at most {MAX_RECORDS} elements")));
    }
    kind.read(elements, now).map_err(|unfit| match unfit {
        Unfit::TooLarge => too_large(unfit.to_string()),
        unfit => ApiError::new(StatusCode::BAD_REQUEST, unfit.to_string()),
    })
}

fn refused(account: &str, error: SyncError) -> ApiError {
    match error {
        SyncError::Full(_) => {
            tracing::warn!(account, reason = %error, "a list of a Jami account is full");
            too_large(error.to_string())
        }
        SyncError::NoAccount => unauthorised("Bearer"),
        error => unavailable(&error),
    }
}

fn too_large(text: String) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn busy(busy: Busy) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, busy.to_string()).with(RETRY_AFTER, AGAIN.to_string())
}

/// Settings of the client by their own names, all of them texts.
async fn policies(bearer: Bearer) -> Result<Response, ApiError> {
    let settings = domain(&bearer.call)?.blueprints.settings(&bearer.account.subject.roles);
    Ok(private(Json(json!(settings))))
}

/// A page of the people who have an account.
async fn look_for(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let bad = |name| ApiError::new(StatusCode::BAD_REQUEST, format!("`{name}` cannot be read"));
    let text = parameter(&query, "queryString").unwrap_or(Ok(String::new())).map_err(|()| bad("queryString"))?;
    let page = parameter(&query, "page").transpose().map_err(|()| bad("page"))?;
    let page = page.as_deref().map_or(Ok(1), str::parse).map_err(|_| bad("page"))?;
    let found = match may_search(&bearer)? {
        true => {
            let _turn = search::TURNS.try_take(&bearer.account.id).map_err(busy)?;
            directories(&server, &bearer.call)?.search(&text, page).await.map_err(|error| not_searched(&error))?
        }
        false => Page { people: Vec::new(), pages: 0 },
    };
    let profiles: Vec<Value> = found.people.iter().map(profile_of).collect();
    Ok(private(Json(json!({ "profiles": profiles, "numPages": found.pages }))))
}

/// As the blueprint of the person says.
fn may_search(bearer: &Bearer) -> Result<bool, ApiError> {
    Ok(domain(&bearer.call)?.blueprints.may_search(&bearer.account.subject.roles))
}

/// Clients write the text as it was typed, so a `+` is one.
fn parameter(query: &str, name: &str) -> Option<Result<String, ()>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(value).decode_utf8().map(String::from).map_err(|_| ()))
}

/// Texts alone, empty where nothing is known: some clients would show `null`.
fn profile_of(contact: &Contact) -> Value {
    let Contact { id, user, profile } = contact;
    json!({
        "id": id,
        "username": user,
        "firstName": profile.given_name,
        "lastName": profile.family_name,
        "email": profile.mail,
        "phoneNumber": profile.phone,
        "organization": profile.organisation,
        "profilePicture": "",
    })
}

async fn profile(State(server): State<Arc<Server>>, bearer: Bearer, user: Segment) -> Result<Response, ApiError> {
    let nobody = || ApiError::new(StatusCode::NOT_FOUND, "there is no such person");
    let name: Name = user.ok().and_then(|Path(user)| user.parse().ok()).ok_or_else(nobody)?;
    if !may_search(&bearer)? {
        return Err(nobody());
    }
    let found = directories(&server, &bearer.call)?.find(&name).await.map_err(|error| not_searched(&error))?;
    Ok(private(Json(profile_of(&found.ok_or_else(nobody)?))))
}

/// Everybody may ask so often. To a client, any 4xx but 400 means that nobody has the name.
fn may_ask(server: &Server, call: &Call) -> Result<(), ApiError> {
    let too_many = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many questions");
    let is_allowed = server.revocation.may_ask_for_names(call.client);
    is_allowed.then_some(()).ok_or_else(|| too_many().with(RETRY_AFTER, "1".to_owned()))
}

/// The account of a name. Anybody may ask.
async fn address(State(server): State<Arc<Server>>, call: Call, name: Segment) -> Result<Response, ApiError> {
    may_ask(&server, &call)?;
    let bad = || ApiError::new(StatusCode::BAD_REQUEST, "this is no name");
    let name: Name = name.ok().and_then(|Path(name)| name.parse().ok()).ok_or_else(bad)?;
    let holder = server.store.jami_holder(&call.domain, &name).await.map_err(|error| unavailable(&error))?;
    let Holder { id, user, .. } = holder.ok_or_else(nobody_has)?;
    Ok(private(Json(json!({ "name": user, "addr": format!("0x{id}") }))))
}

/// The name of an account. Anybody may ask.
async fn name(State(server): State<Arc<Server>>, call: Call, id: Segment) -> Result<Response, ApiError> {
    may_ask(&server, &call)?;
    let bad = || ApiError::new(StatusCode::BAD_REQUEST, "this is no Jami ID");
    let Path(id) = id.map_err(|_| bad())?;
    let id = id.strip_prefix("0x").or_else(|| id.strip_prefix("0X")).unwrap_or(&id).to_ascii_lowercase();
    if id.len() != ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let holder = server.store.jami_holder_of(&call.domain, &id).await.map_err(|error| unavailable(&error))?;
    Ok(private(Json(json!({ "name": holder.ok_or_else(nobody_has)?.user }))))
}

async fn no_registration(_: Call) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "names are those of the organisation's users: nobody registers another one")
}

fn nobody_has() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "nobody has this name or ID")
}

/// Of the request; that it is there was checked with the call.
fn domain(call: &Call) -> Result<&Domain, ApiError> {
    let gone = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the configuration has changed");
    call.loaded.domains.get(&call.domain).ok_or_else(gone)
}

fn directories<'a>(server: &'a Server, call: &'a Call) -> Result<Directories<'a>, ApiError> {
    let gone = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the configuration has changed");
    let entry = domain(call)?.entry(&call.entry).ok_or_else(gone)?;
    Ok(Directories { store: &server.store, domain: &call.domain, entry })
}

fn not_searched(error: &SearchError) -> ApiError {
    tracing::error!(%error, "people cannot be looked for now");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the directory cannot be asked now")
}

fn unavailable(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "a device cannot be answered now");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not now: try again later")
}

fn private(body: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_clients_write_them() {
        for (query, expected) in [
            ("", None),
            ("queryString=", Some(Ok(""))),
            ("queryString=alice", Some(Ok("alice"))),
            ("queryString=bo%20b", Some(Ok("bo b"))),
            ("queryString=a+b", Some(Ok("a+b"))),
            ("queryString=%C3%A9", Some(Ok("é"))),
            ("queryString=100%", Some(Ok("100%"))),
            ("page=2&queryString=a=b&queryString=c", Some(Ok("a=b"))),
            ("xqueryString=a&QUERYSTRING=b", None),
            ("queryString=%00", Some(Ok("\0"))),
            ("queryString=%FF", Some(Err(()))),
        ] {
            let expected = expected.map(|text| text.map(str::to_owned));
            assert_eq!(parameter(query, "queryString"), expected, "{query}");
        }
    }
}
