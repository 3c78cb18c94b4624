//! Groups of the built-in directory, and who is in them. A change of what members may do is told in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use shared_proto::event::Change;
use sqlx::Row;

use super::{Store, StoreError};
use crate::directory::local::Group;
use crate::directory::person::Name;
use crate::token::{hex, random};

/// What became of a user's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    Changed,
    /// It was so already.
    Unchanged,
    NoGroup,
    NoUser,
}

impl Store {
    /// False where there is a group of this name.
    pub async fn add_local_group(
        &self,
        domain: &str,
        name: &Name,
        roles: &BTreeSet<String>,
        now: i64,
    ) -> Result<bool, StoreError> {
        let roles = serde_json::to_string(roles).map_err(|error| StoreError::Corrupt("a group", error))?;
        let done = sqlx::query(
            "INSERT INTO local_groups (id, domain, name, name_key, roles, created) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        )
        .bind(hex(&random::<16>()?))
        .bind(domain)
        .bind(name.text())
        .bind(name.key())
        .bind(roles)
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn local_groups(&self, domain: &str) -> Result<Vec<Group>, StoreError> {
        let rows = sqlx::query(
            "SELECT g.name_key, g.name, g.roles, u.name AS member FROM local_groups g \
             LEFT JOIN local_members m ON m.group_id = g.id LEFT JOIN local_users u ON u.id = m.user_id \
             WHERE g.domain = $1",
        )
        .bind(domain)
        .fetch_all(&self.reader)
        .await?;
        let mut groups = BTreeMap::new();
        for row in &rows {
            let roles = roles(&row.try_get::<String, _>("roles")?)?;
            let group = Group { name: row.try_get("name")?, roles, members: BTreeSet::new() };
            let group = groups.entry(row.try_get::<String, _>("name_key")?).or_insert(group);
            group.members.extend(row.try_get::<Option<String>, _>("member")?);
        }
        Ok(groups.into_values().collect())
    }

    /// False where there was none.
    pub async fn remove_local_group(&self, domain: &str, name: &Name) -> Result<bool, StoreError> {
        let mut work = self.begin().await?;
        let done = sqlx::query("DELETE FROM local_groups WHERE domain = $1 AND name_key = $2")
            .bind(domain)
            .bind(name.key())
            .execute(&mut *work)
            .await?;
        let removed = done.rows_affected() == 1;
        self.commit(work, news(domain, removed).as_slice()).await?;
        Ok(removed)
    }

    /// Puts a user into a group, or takes one out.
    pub async fn set_local_membership(
        &self,
        domain: &str,
        group: &Name,
        user: &Name,
        is_member: bool,
    ) -> Result<Membership, StoreError> {
        let mut work = self.begin().await?;
        let group = sqlx::query("SELECT id FROM local_groups WHERE domain = $1 AND name_key = $2")
            .bind(domain)
            .bind(group.key())
            .fetch_optional(&mut *work)
            .await?;
        let user = sqlx::query("SELECT id FROM local_users WHERE domain = $1 AND name_key = $2")
            .bind(domain)
            .bind(user.key())
            .fetch_optional(&mut *work)
            .await?;
        let Some(group) = group else { return Ok(Membership::NoGroup) };
        let Some(user) = user else { return Ok(Membership::NoUser) };
        let (group, user): (String, String) = (group.try_get("id")?, user.try_get("id")?);
        let query = match is_member {
            true => "INSERT INTO local_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            false => "DELETE FROM local_members WHERE group_id = $1 AND user_id = $2",
        };
        let done = sqlx::query(query).bind(group).bind(user).execute(&mut *work).await?;
        let changed = done.rows_affected() == 1;
        self.commit(work, news(domain, changed).as_slice()).await?;
        Ok(if changed { Membership::Changed } else { Membership::Unchanged })
    }
}

fn news(domain: &str, changed: bool) -> Option<Change> {
    changed.then(|| Change::DomainChanged { domain: domain.to_owned() })
}

/// The roles of a group as they are kept.
pub(super) fn roles(text: &str) -> Result<BTreeSet<String>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt("a group", error))
}
