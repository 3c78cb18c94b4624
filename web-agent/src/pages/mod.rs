//! Everything a person sees from the web agent: the pages, their style, and the headers that go with them.
//!
//! Pure: templates come in as text, pages go out as text. No script but the one line that sends a form again, so that the
//! content security policy can forbid all others. Every value is escaped by the template engine; nothing here may mark a value as safe HTML.

mod account;
mod notice;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use sha2::{Digest, Sha256};
use shared_proto::login::InputMode;
use shared_proto::names;

pub use account::AccountPage;
pub use notice::Notice;
pub use page::{LoginField, LoginPage, Page};

/// The headers that every page needs besides `Content-Security-Policy`, which [`Pages::render`] returns.
///
/// `Referrer-Policy` is not `no-referrer`: under that a browser sends `Origin: null` with the login form.
pub const SECURITY_HEADERS: [(&str, &str); 6] = [
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
];

/// The style of every page, also for pages that want to look like them.
pub const STYLE: &str = include_str!("style.css");

const STYLE_FILE: &str = "style.css";

const TEMPLATES: [(&str, &str); 13] = [
    ("account.html", include_str!("templates/account.html")),
    ("confirm-logout.html", include_str!("templates/confirm-logout.html")),
    ("cross-site.html", include_str!("templates/cross-site.html")),
    ("denied.html", include_str!("templates/denied.html")),
    ("form-gone.html", include_str!("templates/form-gone.html")),
    ("handover-refused.html", include_str!("templates/handover-refused.html")),
    ("layout.html", include_str!("templates/layout.html")),
    ("logged-out.html", include_str!("templates/logged-out.html")),
    ("login-error.html", include_str!("templates/login-error.html")),
    ("login.html", include_str!("templates/login.html")),
    ("refused.html", include_str!("templates/refused.html")),
    ("resend.html", include_str!("templates/resend.html")),
    ("unavailable.html", include_str!("templates/unavailable.html")),
];

const NAMES: [&str; 14] = [
    "account.html",
    "confirm-logout.html",
    "cross-site.html",
    "denied.html",
    "form-gone.html",
    "handover-refused.html",
    "layout.html",
    "logged-out.html",
    "login-error.html",
    "login.html",
    "refused.html",
    "resend.html",
    STYLE_FILE,
    "unavailable.html",
];

/// Sends the form of the page that is left by it. Not by the form's own `submit`, which may be the name of a field.
const SCRIPT: &str = "HTMLFormElement.prototype.submit.call(document.querySelector(\"form\"))";

/// What a template's failure leaves to say; only reached when even a built-in template fails, which a test excludes.
const LAST_RESORT: &str =
    "<!doctype html><title>Error</title><p>This page cannot be shown. Please try again later.</p>";

/// The templates, compiled: the administrator's where there are any, the built-in ones otherwise.
pub struct Pages {
    builtin: Environment<'static>,
    custom: Environment<'static>,
    style: Value,
    policy_with_form: String,
    policy_of_resend: String,
    policy: String,
}

/// A page ready to be sent as `text/html; charset=utf-8`.
#[derive(Debug)]
pub struct Rendered {
    pub html: String,
    /// The value of `Content-Security-Policy` for exactly this page.
    pub content_security_policy: String,
    /// The administrator's template failed and the built-in one was used instead: for the log.
    pub problem: Option<PageError>,
}

/// What is wrong with the administrator's pages.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("{file}:{line}: {problem}")]
    Template { file: String, line: usize, problem: String },
    #[error("{0}: no page is called so; the names are {names}", names = NAMES.join(", "))]
    UnknownFile(String),
    #[error("{STYLE_FILE}:{line}: a style cannot contain `</style`")]
    Style { line: usize },
    #[error("`{0}` is not an origin such as https://www.example.com")]
    Origin(String),
}

impl From<minijinja::Error> for PageError {
    /// The innermost error names the file at fault: a page reports what its layout did wrong.
    fn from(error: minijinja::Error) -> Self {
        let mut at = &error;
        while let Some(inner) = at.source().and_then(|source| source.downcast_ref::<minijinja::Error>()) {
            at = inner;
        }
        Self::Template {
            file: at.name().or(error.name()).unwrap_or("page").to_owned(),
            line: at.line().or(error.line()).unwrap_or(1),
            problem: at.detail().map_or_else(|| at.kind().to_string(), |detail| format!("{}: {detail}", at.kind())),
        }
    }
}

