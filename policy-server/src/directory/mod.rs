//! User directories: where people, their password digests and their roles are kept.
//!
//! A directory answers what it holds. It does not decide who may log in; that is `auth`.

pub mod sql;
pub mod xml_users;
