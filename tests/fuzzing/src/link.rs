//! The messages of the link, as either side reads the other's.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared_proto::check::{CheckRequest, CheckResponse, Decision};
use shared_proto::event::{LeaseRequest, LeaseResponse, Line};
use shared_proto::hello::{HelloRequest, HelloResponse, LinkError};
use shared_proto::login::{LoginRequest, LoginResponse, LogoutRequest, LogoutResponse};

/// What was read means the same when it is written and read again.
fn again<T: DeserializeOwned + Serialize>(data: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(data).ok()?;
    let Ok(text) = serde_json::to_value(&message) else { return Some(message) };
    let second: T = serde_json::from_value(text.clone()).expect("our own message");
    assert_eq!(serde_json::to_value(&second).expect("as before"), text);
    Some(message)
}

/// A decision by the name it was sent under.
#[derive(Deserialize)]
struct Named {
    decision: Name,
}

#[derive(Deserialize)]
struct Name {
    is: String,
}

/// Messages survive the way there and back; a decision with a name nobody knows is no grant.
pub fn messages(data: &[u8]) {
    again::<HelloRequest>(data);
    again::<HelloResponse>(data);
    again::<LinkError>(data);
    again::<CheckRequest>(data);
    again::<LoginRequest>(data);
    again::<LoginResponse>(data);
    again::<LogoutRequest>(data);
    again::<LogoutResponse>(data);
    again::<LeaseRequest>(data);
    again::<LeaseResponse>(data);
    again::<Line>(data);
    if let Some(response) = again::<CheckResponse>(data)
        && response.decision == Decision::Granted
    {
        let named: Named = serde_json::from_slice(data).expect("it was read before");
        assert_eq!(named.decision.is, "granted");
    }
}
