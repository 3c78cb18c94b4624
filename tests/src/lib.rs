//! Fixtures for the integration tests: the built command, a whole running product, clients and a browser.
//!
//! Real servers only, on ports the system chose, and nothing left behind: whatever a fixture starts ends when it is
//! dropped. A fixture that cannot go on panics with what the servers printed.

pub mod agent;
pub mod browser;
pub mod client;
pub mod command;
pub mod databases;
pub mod h2;
pub mod jami_client;
pub mod jami_keys;
pub mod jamid;
pub mod link;
pub mod link_proxy;
pub mod mariadb;
pub mod openssl;
pub mod policy_server;
pub mod port;
pub mod postgres;
pub mod process;
pub mod quickstart;
pub mod raw;
pub mod recorder;
pub mod samba;
pub mod services;
mod shared;
pub mod slapd;
pub mod stranger;
pub mod tls;
pub mod wait;
pub mod web_servers;
pub mod wire;

pub use agent::Agent;
pub use browser::Browser;
pub use client::{Client, Reply};
pub use jami_client::JamiClient;
pub use jamid::{Dht, Jamid};
pub use link::Link;
pub use link_proxy::LinkProxy;
pub use mariadb::MariaDb;
pub use openssl::Openssl;
pub use policy_server::PolicyServer;
pub use postgres::Postgres;
pub use quickstart::Quickstart;
pub use raw::RawClient;
pub use recorder::Recorder;
pub use samba::Samba;
pub use slapd::Slapd;
pub use stranger::LinkClient;
pub use wait::{within, within_async};
pub use web_servers::WebServer;
pub use wire::{Answer, Wire};
