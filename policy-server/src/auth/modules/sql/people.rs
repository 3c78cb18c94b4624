//! People of the database for whoever looks for them, by a statement of their own.

use async_trait::async_trait;

use super::columns;
use super::{Found as Row, JdbcLoginModule};
use crate::auth::error::LoginError;
use crate::auth::modules::LoginModule;
use crate::auth::modules::common::within;
use crate::auth::subject::attribute;
use crate::directory::person::{Person, Profile};
use crate::directory::{DirectoryError, Found, UserDirectory};

/// Rows that a search gives at most.
const MAX_ROWS: usize = 2_000;

impl JdbcLoginModule {
    /// Everybody whose row has the text; `%`, `_` and `!` in it stand for themselves, escaped by `!`.
    async fn matching(&self, text: &str) -> Result<Vec<Person>, LoginError> {
        let Some(search) = &self.questions.search else { return Ok(Vec::new()) };
        let pattern = format!("%{}%", text.replace('!', "!!").replace('%', "!%").replace('_', "!_"));
        let mut lease = self.database.acquire().await.map_err(super::unavailable)?;
        let values = vec![pattern.as_str(); search.placeholders];
        let rows = lease.rows(search, &values, MAX_ROWS, self.questions.timeout).await.map_err(super::unavailable)?;
        lease.finish();
        let people = rows.iter().map(|row| Ok(person(&self.questions.columns.read(row)?, "")));
        people.collect()
    }
}

/// `typed` is the name where the database does not say how it spells it.
fn person(row: &columns::Person, typed: &str) -> Person {
    Person {
        id: row.id.clone().unwrap_or_default(),
        name: row.user.clone().unwrap_or_else(|| typed.to_owned()),
        profile: Profile::of(|name| attribute(&row.attributes, name)),
        enabled: row.check(jiff::Timestamp::now()).is_ok(),
    }
}

#[async_trait]
impl UserDirectory for JdbcLoginModule {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let people = within(self.patience(), self.matching(text)).await?;
        Ok(Found::page(people, false, offset, limit))
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        match within(self.patience(), JdbcLoginModule::find(self, name)).await? {
            Row::One(candidate) => Ok(Some(person(&candidate.who?.0, name))),
            Row::Nobody | Row::Several => Ok(None),
        }
    }
}
