//! Certificates: the agent CA that tells registered web agents and policy servers from everyone else.
//!
//! Private keys leave this module only sealed, or as the file that belongs to the agent they were made for.

mod agent_ca;

pub use agent_ca::{AgentCa, AgentCertificate, fingerprint};

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("the agent CA's key does not open with the configured key-encryption key")]
    WrongKey,
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the stored certificate is broken")]
    BrokenCertificate,
    #[error(transparent)]
    Seal(#[from] crate::token::SealError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
