//! The login page and what it posts.

use shared_proto::check::Identity;
use shared_proto::login::{EntryForm, InputMode, LoginRequest, LoginResponse, Remember};
use shared_proto::names::{CALLBACK_PREFIX, code, field};

use crate::cookies::Carried;
use crate::gate::handover::{self, Destination};
use crate::gate::remember::{self, Otherwise};
use crate::gate::reply::{Audit, Event, RETRY_AFTER, Reply};
use crate::gate::request::Request;
use crate::gate::{Question, State, Step, decided, respond, sender};
use crate::head::{Head, Refusal};
use crate::login_form::{self, LoginForm, callback_name};
use crate::pages::{LoginField, LoginPage, Notice, Page};
use crate::redirect;

/// What a login needs to remember while the policy server is asked, and the page shows.
#[derive(Debug)]
pub struct Attempt {
    entry: String,
    username: String,
    /// Where to go afterwards, checked and in the form in which it is sent; empty for the default page.
    original_url: String,
    /// The other site which that page is on, if it waits for the session.
    pub destination: Option<Destination>,
    failure: Option<Failure>,
    notice: Option<&'static Notice>,
    /// The browser is remembered, and should be logged in without this page, but nobody can be now.
    is_late: bool,
}

impl Attempt {
    pub fn not_remembered_now(self) -> Self {
        Self { notice: Some(Notice::later()), is_late: true, ..self }
    }

    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The notice in hand, if there is one, takes the place of one from the address.
    pub fn with_notice(self, notice: Option<&'static Notice>) -> Self {
        Self { notice: notice.or(self.notice), ..self }
    }
}

/// Why nobody is logged in.
#[derive(Debug)]
struct Failure {
    exception: String,
    message: String,
    /// Seconds until another attempt counts.
    retry_after: Option<u64>,
}

/// A request for the login URI.
pub fn start(request: Request, head: &Head) -> Result<(State, Step), Refusal> {
    match request.method.as_str() {
        "GET" | "HEAD" => show(request),
        "POST" if sender::is_foreign(&request, head)? => Ok(decided(Step::Respond(Reply::cross_site()))),
        "POST" => {
            login_form::check_type(head)?;
            Ok((State::ReadingForm(request), Step::Ask(Question::Body { max: login_form::MAX_BODY })))
        }
        _ => {
            let message = "The login address takes no other method than GET and POST.";
            let mut reply = error(code::METHOD, message);
            reply.status = 405;
            reply.headers.push(("Allow", "GET, HEAD, POST".to_owned()));
            Ok(decided(Step::Respond(reply)))
        }
    }
}

/// The login page. Absent parameters are the agent's own domain and entry, so that a bookmark works. Whoever is
/// remembered and was on the way somewhere goes on; with a session it is that session which did not do there, unless it was
/// a site that has another cookie.
fn show(request: Request) -> Result<(State, Step), Refusal> {
    let form = LoginForm::parse(request.target.query().unwrap_or_default().as_bytes())?;
    if let Some(reply) = wrong_place(&request, form.domain.as_deref(), form.entry.as_deref()) {
        return Ok(decided(Step::Respond(reply)));
    }
    let entry = form.entry.as_deref().unwrap_or(&request.config.entry).to_owned();
    let original_url = original_url(&request, &form);
    let is_on_the_way = request.method == "GET" && request.is_navigation && !original_url.is_empty();
    let notice = form.notice.as_deref().and_then(Notice::of_code);
    let destination = Destination::new(&request, &original_url, form.handover.as_deref());
    let username = String::new();
    let attempt = Attempt { entry, username, original_url, destination, failure: None, notice, is_late: false };
    if is_on_the_way && !form.fresh && request.session.is_none() {
        return Ok(remember::attempt(request, Otherwise::Page(attempt)));
    }
    if is_on_the_way && !form.fresh && attempt.destination.is_some() {
        return Ok(handover::offer(request, attempt, None));
    }
    Ok(ask_form(request, attempt))
}

/// The page follows once it is known what the entry asks for.
pub fn ask_form(request: Request, attempt: Attempt) -> (State, Step) {
    let question = Question::Form { entry: attempt.entry.clone() };
    (State::ShowingForm(request, attempt), Step::Ask(question))
}

