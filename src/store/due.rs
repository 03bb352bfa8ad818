//! What is due: taken for the queue, line by line; when the ledger needs attention next; leases that ran out.
//!
//! A line is what one partner is owed of one kind by one lane. Each line is taken from by itself, a bounded number at a
//! time and never more than [`WINDOW`] on the queue at once: ten thousand deliveries owed to one partner cost the
//! others nothing, and neither does the backlog of one that is paused, however long.

use super::{
    DeliveryRow, Sql, Store, StoreError, Tx,
    cases::{partner, to_json},
    deliveries::{DueDelivery, Raw},
    on_read, on_tx,
};
use crate::model::{CaseId, Channel, DeliveryId, DeliveryKind, Moment, Outcome, PartnerId};
use std::collections::HashSet;

/// Deliveries of one line that may be on the queue at once; the rest waits in the ledger.
pub const WINDOW: i64 = 2000;

/// One partner, lane and kind with something owed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Line {
    partner: String,
    lane: String,
    kind: String,
}

/// The next line with something owed, in the order of the index `deliveries_due`: one step of it a line.
const LINE_AFTER: &str = "SELECT partner, lane, kind FROM deliveries WHERE state = 'owed' \
     AND (partner, lane, kind) > ($1, $2, $3) ORDER BY partner, lane, kind LIMIT 1";

/// The conditions are those of the partial index `deliveries_open`, word for word.
const ON_QUEUE: &str = "SELECT COUNT(*) FROM deliveries WHERE state IN ('owed', 'queued', 'attempting', 'stopped') \
     AND partner = $1 AND state = 'queued' AND lane = $2 AND kind = $3";

/// One report at a time for a case, partner and form: a version waits until the one before has ended.
const TAKE: Sql = Sql {
    sqlite: "WITH due AS MATERIALIZED (SELECT d.id FROM deliveries d WHERE d.state = 'owed' \
               AND d.partner = $1 AND d.lane = $2 AND d.kind = $3 AND d.next_us <= $4 \
               AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE d.kind <> 'images' AND e.case_id = d.case_id \
                 AND e.partner = d.partner AND e.kind = d.kind AND e.version < d.version \
                 AND e.state IN ('owed', 'queued', 'attempting')) \
               ORDER BY d.next_us, d.id LIMIT $5) \
             UPDATE deliveries SET state = 'queued', lease_us = $6, owner = $7 WHERE id IN (SELECT id FROM due) \
             RETURNING *",
    postgres: "WITH due AS MATERIALIZED (SELECT d.id FROM deliveries d WHERE d.state = 'owed' \
                 AND d.partner = $1 AND d.lane = $2 AND d.kind = $3 AND d.next_us <= $4 \
                 AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE d.kind <> 'images' AND e.case_id = d.case_id \
                   AND e.partner = d.partner AND e.kind = d.kind AND e.version < d.version \
                   AND e.state IN ('owed', 'queued', 'attempting')) \
                 ORDER BY d.next_us, d.id LIMIT $5 FOR UPDATE SKIP LOCKED) \
               UPDATE deliveries SET state = 'queued', lease_us = $6, owner = $7 WHERE id IN (SELECT id FROM due) \
               RETURNING *",
};

/// What another node is settling at this moment is not waited for.
const EXPIRE: Sql = Sql {
    sqlite: "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $1 \
             WHERE state IN ('queued', 'attempting') AND lease_us <= $1",
    postgres: "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $1 WHERE id IN (SELECT id \
               FROM deliveries WHERE state IN ('queued', 'attempting') AND lease_us <= $1 FOR UPDATE SKIP LOCKED)",
};

