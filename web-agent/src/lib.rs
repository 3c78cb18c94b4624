//! The web agent: a reverse proxy that lets through only what the policy server granted.

pub mod config;
pub mod cookies;
pub mod gate;
pub mod head;
pub mod headers;
pub mod login_form;
pub mod origin;
pub mod pages;
pub mod redirect;
pub mod site;
pub mod target;
#[cfg(test)]
mod testing;

pub use gate::permit;
