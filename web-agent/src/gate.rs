//! The gate: decides what becomes of a request. A state machine without I/O: it asks questions, is given answers, and
//! ends in a [`Permit`] or a [`Reply`]. It must never turn an error or an unknown answer into a permit (I6).

pub mod permit;

mod account;
mod handover;
mod jami;
mod login;
mod logout;
mod parked;
mod remember;
mod reply;
mod request;
mod sender;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use shared_proto::account::{AccountEndRequest, AccountEndResponse, AccountRequest, AccountResponse};
use shared_proto::check::{CheckRequest, CheckResponse, Decision, Identity, SessionStanding};
use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};
use shared_proto::login::{AutoLoginRequest, AutoLoginResponse, EntryForm, LoginRequest, LoginResponse, LogoutRequest};
use shared_proto::names::field;
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::assertion::{Assertion, Claims};
use crate::cookies::Carried;
use crate::head::{Connection, Head, Refusal};
use crate::jami as api;
use crate::pages::Notice;
use crate::permit::Permit;
use crate::redirect;
use crate::site::{GateConfig, Service};

use parked::Posted;
pub use parked::fields as posted_fields;
pub use reply::{Audit, Event, Reply, ReplyBody};
use request::Request;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    Ask(Question),
    Forward(Permit),
    Respond(Reply),
}

/// What the gate needs to know; the first six go to the policy server.
#[derive(Debug)]
pub enum Question {
    Check(CheckRequest),
    Login(LoginRequest),
    /// A login with the cookie of a browser that is remembered.
    AutoLogin(AutoLoginRequest),
    Logout(LogoutRequest),
    /// To keep a posted form.
    Park(ParkRequest),
    /// To give it back.
    TakeParked(TakeRequest),
    Account(AccountRequest),
    AccountEnd(AccountEndRequest),
    /// A code with which the browser takes its session along to another site.
    HandOver(HandoverRequest),
    /// A session of this site for such a code.
    Redeem(RedeemRequest),
    /// 256 random bits in URL-safe base64.
    Nonce,
    /// An assertion for the site, without which it is told nothing of the person.
    Assertion(Claims),
    /// The keys with which the site of this host verifies assertions.
    Keys {
        host: String,
    },
    /// What the form of this login entry asks for.
    Form {
        entry: String,
    },
    /// The request's body, if it is no longer than `max` bytes.
    Body {
        max: usize,
    },
}

pub enum Answer {
    Check(CheckResponse),
    Login(LoginResponse),
    AutoLogin(AutoLoginResponse),
    Logout,
    Parked(ParkResponse),
    Taken(TakeResponse),
    Account(AccountResponse),
    AccountEnd(AccountEndResponse),
    HandOver(HandoverResponse),
    Redeem(RedeemResponse),
    Nonce(Secret),
    Assertion(Assertion),
    /// A JSON Web Key Set.
    Keys(Value),
    /// There is no key to sign with.
    NoKey,
    Form(EntryForm),
    Body(Vec<u8>),
    BodyTooLarge,
    /// No policy server could be reached, or it would not speak with us.
    LinkDown,
}

/// Without what it carries: a body may be a login form.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check(_) => "Check",
            Self::Login(_) => "Login",
            Self::AutoLogin(_) => "AutoLogin",
            Self::Logout => "Logout",
            Self::Parked(_) => "Parked",
            Self::Taken(_) => "Taken",
            Self::Account(_) => "Account",
            Self::AccountEnd(_) => "AccountEnd",
            Self::HandOver(_) => "HandOver",
            Self::Redeem(_) => "Redeem",
            Self::Nonce(_) => "Nonce",
            Self::Assertion(_) => "Assertion",
            Self::Keys(_) => "Keys",
            Self::NoKey => "NoKey",
            Self::Form(_) => "Form",
            Self::Body(_) => "Body",
            Self::BodyTooLarge => "BodyTooLarge",
            Self::LinkDown => "LinkDown",
        })
    }
}

