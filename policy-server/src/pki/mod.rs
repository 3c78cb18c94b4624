//! Certificates and keys: the agent CA that tells registered web agents and policy servers from everyone else, and the
//! keys under which agents vouch for people to their sites.
//!
//! Private keys leave this module only sealed, or on their way to the agent they were made for.

mod agent_ca;
mod assertion;
pub mod crl;
pub mod ocsp;
mod rsa;

pub use agent_ca::{AgentCa, AgentCertificate, fingerprint};
pub use assertion::AssertionKeys;
pub use rsa::{RsaKey, device_id, key_id};

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("a key in the store does not open with the configured key-encryption key")]
    WrongKey,
    #[error("the agent's assertion key is gone from the store")]
    NoAssertionKey,
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the stored certificate is broken")]
    BrokenCertificate,
    #[error("no RSA key could be made")]
    KeyGeneration,
    #[error("this is no usable RSA key: {0}")]
    BadKey(String),
    #[error("an RSA key could not sign")]
    Signing,
    #[error(transparent)]
    Seal(#[from] crate::token::SealError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
