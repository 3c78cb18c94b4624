//! The integration tests: one binary, a module per topic, real servers only.

mod browser;
mod commands;
mod config;
mod dependencies;
mod differential;
mod fixtures;
mod framing;
mod headers;
mod http;
mod inner;
mod lifecycle;
mod login;
mod redirects;
mod slowloris;