impl Pages {
    /// Compiles the pages and tries each of them. `overrides` are the administrator's `.html` and `.css` files by name:
    /// all of them, so that a misspelt name is found. `origins` are the sites of the cluster.
    ///
    /// A browser applies `form-action` also to the redirects that follow the form, and a login ends at the site that
    /// was asked for: hence the origins.
    pub fn new(overrides: &BTreeMap<String, String>, origins: &[String]) -> Result<Self, PageError> {
        if let Some(name) = overrides.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(PageError::UnknownFile(name.clone()));
        }
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(PageError::Origin(origin.clone()));
        }
        let style = normal_style(overrides.get(STYLE_FILE).map_or(STYLE, String::as_str))?;
        let form_action: String = origins.iter().map(|origin| format!(" {origin}")).collect();
        let pages = Self {
            builtin: environment(&BTreeMap::new())?,
            custom: environment(overrides)?,
            policy_with_form: policy(&style, &format!("form-action 'self'{form_action}")),
            // No `form-action`: where the site leads after its form is its own business.
            policy_of_resend: policy(&style, &format!("script-src 'sha256-{}'", sha256(SCRIPT))),
            policy: policy(&style, "form-action 'none'"),
            style: Value::from_safe_string(style),
        };
        samples().iter().try_for_each(|page| pages.fill(&pages.custom, page).map(drop))?;
        Ok(pages)
    }

    /// The file names that an administrator can override.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Renders a page; the built-in template steps in for one that fails.
    pub fn render(&self, page: &Page) -> Rendered {
        let (html, problem) = match self.fill(&self.custom, page) {
            Ok(html) => (html, None),
            Err(error) => {
                let html = self.fill(&self.builtin, page).unwrap_or_else(|_| LAST_RESORT.to_owned());
                (html, Some(error.into()))
            }
        };
        let policy = match page {
            Page::Resend { .. } => &self.policy_of_resend,
            page if page.has_form() => &self.policy_with_form,
            _ => &self.policy,
        };
        Rendered { html, content_security_policy: policy.clone(), problem }
    }

    fn fill(&self, templates: &Environment<'static>, page: &Page) -> Result<String, minijinja::Error> {
        let (name, variables) = page.view();
        templates.get_template(name)?.render(
            context! { style => self.style.clone(), script => Value::from_safe_string(SCRIPT.to_owned()), ..variables },
        )
    }
}

fn environment(overrides: &BTreeMap<String, String>) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, builtin) in TEMPLATES {
        let text = overrides.get(name).map_or(builtin, String::as_str);
        environment.add_template_owned(name, text.to_owned())?;
    }
    Ok(environment)
}

/// The style as a browser hashes it: the HTML parser turns every line end into a line feed.
fn normal_style(style: &str) -> Result<String, PageError> {
    let style = style.replace("\r\n", "\n").replace('\r', "\n");
    let lower = style.to_ascii_lowercase();
    match lower.split_once("</style") {
        Some((before, _)) => Err(PageError::Style { line: before.matches('\n').count() + 1 }),
        None => Ok(style),
    }
}

/// No script, no font, no foreign picture, no frame around it: the one style, by its hash, and pictures in the page.
fn policy(style: &str, more: &str) -> String {
    let hash = sha256(style);
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self' data:; {more}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

fn sha256(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
    })
}

/// Pages that between them take every branch of a template, so that most mistakes show when the agent starts.
fn samples() -> Vec<Page> {
    let field = |name: &str, secret| LoginField {
        name: name.into(),
        label: name.into(),
        secret,
        required: true,
        max_length: None,
        input_mode: InputMode::Text,
    };
    let further = LoginField {
        required: false,
        max_length: Some(12),
        input_mode: InputMode::Numeric,
        ..field("cams_cb_pin", true)
    };
    let login = LoginPage {
        action: "/cams/login".into(),
        domain: "system".into(),
        entry: "http".into(),
        original_url: "/".into(),
        site: "www.example.com".into(),
        fields: vec![field(names::field::USERNAME, false), field(names::field::PASSWORD, true)],
        ..LoginPage::default()
    };
    let mut again = LoginPage {
        username: "alice".into(),
        error: Some("Authentication failed".into()),
        handover: Some("x".into()),
        notice: Some("Please sign in again".into()),
        remember_me: true,
        ..login.clone()
    };
    again.fields.push(further);
    let [empty, full] = AccountPage::samples().map(Page::Account);
    vec![
        empty,
        full,
        Page::Login(login.into()),
        Page::Login(again.into()),
        Page::LoginError { code: names::code::BAD_DOMAIN, message: "Unknown security domain".into() },
        Page::Denied { user: "alice".into(), logout_url: "/cams/logout".into() },
        Page::Denied { user: String::new(), logout_url: "/cams/logout".into() },
        Page::ConfirmLogout { action: "/cams/logout".into(), domain: "system".into() },
        Page::LoggedOut { login_url: "/cams/login".into(), forget_url: "/cams/logout/forget".into() },
        Page::Unavailable { login_url: None },
        Page::Refused { status: 400, reason: "The address is not valid".into() },
        Page::HandoverRefused { start_url: "/".into() },
        Page::CrossSite,
        Page::Resend { action: "/form".into(), fields: vec![("name".into(), "value".into())] },
        Page::FormGone { start_url: "/".into() },
    ]
}
