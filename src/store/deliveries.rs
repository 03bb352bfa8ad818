//! The ledger: what is owed to a partner, its attempts and their outcomes.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{from_json, partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, DeliveryId, DeliveryKind, DeliveryState, Lane, Moment, Outcome, PartnerId, ReportId};
use serde::{Deserialize, Serialize};

/// A thing to be owed.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    pub case: CaseId,
    pub partner: PartnerId,
    pub lane: Lane,
    pub kind: DeliveryKind,
    /// Images: the run of instances, inclusive. Reports: 0 and 0.
    pub first_seq: i64,
    pub last_seq: i64,
    pub report: Option<ReportId>,
    /// Reports leave in the order of their versions.
    pub version: i64,
    pub items: i64,
    pub bytes: i64,
    pub deadline: Option<Moment>,
    pub give_up: Moment,
    pub now: Moment,
}

/// A row of the ledger.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub case: CaseId,
    pub partner: PartnerId,
    pub lane: Lane,
    pub kind: DeliveryKind,
    pub first_seq: i64,
    pub last_seq: i64,
    /// Instances up to here have been confirmed by the partner, or marked as refused.
    pub done_to: i64,
    pub refused: Vec<RefusedInstance>,
    pub report: Option<ReportId>,
    pub version: i64,
    pub items: i64,
    pub bytes: i64,
    pub state: DeliveryState,
    pub attempts: i64,
    /// Those made before a person last had it sent again.
    pub attempts_before: i64,
    pub next: Moment,
    pub deadline: Option<Moment>,
    pub give_up: Moment,
    pub created: Moment,
    pub finished: Option<Moment>,
    pub last_outcome: Option<Outcome>,
}

impl DeliveryRow {
    /// Attempts since it was first owed, or last sent again by a person.
    pub fn tries(&self) -> i64 {
        self.attempts - self.attempts_before
    }
}

/// An instance the partner would not have, with its DIMSE status, or one of the values here that no refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedInstance {
    pub seq: i64,
    pub status: u16,
}

impl RefusedInstance {
    /// It could not be read here.
    pub const UNREADABLE: u16 = 0x0000;
    /// The association ended at it every time.
    pub const BROKEN_OFF: u16 = 0x0001;
    /// It was not sent: its header could not be given the partner's identifiers.
    pub const NOT_REWRITTEN: u16 = 0x0002;

    /// Up to where every instance has arrived: `done_to` also passes what was refused.
    pub fn arrived_to(done_to: i64, refused: &[Self]) -> i64 {
        refused.iter().map(|refused| refused.seq - 1).fold(done_to, i64::min)
    }

    /// In words for a person, with the status for whoever looks it up.
    pub fn why(&self) -> String {
        match self.status {
            Self::UNREADABLE => "not readable here".to_owned(),
            Self::BROKEN_OFF => "it breaks off each time".to_owned(),
            Self::NOT_REWRITTEN => "not sent: its identifiers cannot be rewritten".to_owned(),
            // PS3.7 C.5.6; also what is noted where no presentation context was accepted.
            0x0122 => "0122: it accepts no such images".to_owned(),
            status => format!("{status:04X}"),
        }
    }
}

pub type DueDelivery = DeliveryRow;
pub type Claimed = DeliveryRow;

/// How an attempt ended and where that leaves the delivery.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub id: DeliveryId,
    pub attempt: i64,
    pub now: Moment,
    pub done_to: i64,
    pub refused: Vec<RefusedInstance>,
    pub outcome: Outcome,
    pub settled: Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Delivered,
    /// Ends in front of a person.
    Stopped,
    /// Not owed any more: the case was held, or went to another reader, while the attempt was being made.
    Withdrawn,
    /// Owed again at this time. `count` false: the attempt is not held against it.
    Again {
        at: Moment,
        count: bool,
    },
}

#[derive(sqlx::FromRow)]
pub(super) struct Raw {
    pub(super) id: String,
    case_id: String,
    partner: String,
    lane: String,
    kind: String,
    first_seq: i64,
    last_seq: i64,
    done_to: i64,
    refused: String,
    report_id: Option<String>,
    version: i64,
    items: i64,
    bytes: i64,
    state: String,
    attempts: i64,
    attempts_before: i64,
    next_us: i64,
    deadline_us: Option<i64>,
    give_up_us: i64,
    created_us: i64,
    finished_us: Option<i64>,
    last_outcome: String,
}

