//! The web agent: a reverse proxy that lets through only what the policy server granted.

pub mod access_log;
pub mod app;
pub mod client;
pub mod config;
pub mod connection;
pub mod cookies;
pub mod gate;
pub mod head;
pub mod headers;
pub mod incoming;
pub mod login_form;
pub mod origin;
pub mod pages;
pub mod pem;
pub mod proxy;
pub mod reply;
pub mod run;
pub mod site;
pub mod target;
pub mod tls;
pub mod upstream;

#[cfg(test)]
mod testkit;

pub use gate::permit;
pub use run::run;
