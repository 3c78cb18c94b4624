//! The integration tests: one binary, a module per topic, real servers only.

mod abuse;
mod assertion;
mod browser;
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
mod store;
