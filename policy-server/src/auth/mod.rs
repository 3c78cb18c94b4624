//! placeholder
pub mod subject;
