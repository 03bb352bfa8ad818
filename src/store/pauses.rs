//! Partners that cannot take anything now.

use super::{Store, StoreError, Tx, on_read, on_tx};
use crate::model::{Moment, PartnerId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub partner: PartnerId,
    pub since: Moment,
    /// When it is probed next.
    pub until: Moment,
    /// Failed attempts and probes in a row.
    pub failures: i64,
    pub reason: String,
}

impl Tx {
    /// Pauses a partner, or pushes its pause on: one more failure.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause(&mut self, partner: &PartnerId, now: Moment, until: Moment, reason: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO pauses (partner, since_us, until_us, failures, reason) VALUES ($1, $2, $3, 1, $4) \
             ON CONFLICT (partner) DO UPDATE SET until_us = excluded.until_us, failures = pauses.failures + 1, \
             reason = excluded.reason";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(now.0)
            .bind(until.0)
            .bind(reason)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The partner takes things again: what waited for it is due now. True if it was paused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unpause(&mut self, partner: &PartnerId, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM pauses WHERE partner = $1";
        const DUE: &str = "UPDATE deliveries SET next_us = $2 WHERE partner = $1 AND state = 'owed' AND next_us > $2";
        let name = partner.as_str();
        let removed =
            on_tx!(self, |c| sqlx::query(SQL).bind(name).execute(&mut **c).await.map(|done| done.rows_affected()))?;
        if removed > 0 {
            on_tx!(self, |c| sqlx::query(DUE).bind(name).bind(now.0).execute(&mut **c).await.map(drop))?;
        }
        Ok(removed > 0)
    }
}

impl Store {
    /// All paused partners.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        const SQL: &str = "SELECT partner, since_us, until_us, failures, reason FROM pauses ORDER BY partner";
        type Row = (String, i64, i64, i64, String);
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(partner, since, until, failures, reason)| {
                let partner = PartnerId::new(&partner).map_err(|_| StoreError::Unreadable { what: "partner id" })?;
                Ok(Pause { partner, since: Moment(since), until: Moment(until), failures, reason })
            })
            .collect()
    }
}
