//! The account page: where somebody is logged in and which browsers are remembered, and ending any of it. The proof is the
//! person's own session.

use serde::{Deserialize, Serialize};

use crate::check::Client;
use crate::secret::{self, Secret};

/// `POST /agent/v1/account`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountRequest {
    pub request_id: String,
    /// Host name of the site, lower case, without the port.
    pub host: String,
    pub domain: String,
    /// Through which to log in, where there is no session.
    pub entry: String,
    #[serde(default, with = "secret::on_the_wire_option")]
    pub session: Option<Secret>,
    pub client: Client,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AccountResponse {
    Account(Account),
    /// The session has ended, or there was none.
    LoginRequired {
        /// The entry's `camsLoginUrl`: absolute, or relative to the site.
        login_url: String,
    },
    /// A newer server said something this agent does not know. It means that nothing is shown.
    #[serde(other)]
    Unknown,
}

/// What a person has in one security domain. Here first, then the last used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub user: String,
    pub sessions: Vec<Place>,
    /// How many more there are.
    #[serde(default)]
    pub more_sessions: usize,
    pub browsers: Vec<Place>,
    #[serde(default)]
    pub more_browsers: usize,
}

/// A session or a remembered browser. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Names it; it opens nothing.
    pub id: String,
    /// It is the one that asks.
    pub current: bool,
    /// Whether it came about without anybody typing.
    pub remembered: bool,
    pub created: i64,
    pub last_used: i64,
    /// When it ends however much it is used.
    pub ends: i64,
    pub address: String,
    pub user_agent: String,
}

/// `POST /agent/v1/account/end`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountEndRequest {
    #[serde(flatten)]
    pub asker: AccountRequest,
    pub end: End,
}

/// What is to end. A session and the browser that is remembered by it end together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum End {
    Session {
        id: String,
    },
    Browser {
        id: String,
    },
    Everything,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum AccountEndResponse {
    Ended {
        /// The session that asked is among what ended.
        own: bool,
    },
    /// This person has no such thing; somebody else may.
    NotFound,
    /// The session that asked had ended.
    NoSession,
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_ended_survives_the_link() {
        let client = Client { address: [192, 0, 2, 1].into(), user_agent: String::new() };
        for end in [End::Session { id: "s".into() }, End::Browser { id: "b".into() }, End::Everything] {
            let asker = AccountRequest {
                request_id: "r".into(),
                host: "app.test".into(),
                domain: "system".into(),
                entry: "http".into(),
                session: Some("token".into()),
                client: client.clone(),
            };
            let text = serde_json::to_string(&AccountEndRequest { asker, end: end.clone() }).unwrap();
            let read: AccountEndRequest = serde_json::from_str(&text).unwrap();
            assert_eq!((read.end, read.asker.session.unwrap().expose()), (end, b"token".as_slice()));
        }
        for text in [r#"{"what":"nothing"}"#, r#"{"what":"session-of","id":"s"}"#] {
            assert_eq!(serde_json::from_str::<End>(text).unwrap(), End::Unknown);
        }
    }
}