impl Tx {
    /// Whether something of this kind is still owed to this partner for the case though its deadline has passed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_late(
        &mut self,
        case: CaseId,
        partner: &PartnerId,
        kind: DeliveryKind,
        now: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM deliveries WHERE case_id = $1 AND partner = $2 AND kind = $3 \
             AND state IN ('owed', 'queued', 'attempting') AND deadline_us <= $4";
        let (late,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(case.to_string())
            .bind(partner.as_str())
            .bind(kind.as_str())
            .bind(now.0)
            .fetch_one(&mut **c)
            .await)?;
        Ok(late > 0)
    }

    /// Takes what is due, from each line at most `a_line` in the order it became due, and marks it as queued *before*
    /// it is published. The most urgent lane comes first. Nothing is taken for a paused partner, nor where `goes` says
    /// that there is no way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_due(
        &mut self,
        now: Moment,
        lease: Moment,
        owner: &str,
        a_line: i64,
        mut goes: impl FnMut(&PartnerId, Channel) -> bool + Send,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        const PAUSED: &str = "SELECT partner, channel FROM pauses";
        let paused: Vec<(String, String)> = on_tx!(self, |c| sqlx::query_as(PAUSED).fetch_all(&mut **c).await)?;
        let paused: HashSet<_> = paused.into_iter().collect();
        let sql = self.pick(TAKE);
        let mut due: Vec<DueDelivery> = Vec::new();
        let mut after = Line::before_all();
        while let Some(line) = self.line_after(&after).await? {
            after = line.clone();
            // A name that cannot be read is set aside below, with its row.
            let no_way = partner(&line.partner).is_ok_and(|partner| !goes(&partner, line.channel()));
            if no_way || line.is_paused(&paused) {
                continue;
            }
            let room = WINDOW - self.on_queue(&line).await?;
            if room <= 0 {
                continue;
            }
            let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
                .bind(&line.partner)
                .bind(&line.lane)
                .bind(&line.kind)
                .bind(now.0)
                .bind(room.min(a_line))
                .bind(lease.0)
                .bind(owner)
                .fetch_all(&mut **c)
                .await)?;
            for raw in raws {
                let id = raw.id.clone();
                match raw.read() {
                    Ok(delivery) => due.push(delivery),
                    Err(error) => self.set_aside(&id, now, &error).await?,
                }
            }
        }
        // RETURNING has no order.
        due.sort_by_key(|delivery| (delivery.lane, delivery.next, delivery.id));
        Ok(due)
    }

    async fn line_after(&mut self, after: &Line) -> Result<Option<Line>, StoreError> {
        Ok(on_tx!(self, |c| sqlx::query_as(LINE_AFTER)
            .bind(&after.partner)
            .bind(&after.lane)
            .bind(&after.kind)
            .fetch_optional(&mut **c)
            .await)?)
    }

    async fn on_queue(&mut self, line: &Line) -> Result<i64, StoreError> {
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(ON_QUEUE)
            .bind(&line.partner)
            .bind(&line.lane)
            .bind(&line.kind)
            .fetch_one(&mut **c)
            .await)?;
        Ok(count)
    }

    /// One row that cannot be read ends in front of a person, and does not keep the rest from leaving.
    async fn set_aside(&mut self, id: &str, now: Moment, error: &StoreError) -> Result<(), StoreError> {
        const STOP: &str = "UPDATE deliveries SET state = 'stopped', lease_us = NULL, finished_us = $2 WHERE id = $1";
        const TELL: &str = "UPDATE cases SET attention = CASE WHEN attention = '' THEN $2 ELSE attention || '; ' || $2 END \
             WHERE id = (SELECT case_id FROM deliveries WHERE id = $1)";
        tracing::error!(delivery.id = id, %error, "A delivery cannot be read and waits for a person: {error}");
        on_tx!(self, |c| sqlx::query(STOP).bind(id).bind(now.0).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(TELL)
            .bind(id)
            .bind("a delivery cannot be read from the database")
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// What was queued or attempted and not seen since is owed again. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_leases(&mut self, now: Moment) -> Result<u64, StoreError> {
        let sql = self.pick(EXPIRE);
        Ok(on_tx!(self, |c| sqlx::query(sql).bind(now.0).execute(&mut **c).await.map(|done| done.rows_affected()))?)
    }

    /// What this node has queued may not be on the queue any more: owed again. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn doubt_queued(&mut self, node: &str, now: Moment) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $2 \
             WHERE state IN ('queued', 'attempting') AND state = 'queued' AND owner = $1";
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
    /// What was to have arrived by now and has neither arrived nor been given up; several times where it is several
    /// deliveries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn late(&self, now: Moment, limit: i64) -> Result<Vec<Late>, StoreError> {
        // The conditions are those of the partial index `deliveries_late`, word for word.
        const SQL: &str = "SELECT case_id, partner, kind FROM deliveries \
             WHERE state IN ('owed', 'queued', 'attempting') AND deadline_us <= $1 ORDER BY deadline_us LIMIT $2";
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
               AND p.channel = CASE WHEN d.kind IN ('images', 'report_pdf', 'report_sr') THEN 'dicom' ELSE 'hl7' END) THEN 0 ELSE 1 END, d.id LIMIT $2";
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(limit).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// When the next owed delivery becomes due after `now`, or the next lease runs out. What is due already and has
    /// not been taken waits for something else (its predecessor, room on the queue), and that rings when it happens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_due(&self, now: Moment) -> Result<Option<Moment>, StoreError> {
        const LEASE: &str = "SELECT MIN(lease_us) FROM deliveries WHERE state IN ('queued', 'attempting')";
        const NEXT: &str = "SELECT MIN(next_us) FROM deliveries WHERE state = 'owed' AND partner = $1 AND lane = $2 \
             AND kind = $3 AND next_us > $4";
        let (mut soonest,): (Option<i64>,) = on_read!(self, |p| sqlx::query_as(LEASE).fetch_one(p).await)?;
        let paused: HashSet<(String, String)> = self
            .pauses()
            .await?
            .iter()
            .map(|pause| (pause.partner.to_string(), pause.channel.as_str().to_owned()))
            .collect();
        let mut after = Line::before_all();
        while let Some(line) = self.line_after(&after).await? {
            after = line.clone();
            if line.is_paused(&paused) {
                continue;
            }
            let (next,): (Option<i64>,) = on_read!(self, |p| sqlx::query_as(NEXT)
                .bind(&line.partner)
                .bind(&line.lane)
                .bind(&line.kind)
                .bind(now.0)
                .fetch_one(p)
                .await)?;
            soonest = soonest.into_iter().chain(next).min();
        }
        Ok(soonest.map(Moment))
    }

    async fn line_after(&self, after: &Line) -> Result<Option<Line>, StoreError> {
        Ok(on_read!(self, |p| sqlx::query_as(LINE_AFTER)
            .bind(&after.partner)
            .bind(&after.lane)
            .bind(&after.kind)
            .fetch_optional(p)
            .await)?)
    }
}

impl Line {
    /// Sorts before every line there can be.
    fn before_all() -> Self {
        Self { partner: String::new(), lane: String::new(), kind: String::new() }
    }

    fn channel(&self) -> Channel {
        DeliveryKind::parse(&self.kind).map_or(Channel::Dicom, DeliveryKind::channel)
    }

    fn is_paused(&self, paused: &HashSet<(String, String)>) -> bool {
        paused.contains(&(self.partner.clone(), self.channel().as_str().to_owned()))
    }
}
