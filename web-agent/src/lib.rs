//! The web agent: a reverse proxy that lets through only what the policy server granted.

// The core: values in, values out.
pub mod assertion;
pub mod config;
pub mod cookies;
pub mod gate;
pub mod head;
pub mod headers;
pub mod jami;
pub mod lease;
pub mod login_form;
pub mod memory;
pub mod origin;
pub mod pages;
pub mod public;
pub mod redirect;
pub mod site;
pub mod target;

// The rim: files, network, clock and the proxy engine.
pub mod access_log;
pub mod app;
pub mod auto_login;
pub mod cache;
pub mod client;
pub mod client_auth;
pub mod connection;
pub mod decisions;
mod failure;
pub mod feed;
pub mod incoming;
pub mod listen;
pub mod open;
pub mod passing;
pub mod pem;
pub mod proxy;
pub mod recheck;
pub mod reload;
pub mod reply;
pub mod report;
pub mod run;
pub mod tls;
mod tunnel;
pub mod upload;
pub mod upstream;
pub mod voucher;
pub mod watched;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod testkit;

pub use gate::permit;
pub use run::{check, run};