/// One request on its way.
#[derive(Debug)]
pub struct Gate {
    state: State,
}

/// What was asked last.
#[derive(Debug)]
enum State {
    Checking(Request),
    /// It needs a login, and the browser is remembered.
    Remembering(Request, remember::Otherwise),
    /// It needs a login, and its form is to be kept until then.
    ReadingPosted(Request, Demand),
    Parking(Request, Demand),
    /// Asks for the form that was kept.
    Resuming(Request),
    /// Granted; the site shall be told for whom.
    Vouching(Request, Identity),
    ShowingKeys(Request),
    ShowingForm(Request, login::Attempt),
    ReadingForm(Request),
    LoggingIn(Request, login::Attempt),
    LoggingOut(Request),
    Account(Request, account::Stage),
    /// It is about to be sent to log in on another host.
    Leaving(Request, Demand),
    /// Its session is to go to the site that the login is for.
    HandingOver(Request, login::Attempt, Option<Identity>),
    Redeeming(Request),
    Decided,
}

/// The login that the policy server wants to see before it lets a request pass.
#[derive(Debug)]
struct Demand {
    domain: String,
    entry: String,
    login_url: String,
    /// There is a session already, and it does not do.
    fresh: bool,
    notice: Option<&'static Notice>,
}

impl Demand {
    fn new(domain: String, entry: String, login_url: String) -> Self {
        Self { domain, entry, login_url, fresh: false, notice: None }
    }

    fn with_notice(self, notice: Option<&'static Notice>) -> Self {
        Self { notice, ..self }
    }
}

impl Gate {
    /// Looks at a request. `request_id` ties the logs of agent and server together.
    pub fn start(config: &Arc<GateConfig>, connection: &Connection, head: &Head, request_id: &str) -> (Self, Step) {
        let admitted = Request::admit(config, connection, head, request_id);
        Self::begin(admitted.and_then(|request| route(request, head)), head)
    }

    /// The same where nothing is served but what says which certificates are revoked.
    pub fn start_for_revocation(
        config: &Arc<GateConfig>,
        connection: &Connection,
        head: &Head,
        request_id: &str,
    ) -> (Self, Step) {
        Self::begin(jami::revocation(config, connection, head, request_id), head)
    }

    fn begin(routed: Result<(State, Step), Refusal>, head: &Head) -> (Self, Step) {
        let (state, step) = routed
            .unwrap_or_else(|refusal| decided(Step::Respond(Reply::refused(refusal, request::is_navigation(head)))));
        (Self { state }, step)
    }

