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
    /// Keeps it as the current one; false where one of this id is there already, which stays as it is.
    pub async fn add_authority(&self, new: &NewAuthority<'_>, now: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO jami_authorities (id, certificate, sealed, number, created) \
             SELECT $1, $2, $3, COALESCE(MAX(number), 0) + 1, CAST($4 AS BIGINT) FROM jami_authorities WHERE true \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(new.id)
        .bind(STANDARD.encode(new.certificate))
        .bind(STANDARD.encode(new.sealed))
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
        let add = async |id: &str, certificate: &[u8]| {
            store.add_authority(&NewAuthority { id, certificate, sealed: b"sealed" }, 1).await.unwrap()
        };
        assert!(add("b", b"first").await);
        assert!(add("a", b"second").await);
        assert!(!add("b", b"third").await, "it is there");
        let current = store.current_authority().await.unwrap().unwrap();
        assert_eq!((current.id.as_str(), current.certificate.as_slice()), ("a", &b"second"[..]));
        assert_eq!(current.sealed, b"sealed");
        let first = store.authority("b").await.unwrap().unwrap();
        assert_eq!((first.number, first.certificate.as_slice()), (1, &b"first"[..]));
        assert_eq!(store.authorities().await.unwrap(), [current, first]);
        assert_eq!(store.authority("c").await.unwrap(), None);
    }
}
