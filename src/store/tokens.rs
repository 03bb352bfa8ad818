//! Tokens of callers over HTTP: whose they are, until when, and the hash of their secret.

use super::{Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{Digest, Moment, PartnerId, TokenId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub id: TokenId,
    pub partner: PartnerId,
    /// Given by whoever made it; stands for the calling AE title.
    pub name: String,
    pub sha256: Digest,
    pub created: Moment,
    pub expires: Option<Moment>,
    pub revoked: Option<Moment>,
    /// To ten minutes.
    pub last_used: Option<Moment>,
}

impl TokenRow {
    pub fn is_valid(&self, now: Moment) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// What is listed at once.
const MAX_LISTED: i64 = 10_000;

type Row = (String, String, String, String, i64, Option<i64>, Option<i64>, Option<i64>);

fn read((id, owner, name, sha256, created, expires, revoked, used): Row) -> Result<TokenRow, StoreError> {
    Ok(TokenRow {
        id: TokenId::parse(&id).ok_or(StoreError::Unreadable { what: "token id" })?,
        partner: partner(&owner)?,
        name,
        sha256: digest(&sha256).ok_or(StoreError::Unreadable { what: "token digest" })?,
        created: Moment(created),
        expires: expires.map(Moment),
        revoked: revoked.map(Moment),
        last_used: used.map(Moment),
    })
}

fn digest(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(Digest(bytes))
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn add_token(&mut self, token: &TokenRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO tokens (id, partner, name, sha256, created_us, expires_us) \
             VALUES ($1, $2, $3, $4, $5, $6)";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(token.id.as_str())
            .bind(token.partner.as_str())
            .bind(&token.name)
            .bind(token.sha256.to_string())
            .bind(token.created.0)
            .bind(token.expires.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// It lets nobody in any more. False where there is none, or it was revoked before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_token(&mut self, id: &TokenId, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE tokens SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL RETURNING id";
        let revoked: Option<(String,)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(id.as_str()).bind(now.0).fetch_optional(&mut **c).await)?;
        Ok(revoked.is_some())
    }

    /// # Errors
    /// When the database fails.
    pub async fn token_used(&mut self, id: &TokenId, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tokens SET last_used_us = $2 WHERE id = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(id.as_str()).bind(now.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}

impl Store {
    /// Whatever has become of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&self, id: &TokenId) -> Result<Option<TokenRow>, StoreError> {
        const SQL: &str = "SELECT id, partner, name, sha256, created_us, expires_us, revoked_us, last_used_us \
             FROM tokens WHERE id = $1";
        let row: Option<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(id.as_str()).fetch_optional(p).await)?;
        row.map(read).transpose()
    }

    /// All of them, by partner and age.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        const SQL: &str = "SELECT id, partner, name, sha256, created_us, expires_us, revoked_us, last_used_us \
             FROM tokens ORDER BY partner, created_us, id LIMIT $1";
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(MAX_LISTED).fetch_all(p).await)?;
        rows.into_iter().map(read).collect()
    }
}
