//! Certificates and keys: the agent CA that tells registered web agents and policy servers from everyone else, the
//! keys under which agents vouch for people to their sites, and the organisation's CA, which vouches for the accounts of
//! people, which vouch for their Jami devices.
//!
//! Private keys leave this module only sealed, or on their way to the agent they were made for.

mod account;
mod agent_ca;
mod assertion;
mod ca_key;
pub mod crl;
pub mod csr;
pub mod import;
mod issue;
#[cfg(test)]
mod issue_tests;
mod modulus;
pub mod ocsp;
mod opened;
mod organisation;
mod rsa;
mod spare;

pub use account::{AccountAuthority, seal_account_key};
pub use agent_ca::{AgentCa, AgentCertificate, fingerprint};
pub use assertion::AssertionKeys;
pub use ca_key::CaKey;
pub use issue::{Issued, Urls};
pub use opened::OpenedAccounts;
pub use organisation::OrganisationCa;
pub use rsa::{RsaKey, device_id, key_id};
pub use spare::SpareKeys;

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
    #[error("the certificate of the issuer, or the time asked for, is over or has not begun")]
    NotValidNow,
    #[error("the issuer's name is not written again as it stands in its certificate")]
    Name,
    #[error("this is the issuer's own key")]
    OwnKey,
    #[error("an address for a certificate is not ASCII")]
    Url,
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
