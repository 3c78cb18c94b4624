//! What the policy server and the web agent must read the same way: the messages on the link between them, the
//! names people and sites rely on, and the syntax of the configuration files.
//!
//! Everything here is pure: values in, values out. No files, no clock, no network.

pub mod account;
pub mod assertion;
pub mod authority;
pub mod check;
pub mod client_cert;
pub mod event;
pub mod handover;
pub mod hello;
pub mod login;
pub mod names;
pub mod options;
pub mod parked;
pub mod pattern;
pub mod problem;
pub mod properties;
pub mod report;
pub mod secret;

/// The version of the link's messages. A server answers an agent that speaks another one with a refusal that names both.
pub const PROTOCOL_VERSION: u32 = 1;
