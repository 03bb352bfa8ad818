//! Application responses to orders that their sender wants as messages of their own, and refusals that no message can bring.
//!
//! In: a response, in the transaction that keeps its orders. Out: what is due of each partner, what was tried least often first; an
//! attempt is written down before it is made, and only one can be. What was taken is deleted; what was given up stays without its
//! content for a while, so that a person is told.
//!
//! Not a row of `deliveries`: those are a case's, and what is answered here may be of no case, or of no order.

use super::{Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{Moment, PartnerId};
use uuid::Uuid;

/// A response to be owed; or, where `stopped` says why it cannot be sent, to be told by a person.
#[derive(Clone, Copy, Debug)]
pub struct NewOrderAnswer<'a> {
    pub partner: &'a PartnerId,
    /// MSH-10.
    pub control_id: &'a str,
    /// As it is sent.
    pub content: &'a [u8],
    /// ORC-1 of what was refused.
    pub refused: &'a str,
    pub stopped: &'a str,
    pub now: Moment,
}

/// One that is owed. Holds numbers of orders: never into a log.
#[derive(Clone, Debug)]
pub struct OrderAnswer {
    pub number: i64,
    pub control_id: String,
    pub content: Vec<u8>,
    /// ORC-1 of what was refused.
    pub refused: String,
    pub created: Moment,
    /// Made so far.
    pub attempts: i64,
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn owe_order_answer(&mut self, new: &NewOrderAnswer<'_>) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO order_answers (id, partner, control_id, content, refused, created_us, attempts, next_us, \
             stopped, stopped_us) VALUES ($1, $2, $3, $4, $5, $6, 0, $6, $7, $8)";
        let stopped_at = (!new.stopped.is_empty()).then_some(new.now.0);
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(Uuid::now_v7().to_string())
            .bind(new.partner.as_str())
            .bind(new.control_id)
            .bind(new.content)
            .bind(new.refused)
            .bind(new.now.0)
            .bind(new.stopped)
            .bind(stopped_at)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Writes an attempt down; until `lease` it is nobody else's. False: somebody else makes it, or it is not owed any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_order_answer(&mut self, answer: &OrderAnswer, lease: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE order_answers SET attempts = attempts + 1, next_us = $3 \
             WHERE number = $1 AND attempts = $2 AND stopped = ''";
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(answer.number)
            .bind(answer.attempts)
            .bind(lease.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// It was taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_answer_taken(&mut self, answer: &OrderAnswer) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM order_answers WHERE number = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(answer.number).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// It is tried again at `next`, and nothing of this partner's is before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_answers_wait(&mut self, partner: &PartnerId, next: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE order_answers SET next_us = $2 WHERE partner = $1 AND stopped = ''";
        on_tx!(self, |c| sqlx::query(SQL).bind(partner.as_str()).bind(next.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// It is given up, for a reason without patient data.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stop_order_answer(
        &mut self,
        answer: &OrderAnswer,
        reason: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE order_answers SET stopped = $2, stopped_us = $3, content = $4 WHERE number = $1";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(answer.number)
            .bind(reason)
            .bind(now.0)
            .bind(Vec::<u8>::new())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// A person has told the sender. False: there is no such answer that waits for one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dismiss_order_answer(&mut self, id: &str, why: &str, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE order_answers SET dismissed_us = $2, decided_why = $3 \
             WHERE id = $1 AND stopped <> '' AND dismissed_us IS NULL";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id)
            .bind(now.0)
            .bind(super::plain(why))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Forgets what a person has seen to, or was given up, before this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_stopped_order_answers(&mut self, before: Moment) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM order_answers WHERE stopped <> '' AND stopped_us < $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(before.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}

impl Store {
    /// The partners that may be answered now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_answers_due(&self, now: Moment) -> Result<Vec<PartnerId>, StoreError> {
        const SQL: &str = "SELECT DISTINCT partner FROM order_answers WHERE stopped = '' AND next_us <= $1";
        let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).fetch_all(p).await)?;
        rows.iter().map(|(name,)| partner(name)).collect()
    }

    /// What is due of one partner: what was tried least often before the others, and of those the oldest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_answers(
        &self,
        partner: &PartnerId,
        now: Moment,
        limit: i64,
    ) -> Result<Vec<OrderAnswer>, StoreError> {
        const SQL: &str = "SELECT number, control_id, content, refused, created_us, attempts FROM order_answers \
             WHERE partner = $1 AND stopped = '' AND next_us <= $2 ORDER BY attempts, number LIMIT $3";
        type Row = (i64, String, Vec<u8>, String, i64, i64);
        let rows: Vec<Row> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(partner.as_str()).bind(now.0).bind(limit).fetch_all(p).await)?;
        let read = |(number, control_id, content, refused, created, attempts)| OrderAnswer {
            number,
            control_id,
            content,
            refused,
            created: Moment(created),
            attempts,
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
