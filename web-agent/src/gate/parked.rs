//! Forms that were posted after their session had ended: the policy server keeps them over the login, and their sender
//! sends them again from a page of ours. Only forms of the site's own pages, and only those that a browser would send
//! again byte for byte.

use std::borrow::Cow;

use shared_proto::names::notice;
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};
use shared_proto::secret::Secret;

use crate::cookies::Carried;
use crate::gate::reply::{Audit, Event, Reply};
use crate::gate::request::Request;
use crate::gate::{Demand, Question, State, Step, decided, lead_to_login, respond, sender};
use crate::head::{Head, Refusal};
use crate::login_form::{self, MAX_BODY};
use crate::pages::{Notice, Page};
use crate::redirect;

/// Fields of the longest form that is kept.
const MAX_FIELDS: usize = 1_000;

/// The query parameter that names a form.
const ID: &str = "id";

/// What becomes of the body of a request that cannot pass now.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Posted {
    /// There is none, or it is not to be kept.
    #[default]
    Other,
    /// It may be kept, and is still unread.
    Unread,
    /// The policy server has it, under this id.
    Kept(String),
}

/// Whether a request has a form that is worth keeping, if its session turns out to have ended.
pub fn of(request: &Request, head: &Head) -> Posted {
    let is_form = request.method == "POST"
        && request.is_navigation
        && request.session.is_some()
        && sender::is_same_origin(request, head)
        && login_form::check_type(head).is_ok();
    if is_form { Posted::Unread } else { Posted::Other }
}

/// Reads the form before the browser is sent to the login.
pub fn read(request: Request, demand: Demand) -> (State, Step) {
    (State::ReadingPosted(request, demand), Step::Ask(Question::Body { max: MAX_BODY }))
}

/// Asks the policy server to keep it.
pub fn keep(mut request: Request, demand: Demand, body: Vec<u8>) -> (State, Step) {
    let body = Secret::new(body);
    // What could not be sent again is not promised.
    let can_be_sent = action(&request, request.target.as_str()).is_some() && fields(body.expose()).is_some();
    let (Some(session), true) = (request.session.clone(), can_be_sent) else {
        return lose(request, demand);
    };
    let question = ParkRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: request.config.domain.clone(),
        entry: request.config.entry.clone(),
        session,
        browser: browser(&mut request),
        origin: request.audience(),
        target: request.target.as_str().to_owned(),
        body,
        client: request.client.clone(),
    };
    (State::Parking(request, demand), Step::Ask(Question::Park(question)))
}

/// On to the login, with the form kept or not.
pub fn kept(mut request: Request, demand: Demand, response: ParkResponse) -> (State, Step) {
    let ParkResponse::Kept { id, browser, max_age_seconds } = response else { return lose(request, demand) };
    if !request.changes.keep_form(browser, max_age_seconds) {
        return lose(request, demand);
    }
    request.posted = Posted::Kept(id);
    lead_to_login(request, demand)
}

/// On to the login without the form.
pub fn lose(mut request: Request, demand: Demand) -> (State, Step) {
    request.posted = Posted::Other;
    lead_to_login(request, demand)
}

/// What the login page says of a form: that it is kept, or that it is not.
pub fn notice(request: &Request) -> Option<&'static Notice> {
    match &request.posted {
        Posted::Kept(_) => Notice::of_code(notice::FORM_KEPT),
        _ if request.is_navigation && !request.is_safe() => Notice::of_code(notice::FORM_LOST),
        _ => None,
    }
}

/// Where a request leads that comes back from the login: to its page, if it is one, or to its form.
pub fn way_back(request: &Request) -> Cow<'_, str> {
    match &request.posted {
        Posted::Kept(id) => Cow::Owned(redirect::with_parameters(request.config.resume_uri.clone(), &[(ID, id)])),
        _ if request.is_safe() && request.is_navigation => Cow::Borrowed(request.target.as_str()),
        _ => Cow::Borrowed("/"),
    }
}

/// A request for the page that sends a form again. It takes the form away, so nothing that only looks ahead may ask.
pub fn resume(mut request: Request, head: &Head) -> (State, Step) {
    if request.method != "GET" || sender::is_prefetch(head) {
        let mut reply = Reply::refused(Refusal::new(405, "a kept form can only be opened as a page"), true);
        reply.headers = vec![("Allow", "GET".to_owned())];
        return decided(Step::Respond(reply));
    }
    let query = request.target.query().unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == ID);
    let Some((_, id)) = id else { return gone(&request) };
    let question = TakeRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: request.config.domain.clone(),
        entry: request.config.entry.clone(),
        origin: request.audience(),
        id: id.into_owned(),
        session: request.session.clone(),
        browser: browser(&mut request),
        client: request.client.clone(),
    };
    (State::Resuming(request), Step::Ask(Question::TakeParked(question)))
}

/// The form, as a page that sends it.
pub fn taken(mut request: Request, response: TakeResponse) -> (State, Step) {
    match response {
        TakeResponse::Form { target, body } => {
            let Some((action, fields)) = action(&request, &target).zip(fields(body.expose())) else {
                return gone(&request);
            };
            let page = Page::Resend { action, fields };
            respond(&request, Reply::page(200, page, Audit::new(Event::Shown, "a posted form")))
        }
        TakeResponse::LoginRequired { domain, entry, login_url } => {
            if request.session.is_some() {
                request.changes.end_session();
            }
            lead_to_login(request, Demand::new(domain, entry, login_url))
        }
        TakeResponse::Gone => gone(&request),
    }
}

/// Where a form for this target is sent.
fn action(request: &Request, target: &str) -> Option<String> {
    redirect::original(&request.config, &request.here(), target)
}

fn gone(request: &Request) -> (State, Step) {
    let audit = Audit::new(Event::Shown, "there is no such posted form");
    let page = Page::FormGone { start_url: request.config.default_page.clone() };
    respond(request, Reply::page(410, page, audit))
}

/// What the browser shows for having forms kept.
fn browser(request: &mut Request) -> Option<Secret> {
    match std::mem::take(&mut request.browser) {
        Carried::Value(value) => Some(value),
        Carried::Nothing | Carried::Unusable => None,
    }
}

/// The fields of a form in order, if a page with them as hidden inputs would send these very bytes again (HTML,
/// "constructing the entry list" and "URL-encoded form data").
pub fn fields(body: &[u8]) -> Option<Vec<(String, Secret)>> {
    let fields: Vec<_> = form_urlencoded::parse(body).take(MAX_FIELDS).collect();
    let again = form_urlencoded::Serializer::new(String::with_capacity(body.len())).extend_pairs(&fields).finish();
    let again = Secret::from(again);
    let is_kept = again.expose() == body && fields.iter().all(|(name, value)| is_sent_as_it_is(name, value));
    let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), Secret::from(value.into_owned()));
    is_kept.then(|| fields.into_iter().map(owned).collect())
}

/// Whether a hidden input keeps a name and value: it is left out without a name, its line ends become CR LF, no page can
/// hold NUL, and a field `_charset_` tells the encoding whatever its value is.
fn is_sent_as_it_is(name: &str, value: &str) -> bool {
    let is_text = |text: &str| !text.replace("\r\n", "").contains(['\r', '\n', '\0']);
    let is_charset = name.eq_ignore_ascii_case("_charset_");
    !name.is_empty() && is_text(name) && is_text(value) && (!is_charset || value == "UTF-8")
}
