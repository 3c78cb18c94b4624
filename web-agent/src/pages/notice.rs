//! What a person is told on the login page for another reason than a failed login. The redirect to the page carries the
//! code alone: a text in an address could be anybody's.

use shared_proto::names::notice;

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub struct Notice {
    /// The value of `cams_notice`, and what the policy server says.
    pub code: &'static str,
    pub text: &'static str,
}

static NOTICES: [Notice; 3] = [
    Notice {
        code: notice::STOLEN,
        text: "This browser was remembered, and somebody used a copy of what it kept for that. It is not remembered any \
               more, and the sessions it had are over. If that was not you, change your password.",
    },
    Notice {
        code: notice::FORM_KEPT,
        text: "Your session had ended when you sent the form. The form is kept for 15 minutes: sign in as the same \
               person, and it will be sent.",
    },
    Notice {
        code: notice::FORM_LOST,
        text: "The form that you sent needs you to sign in first, and it could not be kept. After signing in, please \
               fill it in again.",
    },
];

static LATER: Notice = Notice {
    code: "remember-me-later",
    text: "This browser is remembered, but nobody can be signed in that way at the moment. Please try again later, or \
           sign in by hand.",
};

impl Notice {
    /// The login page itself tells it; no address leads to it.
    pub fn later() -> &'static Self {
        &LATER
    }

    /// `None` for a code that this agent does not know.
    pub fn of_code(code: &str) -> Option<&'static Self> {
        NOTICES.iter().find(|notice| notice.code == code)
    }
}
