//! Authentication: who is this person?
//!
//! `stack`, `callback`, `subject` and `error` are pure and hold every rule; `modules` ask a user directory; `pipeline`
//! joins them. Nothing here knows of sessions, cookies or HTTP, and nothing here turns an error into a login.

pub mod callback;
pub mod error;
pub mod stack;
pub mod subject;