/// Takes the posted form and puts the question. Unlike the page, the form must name domain and entry.
pub fn form(request: Request, body: &[u8]) -> (State, Step) {
    let mut form = match LoginForm::parse(body) {
        Ok(form) => form,
        Err(refusal) => return decided(Step::Respond(Reply::refused(refusal, true))),
    };
    let (domain, entry) = (form.domain.as_deref().unwrap_or_default(), form.entry.as_deref().unwrap_or_default());
    if let Some(reply) = wrong_place(&request, Some(domain), Some(entry)) {
        return decided(Step::Respond(reply));
    }
    let original_url = original_url(&request, &form);
    let attempt = Attempt {
        entry: entry.to_owned(),
        username: form.username().to_owned(),
        destination: Destination::new(&request, &original_url, form.handover.as_deref()),
        original_url,
        failure: None,
        notice: None,
        is_late: false,
    };
    if !request.config.auto_login {
        form.callbacks.remove(callback_name(field::AUTO_LOGIN));
    }
    let question = LoginRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        domain: domain.to_owned(),
        entry: attempt.entry.clone(),
        callbacks: form.callbacks,
        previous_session: request.session.clone(),
        remember: request.remembered.value(),
        forget: forgets(&request, &attempt),
        client: request.client.clone(),
    };
    (State::LoggingIn(request, attempt), Step::Ask(Question::Login(question)))
}

/// What the policy server made of it. After a failure, the built-in page once more.
pub fn outcome(mut request: Request, attempt: Attempt, response: LoginResponse) -> (State, Step) {
    let reply = match response {
        LoginResponse::Success { session, identity, remember } if request.changes.start_session(&session) => {
            keep(&mut request, &attempt, remember);
            request.session = Some(session);
            return lead_on(request, attempt, identity);
        }
        LoginResponse::Success { .. } => no_service(),
        LoginResponse::Failure {
            code: code::AUTHENTICATION_FAILED,
            exception,
            message,
            login_url,
            retry_after_seconds,
        } => {
            let own_page = login_url.filter(|url| !is_builtin(&request, url));
            let failure = Failure { exception, message, retry_after: retry_after_seconds };
            match own_page.and_then(|url| back_to(&request, &url, &attempt, &failure)) {
                Some(reply) => reply,
                None => return ask_form(request, Attempt { failure: Some(failure), ..attempt }),
            }
        }
        LoginResponse::Failure { code: code::NO_SERVICE, .. } => no_service(),
        LoginResponse::Failure { code, message, .. } => error(code, &message),
        LoginResponse::Unknown => error(code::AUTHENTICATION_FAILED, "The login could not be completed."),
    };
    decided(Step::Respond(reply))
}

/// The form says anew whether to remember somebody, and so ends what the browser was remembered by before. Only a login
/// beyond the sites' own, which comes on top of it, leaves that alone.
fn keep(request: &mut Request, attempt: &Attempt, remember: Option<Remember>) {
    match remember {
        Some(remember) => request.changes.remember(remember),
        None if !forgets(request, attempt) => {}
        None if matches!(request.remembered, Carried::Nothing) => {}
        None => request.changes.forget_remembered(),
    }
}

fn forgets(request: &Request, attempt: &Attempt) -> bool {
    attempt.entry == request.config.entry
}

/// Somebody is logged in: on to the page that was wanted.
pub fn lead_on(request: Request, attempt: Attempt, identity: Identity) -> (State, Step) {
    if attempt.destination.is_some() {
        return handover::offer(request, attempt, Some(identity));
    }
    let to = match attempt.original_url.as_str() {
        "" => request.config.default_page.clone(),
        url => url.to_owned(),
    };
    respond(&request, Reply::see_other(to, Audit::new(Event::LoggedIn, "").with_user(identity.user)))
}

/// Nobody can be logged in now.
pub fn no_service() -> Reply {
    let mut reply = error(code::NO_SERVICE, "The login service cannot be reached. Please try again later.");
    reply.status = 503;
    reply.headers.push(("Retry-After", RETRY_AFTER.to_owned()));
    reply.audit = Audit::new(Event::Unavailable, "no policy server answered the login");
    reply
}

/// When to try again, in words, rather too late than too early.
fn try_again(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=90 => (seconds.max(1), "second"),
        91..=7_200 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3_600), "hour"),
    };
    format!("Try again in {count} {unit}{}.", if count == 1 { "" } else { "s" })
}

/// Back to the login page that an entry names as its own, if it is a page of the cluster.
fn back_to(request: &Request, login_url: &str, attempt: &Attempt, failure: &Failure) -> Option<Reply> {
    let url = redirect::resolve(&request.config, &request.here(), login_url)?;
    let code = code::AUTHENTICATION_FAILED.to_string();
    let retry_after = failure.retry_after.map(|seconds| seconds.to_string());
    let mut parameters = vec![
        (field::DOMAIN, request.config.domain.as_str()),
        (field::ENTRY, &attempt.entry),
        (field::ORIGINAL_URL, &attempt.original_url),
        (field::ERROR, &code),
        (field::EXCEPTION, &failure.exception),
        (field::MESSAGE, &failure.message),
    ];
    parameters.extend(attempt.destination.iter().map(|to| (field::HANDOVER, to.binding.as_str())));
    parameters.extend(retry_after.as_deref().map(|seconds| (field::RETRY_AFTER, seconds)));
    let url = redirect::with_parameters(url, &parameters);
    Some(Reply::see_other(url, Audit::new(Event::LoginFailed, "").with_user(attempt.username.clone())))
}

