//! Logging in with the cookie of a browser that is remembered: once for each request, before anybody is asked for a
//! password. What comes of it is a session or nothing; whether the request may pass is asked anew with it. What cannot
//! be used is deleted, and never an error (I8).

use shared_proto::login::{AutoLoginRequest, AutoLoginResponse};

use crate::cookies::Carried;
use crate::gate::account;
use crate::gate::login::{self, Attempt};
use crate::gate::reply::Reply;
use crate::gate::request::Request;
use crate::gate::{Demand, Question, State, Step, check, login_required, login_url, respond};
use crate::pages::Notice;

/// What the request was about to be answered with.
#[derive(Debug)]
pub enum Otherwise {
    Demand(Demand),
    /// The account page.
    Account(Demand),
    Page(Attempt),
}

/// Asks for a session, where there is something to show for it.
pub fn attempt(mut request: Request, otherwise: Otherwise) -> (State, Step) {
    match std::mem::replace(&mut request.remembered, Carried::Nothing) {
        Carried::Nothing => without(request, otherwise, None),
        Carried::Value(cookie) if request.config.auto_login => {
            let entry = match &otherwise {
                Otherwise::Demand(demand) | Otherwise::Account(demand) => &demand.entry,
                Otherwise::Page(attempt) => attempt.entry(),
            };
            let question = AutoLoginRequest {
                request_id: request.id.clone(),
                host: request.site.host.clone(),
                domain: request.config.domain.clone(),
                entry: entry.to_owned(),
                cookie,
                client: request.client.clone(),
            };
            (State::Remembering(request, otherwise), Step::Ask(Question::AutoLogin(question)))
        }
        Carried::Value(_) | Carried::Unusable => forgotten(request, otherwise, None),
    }
}

/// What the policy server made of it.
pub fn outcome(mut request: Request, otherwise: Otherwise, response: AutoLoginResponse) -> (State, Step) {
    let (session, identity, remember) = match response {
        AutoLoginResponse::Success { session, identity, remember } => (session, identity, remember),
        AutoLoginResponse::Refused { notice } => {
            let notice = notice.as_deref().and_then(Notice::of_code);
            return forgotten(request, otherwise, notice);
        }
        AutoLoginResponse::NoService => return later(request, otherwise),
        AutoLoginResponse::Unavailable | AutoLoginResponse::Unknown => return without(request, otherwise, None),
    };
    if !request.changes.start_session(&session) {
        return without(request, otherwise, None);
    }
    if let Some(remember) = remember {
        request.changes.remember(remember);
    }
    request.session = Some(session);
    match otherwise {
        Otherwise::Demand(_) => check(request),
        Otherwise::Account(_) => account::list(request),
        Otherwise::Page(attempt) => login::lead_on(request, attempt, identity),
    }
}

fn forgotten(mut request: Request, otherwise: Otherwise, notice: Option<&'static Notice>) -> (State, Step) {
    request.changes.forget_remembered();
    without(request, otherwise, notice)
}

/// Nobody can be logged in now. The page says so, and where to log in as somebody whom it does not concern.
fn later(request: Request, otherwise: Otherwise) -> (State, Step) {
    match otherwise {
        Otherwise::Demand(demand) | Otherwise::Account(demand) => match login_url(&request, &demand, &[]) {
            Some(url) => respond(&request, Reply::not_remembered_now(&request, url)),
            None => respond(&request, Reply::unavailable(request.is_navigation)),
        },
        Otherwise::Page(attempt) => login::ask_form(request, attempt.not_remembered_now()),
    }
}

/// The person logs in as ever.
fn without(request: Request, otherwise: Otherwise, notice: Option<&'static Notice>) -> (State, Step) {
    match otherwise {
        Otherwise::Demand(demand) | Otherwise::Account(demand) => login_required(request, demand.with_notice(notice)),
        Otherwise::Page(attempt) => login::ask_form(request, attempt.with_notice(notice)),
    }
}
