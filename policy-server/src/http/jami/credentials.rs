//! What a client shows to say who it is: `Authorization` with a name and a password, or with a token (RFC 7617, RFC 6750).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use super::{ApiError, Call};
use crate::device::{Account, Credentials, token};
use crate::session::TokenHash;
use crate::wire::Server;

/// A request with a token that counts now, and whose it is.
pub struct Bearer {
    pub call: Call,
    /// Its person stands behind it, by what is at hand.
    pub account: Account,
    /// `None` for a token that a password was given for.
    pub device: Option<String>,
    pub token: TokenHash,
}

impl FromRequestParts<Arc<Server>> for Bearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Response> {
        let call = Call::from_request_parts(parts, server).await?;
        let token = bearer(&parts.headers).ok_or_else(|| unauthorised("Bearer").into_response())?;
        let owner = token::owner(server, &call.asker(), &token).await;
        let owner = owner.map_err(|error| ApiError::from_device(error, "Bearer").into_response())?;
        Ok(Self { call, account: owner.account, device: owner.device, token: TokenHash::of(&token) })
    }
}

/// One answer to everybody who is not known, whatever is wrong.
pub fn unauthorised(scheme: &str) -> ApiError {
    let challenge = match scheme {
        "Basic" => "Basic realm=\"Jami\", charset=\"UTF-8\"".to_owned(),
        scheme => scheme.to_owned(),
    };
    ApiError::new(StatusCode::UNAUTHORIZED, "who are you?").with(WWW_AUTHENTICATE, challenge)
}

/// The one `Authorization` of the request: what follows the scheme, in whatever case that is.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (name, rest) = value.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim_matches(' '))
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    authorization(headers, "Bearer").filter(|token| !token.is_empty()).map(Secret::from)
}

/// A name and a password, both in UTF-8 and not empty.
pub fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let decoded = Zeroizing::new(STANDARD.decode(authorization(headers, "Basic")?).ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    credentials(user, Secret::from(password))
}

/// `None` for what can be nobody's.
pub fn credentials(user: &str, password: Secret) -> Option<Credentials> {
    let is_text = |bytes: &[u8]| !bytes.is_empty() && !bytes.contains(&0);
    let is_good = is_text(user.as_bytes()) && is_text(password.expose());
    is_good.then(|| Credentials { user: user.to_owned(), password })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn a_name_and_a_password_in_one_header_are_credentials() {
        let of = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, expected) in [
            (of("alice:secret"), Some(("alice", "secret"))),
            (of("alice:a:b"), Some(("alice", "a:b"))),
            (of("Zoë:naïve"), Some(("Zoë", "naïve"))),
            (of("alice:secret").replace("Basic", "bASIC"), Some(("alice", "secret"))),
            (of("alice:secret").replace("Basic ", "Basic   "), Some(("alice", "secret"))),
            (of(""), None),
            (of(":"), None),
            (of("alice"), None),
            (of("alice:"), None),
            (of(":secret"), None),
            (of("ali\0ce:secret"), None),
            (of("alice:\0"), None),
            (format!("Basic {}", STANDARD.encode(b"alice:\xff")), None),
            (format!("Basic{}", STANDARD.encode("alice:secret")), None),
            (of("alice:secret").replace("Basic", "Bearer"), None),
            (of("alice:secret") + "!", None),
            (of("alice:secrets").replace('=', ""), None),
            ("Basic".to_owned(), None),
            (String::new(), None),
        ] {
            let found = basic(&headers(&[value.as_bytes()]));
            let found = found.as_ref().map(|found| (found.user.as_str(), found.password.expose_str().unwrap()));
            assert_eq!(found, expected, "{value}");
            assert!(basic(&headers(&[value.as_bytes(), value.as_bytes()])).is_none(), "twice: {value}");
        }
        assert!(basic(&headers(&[])).is_none() && basic(&headers(&[b"Basic \xff"])).is_none());
    }

    #[test]
    fn a_token_stands_alone() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let found = bearer(&headers(&[value.as_bytes()]));
            assert_eq!(found.as_ref().and_then(Secret::expose_str), expected, "{value}");
            assert!(bearer(&headers(&[value.as_bytes(), b"Bearer abc"])).is_none(), "{value}");
        }
    }
}
