//! One reader per file format; each turns text into a checked value and collects every problem with file and line.
//!
//! Nothing here may act on what it reads: no listener, no store, no directory is touched.

pub mod access_policy;
pub mod blueprints;
mod callback_handler;
pub mod cams_conf;
pub mod cams_users;
pub mod domain;
pub mod login_config;
pub mod login_exceptions;
pub mod login_xml;
pub mod registry;
pub mod security_domain;
pub mod trial;
pub mod xml;
