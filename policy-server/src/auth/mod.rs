//! Authentication: who is this person?
//!
//! `stack`, `callback`, `subject`, `account` and `error` are pure and hold every rule; `modules` ask a user directory;
//! `pipeline` joins them; every login of a person goes through a `valve::AuthPipeline`, whose `valves` stand around
//! that. Nothing here knows of sessions, cookies or HTTP, and nothing here makes a login of an error.

pub mod account;
pub mod callback;
pub mod error;
pub mod modules;
pub mod password;
pub mod pipeline;
pub mod stack;
pub mod subject;
pub mod valve;
pub mod valves;
