//! Assertions: what the agent signs to tell a site who a request is made for (RFC 7519, ES256), and the keys with which a
//! site verifies it (RFC 7517). Pure but for the randomness of a signature.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use shared_proto::assertion::{AssertionKeyResponse, LIFE_SECONDS, PublicKey};
use shared_proto::check::Identity;
use zeroize::Zeroizing;

/// What is asserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The origin of the site, which alone may believe it.
    pub audience: String,
    pub user: String,
    pub roles: Vec<String>,
    pub domain: String,
    pub session_id: String,
}

impl Claims {
    pub fn new(audience: String, identity: &Identity) -> Self {
        Self {
            audience,
            user: identity.user.clone(),
            roles: identity.roles.clone(),
            domain: identity.domain.clone(),
            session_id: identity.session_id.clone(),
        }
    }
}

/// A signed token. While it is valid, whoever has it can pass for the person at its site: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Assertion(Arc<str>);

impl Assertion {
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[assertion]")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    #[error("the assertion key of the policy server cannot be used")]
    Key,
    #[error("the assertion key is too old: the policy server has to give a new one")]
    Expired,
    #[error("an assertion cannot be signed")]
    Sign,
}

/// The keys as the policy server gave them last.
pub struct Keys {
    issuer: String,
    kid: String,
    pair: EcdsaKeyPair,
    not_after: i64,
    public: Vec<PublicKey>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("kid", &self.kid).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Keys {
    /// # Errors
    /// The private key is none.
    pub fn new(given: AssertionKeyResponse) -> Result<Self, AssertionError> {
        let der = Zeroizing::new(STANDARD.decode(given.private_key.expose()).map_err(|_| AssertionError::Key)?);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new());
        let AssertionKeyResponse { issuer, kid, not_after, public_keys: public, .. } = given;
        Ok(Self { issuer, kid, pair: pair.map_err(|_| AssertionError::Key)?, not_after, public })
    }

    /// Signs; `now` is in seconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// The key is too old, or there is no randomness.
    pub fn sign(&self, claims: &Claims, now: i64) -> Result<Assertion, AssertionError> {
        if now >= self.not_after {
            return Err(AssertionError::Expired);
        }
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid });
        let payload = json!({
            "iss": self.issuer,
            "aud": claims.audience,
            "sub": claims.user,
            "roles": claims.roles,
            "domain": claims.domain,
            "sid": claims.session_id,
            "iat": now,
            "exp": now + LIFE_SECONDS,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| AssertionError::Sign)?;
        Ok(Assertion::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    /// The JSON Web Key Set of a host.
    pub fn public(&self, host: &str) -> Value {
        let of_host = self.public.iter().filter(|key| key.hosts.iter().any(|known| known == host));
        let keys: Vec<Value> = of_host
            .map(|PublicKey { kid, x, y, .. }| {
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
            })
            .collect();
        json!({ "keys": keys })
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;
    use crate::testing::{alice, assertion_key};

    fn decode(part: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(part).unwrap()
    }

    #[test]
    fn a_signed_assertion_says_who_to_whom_and_until_when() {
        let given = assertion_key();
        let keys = Keys::new(given.clone()).unwrap();
        let token = keys.sign(&Claims::new("https://app.test".into(), &alice()), 1_000).unwrap();
        let [header, payload, signature] = token.as_str().split('.').collect::<Vec<_>>().try_into().unwrap();
        let json = |part| serde_json::from_slice::<Value>(&decode(part)).unwrap();
        assert_eq!(json(header), json!({ "alg": "ES256", "typ": "JWT", "kid": given.kid }));
        let expected = json!({
            "iss": "cams:Test:web", "aud": "https://app.test", "sub": "alice", "roles": ["user"], "domain": "system",
            "sid": "s1", "iat": 1_000, "exp": 1_060
        });
        assert_eq!(json(payload), expected);
        let set = keys.public("app.test");
        let point =
            [vec![4], decode(set["keys"][0]["x"].as_str().unwrap()), decode(set["keys"][0]["y"].as_str().unwrap())];
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.concat());
        let signed = format!("{header}.{payload}");
        public.verify(signed.as_bytes(), &decode(signature)).unwrap();
        assert!(public.verify(format!("{signed}x").as_bytes(), &decode(signature)).is_err());
        assert_eq!(keys.public("other.test"), json!({ "keys": [] }));
        assert!(!format!("{token:?} {keys:?}").contains(signature));
    }

    #[test]
    fn an_old_key_and_what_is_no_key_sign_nothing() {
        let keys = Keys::new(AssertionKeyResponse { not_after: 1_000, ..assertion_key() }).unwrap();
        let claims = Claims::new("https://app.test".into(), &alice());
        assert!(keys.sign(&claims, 999).is_ok());
        assert!(matches!(keys.sign(&claims, 1_000), Err(AssertionError::Expired)));
        for bad in ["", "AAAA", "not base64"] {
            assert!(Keys::new(AssertionKeyResponse { private_key: bad.into(), ..assertion_key() }).is_err());
        }
    }
}
