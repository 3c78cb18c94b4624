//! The messages of the link, as either side reads the other's.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared_proto::check::{CheckRequest, CheckResponse, Decision};
use shared_proto::client_cert::{self, ClientCert};
use shared_proto::event::{LeaseRequest, LeaseResponse, Line};
use shared_proto::hello::{HelloRequest, HelloResponse, LinkError};
use shared_proto::login::{
    AutoLoginRequest, AutoLoginResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
};
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};

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
    again::<AutoLoginRequest>(data);
    again::<AutoLoginResponse>(data);
    again::<LogoutRequest>(data);
    again::<LogoutResponse>(data);
    again::<ParkRequest>(data);
    again::<ParkResponse>(data);
    again::<TakeRequest>(data);
    again::<TakeResponse>(data);
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

/// An accepted certificate is passed on byte for byte, means itself again, and has no other spelling but for the line
/// break at its end.
pub fn client_cert(data: &[u8]) {
    let Ok(cert) = ClientCert::parse(data) else { return };
    assert_eq!(cert.escaped().as_bytes(), data);
    assert_eq!(ClientCert::parse(cert.escaped().as_bytes()).as_ref(), Ok(&cert));
    assert!(data.len() <= client_cert::MAX && cert.escaped().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(cert.der().first() == Some(&0x30) && cert.der().len() > 2, "no SEQUENCE with anything in it");
    let other = cert.escaped().strip_suffix("%0A").map_or_else(|| format!("{}%0A", cert.escaped()), str::to_owned);
    if let Ok(other) = ClientCert::parse(other.as_bytes()) {
        assert_eq!(other.der(), cert.der());
    }
    let lower = cert.escaped().replace("%0A", "%0a");
    assert!(ClientCert::parse(lower.as_bytes()).is_err());
}
