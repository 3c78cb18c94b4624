//! The web agent: a reverse proxy that lets through only what the policy server granted.

pub mod client;
pub mod config;
pub mod connection;
pub mod cookies;
pub mod gate;
pub mod head;
pub mod headers;
pub mod login_form;
pub mod origin;
pub mod pages;
pub mod pem;
pub mod site;
pub mod target;
pub mod tls;

#[cfg(test)]
mod testkit;

pub use gate::permit;
