//! Who may do what: resource patterns, rules, the decision and its explanation.
//!
//! Pure: a policy, a request and a person go in, a decision comes out. Nothing here may read a file or a clock, ask a
//! directory or know how a session is stored. Whatever is not understood is denied.

pub mod evaluate;
pub mod explain;
mod public;
pub mod rule;

pub use evaluate::{Decision, Outcome, Permission, Policy};
pub use explain::{Explanation, explain};
pub use public::public_map;
pub use rule::{Acr, Auth, Method, Rule, Verdict};

use std::collections::BTreeSet;

use shared_proto::pattern::Resource;

/// A request as the agent will forward it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub scheme: &'a str,
    /// Lower case, without the port.
    pub host: &'a str,
    pub port: u16,
    pub method: &'a str,
    /// As it will be forwarded, byte for byte, without the query.
    pub path: &'a str,
    /// Never compared with a pattern: a query must not be able to pass for a path.
    pub query: Option<&'a str>,
    /// The security domain the site belongs to.
    pub domain: &'a str,
    /// The login entry the site demands where a rule names none.
    pub entry: &'a str,
}

impl<'a> Request<'a> {
    pub fn resource(&self) -> Resource<'a> {
        let Self { scheme, host, port, method, path, .. } = *self;
        Resource { scheme, host, port, method, path }
    }
}

/// A person with a live session.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub user: &'a str,
    pub roles: &'a BTreeSet<String>,
    /// The security domain and the login entry the session was made by.
    pub domain: &'a str,
    pub entry: &'a str,
    /// How many seconds ago the person typed at the login page; `None` where a remembered browser logged in by itself.
    pub typed: Option<u64>,
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
