//! When the ledger needs attention next, and leases that ran out.

use super::{Store, StoreError, Tx, on_read, on_tx};
use crate::model::Moment;

impl Tx {
    /// What was queued or attempted and not seen since is owed again. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_leases(&mut self, now: Moment) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $1 \
             WHERE state IN ('queued', 'attempting') AND lease_us <= $1";
        Ok(on_tx!(self, |c| sqlx::query(SQL).bind(now.0).execute(&mut **c).await.map(|done| done.rows_affected()))?)
    }

    /// At start: what this node had queued or was attempting when it stopped is owed again. Sending again is harmless;
    /// a message still on the queue finds its delivery not queued, or already taken, and is dropped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_back(&mut self, node: &str, now: Moment) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $2 \
             WHERE state IN ('queued', 'attempting') AND owner = $1";
        Ok(on_tx!(self, |c| sqlx::query(SQL)
            .bind(node)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?)
    }
}

impl Store {
    /// When the next owed delivery becomes due, or the next lease runs out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_due(&self) -> Result<Option<Moment>, StoreError> {
        const SQL: &str = "SELECT MIN(at) FROM (\
               SELECT MIN(d.next_us) AS at FROM deliveries d WHERE d.state = 'owed' \
                 AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.partner = d.partner \
                   AND p.channel = CASE d.kind WHEN 'report_oru' THEN 'hl7' ELSE 'dicom' END) \
               UNION ALL SELECT MIN(lease_us) FROM deliveries WHERE state IN ('queued', 'attempting')) AS times";
        let (at,): (Option<i64>,) = on_read!(self, |p| sqlx::query_as(SQL).fetch_one(p).await)?;
        Ok(at.map(Moment))
    }
}