    /// Takes the answer to the last question. An answer to another question decides against the request.
    pub fn answer(&mut self, answer: Answer) -> Step {
        let (state, step) = match (std::mem::replace(&mut self.state, State::Decided), answer) {
            (State::Checking(request), Answer::Check(response)) => checked(request, response),
            (State::Vouching(request, identity), Answer::Assertion(assertion)) => {
                decided(Step::Forward(Permit::for_person(request, identity, assertion)))
            }
            (State::ShowingKeys(_), Answer::Keys(keys)) => decided(Step::Respond(Reply::keys(keys))),
            (State::ReadingForm(request), Answer::Body(body)) => login::form(request, &Zeroizing::new(body)),
            (State::ReadingForm(_), Answer::BodyTooLarge) => {
                decided(Step::Respond(Reply::refused(Refusal::new(413, "the form is too large"), true)))
            }
            (State::Remembering(request, otherwise), Answer::AutoLogin(response)) => {
                remember::outcome(request, otherwise, response)
            }
            (State::Remembering(request, otherwise), _) => {
                remember::outcome(request, otherwise, AutoLoginResponse::NoService)
            }
            (State::ReadingPosted(request, demand), Answer::Body(body)) => parked::keep(request, demand, body),
            (State::Parking(request, demand), Answer::Parked(response)) => parked::kept(request, demand, response),
            (State::ReadingPosted(request, demand) | State::Parking(request, demand), _) => {
                parked::lose(request, demand)
            }
            (State::Resuming(request), Answer::Taken(response)) => parked::taken(request, response),
            (State::ShowingForm(request, attempt), Answer::Form(form)) => {
                respond(&request, login::page(&request, attempt, form))
            }
            (State::ShowingForm(..), _) => decided(Step::Respond(login::no_service())),
            (State::LoggingIn(request, attempt), Answer::Login(response)) => login::outcome(request, attempt, response),
            (State::LoggingIn(..), _) => decided(Step::Respond(login::no_service())),
            (State::LoggingOut(request), Answer::Logout) => logout::done(&request),
            (State::LoggingOut(request), _) => logout::failed(&request),
            (State::Account(request, stage), answer) => account::answer(request, stage, answer),
            (State::Leaving(request, demand), Answer::Nonce(nonce)) => handover::leave(request, &demand, nonce),
            (State::HandingOver(request, attempt, identity), Answer::HandOver(response)) => {
                handover::outcome(request, attempt, identity, response)
            }
            (State::HandingOver(request, ..), _) => respond(&request, login::no_service()),
            (State::Redeeming(request), Answer::Redeem(response)) => handover::redeemed(request, response),
            (State::Leaving(request, _) | State::Redeeming(request), _) => {
                respond(&request, Reply::unavailable(request.is_navigation))
            }
            (State::Vouching(request, _) | State::ShowingKeys(request), _) => {
                respond(&request, Reply::no_key(&request))
            }
            (State::Checking(request) | State::Resuming(request), _) => {
                respond(&request, Reply::unavailable(request.is_navigation))
            }
            (State::ReadingForm(_) | State::Decided, _) => decided(Step::Respond(Reply::unavailable(true))),
        };
        self.state = state;
        step
    }
}

fn decided(step: Step) -> (State, Step) {
    (State::Decided, step)
}

/// An answer of our own, and with it what the browser is to do about our cookies.
fn respond(request: &Request, mut reply: Reply) -> (State, Step) {
    reply.set_cookies(request.set_cookies());
    decided(Step::Respond(reply))
}

fn route(mut request: Request, head: &Head) -> Result<(State, Step), Refusal> {
    let path = request.target.path();
    let service = request.config.services().into_iter().find_map(|(uri, service)| (uri == path).then_some(service));
    match service {
        Some(Service::Login) => return login::start(request, head),
        Some(Service::Logout) => return logout::start(request, head),
        Some(Service::Account) => return account::start(request, head),
        Some(Service::Forget) => return Ok(decided(Step::Respond(logout::forget()))),
        Some(Service::Resume) => return Ok(parked::resume(request, head)),
        Some(Service::Handover) => return handover::start(request, head),
        Some(Service::Keys) => return keys(request),
        None => {}
    }
    if request.site.jami {
        match api::call(request.target.path()) {
            Some(call) => return jami::pass_on(request, head, call),
            None if api::resembles(request.target.path()) => return Err(jami::NO_SUCH_CALL),
            None => {}
        }
    }
    if request.site.upstream.is_none() {
        return Err(Refusal::new(404, "there is nothing here but the login"));
    }
    if request.is_websocket {
        sender::check_websocket(&request, head)?;
    }
    if !sender::may_be_remembered(&request, head) {
        request.remembered = Carried::Nothing;
    }
    request.posted = parked::of(&request, head);
    Ok(check(request))
}

/// Asks whether it may pass, with the session it has now.
fn check(request: Request) -> (State, Step) {
    let question = request.check();
    (State::Checking(request), Step::Ask(Question::Check(question)))
}

/// The public keys of the site; they are no secret, so nobody is asked.
fn keys(request: Request) -> Result<(State, Step), Refusal> {
    if !request.is_safe() {
        let mut reply = Reply::refused(Refusal::new(405, "the keys can only be read"), true);
        reply.headers = vec![("Allow", "GET, HEAD".to_owned())];
        return Ok(decided(Step::Respond(reply)));
    }
    let question = Question::Keys { host: request.site.host.clone() };
    Ok((State::ShowingKeys(request), Step::Ask(question)))
}

