//! The web agent: a reverse proxy that lets through only what the policy server granted.

pub mod pages;
