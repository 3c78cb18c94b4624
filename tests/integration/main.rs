//! The integration tests: one binary, a module per topic, real servers only.

mod abuse;
mod assertion;
mod browser;
mod census;
mod commands;
mod config;
mod dependencies;
mod events;
mod fixtures;
mod http;
mod init;
mod lifecycle;
mod login;
mod reload;
mod secrets;
mod store;
mod tidy;
