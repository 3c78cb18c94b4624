//! Private keys at rest: each sealed under the key-encryption key for its purpose and record.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

/// A certificate (PEM), or whatever else is public of a key, with its sealed private key.
#[derive(Debug, Clone)]
pub struct SealedKey {
    pub certificate: String,
    pub sealed: Vec<u8>,
}

impl Store {
    pub async fn sealed_key(&self, purpose: &str, record: &str) -> Result<Option<SealedKey>, StoreError> {
        let row = sqlx::query("SELECT certificate, sealed FROM sealed_keys WHERE purpose = $1 AND record = $2")
            .bind(purpose)
            .bind(record)
            .fetch_optional(&self.reader)
            .await?;
        row.map(|row| {
            let sealed = STANDARD
                .decode(row.try_get::<String, _>("sealed")?)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(SealedKey { certificate: row.try_get("certificate")?, sealed })
        })
        .transpose()
    }

    /// Keeps the key unless there is one already; false where there is.
    pub async fn add_sealed_key(
        &self,
        purpose: &str,
        record: &str,
        key: &SealedKey,
        now: i64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO sealed_keys (purpose, record, certificate, sealed, created) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(purpose)
        .bind(record)
        .bind(&key.certificate)
        .bind(STANDARD.encode(&key.sealed))
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The public parts of all keys of a purpose: record -> (`certificate`, when it was made).
    pub async fn public_keys(&self, purpose: &str) -> Result<BTreeMap<String, (String, i64)>, StoreError> {
        let rows = sqlx::query("SELECT record, certificate, created FROM sealed_keys WHERE purpose = $1")
            .bind(purpose)
            .fetch_all(&self.reader)
            .await?;
        let key = |row: &AnyRow| Ok((row.try_get("record")?, (row.try_get("certificate")?, row.try_get("created")?)));
        rows.iter().map(key).collect()
    }

    pub async fn remove_sealed_key(&self, purpose: &str, record: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sealed_keys WHERE purpose = $1 AND record = $2")
            .bind(purpose)
            .bind(record)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
