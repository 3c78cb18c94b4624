//! Jami devices: what they and their accounts may do, decided here and nowhere in HTTP.

pub mod blueprint;
pub mod merge;
pub mod search;
pub mod sync;
