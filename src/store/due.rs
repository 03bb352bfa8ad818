//! When the ledger needs attention next, and leases that ran out.

use super::{
    DeliveryRow, Store, StoreError, Tx,
    cases::{partner, to_json},
    deliveries::Raw,
    on_read, on_tx,
};
use crate::model::{CaseId, DeliveryId, DeliveryKind, Moment, Outcome, PartnerId};

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

    /// What this node has queued may not be on the queue any more: owed again. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn doubt_queued(&mut self, node: &str, now: Moment) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $2 \
             WHERE state = 'queued' AND owner = $1";
        let bound = on_tx!(self, |c| sqlx::query(SQL)
            .bind(node)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()));
        Ok(bound?)
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

impl Tx {
    /// Ends in front of a person what is owed and is not to be tried any more. False: it is no longer owed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stop_owed(&mut self, id: DeliveryId, outcome: &Outcome, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'stopped', finished_us = $2, last_outcome = $3 \
             WHERE id = $1 AND state = 'owed'";
        let outcome = to_json(outcome, "outcome")?;
        let changed = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(now.0)
            .bind(outcome)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }
}

/// What has not arrived at its deadline: of which case, for whom.
pub type Late = (CaseId, PartnerId, DeliveryKind);

impl Store {
    /// What was to have arrived by now and has neither arrived nor been given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn late(&self, now: Moment, limit: i64) -> Result<Vec<Late>, StoreError> {
        // Two halves, each with the condition of its partial index, so that what has ended is not read through.
        const SQL: &str = "SELECT DISTINCT case_id, partner, kind FROM (\
               SELECT case_id, partner, kind FROM deliveries WHERE state = 'owed' AND deadline_us <= $1 \
               UNION ALL SELECT case_id, partner, kind FROM deliveries \
                 WHERE state IN ('queued', 'attempting') AND deadline_us <= $1) AS late ORDER BY case_id LIMIT $2";
        let rows: Vec<(String, String, String)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(limit).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(case, name, kind)| {
                let case = case.parse().map_err(|_| StoreError::Unreadable { what: "case id" })?;
                let kind = DeliveryKind::parse(&kind).ok_or(StoreError::Unreadable { what: "delivery kind" })?;
                Ok((case, partner(&name)?, kind))
            })
            .collect()
    }

    /// What is owed though its time is up; first what a pause holds back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent(&self, now: Moment, limit: i64) -> Result<Vec<DeliveryRow>, StoreError> {
        const SQL: &str = "SELECT * FROM deliveries d WHERE d.state = 'owed' AND d.give_up_us <= $1 \
             ORDER BY CASE WHEN EXISTS (SELECT 1 FROM pauses p WHERE p.partner = d.partner \
               AND p.channel = CASE d.kind WHEN 'report_oru' THEN 'hl7' ELSE 'dicom' END) THEN 0 ELSE 1 END, d.id LIMIT $2";
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(limit).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

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
