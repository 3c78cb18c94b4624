//! The account page: where a person is logged in, and what its buttons end. Whose it is, the policy server reads from the
//! session alone.

use shared_proto::account::{AccountEndRequest, AccountEndResponse, AccountRequest, AccountResponse, End};
use shared_proto::names::field;
use shared_proto::secret::Secret;

use crate::gate::remember::{self, Otherwise};
use crate::gate::reply::{Audit, Event, Reply};
use crate::gate::request::Request;
use crate::gate::{Answer, Demand, Question, State, Step, decided, respond, sender};
use crate::head::{Head, Refusal};
use crate::login_form;
use crate::pages::{AccountPage, Page};

/// What was asked last.
#[derive(Debug)]
pub enum Stage {
    Listing,
    Reading,
    Ending,
}

/// A request for the account page.
pub fn start(request: Request, head: &Head) -> Result<(State, Step), Refusal> {
    match request.method.as_str() {
        "GET" | "HEAD" => Ok(list(request)),
        // Not from another site of the cluster either, whose scripts may be somebody else's.
        "POST" if !sender::is_same_origin(&request, head) => Ok(decided(Step::Respond(Reply::cross_site()))),
        "POST" => {
            login_form::check_type(head)?;
            let question = Question::Body { max: login_form::MAX_BODY };
            Ok((State::Account(request, Stage::Reading), Step::Ask(question)))
        }
        _ => {
            let mut reply = Reply::refused(Refusal::new(405, "the account page takes GET and POST"), true);
            reply.headers = vec![("Allow", "GET, HEAD, POST".to_owned())];
            Ok(decided(Step::Respond(reply)))
        }
    }
}

/// Asks what there is, also without a session: the answer says where to log in.
pub fn list(request: Request) -> (State, Step) {
    let question = Question::Account(asker(&request));
    (State::Account(request, Stage::Listing), Step::Ask(question))
}

/// Takes the answer to what was asked.
pub fn answer(request: Request, stage: Stage, answer: Answer) -> (State, Step) {
    match (stage, answer) {
        (Stage::Listing, Answer::Account(response)) => listed(request, response),
        (Stage::Reading, Answer::Body(body)) => posted(request, &body),
        (Stage::Reading, Answer::BodyTooLarge) => {
            decided(Step::Respond(Reply::refused(Refusal::new(413, "the form is too large"), true)))
        }
        (Stage::Ending, Answer::AccountEnd(response)) => ended(request, response),
        _ => respond(&request, Reply::unavailable(request.is_navigation)),
    }
}

fn asker(request: &Request) -> AccountRequest {
    AccountRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: request.config.domain.clone(),
        entry: request.config.entry.clone(),
        session: request.session.clone(),
        client: request.client.clone(),
    }
}

fn listed(mut request: Request, response: AccountResponse) -> (State, Step) {
    match response {
        AccountResponse::Account(account) if request.session.is_some() => {
            let audit = Audit::new(Event::Shown, "the account page").with_user(account.user.clone());
            let page = AccountPage { action: request.config.account_uri.clone(), account };
            respond(&request, Reply::page(200, Page::Account(page), audit))
        }
        AccountResponse::LoginRequired { login_url } => {
            if request.session.is_some() {
                request.changes.end_session();
            }
            let (domain, entry) = (request.config.domain.clone(), request.config.entry.clone());
            remember::attempt(request, Otherwise::Account(Demand::new(domain, entry, login_url)))
        }
        AccountResponse::Account(_) | AccountResponse::Unknown => {
            respond(&request, Reply::unavailable(request.is_navigation))
        }
    }
}

fn posted(request: Request, body: &[u8]) -> (State, Step) {
    let end = login_form::fields(body).and_then(|mut fields| {
        let end = fields.remove(field::END).as_ref().and_then(Secret::expose_str).and_then(what);
        end.ok_or(Refusal::bad("the form does not say what is to end"))
    });
    match end {
        Ok(end) => {
            let question = Question::AccountEnd(AccountEndRequest { asker: asker(&request), end });
            (State::Account(request, Stage::Ending), Step::Ask(question))
        }
        Err(refusal) => decided(Step::Respond(Reply::refused(refusal, true))),
    }
}

/// `everything`, `session:ID` or `browser:ID`.
fn what(text: &str) -> Option<End> {
    if text == "everything" {
        return Some(End::Everything);
    }
    let (kind, id) = text.split_once(':')?;
    let id = Some(id).filter(|id| shared_proto::names::is_name(id))?.to_owned();
    match kind {
        "session" => Some(End::Session { id }),
        "browser" => Some(End::Browser { id }),
        _ => None,
    }
}

/// Back to the page; to the end of a logout, where it was one.
fn ended(mut request: Request, response: AccountEndResponse) -> (State, Step) {
    let (to, audit) = match response {
        AccountEndResponse::Ended { own: true } => {
            request.changes.forget_all();
            (request.config.logout_uri.clone(), Audit::new(Event::LoggedOut, "on the account page"))
        }
        AccountEndResponse::Ended { own: false } => {
            (request.config.account_uri.clone(), Audit::new(Event::Shown, "something was ended on the account page"))
        }
        AccountEndResponse::NotFound => {
            (request.config.account_uri.clone(), Audit::new(Event::Shown, "there was nothing to end any more"))
        }
        AccountEndResponse::NoSession => {
            request.changes.end_session();
            (request.config.account_uri.clone(), Audit::new(Event::LoginRequired, ""))
        }
        AccountEndResponse::Unknown => return respond(&request, Reply::unavailable(request.is_navigation)),
    };
    respond(&request, Reply::see_other(to, audit))
}
