//! The web agent.

pub mod client;
pub mod connection;
pub mod pem;
pub mod tls;

#[cfg(test)]
mod testkit;
