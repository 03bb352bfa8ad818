//! The story of a case: what happened, when, by whom. Texts carry no patient data.

use super::{Store, StoreError, Tx, on_read, on_tx};
use crate::model::{CaseId, Moment};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Moment,
    pub actor: String,
    pub what: String,
}

impl Tx {
    /// Adds a line to the case's story.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell(&mut self, case: CaseId, at: Moment, actor: &str, what: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO events (case_id, at_us, actor, what) VALUES ($1, $2, $3, $4)";
        let id = case.to_string();
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(id)
            .bind(at.0)
            .bind(actor)
            .bind(super::plain(what))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }
}

impl Tx {
    /// Whether a line is in the case's story already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_told(&mut self, case: CaseId, what: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM events WHERE case_id = $1 AND what = $2";
        let id = case.to_string();
        let (count,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).bind(super::plain(what)).fetch_one(&mut **c).await)?;
        Ok(count > 0)
    }
}

impl Store {
    /// The case's story, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn story(&self, case: CaseId) -> Result<Vec<Event>, StoreError> {
        const SQL: &str = "SELECT at_us, actor, what FROM events WHERE case_id = $1 ORDER BY id";
        let id = case.to_string();
        let rows: Vec<(i64, String, String)> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        Ok(rows.into_iter().map(|(at, actor, what)| Event { at: Moment(at), actor, what }).collect())
    }
}
