//! HL7 messages that have been answered, so that one that comes again gets the same answer; and forgotten after a while.
//!
//! In: the key of a message and the answer to it; of one about orders, its content too. Out: the answer it got before.
//!
//! Does not know what a message was about, and does not make answers.

use super::{Sql, Store, StoreError, Tx, TxKind, on_read, on_tx};
use crate::model::{Moment, PartnerId};
use bytes::Bytes;

/// MSH-3, MSH-4, MSH-10 and the digest of all but MSH-7 under the partner that sent it: two hospitals do use the same
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
    /// Takes a message for the first time: `None`. The same message again: the answer it got. A second
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

macro_rules! open_case {
    () => {
        "(c.attention <> '' OR c.state <> 'reported' AND c.purged_us IS NULL)"
    };
}
/// `$1` to `$2`: when it was received. What an order that is open, a case that is not done, or a report that waits has come with
/// stays. The message of a report is known by its sender and time: at worst one too many is kept.
const FORGET: &str = concat!(
    "DELETE FROM messages WHERE received_us > $1 AND received_us <= $2 AND NOT EXISTS (SELECT 1 FROM order_messages m \
     JOIN orders o ON o.id = m.order_id WHERE m.received_us = messages.received_us AND m.sha256 = messages.sha256 \
     AND (o.state IN ('open', 'on_hold') OR EXISTS (SELECT 1 FROM order_cases oc JOIN cases c ON c.id = oc.case_id \
     WHERE oc.order_id = o.id AND ",
    open_case!(),
    "))) AND NOT EXISTS (SELECT 1 FROM patient_messages m JOIN cases c ON c.id = m.case_id \
     WHERE m.received_us = messages.received_us AND m.sha256 = messages.sha256 AND ",
    open_case!(),
    ") AND NOT EXISTS (SELECT 1 FROM reports r LEFT JOIN cases c ON c.id = r.case_id \
     WHERE r.received_us = messages.received_us AND r.sender = messages.partner \
     AND (r.case_id IS NULL AND r.dismissed_us IS NULL OR ",
    open_case!(),
    "))"
);
/// Messages that are looked at in one transaction.
const FORGET_AT_ONCE: i64 = 500;

impl Tx {
    /// Forgets answers that were given after `after` and up to `before`, some of them: how many, and up to when it has looked.
    /// `None`: there is nothing left to look at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_answers(&mut self, after: Moment, before: Moment) -> Result<Option<(u64, Moment)>, StoreError> {
        const PAGE: &str = "SELECT MAX(received_us) FROM (SELECT received_us FROM messages WHERE received_us > $1 \
             AND received_us <= $2 ORDER BY received_us LIMIT $3) AS page";
        let (upto,): (Option<i64>,) = on_tx!(self, |c| sqlx::query_as(PAGE)
            .bind(after.0)
            .bind(before.0)
            .bind(FORGET_AT_ONCE)
            .fetch_one(&mut **c)
            .await)?;
        let Some(upto) = upto else { return Ok(None) };
        let forgotten = on_tx!(self, |c| sqlx::query(FORGET)
            .bind(after.0)
            .bind(upto)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(Some((forgotten, Moment(upto))))
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
