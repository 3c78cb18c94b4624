//! What Jami devices ask of the organisation they belong to, at the sites where they enrol: which requests these are, and
//! what of them the policy server is shown. Pure.
//!
//! They carry credentials of their own, so the access control policy says nothing about them, and nobody is led to a login.

use crate::head::{Head, Refusal};
use crate::target::Target;

/// Who such a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A device, or the person with it: with their credentials.
    Device,
    /// Anybody, who is answered like everybody: without a word about who asks.
    Anybody,
    /// The same, about certificates; also served in cleartext, as the answers are signed.
    Revocation,
}

/// Bytes of the longest question of anybody: one about certificates.
const SHORT: u64 = 64 * 1024;

/// Where the responder for certificates is, before the id of their issuer.
pub const OCSP: &str = "/api/ocsp/";

/// What a path of the API means, which has to be in canonical form; `None` for everything else, which is the site's own.
pub fn call(path: &str) -> Option<Call> {
    let is_below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    match path {
        "/api/login" => Some(Call::Device),
        "/api/info" => Some(Call::Anybody),
        _ if is_below("/api/auth/") => Some(Call::Device),
        _ if is_below("/api/nameserver/") => Some(Call::Anybody),
        _ if is_below("/api/crl/") || is_below(OCSP) => Some(Call::Revocation),
        _ => None,
    }
}

/// The target of a question to that responder which is part of the path, as RFC 6960, appendix A.1, has it.
pub fn ocsp_target(raw: &[u8]) -> Option<Target> {
    Target::parse_base64(raw, OCSP)
}

/// Whether a path is one of those that say who a device is, but for case, slashes at its end, or what stands before: a
/// client whose address was mistyped asks there, and deletes its keys at a 401.
pub fn resembles(path: &str) -> bool {
    is_login(path) || format!("{}/", path.to_ascii_lowercase()).contains("/api/auth/")
}

/// The same for the login alone.
pub fn is_login(path: &str) -> bool {
    path.trim_end_matches('/').to_ascii_lowercase().ends_with("/api/login")
}

/// Whether a policy server means what a status says: whoever asks a device who it is says how to tell, and nothing else
/// that could answer 401 may speak for it.
pub fn is_meant<'a>(status: u16, headers: impl IntoIterator<Item = &'a str>) -> bool {
    status != 401 || headers.into_iter().any(|name| name.eq_ignore_ascii_case("WWW-Authenticate"))
}

/// Headers of the client's that the policy server is shown. The last three are those of a web page of another origin,
/// which may call the API where an administrator says so.
const SHOWN: [&str; 7] = [
    "Accept",
    "Content-Type",
    "Content-Length",
    "User-Agent",
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];

impl Call {
    /// Whether who asks is shown: their credentials, and the certificate of their device.
    pub fn is_personal(self) -> bool {
        self == Self::Device
    }

    /// Bytes of the longest body, where devices may send `of_devices`: what anybody asks is short.
    pub fn body_limit(self, of_devices: u64) -> u64 {
        if self.is_personal() { of_devices } else { SHORT.min(of_devices) }
    }

    /// Whether a header of the client goes on to the policy server.
    pub fn shows(self, name: &str) -> bool {
        SHOWN.iter().any(|shown| name.eq_ignore_ascii_case(shown))
            || (self.is_personal() && name.eq_ignore_ascii_case("Authorization"))
    }
}

/// Whether a header of the answer goes on to the client: the API has no use for cookies.
pub fn is_answered(name: &str) -> bool {
    !name.eq_ignore_ascii_case("Set-Cookie") && !name.eq_ignore_ascii_case("Clear-Site-Data")
}

/// What can be said against a request before a byte of it goes on.
///
/// # Errors
/// 400 where it could be read in two ways or wants another protocol, 413 where its body is announced to be longer than
/// `body_limit`.
pub fn check(head: &Head, body_limit: u64) -> Result<(), Refusal> {
    for name in ["Authorization", "Content-Type"] {
        head.single(name)?;
    }
    if head.values("Upgrade").next().is_some() {
        return Err(Refusal::bad("the API of Jami devices speaks no other protocol"));
    }
    let announced = head.single("Content-Length")?.and_then(|length| length.parse::<u64>().ok());
    match announced.is_some_and(|length| length > body_limit) {
        true => Err(Refusal::new(413, "the body is too large")),
        false => Ok(()),
    }
}
