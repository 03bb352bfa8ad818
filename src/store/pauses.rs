//! Partners that cannot take anything now, by DICOM or by HL7.

use super::{Sql, Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{Channel, Moment, PartnerId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub partner: PartnerId,
    pub channel: Channel,
    pub since: Moment,
    /// When it is probed next.
    pub until: Moment,
    /// Failed attempts and probes in a row.
    pub failures: i64,
    pub reason: String,
}

/// PostgreSQL locks the rows in the order of their ids, as everything does that changes several deliveries at once.
const DUE: Sql = Sql {
    sqlite: "UPDATE deliveries SET next_us = $3 WHERE partner = $1 AND state = 'owed' AND next_us > $3 \
             AND CASE WHEN kind IN ('images', 'report_pdf', 'report_sr') THEN 'dicom' ELSE 'hl7' END = $2",
    postgres: "UPDATE deliveries SET next_us = $3 WHERE id IN (SELECT id FROM deliveries WHERE partner = $1 \
               AND state = 'owed' AND next_us > $3 AND CASE WHEN kind IN ('images', 'report_pdf', 'report_sr') THEN 'dicom' ELSE 'hl7' END = $2 \
               ORDER BY id FOR UPDATE) AND state = 'owed'",
};

impl Tx {
    /// Pauses a partner, or pushes its pause on: one more failure. Attempts that were under way together when it went
    /// away are one failure, not one each.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause(
        &mut self,
        partner: &PartnerId,
        channel: Channel,
        now: Moment,
        until: Moment,
        reason: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO pauses (partner, channel, since_us, until_us, failures, reason) \
             VALUES ($1, $2, $3, $4, 1, $5) ON CONFLICT (partner, channel) DO UPDATE SET until_us = excluded.until_us, \
             failures = pauses.failures + CASE WHEN pauses.until_us <= excluded.since_us THEN 1 ELSE 0 END, \
             reason = excluded.reason";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(channel.as_str())
            .bind(now.0)
            .bind(until.0)
            .bind(super::plain(reason))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The partner takes things again. True if it was paused. What failed for it is due now if it had been away; after a
    /// pause in which it never failed to answer, what failed keeps its own wait: it may fail for another reason.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unpause(&mut self, partner: &PartnerId, channel: Channel, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM pauses WHERE partner = $1 AND channel = $2 RETURNING failures";
        let due = self.pick(DUE);
        let (name, way) = (partner.as_str(), channel.as_str());
        let removed: Option<(i64,)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(name).bind(way).fetch_optional(&mut **c).await)?;
        if removed.is_some_and(|(failures,)| failures > 1) {
            on_tx!(self, |c| sqlx::query(due).bind(name).bind(way).bind(now.0).execute(&mut **c).await.map(drop))?;
        }
        Ok(removed.is_some())
    }

    /// # Errors
    /// When the database fails.
    pub async fn is_paused(&mut self, partner: &PartnerId, channel: Channel) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM pauses WHERE partner = $1 AND channel = $2";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(partner.as_str())
            .bind(channel.as_str())
            .fetch_one(&mut **c)
            .await)?;
        Ok(count > 0)
    }
}

impl Store {
    /// All paused partners.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        const SQL: &str = "SELECT partner, channel, since_us, until_us, failures, reason FROM pauses ORDER BY partner";
        type Row = (String, String, i64, i64, i64, String);
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(name, channel, since, until, failures, reason)| {
                let channel = Channel::parse(&channel).ok_or(StoreError::Unreadable { what: "channel" })?;
                let (since, until) = (Moment(since), Moment(until));
                Ok(Pause { partner: partner(&name)?, channel, since, until, failures, reason })
            })
            .collect()
    }
}
