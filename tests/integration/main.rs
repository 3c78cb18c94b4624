//! The integration tests: one binary, a module per topic, real servers only.

mod abuse;
mod assertion;
mod browser;
mod census;
mod commands;
mod config;
mod dependencies;
mod differential;
mod events;
mod fixtures;
mod framing;
mod headers;
mod http;
mod init;
mod inner;
mod lifecycle;
mod login;
mod readme;
mod redirects;
mod reload;
mod secrets;
mod slowloris;
mod starts;
mod store;
mod tidy;
mod typed;