fn is_builtin(request: &Request, login_url: &str) -> bool {
    let here = request.here().to_string();
    login_url.strip_prefix(here.as_str()).unwrap_or(login_url) == request.config.login_uri
}

/// The error page for a domain or an entry that is not served here.
fn wrong_place(request: &Request, domain: Option<&str>, entry: Option<&str>) -> Option<Reply> {
    if domain.is_some_and(|domain| domain != request.config.domain) {
        return Some(error(code::BAD_DOMAIN, "The security domain is missing or not served here."));
    }
    let is_wrong = entry.is_some_and(|entry| !request.config.serves_entry(entry));
    is_wrong.then(|| error(code::BAD_ENTRY, "The login entry is missing or not served here."))
}

fn error(number: u16, message: &str) -> Reply {
    let page = Page::LoginError { code: number, message: message.to_owned() };
    let status = if number == code::AUTHENTICATION_FAILED { 403 } else { 400 };
    let audit = match number {
        code::METHOD => Audit::new(Event::Refused, "5002: the login address was called with another method"),
        code::BAD_DOMAIN => Audit::new(Event::Refused, "5003: the security domain is not served here"),
        code::BAD_ENTRY => Audit::new(Event::Refused, "5004: the login entry is not served here"),
        _ => Audit::new(Event::LoginFailed, "the login could not be tried"),
    };
    Reply::page(status, page, audit)
}

/// What leads nowhere of ours is forgotten here, before it is shown or sent anywhere.
fn original_url(request: &Request, form: &LoginForm) -> String {
    let wanted = form.original_url.as_deref().unwrap_or_default();
    redirect::original(&request.config, &request.here(), wanted).unwrap_or_default()
}

/// The built-in page; after a failure with the reason and the user name, but none of the other answers. Retry-After
/// belongs to 429 (RFC 6585, section 4).
pub fn page(request: &Request, attempt: Attempt, form: EntryForm) -> Reply {
    let failed = Audit::new(Event::LoginFailed, "").with_user(attempt.username.clone());
    let page = |error| Page::Login(Box::new(contents(request, &attempt, form, error)));
    match &attempt.failure {
        None if attempt.is_late => {
            let audit = Audit::new(Event::Unavailable, "a remembered browser could not be logged in");
            let mut reply = Reply::page(503, page(None), audit);
            reply.headers.push(("Retry-After", RETRY_AFTER.to_owned()));
            reply
        }
        None => Reply::page(200, page(None), Audit::new(Event::Shown, "the login page")),
        Some(Failure { message, retry_after: None, .. }) => {
            let mut reply = Reply::page(401, page(Some(message.clone())), failed);
            reply.challenge(&request.config.domain);
            reply
        }
        Some(Failure { message, retry_after: Some(seconds), .. }) => {
            let message = format!("{}. {}", message.trim_end_matches('.'), try_again(*seconds));
            let mut reply = Reply::page(429, page(Some(message)), failed);
            reply.headers.push(("Retry-After", seconds.to_string()));
            reply
        }
    }
}

fn contents(request: &Request, attempt: &Attempt, form: EntryForm, error: Option<String>) -> LoginPage {
    let ask = |name: &str, label: &str, secret| LoginField {
        name: name.to_owned(),
        label: label.to_owned(),
        secret,
        required: true,
        max_length: None,
        input_mode: InputMode::Text,
    };
    let further = form.fields.into_iter().map(|field| LoginField {
        name: format!("{CALLBACK_PREFIX}{}", field.name),
        label: field.label,
        secret: field.secret,
        required: field.required,
        max_length: Some(field.max_length),
        input_mode: field.input_mode,
    });
    let always = [ask(field::USERNAME, "User name", false), ask(field::PASSWORD, "Password", true)];
    LoginPage {
        action: request.config.login_uri.clone(),
        domain: request.config.domain.clone(),
        entry: attempt.entry.clone(),
        original_url: attempt.original_url.clone(),
        handover: attempt.destination.as_ref().map(|to| to.binding.clone()),
        site: attempt.destination.as_ref().map_or(&request.site.host, |to| &to.origin.host).clone(),
        username: attempt.username.clone(),
        error,
        notice: attempt.notice.map(|notice| notice.text.to_owned()),
        fields: always.into_iter().chain(further).collect(),
        remember_me: request.config.auto_login && form.remember_me,
    }
}