/// What becomes of a request on which the policy server has spoken.
fn checked(mut request: Request, response: CheckResponse) -> (State, Step) {
    if response.session == SessionStanding::Ended && request.session.is_some() {
        request.changes.end_session();
    } else {
        request.posted = Posted::Other;
    }
    request.judge_client_cert(response.client_cert);
    let identity = response.identity;
    match response.decision {
        Decision::Granted if is_coherent(&request, response.session, identity.as_ref()) => {
            let Some(identity) = identity else {
                return decided(Step::Forward(Permit::for_anybody(request)));
            };
            let claims = Claims::new(request.audience(), &identity);
            (State::Vouching(request, identity), Step::Ask(Question::Assertion(claims)))
        }
        Decision::LoginRequired { domain, entry, login_url } => {
            let fresh = !matches!(response.session, SessionStanding::None | SessionStanding::Ended);
            let demand = Demand { fresh, ..Demand::new(domain, entry, login_url) };
            if fresh || demand.domain != request.config.domain {
                return login_required(request, demand);
            }
            remember::attempt(request, remember::Otherwise::Demand(demand))
        }
        Decision::Granted | Decision::Denied | Decision::Unknown => {
            let user = identity.map(|identity| identity.user).unwrap_or_default();
            respond(&request, Reply::denied(&request, user))
        }
    }
}

/// Whether a grant says for whom it is: a live session has an identity, and nothing else has.
fn is_coherent(request: &Request, standing: SessionStanding, identity: Option<&Identity>) -> bool {
    match standing {
        SessionStanding::Live => request.session.is_some() && identity.is_some(),
        SessionStanding::None | SessionStanding::Ended => identity.is_none(),
        SessionStanding::Unknown => false,
    }
}

/// The person has to log in; what was posted is kept for later, where it can be.
fn login_required(request: Request, demand: Demand) -> (State, Step) {
    if request.posted == Posted::Unread && demand.domain == request.config.domain {
        return parked::read(request, demand);
    }
    lead_to_login(request, demand)
}

/// Leads a person to the login page; tells a program where it is.
fn lead_to_login(request: Request, mut demand: Demand) -> (State, Step) {
    demand.notice = demand.notice.or_else(|| parked::notice(&request));
    if handover::is_needed(&request, &demand) {
        return handover::attempt(request, demand);
    }
    to_login(&request, &demand, &[])
}

fn to_login(request: &Request, demand: &Demand, further: &[(&str, &str)]) -> (State, Step) {
    let reply = match login_url(request, demand, further) {
        Some(url) => Reply::login_required(request, url),
        None => Reply::unavailable(request.is_navigation),
    };
    respond(request, reply)
}

/// Where to log in, and what that page needs to know to lead back.
fn login_url(request: &Request, demand: &Demand, further: &[(&str, &str)]) -> Option<String> {
    let original = format!("{}{}", request.here(), parked::way_back(request));
    let mut parameters =
        vec![(field::DOMAIN, demand.domain.as_str()), (field::ENTRY, &demand.entry), (field::ORIGINAL_URL, &original)];
    parameters.extend(demand.notice.map(|notice| (field::NOTICE, notice.code)));
    parameters.extend(further);
    redirect::login_page(&demand.login_url, &parameters)
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "gate/proof_tests.rs"]
mod proof_tests;

#[cfg(test)]
#[path = "gate/login_tests.rs"]
mod login_tests;

#[cfg(test)]
#[path = "gate/account_tests.rs"]
mod account_tests;

#[cfg(test)]
#[path = "gate/remember_tests.rs"]
mod remember_tests;

#[cfg(test)]
#[path = "gate/parked_tests.rs"]
mod parked_tests;

#[cfg(test)]
#[path = "gate/jami_tests.rs"]
mod jami_tests;

#[cfg(test)]
#[path = "gate/handover_tests.rs"]
mod handover_tests;
