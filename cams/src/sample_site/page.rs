//! The pages for people: who the site thinks they are, and links to the others.

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use shared_proto::names::header;

use super::echo::{target, text};

/// The pages need one style sheet and one picture of their own, and nothing else from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

pub(super) struct Page {
    pub(super) path: &'static str,
    title: &'static str,
    text: &'static str,
    /// HTML that follows the text.
    more: &'static str,
}

pub(super) const PAGES: &[Page] = &[
    Page { path: "/", title: "Welcome", text: "This page is open to everybody.", more: "" },
    Page { path: "/public/", title: "Public", text: "Everything under /public/ is open to everybody.", more: "" },
    Page { path: "/private/", title: "Private", text: "You see this page because you have logged in.", more: "" },
    Page {
        path: "/private/form",
        title: "Form",
        text: "What you send is shown as the site receives it.",
        more: include_str!("form.html"),
    },
    Page {
        path: "/admin/",
        title: "Administration",
        text: "You see this page because you have the role admin.",
        more: "",
    },
];

impl Page {
    pub(super) fn show(&self, request: &Request) -> Response {
        html(StatusCode::OK, self, request)
    }
}

pub(super) async fn not_found(request: Request) -> Response {
    let page = Page { path: "", title: "Not found", text: "There is no such page on this site.", more: "" };
    html(StatusCode::NOT_FOUND, &page, &request)
}

fn html(status: StatusCode, page: &Page, request: &Request) -> Response {
    let body = include_str!("page.html")
        .replace("{title}", page.title)
        .replace("{text}", page.text)
        .replace("{more}", page.more)
        .replace("{links}", &links(page.path))
        .replace("{target}", &escape(&target(request.uri(), request.version())))
        .replace("{identity}", &identity(request.headers()));
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        // What a page says belongs to one person at one time: the back button must not bring it back.
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body).into_response()
}

fn links(current: &str) -> String {
    let link = |page: &Page| {
        let mark = if page.path == current { r#" aria-current="page""# } else { "" };
        format!(r#"<li><a href="{}"{mark}>{}</a></li>"#, page.path, page.title)
    };
    PAGES.iter().map(link).collect()
}

fn identity(headers: &HeaderMap) -> String {
    let first = |name| headers.get(name).map(|value| escape(&text(value)));
    match first(header::USER) {
        None => r#"<p id="identity">The site does not know who you are.</p>"#.into(),
        Some(user) => format!(
            r#"<dl id="identity"><dt>User</dt><dd id="user">{user}</dd><dt>Roles</dt><dd id="roles">{}</dd></dl>
<p><a id="account" href="/cams/account">Where you are logged in</a> · <a id="logout" href="/cams/logout">Log out</a></p>"#,
            first(header::ROLES).unwrap_or_default()
        ),
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // A brace in what a client sent must not be read as a place to fill in.
            '{' => safe.push_str("&#123;"),
            _ => safe.push(character),
        }
    }
    safe
}
