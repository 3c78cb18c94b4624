//! Single sign-on between sites that cannot have one cookie. A site sends the browser to the login host with the hash of a
//! random value that it leaves in a cookie; the login host sends it back with a code; the site gets a session for code and
//! cookie together. A code without the cookie opens nothing, whoever shows it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shared_proto::check::Identity;
use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};
use shared_proto::names::field;
use shared_proto::secret::Secret;

use crate::cookies;
use crate::gate::login::{self, Attempt};
use crate::gate::remember::{self, Otherwise};
use crate::gate::reply::{Audit, Event, Reply};
use crate::gate::request::Request;
use crate::gate::{Demand, Question, State, Step, decided, respond, to_login};
use crate::head::{Head, Refusal};
use crate::origin::{Origin, split_url};
use crate::pages::Page;
use crate::redirect;

/// Characters of a code and of a hash: 256 bits in base64.
const LENGTH: usize = 43;
/// The name of the code in an address.
const CODE: &str = "code";

/// The site that waits for the session.
#[derive(Debug)]
pub struct Destination {
    pub origin: Origin,
    /// Path and query of the page.
    target: String,
    /// What ties the browser to it.
    pub binding: String,
}

impl Destination {
    /// Where a login is for, if its session must be handed over there: `original_url` was checked, and is on another
    /// origin, which gave the browser `binding`.
    pub fn new(request: &Request, original_url: &str, binding: Option<&str>) -> Option<Self> {
        let (origin, target) = split_url(original_url)?;
        let binding = binding.filter(|binding| is_random(binding))?;
        let (target, binding) = (target.to_owned(), binding.to_owned());
        (origin != request.here()).then_some(Self { origin, target, binding })
    }
}

fn is_random(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// What the login host and the policy server are told of what the browser keeps.
fn binding(nonce: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(nonce.expose()))
}

/// Whether a page of this site is wanted, and the login is where this site's cookie cannot be set.
pub fn is_needed(request: &Request, demand: &Demand) -> bool {
    let elsewhere = redirect::origin(&demand.login_url).filter(|origin| *origin != request.here());
    let is_apart = elsewhere.is_some_and(|origin| !request.config.shares_cookies(&origin.host));
    is_apart && request.is_navigation && demand.domain == request.config.domain
}

/// Sends the browser to log in elsewhere. All its tabs are tied to this site by one value.
pub fn attempt(mut request: Request, demand: Demand) -> (State, Step) {
    match request.handover.take() {
        Some(nonce) => leave(request, &demand, nonce),
        None => (State::Leaving(request, demand), Step::Ask(Question::Nonce)),
    }
}

pub fn leave(mut request: Request, demand: &Demand, nonce: Secret) -> (State, Step) {
    let binding = binding(&nonce);
    request.changes.expect_back(nonce);
    let mut parameters = vec![(field::HANDOVER, binding.as_str())];
    parameters.extend(demand.fresh.then_some((field::FRESH, "true")));
    to_login(&request, demand, &parameters)
}

/// At the login host: asks for a code for the session in hand. `identity` is whose it is, where it was opened just now.
pub fn offer(request: Request, attempt: Attempt, identity: Option<Identity>) -> (State, Step) {
    let (Some(destination), Some(session)) = (&attempt.destination, &request.session) else {
        return login::ask_form(request, attempt);
    };
    let question = HandoverRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: request.config.domain.clone(),
        entry: attempt.entry().to_owned(),
        session: session.clone(),
        audience: destination.origin.to_string(),
        target: destination.target.clone(),
        binding: destination.binding.clone(),
        client: request.client.clone(),
    };
    (State::HandingOver(request, attempt, identity), Step::Ask(Question::HandOver(question)))
}

/// What the policy server made of it. Whoever has no session that does there logs in, unless that has just been done.
pub fn outcome(
    mut request: Request,
    attempt: Attempt,
    identity: Option<Identity>,
    response: HandoverResponse,
) -> (State, Step) {
    match (response, &attempt.destination, identity) {
        (HandoverResponse::Ready { code }, Some(Destination { origin, .. }), identity) => {
            let url = format!("{origin}{}", request.config.handover_uri);
            let url = redirect::with_parameters(url, &[(CODE, code.expose_str().unwrap_or_default())]);
            let event = if identity.is_some() { Event::LoggedIn } else { Event::HandedOver };
            let user = identity.map(|identity| identity.user).unwrap_or_default();
            respond(&request, Reply::see_other(url, Audit::new(event, "").with_user(user)))
        }
        (HandoverResponse::NoSession, _, None) => {
            request.session = None;
            request.changes.end_session();
            remember::attempt(request, Otherwise::Page(attempt))
        }
        (HandoverResponse::OtherEntry, _, None) => login::ask_form(request, attempt),
        _ => respond(&request, login::no_service()),
    }
}

/// The browser comes back with a code. Who sent it does not matter: what counts is that it left from here.
pub fn start(request: Request, head: &Head) -> Result<(State, Step), Refusal> {
    if request.method != "GET" {
        let mut reply = Reply::refused(Refusal::new(405, "a login is brought along by GET"), true);
        reply.headers = vec![("Allow", "GET".to_owned())];
        return Ok(decided(Step::Respond(reply)));
    }
    let query = request.target.query().unwrap_or_default();
    let code = query.strip_prefix(CODE).and_then(|rest| rest.strip_prefix('=')).filter(|code| is_random(code));
    let Some(code) = code else { return Ok(refused(&request, Event::Refused, "the address has no code")) };
    // A new session's cookie would not help beside an unusable one: the browser would be sent to log in again, and back
    // here, without end. Asked for nobody, the policy server takes the code out of the world.
    let nonce = request.handover.as_ref().filter(|_| !cookies::is_unusable(&request.config, head));
    let question = RedeemRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: request.config.domain.clone(),
        entry: request.config.entry.clone(),
        audience: request.here().to_string(),
        code: code.into(),
        binding: nonce.map(binding).unwrap_or_default(),
        previous_session: request.session.clone(),
        remember: request.remembered.value(),
        client: request.client.clone(),
    };
    Ok((State::Redeeming(request), Step::Ask(Question::Redeem(question))))
}

/// What the policy server made of the code.
pub fn redeemed(mut request: Request, response: RedeemResponse) -> (State, Step) {
    match response {
        RedeemResponse::Success { session, identity, target, forget }
            if request.changes.start_session_here(&session) =>
        {
            if forget {
                request.changes.forget_remembered();
            }
            let to = redirect::original(&request.config, &request.here(), &target).filter(|to| to.starts_with('/'));
            let to = to.unwrap_or_else(|| request.config.default_page.clone());
            respond(&request, Reply::see_other(to, Audit::new(Event::LoggedIn, "").with_user(identity.user)))
        }
        RedeemResponse::Success { .. } | RedeemResponse::Refused | RedeemResponse::Unknown => {
            refused(&request, Event::LoginFailed, "the code of another host is of no use")
        }
    }
}

/// No way back to the login: it would only send the browser here again.
fn refused(request: &Request, event: Event, reason: &'static str) -> (State, Step) {
    let page = Page::HandoverRefused { start_url: request.config.default_page.clone() };
    respond(request, Reply::page(400, page, Audit::new(event, reason)))
}
