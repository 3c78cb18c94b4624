//! People in an SQL database: where it is, how it is asked, and what its rows hold.
//!
//! Statements are an administrator's and come whole; what a person typed is only ever bound to their placeholders. A
//! database that hangs or talks without end costs its own logins and nobody else's: each step has its time, rows are
//! counted, and a connection that did not finish what it began is thrown away.

mod connection;
mod pool;
pub mod statement;
pub mod url;
pub mod value;

use thiserror::Error;

pub use pool::{Database, Lease, Pools, Settings, Target};
use value::Value;

/// Why the database gave no answer. Never a verdict on a password.
#[derive(Debug, Error)]
pub enum SqlError {
    #[error("{0} cannot be reached: {1}")]
    Connect(String, String),
    #[error("the database did not answer within {0:?} (`queryTimeout`)")]
    Slow(std::time::Duration),
    #[error("all connections to the database are in use; a pool has `maxConnections` of them")]
    Exhausted,
    #[error("the statement failed: {0}")]
    Statement(#[from] sqlx::Error),
    #[error("the statement gave more than {0} rows")]
    TooManyRows(usize),
}

/// One row, its columns in the order of the statement.
#[derive(Debug, Clone, Default)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// The first column of this label. As in JDBC, case does not matter: PostgreSQL folds what is not quoted.
    ///
    /// # Errors
    /// Names the columns that there are.
    pub fn get(&self, column: &str) -> Result<&Value, String> {
        let found = self.0.iter().find(|(label, _)| label.eq_ignore_ascii_case(column)).map(|(_, value)| value);
        found.ok_or_else(|| {
            let labels: Vec<&str> = self.0.iter().map(|(label, _)| label.as_str()).collect();
            format!("the statement gives no column `{column}`; it gives: {}", labels.join(", "))
        })
    }

    #[cfg(test)]
    pub(crate) fn of(columns: &[(&str, Value)]) -> Self {
        Self(columns.iter().map(|(label, value)| ((*label).to_owned(), value.clone())).collect())
    }
}