impl Raw {
    pub(super) fn read(self) -> Result<DeliveryRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(DeliveryRow {
            id: self.id.parse().map_err(|_| unreadable("delivery id"))?,
            case: self.case_id.parse().map_err(|_| unreadable("case id"))?,
            partner: partner(&self.partner)?,
            lane: Lane::parse(&self.lane).ok_or(unreadable("lane"))?,
            kind: DeliveryKind::parse(&self.kind).ok_or(unreadable("delivery kind"))?,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            done_to: self.done_to,
            refused: from_json(&self.refused, "list of refused instances")?,
            report: self.report_id.map(|id| id.parse()).transpose().map_err(|_| unreadable("report id"))?,
            version: self.version,
            items: self.items,
            bytes: self.bytes,
            state: DeliveryState::parse(&self.state).ok_or(unreadable("delivery state"))?,
            attempts: self.attempts,
            attempts_before: self.attempts_before,
            next: Moment(self.next_us),
            deadline: self.deadline_us.map(Moment),
            give_up: Moment(self.give_up_us),
            created: Moment(self.created_us),
            finished: self.finished_us.map(Moment),
            last_outcome: if self.last_outcome.is_empty() {
                None
            } else {
                Some(from_json(&self.last_outcome, "outcome")?)
            },
        })
    }
}

/// PostgreSQL locks the rows in the order of their ids, as everything does that changes several deliveries at once.
const WITHDRAW: Sql = Sql {
    sqlite: "UPDATE deliveries SET state = 'withdrawn', lease_us = NULL, finished_us = $2 \
             WHERE case_id = $1 AND kind = 'images' AND state IN ('owed', 'queued') RETURNING first_seq, done_to, refused",
    postgres: "UPDATE deliveries SET state = 'withdrawn', lease_us = NULL, finished_us = $2 WHERE id IN (\
               SELECT id FROM deliveries WHERE case_id = $1 AND kind = 'images' AND state IN ('owed', 'queued') \
               ORDER BY id FOR UPDATE) RETURNING first_seq, done_to, refused",
};
const WITHDRAW_TO: Sql = Sql {
    sqlite: "UPDATE deliveries SET state = 'withdrawn', lease_us = NULL, finished_us = $2 WHERE case_id = $1 \
             AND partner = $3 AND kind = 'images' AND state IN ('owed', 'queued', 'stopped')",
    postgres: "UPDATE deliveries SET state = 'withdrawn', lease_us = NULL, finished_us = $2 WHERE id IN (\
               SELECT id FROM deliveries WHERE case_id = $1 AND partner = $3 AND kind = 'images' \
               AND state IN ('owed', 'queued', 'stopped') ORDER BY id FOR UPDATE)",
};
const RESEND: Sql = Sql {
    sqlite: "UPDATE deliveries SET state = 'owed', lease_us = NULL, finished_us = NULL, next_us = $2, \
             give_up_us = $3, refused = '[]', attempts_before = attempts, \
             done_to = CASE WHEN kind = 'images' THEN first_seq - 1 ELSE 0 END \
             WHERE case_id = $1 AND (state = 'stopped' OR ($4 = 1 AND state = 'delivered'))",
    postgres: "UPDATE deliveries SET state = 'owed', lease_us = NULL, finished_us = NULL, next_us = $2, \
               give_up_us = $3, refused = '[]', attempts_before = attempts, \
               done_to = CASE WHEN kind = 'images' THEN first_seq - 1 ELSE 0 END \
               WHERE id IN (SELECT id FROM deliveries WHERE case_id = $1 \
               AND (state = 'stopped' OR ($4 = 1 AND state = 'delivered')) ORDER BY id FOR UPDATE)",
};
/// What follows a report that is owed again: its later versions, also one that is under way at this moment. Otherwise
/// the older version would arrive last. The attempt under way is not this row's any more when it ends.
const RESEND_LATER: Sql = Sql {
    sqlite: "WITH later AS MATERIALIZED (SELECT d.id FROM deliveries d WHERE d.case_id = $1 AND d.kind <> 'images' \
               AND d.state IN ('queued', 'attempting', 'delivered') AND EXISTS (SELECT 1 FROM deliveries e \
                 WHERE e.case_id = d.case_id AND e.partner = d.partner AND e.kind = d.kind AND e.version < d.version \
                 AND e.state = 'owed')) \
             UPDATE deliveries SET state = 'owed', lease_us = NULL, finished_us = NULL, next_us = $2, give_up_us = $3, \
             refused = '[]', attempts_before = attempts, done_to = 0 WHERE id IN (SELECT id FROM later)",
    postgres: "WITH later AS MATERIALIZED (SELECT d.id FROM deliveries d WHERE d.case_id = $1 AND d.kind <> 'images' \
                 AND d.state IN ('queued', 'attempting', 'delivered') AND EXISTS (SELECT 1 FROM deliveries e \
                   WHERE e.case_id = d.case_id AND e.partner = d.partner AND e.kind = d.kind AND e.version < d.version \
                   AND e.state = 'owed') ORDER BY d.id FOR UPDATE OF d) \
               UPDATE deliveries SET state = 'owed', lease_us = NULL, finished_us = NULL, next_us = $2, give_up_us = $3, \
               refused = '[]', attempts_before = attempts, done_to = 0 WHERE id IN (SELECT id FROM later)",
};

