//! Logging out. Whatever happens, the browser is told to forget our cookies.

use shared_proto::login::LogoutRequest;

use crate::gate::reply::{Audit, Event, Reply};
use crate::gate::request::Request;
use crate::gate::{Question, State, Step, respond, sender};
use crate::head::{Head, Refusal};
use crate::pages::Page;

/// A request for the logout URI. A link of another site only asks; its form is refused.
pub fn start(request: Request, head: &Head) -> Result<(State, Step), Refusal> {
    let is_foreign = sender::is_foreign(&request, head)?;
    let reply = match request.method.as_str() {
        "POST" if is_foreign => Reply::cross_site(),
        "GET" if is_foreign || is_embedded(head)? => confirm(&request),
        "GET" | "POST" => return Ok(end(request)),
        // Programs that look ahead must not log anybody out.
        "HEAD" => confirm(&request),
        _ => {
            let mut reply = Reply::refused(Refusal::new(405, "the logout address takes GET and POST"), true);
            reply.headers.push(("Allow", "GET, HEAD, POST".to_owned()));
            reply
        }
    };
    Ok(respond(&request, reply))
}

/// Whether a browser wants it as part of a page, an image say, which any content of a site can bring about.
fn is_embedded(head: &Head) -> Result<bool, Refusal> {
    Ok(head.single("Sec-Fetch-Dest")?.is_some_and(|destination| destination != "document"))
}

/// Both cookies go at once, with whatever is answered.
fn end(mut request: Request) -> (State, Step) {
    request.changes.forget_all();
    let remember = request.remembered.value();
    if request.session.is_none() && remember.is_none() {
        return done(&request);
    }
    let question = LogoutRequest {
        request_id: request.id.clone(),
        host: request.site.host.clone(),
        session: request.session.clone(),
        remember,
        client: request.client.clone(),
    };
    (State::LoggingOut(request), Step::Ask(Question::Logout(question)))
}

/// Answers the image of the logged-out page. A browser keeps the page it leaves for its back button, `no-store` or not,
/// and only a response that comes after the logout's own can make it forget that page too.
pub fn forget() -> Reply {
    let mut reply = Reply::empty(Audit::new(Event::Shown, ""));
    reply.headers.push(("Clear-Site-Data", "\"cache\"".to_owned()));
    reply
}

/// There is no such session any more, and nobody is remembered.
pub fn done(request: &Request) -> (State, Step) {
    let page = Page::LoggedOut { login_url: request.config.login_uri.clone(), forget_url: request.config.forget_uri() };
    respond(request, Reply::page(200, page, Audit::new(Event::LoggedOut, "")))
}

/// It could not be ended at the policy server; at least this browser cannot use it any more.
pub fn failed(request: &Request) -> (State, Step) {
    respond(request, Reply::unavailable(true))
}

fn confirm(request: &Request) -> Reply {
    let page = Page::ConfirmLogout { action: request.config.logout_uri.clone(), domain: request.config.domain.clone() };
    Reply::page(200, page, Audit::new(Event::Shown, "another site asks for the logout"))
}
