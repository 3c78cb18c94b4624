//! The web agent.

pub mod pem;
pub mod tls;

#[cfg(test)]
mod testkit;
