//! The organisation's certificate authorities, of which the newest one issues.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

const ALL: &str = "SELECT id, certificate, sealed, number FROM jami_authorities ORDER BY number DESC";
const ONE: &str = "SELECT id, certificate, sealed, number FROM jami_authorities WHERE id = $1";

/// An authority that is to be kept: its id, its certificate (DER) and its sealed key.
#[derive(Debug)]
pub struct NewAuthority<'a> {
    pub id: &'a str,
    pub certificate: &'a [u8],
    pub sealed: &'a [u8],
}

/// A kept one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAuthority {
    pub id: String,
    pub certificate: Vec<u8>,
    pub sealed: Vec<u8>,
    /// Greater than those of all former ones.
    pub number: i64,
}

impl Store {
    /// Keeps it as the current one, in the place of the one with the number `former`, or of none for 0; false where another
    /// one is current, or one of this id is there already, which stays as it is.
    pub async fn add_authority(&self, new: &NewAuthority<'_>, former: i64, now: i64) -> Result<bool, StoreError> {
        // Of two that see the same number at once, one has it.
        let done = sqlx::query(
            "INSERT INTO jami_authorities (id, certificate, sealed, number, created) \
             SELECT $1, $2, $3, CAST($4 AS BIGINT) + 1, CAST($5 AS BIGINT) \
             WHERE (SELECT COALESCE(MAX(number), 0) FROM jami_authorities) = $4 ON CONFLICT DO NOTHING",
        )
        .bind(new.id)
        .bind(STANDARD.encode(new.certificate))
        .bind(STANDARD.encode(new.sealed))
        .bind(former)
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn current_authority(&self) -> Result<Option<SealedAuthority>, StoreError> {
        let row = sqlx::query(ALL).fetch_optional(&self.reader).await?;
        row.as_ref().map(authority).transpose()
    }

    pub async fn authority(&self, id: &str) -> Result<Option<SealedAuthority>, StoreError> {
        let row = sqlx::query(ONE).bind(id).fetch_optional(&self.reader).await?;
        row.as_ref().map(authority).transpose()
    }

    /// The certificates of all there ever were, as base64, unless their ids are these, in this order: the current one first.
    pub async fn other_authorities(&self, known: &[String]) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let ids = sqlx::query_scalar("SELECT id FROM jami_authorities ORDER BY number DESC");
        let ids: Vec<String> = ids.fetch_all(&self.reader).await?;
        if ids == known {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT id, certificate FROM jami_authorities ORDER BY number DESC");
        let rows = rows.fetch_all(&self.reader).await?;
        let found = rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("certificate")?)));
        Ok(Some(found.collect::<Result<_, sqlx::Error>>()?))
    }

    /// All there ever were, the current one first.
    pub async fn authorities(&self) -> Result<Vec<SealedAuthority>, StoreError> {
        let rows = sqlx::query(ALL).fetch_all(&self.reader).await?;
        rows.iter().map(authority).collect()
    }
}

fn authority(row: &AnyRow) -> Result<SealedAuthority, StoreError> {
    let bytes = |column: &str| {
        let text: String = row.try_get(column)?;
        STANDARD.decode(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    Ok(SealedAuthority {
        id: row.try_get("id")?,
        certificate: bytes("certificate")?,
        sealed: bytes("sealed")?,
        number: row.try_get("number")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn the_newest_is_the_current_one_and_none_is_replaced() {
        let (store, _dir) = temporary().await;
        assert_eq!(store.current_authority().await.unwrap(), None);
        let add = async |id: &str, certificate: &[u8], former: i64| {
            store.add_authority(&NewAuthority { id, certificate, sealed: b"sealed" }, former, 1).await.unwrap()
        };
        assert!(!add("b", b"first", 1).await, "there is no such one");
        assert!(add("b", b"first", 0).await);
        assert!(!add("a", b"other", 0).await, "another one was quicker");
        assert!(add("a", b"second", 1).await);
        assert!(!add("b", b"third", 2).await, "it is there");
        let others = store.other_authorities(&[]).await.unwrap().unwrap();
        assert_eq!(others, [("a", "c2Vjb25k"), ("b", "Zmlyc3Q=")].map(|(id, der)| (id.to_owned(), der.to_owned())));
        let known = others.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(store.other_authorities(&known).await.unwrap(), None);
        let current = store.current_authority().await.unwrap().unwrap();
        assert_eq!((current.id.as_str(), current.certificate.as_slice()), ("a", &b"second"[..]));
        assert_eq!(current.sealed, b"sealed");
        let first = store.authority("b").await.unwrap().unwrap();
        assert_eq!((first.number, first.certificate.as_slice()), (1, &b"first"[..]));
        assert_eq!(store.authorities().await.unwrap(), [current, first]);
        assert_eq!(store.authority("c").await.unwrap(), None);
    }
}
