//! HL7 messages that have been answered, so that one that comes again gets the same answer.
//!
//! In: the key of a message and the answer to it; of one about orders, its content too. Out: the answer it got before.
//!
//! Does not know what a message was about, and does not make answers.

use super::{Sql, Store, StoreError, Tx, TxKind, on_read, on_tx};
use crate::model::{Moment, PartnerId};
use bytes::Bytes;

/// MSH-3, MSH-4, MSH-10 and the digest of the whole under the partner that sent it: two hospitals do use the same
/// control ids, and one hospital the same for two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageKey {
    pub partner: PartnerId,
    pub application: String,
    pub facility: String,
    pub control_id: String,
    pub sha256: String,
}

macro_rules! take_message {
    () => {
        "INSERT INTO messages (partner, application, facility, control_id, sha256, received_us, answer) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (partner, application, facility, control_id, sha256) DO NOTHING"
    };
}

/// The content of what one hospital sends at one moment under two names is one row.
const KEEP_ANSWERED: Sql = Sql {
    sqlite: concat!(
        take_message!(),
        "; INSERT INTO order_contents (sha256, received_us, content) VALUES ($5, $6, $8) \
         ON CONFLICT (sha256, received_us) DO UPDATE SET content = excluded.content"
    ),
    postgres: concat!(
        "WITH taken AS (",
        take_message!(),
        " RETURNING 1) INSERT INTO order_contents (sha256, received_us, content) SELECT $5, $6, $8 FROM taken \
         ON CONFLICT (sha256, received_us) DO UPDATE SET content = excluded.content"
    ),
};

const ANSWER: &str = "SELECT answer FROM messages WHERE partner = $1 AND application = $2 AND facility = $3 \
     AND control_id = $4 AND sha256 = $5";

impl Tx {
    /// Takes a message for the first time: `None`. The same message again, to the byte: the answer it got. A second
    /// connection with the same message waits here until the first has committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_message(&mut self, key: &MessageKey, received: Moment) -> Result<Option<Vec<u8>>, StoreError> {
        const CLAIM: &str = take_message!();
        let claimed = on_tx!(self, |c| sqlx::query(CLAIM)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(received.0)
            .bind(Vec::<u8>::new())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if claimed == 1 {
            return Ok(None);
        }
        let row: Option<(Vec<u8>,)> = on_tx!(self, |c| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(&mut **c)
            .await)?;
        Ok(row.map(|(answer,)| answer))
    }

    /// Keeps the answer to a claimed message.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answer(&mut self, key: &MessageKey, answer: &[u8]) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE messages SET answer = $6 WHERE partner = $1 AND application = $2 AND facility = $3 \
             AND control_id = $4 AND sha256 = $5";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(answer)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Keeps a message about orders with its answer, both at once. It has come before: the answer it got, and the caller's
    /// transaction is to be dropped. A second connection with the same message waits here until the first has committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answered(
        &mut self,
        key: &MessageKey,
        received: Moment,
        content: &Bytes,
        answer: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = self.pick(KEEP_ANSWERED);
        let kept = on_tx!(self, |c| sqlx::query(sql)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(received.0)
            .bind(answer)
            .bind(&content[..])
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        // SQLite counts the row of both statements, PostgreSQL that of the last, which there is only with the first.
        let all = match self.kind {
            TxKind::Sqlite(_) => 2,
            TxKind::Postgres(_) => 1,
        };
        if kept == all {
            return Ok(None);
        }
        let row: Option<(Vec<u8>,)> = on_tx!(self, |c| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(&mut **c)
            .await)?;
        row.map(|(answer,)| Some(answer)).ok_or(StoreError::NotFound { what: "answer", id: String::new() })
    }
}

impl Store {
    /// The answer this message got when it came before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_given(&self, key: &MessageKey) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = on_read!(self, |p| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(p)
            .await)?;
        Ok(row.map(|(answer,)| answer))
    }
}
