//! Answers of the agent itself.

use std::fmt;

use serde_json::{Value, json};

use crate::gate::request::{Request, is_navigation};
use crate::head::{Head, Refusal};
use crate::jami;
use crate::pages::Page;

/// Seconds after which what is not there now may be.
pub(super) const RETRY_AFTER: &str = "5";

/// What is sent instead of the site's response. Whoever sends it adds the headers that pages need.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: ReplyBody,
    /// The connection must not be used again.
    pub close: bool,
    pub audit: Audit,
}

/// Without the values of the headers, one of which may be a session's cookie.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        let mut shown = f.debug_struct("Reply");
        shown.field("status", &self.status).field("headers", &names).field("audit", &self.audit);
        shown.finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub enum ReplyBody {
    Page(Page),
    Json(Value),
    /// Public and the same for everybody: the one answer that caches may keep.
    Keys(Value),
    Empty,
}

/// What happened, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub event: Event,
    /// Empty where the event says it all.
    pub reason: &'static str,
    /// As proved, or as typed where a login failed.
    pub user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The request itself was at fault.
    Refused,
    Denied,
    LoginRequired,
    /// A page of the agent was shown.
    Shown,
    LoginFailed,
    LoggedIn,
    /// The browser takes its session along to another site.
    HandedOver,
    LoggedOut,
    Unavailable,
}

impl Audit {
    pub(super) fn new(event: Event, reason: &'static str) -> Self {
        Self { event, reason, user: None }
    }

    pub(super) fn with_user(self, user: String) -> Self {
        Self { user: Some(user).filter(|user| !user.is_empty()), ..self }
    }
}

impl Reply {
    /// The answer to a request that is not looked at further; nothing else is read from its connection.
    pub fn refused(refusal: Refusal, is_navigation: bool) -> Self {
        let Refusal { status, reason } = refusal;
        let page = Page::Refused { status, reason: sentence(reason) };
        let json = json!({ "error": "refused", "reason": reason });
        let mut reply = Self::page_or_json(status, is_navigation, page, json, Audit::new(Event::Refused, reason));
        reply.close = true;
        if status == 405 {
            reply.headers.push(("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned()));
        }
        reply
    }

    /// The same where only this much could be made out of the head.
    pub fn unread(refusal: Refusal, glimpse: &Head) -> Self {
        Self::refused(refusal, is_navigation(glimpse))
    }

    pub(super) fn page(status: u16, page: Page, audit: Audit) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Page(page), close: false, audit }
    }

    fn page_or_json(status: u16, is_navigation: bool, page: Page, json: Value, audit: Audit) -> Self {
        let body = if is_navigation { ReplyBody::Page(page) } else { ReplyBody::Json(json) };
        Self { status, headers: Vec::new(), body, close: false, audit }
    }

    pub(super) fn empty(audit: Audit) -> Self {
        Self { status: 204, headers: Vec::new(), body: ReplyBody::Empty, close: false, audit }
    }

    /// Sends a browser elsewhere with a GET.
    pub(super) fn see_other(url: String, audit: Audit) -> Self {
        Self { status: 303, headers: vec![("Location", url)], body: ReplyBody::Empty, close: false, audit }
    }

    pub(super) fn login_required(request: &Request, url: String) -> Self {
        let audit = Audit::new(Event::LoginRequired, "");
        if request.is_navigation {
            let mut reply = Self::see_other(url, audit);
            if request.is_safe() {
                reply.status = 302;
            }
            return reply;
        }
        if request.method == "POST" && jami::is_login(request.target.path()) {
            // A Jami client at a site that is not for it would delete its keys at a 401.
            let body = ReplyBody::Json(json!({ "error": "denied", "reason": "Jami devices do not log in here" }));
            return Self { status: 403, headers: Vec::new(), body, close: false, audit };
        }
        let body = ReplyBody::Json(json!({ "error": "login-required", "login_url": url }));
        let mut reply = Self { status: 401, headers: Vec::new(), body, close: false, audit };
        reply.challenge(&request.config.domain);
        reply
    }

    pub(super) fn denied(request: &Request, user: String) -> Self {
        let page = Page::Denied { user: user.clone(), logout_url: request.config.logout_uri.clone() };
        let audit = Audit::new(Event::Denied, "").with_user(user);
        Self::page_or_json(403, request.is_navigation, page, json!({ "error": "denied" }), audit)
    }

    pub(super) fn cross_site() -> Self {
        Self::page(403, Page::CrossSite, Audit::new(Event::Refused, "a form of another site"))
    }

    pub(super) fn unavailable(is_navigation: bool) -> Self {
        let audit = Audit::new(Event::Unavailable, "no usable answer of a policy server");
        Self::later(is_navigation, Page::Unavailable { login_url: None }, audit)
    }

    /// No policy server took a request of a Jami device: never 4xx, which its client would take for a verdict on its
    /// credentials.
    pub fn jami_unavailable() -> Self {
        Self::unavailable(false)
    }

    /// So many requests of Jami devices are under way that its turn did not come.
    pub fn jami_busy() -> Self {
        let mut reply = Self::jami_unavailable();
        reply.audit.reason = "too many requests of Jami devices at once";
        reply
    }

    /// The browser is remembered, but nobody can be logged in.
    pub(super) fn not_remembered_now(request: &Request, login_url: String) -> Self {
        let audit = Audit::new(Event::Unavailable, "a remembered browser could not be logged in");
        Self::later(request.is_navigation, Page::Unavailable { login_url: Some(login_url) }, audit)
    }

    fn later(is_navigation: bool, page: Page, audit: Audit) -> Self {
        let mut reply = Self::page_or_json(503, is_navigation, page, json!({ "error": "unavailable" }), audit);
        reply.headers.push(("Retry-After", RETRY_AFTER.to_owned()));
        reply
    }

    /// There is a session, but no way to tell the site whose.
    pub(super) fn no_key(request: &Request) -> Self {
        let mut reply = Self::unavailable(request.is_navigation);
        reply.audit.reason = "there is no assertion key";
        reply
    }

    pub(super) fn keys(keys: Value) -> Self {
        let audit = Audit::new(Event::Shown, "the assertion keys");
        Self { status: 200, headers: Vec::new(), body: ReplyBody::Keys(keys), close: false, audit }
    }

    pub fn set_cookies(&mut self, cookies: impl IntoIterator<Item = String>) {
        self.headers.extend(cookies.into_iter().map(|cookie| ("Set-Cookie", cookie)));
    }

    /// A 401 must name a scheme (RFC 9110 section 15.5.2); browsers ask no password for one they do not know.
    pub(super) fn challenge(&mut self, domain: &str) {
        self.headers.push(("WWW-Authenticate", format!("Cams realm=\"{domain}\"")));
    }
}

/// A reason as people read it on the page.
fn sentence(reason: &str) -> String {
    let (first, rest) = reason.split_at(reason.chars().next().map_or(0, char::len_utf8));
    format!("{}{}.", first.to_uppercase(), rest.trim_end_matches('.'))
}
