//! A new session where a person may have so many: counted and kept under one lock, so that logins at the same moment, also
//! at other servers, do not count past each other.

use sha2::{Digest, Sha256};
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::location::Location;
use super::sessions::{COLUMNS, add, end_all, session};
use super::{Store, StoreError};
use crate::session::limits::WhenTooMany;
use crate::session::{Session, TokenHash, Turn};
use shared_proto::event::Change;

impl Store {
    /// As [`crate::session::SessionStore::insert_in_turn`].
    pub(super) async fn add_in_turn(
        &self,
        token: &TokenHash,
        new: &Session,
        turn: &Turn<'_>,
    ) -> Result<Option<Vec<Session>>, StoreError> {
        let mut work = self.begin().await?;
        self.lock_person(&mut work, &new.domain, &new.subject.user).await?;
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE domain = $1 AND user_name = $2 AND last_used > $3 AND ends > $4 \
             ORDER BY created, id"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(&new.domain)
            .bind(&new.subject.user)
            .bind(turn.idle_since)
            .bind(new.created)
            .fetch_all(&mut *work)
            .await?;
        let there = rows.iter().map(session).collect::<Result<Vec<_>, _>>()?;
        let (former, others): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|session| Some(session.id.as_str()) == turn.replaces);
        let surplus = turn.crowd.surplus(others.len());
        // Nobody typed for an automatic login: it takes the place of its own browser's sessions alone, or two browsers
        // that ask by themselves would end each other's for ever.
        let makes_room = |other: &Session| match new.remembered {
            true => other.series == new.series,
            false => turn.crowd.beyond == WhenTooMany::EndOldest,
        };
        let going: Vec<_> = others.into_iter().filter(makes_room).take(surplus).collect();
        if going.len() < surplus {
            work.rollback().await?;
            return Ok(None);
        }
        let ended = end_all(&mut work, former.into_iter().chain(going)).await?;
        add(&mut work, token, new).await?;
        let news: Vec<_> = ended.iter().map(|session| Change::SessionEnded { session: session.id.clone() }).collect();
        self.commit(work, &news).await?;
        Ok(Some(ended))
    }

    /// Until the end of this work, no other passes here for the same person. An embedded store has one writer anyway.
    async fn lock_person(
        &self,
        work: &mut Transaction<'static, Any>,
        domain: &str,
        user: &str,
    ) -> Result<(), StoreError> {
        if let Location::Postgres(..) = self.location {
            // Two people with one number wait for each other, and that is all.
            let hash: [u8; 32] = Sha256::digest(format!("cams sessions\n{domain}\n{user}")).into();
            let number = hash.iter().take(8).fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
            // `void` is no type that can be read.
            sqlx::query("SELECT pg_advisory_xact_lock($1)::text").bind(number).execute(&mut **work).await?;
        }
        Ok(())
    }
}
