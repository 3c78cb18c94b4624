//! The integration tests: one binary, a module per topic, real servers only.

mod browser;
mod census;
mod commands;
mod config;
mod dependencies;
mod fixtures;
mod http;
mod init;
mod lifecycle;
mod login;
mod secrets;
mod tidy;
