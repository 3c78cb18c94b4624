//! The Cams policy server: authenticates people, decides on access, keeps sessions.

pub mod access;
pub mod admin;
pub mod agents;
pub mod audit;
pub mod auth;
mod chores;
pub mod config;
pub mod device;
pub mod digest;
pub mod directory;
pub mod enforcement;
pub mod events;
pub mod files;
pub mod http;
pub mod pki;
mod reader;
mod rechecks;
pub mod reports;
pub mod revocation;
pub mod session;
pub mod store;
#[cfg(test)]
mod testkit;
pub mod token;
mod watch;
pub mod wire;