/// What is owed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    pub again: u64,
    /// Versions of a report that follow an older one among them.
    pub later: u64,
}

impl Tx {
    /// Owes a thing. It is due at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owe(&mut self, new: &NewDelivery) -> Result<DeliveryId, StoreError> {
        const SQL: &str = "INSERT INTO deliveries (id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, \
             report_id, version, items, bytes, state, attempts, next_us, lease_us, owner, deadline_us, give_up_us, \
             created_us, finished_us, last_outcome) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]', $9, $10, $11, $12, 'owed', 0, $13, NULL, '', $14, $15, $13, NULL, '')";
        let id = DeliveryId::generate();
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(new.case.to_string())
            .bind(new.partner.as_str())
            .bind(new.lane.as_str())
            .bind(new.kind.as_str())
            .bind(new.first_seq)
            .bind(new.last_seq)
            .bind(new.first_seq - 1)
            .bind(new.report.map(|report| report.to_string()))
            .bind(new.version)
            .bind(new.items)
            .bind(new.bytes)
            .bind(new.now.0)
            .bind(new.deadline.map(|at| at.0))
            .bind(new.give_up.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        if new.kind == DeliveryKind::Images {
            self.show_to(new.case, &new.partner).await?;
        }
        Ok(id)
    }

    /// The queue did not take it: owed again at `next`, no attempt counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn not_published(&mut self, id: DeliveryId, next: Moment) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE deliveries SET state = 'owed', lease_us = NULL, next_us = $2 WHERE id = $1 AND state = 'queued'";
        on_tx!(self, |c| sqlx::query(SQL).bind(id.to_string()).bind(next.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Claims a queued delivery for one attempt and writes the attempt down. `None`: it is not to be tried now (done,
    /// withdrawn, or another worker has it), so the message can go.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(
        &mut self,
        id: DeliveryId,
        now: Moment,
        lease: Moment,
        node: &str,
    ) -> Result<Option<Claimed>, StoreError> {
        const CLAIM: &str = "UPDATE deliveries SET state = 'attempting', attempts = attempts + 1, lease_us = $2, owner = $3 \
             WHERE id = $1 AND state = 'queued' RETURNING *";
        const LOG: &str = "INSERT INTO attempts (delivery_id, attempt, node, started_us, ended_us, outcome) \
             VALUES ($1, $2, $3, $4, NULL, '') ON CONFLICT (delivery_id, attempt) DO UPDATE SET started_us = excluded.started_us";
        let key = id.to_string();
        let raw: Option<Raw> =
            on_tx!(self, |c| sqlx::query_as(CLAIM).bind(&key).bind(lease.0).bind(node).fetch_optional(&mut **c).await)?;
        let Some(claimed) = raw.map(Raw::read).transpose()? else { return Ok(None) };
        on_tx!(self, |c| sqlx::query(LOG)
            .bind(&key)
            .bind(claimed.attempts)
            .bind(node)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(Some(claimed))
    }

    /// Takes back a claim whose commit was not confirmed and whose attempt was not made, if it was committed at all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unclaim(&mut self, id: DeliveryId, attempt: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE deliveries SET state = 'queued', attempts = attempts - 1 \
             WHERE id = $1 AND attempts = $2 AND state = 'attempting'";
        on_tx!(self, |c| sqlx::query(SQL).bind(id.to_string()).bind(attempt).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Notes how far an attempt has come and prolongs its lease. False: it is no longer ours, stop.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn progress(
        &mut self,
        id: DeliveryId,
        attempt: i64,
        done_to: i64,
        lease: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE deliveries SET done_to = $3, lease_us = $4 \
             WHERE id = $1 AND attempts = $2 AND state = 'attempting'";
        let changed = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(attempt)
            .bind(done_to)
            .bind(lease.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// Writes down how an attempt ended. False: the attempt was no longer ours, and only its outcome was noted. The
    /// caller holds the case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&mut self, end: &Settlement) -> Result<bool, StoreError> {
        const LOG: &str = "UPDATE attempts SET ended_us = $3, outcome = $4 WHERE delivery_id = $1 AND attempt = $2";
        const SQL: &str = "UPDATE deliveries SET state = $3, lease_us = NULL, done_to = $4, refused = $5, next_us = $6, \
             finished_us = $7, last_outcome = $8, attempts = attempts - $9 \
             WHERE id = $1 AND attempts = $2 AND state = 'attempting'";
        let id = end.id.to_string();
        let outcome = to_json(&end.outcome, "outcome")?;
        let refused = to_json(&end.refused, "list of refused instances")?;
        on_tx!(self, |c| sqlx::query(LOG)
            .bind(&id)
            .bind(end.attempt)
            .bind(end.now.0)
            .bind(&outcome)
            .execute(&mut **c)
            .await
            .map(drop))?;
        let (state, next, finished, uncounted) = match end.settled {
            Settled::Delivered => (DeliveryState::Delivered, end.now, Some(end.now.0), 0),
            Settled::Stopped => (DeliveryState::Stopped, end.now, Some(end.now.0), 0),
            Settled::Withdrawn => (DeliveryState::Withdrawn, end.now, Some(end.now.0), 0),
            Settled::Again { at, count } => (DeliveryState::Owed, at, None, i64::from(!count)),
        };
        let changed = on_tx!(self, |c| sqlx::query(SQL)
            .bind(&id)
            .bind(end.attempt)
            .bind(state.as_str())
            .bind(end.done_to)
            .bind(refused)
            .bind(next.0)
            .bind(finished)
            .bind(&outcome)
            .bind(uncounted)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// The ledger of one case, for change within this transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries(&mut self, case: CaseId) -> Result<Vec<DeliveryRow>, StoreError> {
        const SQL: &str = "SELECT * FROM deliveries WHERE case_id = $1 ORDER BY id";
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(case.to_string()).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Image deliveries of a case that have not arrived.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn images_not_delivered(&mut self, case: CaseId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM deliveries WHERE case_id = $1 AND state NOT IN ('delivered', 'withdrawn') \
             AND (kind = 'images' OR (kind = 'message' AND partner <> (SELECT origin FROM cases WHERE id = $1)))";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL).bind(case.to_string()).fetch_one(&mut **c).await)?;
        Ok(count)
    }

    /// Takes back the images of a case that no worker has begun to send. Returns the number of the first instance that
    /// has not arrived by them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_images(&mut self, case: CaseId, now: Moment) -> Result<Option<i64>, StoreError> {
        let sql = self.pick(WITHDRAW);
        let rows: Vec<(i64, i64, String)> =
            on_tx!(self, |c| sqlx::query_as(sql).bind(case.to_string()).bind(now.0).fetch_all(&mut **c).await)?;
        // A list that cannot be read keeps no case from being held: all of it is owed again.
        let arrived = rows.into_iter().map(|(first, done_to, refused)| {
            from_json(&refused, "list of refused instances")
                .map_or(first - 1, |refused: Vec<_>| RefusedInstance::arrived_to(done_to, &refused))
        });
        Ok(arrived.min().map(|to| to + 1))
    }

    /// A partner does not get this case any more: what has not left for it is not owed, and what it would not have
    /// needs nobody's attention. Images only: a report is never taken back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_images_to(
        &mut self,
        case: CaseId,
        partner: &PartnerId,
        now: Moment,
    ) -> Result<u64, StoreError> {
        let sql = self.pick(WITHDRAW_TO);
        Ok(on_tx!(self, |c| sqlx::query(sql)
            .bind(case.to_string())
            .bind(now.0)
            .bind(partner.as_str())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?)
    }

    /// Owes again what ended in front of a person, and with `everything` also what had arrived. What follows an older
    /// version of a report is owed again behind it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resend(
        &mut self,
        case: CaseId,
        everything: bool,
        now: Moment,
        give_up: Moment,
    ) -> Result<Resent, StoreError> {
        let (sql, sql_later) = (self.pick(RESEND), self.pick(RESEND_LATER));
        let again = on_tx!(self, |c| sqlx::query(sql)
            .bind(case.to_string())
            .bind(now.0)
            .bind(give_up.0)
            .bind(i64::from(everything))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        let later = on_tx!(self, |c| sqlx::query(sql_later)
            .bind(case.to_string())
            .bind(now.0)
            .bind(give_up.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(Resent { again, later })
    }
}

impl Store {
    /// The ledger of one case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ledger(&self, case: CaseId) -> Result<Vec<DeliveryRow>, StoreError> {
        const SQL: &str = "SELECT * FROM deliveries WHERE case_id = $1 ORDER BY id";
        let id = case.to_string();
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// How many deliveries each partner has in each unfinished state, and how many stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_deliveries(&self) -> Result<Vec<(PartnerId, DeliveryState, i64)>, StoreError> {
        const SQL: &str = "SELECT partner, state, COUNT(*) FROM deliveries \
             WHERE state IN ('owed', 'queued', 'attempting', 'stopped') GROUP BY partner, state";
        let rows: Vec<(String, String, i64)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(name, state, count)| {
                let state = DeliveryState::parse(&state).ok_or(StoreError::Unreadable { what: "delivery state" })?;
                Ok((partner(&name)?, state, count))
            })
            .collect()
    }
}
