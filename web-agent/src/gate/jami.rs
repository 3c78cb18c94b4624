//! Requests of Jami devices: they go to the policy server, which decides about them by the credentials they carry. So
//! nothing is asked here, no session counts, and nobody is led to a login.

use std::sync::Arc;

use super::{State, Step, decided};
use crate::gate::request::Request;
use crate::head::{Connection, Head, Refusal};
use crate::jami::{self, Call};
use crate::permit::Permit;
use crate::site::GateConfig;

/// For a path that is nearly one of the API: never a demand to log in, at which clients delete their keys.
pub(super) const NO_SUCH_CALL: Refusal =
    Refusal::new(404, "the API of Jami devices has no such path: look at the address that was typed");

/// Lets a request pass that can be read in one way only.
pub(super) fn pass_on(request: Request, head: &Head, call: Call) -> Result<(State, Step), Refusal> {
    if request.is_exposed && call.is_personal() {
        return Err(Refusal::new(403, "a password or a token does not go without TLS: use https"));
    }
    jami::check(head, call.body_limit(request.config.jami.body_limit))?;
    Ok(decided(Step::Forward(Permit::for_jami(request, call))))
}

/// Lets nothing pass but what is signed and therefore may go in cleartext. Whoever fetches a revocation list asks the
/// host that stands in a certificate, so the name is not looked at.
pub(super) fn revocation(
    config: &Arc<GateConfig>,
    connection: &Connection,
    head: &Head,
    request_id: &str,
) -> Result<(State, Step), Refusal> {
    const NOTHING: Refusal = Refusal::new(404, "nothing is served here but what says which certificates are revoked");
    let request = Request::for_revocation(config, connection, head, request_id)?.ok_or(NOTHING)?;
    let is_meant = matches!(request.method.as_str(), "GET" | "POST");
    let call = jami::call(request.target.path()).filter(|call| is_meant && *call == Call::Revocation);
    pass_on(request, head, call.ok_or(NOTHING)?)
}
