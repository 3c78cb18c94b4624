//! What each page has to say, and how it becomes the variables of its template. Pure: text in, values out.
//!
//! The names of the variables are what administrators write in their own templates: `conf/pages/README.md` lists them.

use minijinja::{Value, context};
use shared_proto::login::InputMode;
use shared_proto::names::{CALLBACK_PREFIX, field};
use shared_proto::secret::Secret;

use super::AccountPage;

/// A page that the agent itself answers with. Every text is plain: escaping is the template's work.
#[derive(Debug, Clone)]
pub enum Page {
    Login(Box<LoginPage>),
    Account(AccountPage),
    /// The login could not even be tried: one of [`shared_proto::names::code`].
    LoginError {
        code: u16,
        message: String,
    },
    /// Signed in (`user`, empty when not known), but not permitted. `logout_url` is where to sign in as somebody else.
    Denied {
        user: String,
        logout_url: String,
    },
    /// Asks before a logout that another site started. The form posts `cams_security_domain` to `action`.
    ConfirmLogout {
        action: String,
        domain: String,
    },
    LoggedOut {
        login_url: String,
        /// An image address whose answer makes the browser drop the pages it kept.
        forget_url: String,
    },
    /// The policy server cannot be asked now; or it can log nobody in who is remembered, and `login_url` is where to
    /// log in by hand.
    Unavailable {
        login_url: Option<String>,
    },
    /// The request is at fault (`status` 400 to 499) or the site is (500 or 502); `reason` is a sentence for people.
    Refused {
        status: u16,
        reason: String,
    },
    /// A login at another host could not be brought along.
    HandoverRefused {
        start_url: String,
    },
    /// A form was sent here by a page of another site.
    CrossSite,
    /// Sends a form to `action` that was kept over a login: all `fields`, in order.
    Resend {
        action: String,
        fields: Vec<(String, Secret)>,
    },
    /// Such a form is not there, or for somebody else.
    FormGone {
        start_url: String,
    },
}

/// The built-in login page.
#[derive(Debug, Clone, Default)]
pub struct LoginPage {
    /// Where the form posts to.
    pub action: String,
    pub domain: String,
    pub entry: String,
    pub original_url: String,
    /// Ties the login to another site that waits for it.
    pub handover: Option<String>,
    /// Host name of the site the person is signing in to, as shown.
    pub site: String,
    /// What was typed before a failure, else empty.
    pub username: String,
    /// Why the last try failed.
    pub error: Option<String>,
    /// Something to know before signing in, such as that a remembered login was ended.
    pub notice: Option<String>,
    pub fields: Vec<LoginField>,
    /// Whether to offer to remember this browser.
    pub remember_me: bool,
}

/// One question of the login entry's callback handler.
#[derive(Debug, Clone)]
pub struct LoginField {
    /// The form field: `cams_cb_…`.
    pub name: String,
    pub label: String,
    /// Not to be shown while it is typed.
    pub secret: bool,
    pub required: bool,
    /// Characters of the longest answer, where there is a limit to tell of.
    pub max_length: Option<usize>,
    pub input_mode: InputMode,
}

impl Page {
    /// The template's file name and the variables it may use.
    pub(super) fn view(&self) -> (&'static str, Value) {
        match self {
            Page::Login(page) => ("login.html", page.variables()),
            Page::Account(page) => ("account.html", page.variables()),
            Page::LoginError { code, message } => ("login-error.html", context! { code, message }),
            Page::Denied { user, logout_url } => ("denied.html", context! { user, logout_url => link(logout_url) }),
            Page::ConfirmLogout { action, domain } => {
                ("confirm-logout.html", context! { action => link(action), domain })
            }
            Page::LoggedOut { login_url, forget_url } => {
                ("logged-out.html", context! { login_url => link(login_url), forget_url => link(forget_url) })
            }
            Page::Unavailable { login_url } => {
                ("unavailable.html", context! { login_url => login_url.as_deref().map(link) })
            }
            Page::Refused { status, reason } => ("refused.html", context! { status, reason }),
            Page::HandoverRefused { start_url } => ("handover-refused.html", context! { start_url => link(start_url) }),
            Page::CrossSite => ("cross-site.html", context! {}),
            Page::Resend { action, fields } => {
                let field = |(name, value): &(String, Secret)| context! { name, value => value.expose_str() };
                let fields: Vec<_> = fields.iter().map(field).collect();
                ("resend.html", context! { action => link(action), fields })
            }
            Page::FormGone { start_url } => ("form-gone.html", context! { start_url => link(start_url) }),
        }
    }

    /// Whether the page has a form, which may then lead to any site of the cluster.
    pub(super) fn has_form(&self) -> bool {
        matches!(self, Page::Login(_) | Page::Account(_) | Page::ConfirmLogout { .. })
    }
}

impl LoginPage {
    fn variables(&self) -> Value {
        let first_empty = self.fields.iter().position(|field| field.value(&self.username).is_empty());
        let fields: Vec<_> = self
            .fields
            .iter()
            .enumerate()
            .map(|(index, field)| field.variables(&self.username, Some(index) == first_empty))
            .collect();
        context! {
            action => link(&self.action),
            domain => &self.domain,
            entry => &self.entry,
            original_url => &self.original_url,
            handover => self.handover.as_deref(),
            site => &self.site,
            error => filled(&self.error),
            notice => filled(&self.notice),
            fields,
            remember_me => self.remember_me,
        }
    }
}

impl LoginField {
    /// Only the user name is shown again after a failure.
    fn value<'a>(&self, username: &'a str) -> &'a str {
        if self.name == field::USERNAME { username } else { "" }
    }

    /// What is asked becomes the attributes that help browsers, keyboards and password managers.
    fn variables(&self, username: &str, autofocus: bool) -> Value {
        let (kind, autocomplete) = match self.name.as_str() {
            field::USERNAME => ("text", "username"),
            field::PASSWORD => ("password", "current-password"),
            // Worthless once used: people may see what they copy, and phones offer it.
            name if is_one_time_code(name) => ("text", "one-time-code"),
            _ if self.secret => ("password", "off"),
            _ => ("text", "off"),
        };
        context! {
            name => &self.name,
            label => &self.label,
            value => self.value(username),
            type => kind,
            autocomplete,
            inputmode => self.input_mode.name(),
            maxlength => self.max_length,
            required => self.required,
            autofocus,
        }
    }
}

fn is_one_time_code(name: &str) -> bool {
    matches!(name.strip_prefix(CALLBACK_PREFIX), Some("otp" | "totp" | "code" | "passcode" | "one_time_code"))
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.trim().is_empty())
}

/// Only a path or a web address becomes a link; `javascript:` and its like lead to the start page.
pub(super) fn link(url: &str) -> &str {
    let is_web = ["/", "https://", "http://"].iter().any(|start| url.starts_with(start));
    if is_web { url } else { "/" }
}
