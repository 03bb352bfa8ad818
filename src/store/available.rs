//! Studies that are whole and with everybody who gets them, until those who want to know have been told.
//!
//! In: a case, in the transaction that finds that all of it has been delivered. Out: such cases, oldest first. Who wants to know,
//! `worklist` sees.

use super::{CaseRow, Store, StoreError, Tx, on_read, on_tx};
use crate::model::{CaseId, Moment, PartnerId};

impl Tx {
    /// The caller holds the case. One that is read where it came from has gone nowhere; one of which nothing is new stays told.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn note_available(&mut self, case: &CaseRow, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO available_studies (case_id, noted_us, instances, receivers) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (case_id) DO UPDATE SET noted_us = excluded.noted_us, instances = excluded.instances, \
             receivers = excluded.receivers, told = 0 \
             WHERE available_studies.instances < excluded.instances OR available_studies.receivers <> excluded.receivers";
        let receivers = case.receivers();
        if !case.has_study || receivers.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = receivers.iter().map(PartnerId::as_str).collect();
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(now.0)
            .bind(case.instances)
            .bind(names.join(" "))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// It is being told. False: somebody else tells it, or it has become available anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_available(&mut self, case: CaseId, noted: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE available_studies SET told = 1 WHERE case_id = $1 AND noted_us = $2 AND told = 0";
        let id = case.to_string();
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(&id)
            .bind(noted.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }
}

impl Store {
    /// Cases of which nobody has been told, with the time at which they became available.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn available_studies(&self, limit: i64) -> Result<Vec<(CaseId, Moment)>, StoreError> {
        const SQL: &str = "SELECT case_id, noted_us FROM available_studies WHERE told = 0 ORDER BY noted_us LIMIT $1";
        let rows: Vec<(String, i64)> = on_read!(self, |p| sqlx::query_as(SQL).bind(limit).fetch_all(p).await)?;
        let unreadable = |_| StoreError::Unreadable { what: "case id" };
        rows.into_iter().map(|(id, noted)| Ok((id.parse().map_err(unreadable)?, Moment(noted)))).collect()
    }
}
