//! Offers that nobody has claimed, and what is known of readers when one is to be chosen.
//!
//! In: the clock, a case held for change. Out: offers whose time has passed, those of a reader that is down, claims kept up or
//! let go; which readers are down, how much each has open, who reads this patient already, who was offered the case before.
//! Does not choose: `routing::readers` does.

use super::{
    CaseRow, Store, StoreError, Tx,
    cases::{key, partner},
    on_read, on_tx,
    tasks::rank,
};
use crate::model::{CaseId, Channel, Disposition, Moment, PartnerId, Priority, Reading, Uid};

/// How an unclaimed case is called among the reasons for a person to look.
const UNCLAIMED: &str = "nobody has claimed it";
/// The newest cases of a patient that are looked at for who reads them.
const MAX_OF_PATIENT: i64 = 64;

/// An offer: when it was due or made, the task, its case.
pub type Offer = (Moment, Uid, CaseId);

/// A partner that has taken nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    pub partner: PartnerId,
    pub channel: Channel,
    pub since: Moment,
}

impl CaseRow {
    /// What the rules said of who reads it.
    pub fn reading(&self) -> Option<&Reading> {
        match self.decision.as_ref().map(|decision| &decision.disposition) {
            Some(Disposition::Read(reading)) => Some(reading),
            _ => None,
        }
    }

    /// What a person reads when the last of its readers has not claimed it.
    pub fn unclaimed(reader: &PartnerId, why: &str) -> String {
        format!("{UNCLAIMED}: it stays with {reader}, {why}")
    }

    /// Somebody reads it now, or another is offered it.
    pub fn is_claimed_now(&mut self) {
        self.keep_reasons(|reason| !reason.starts_with(UNCLAIMED));
    }
}

fn offers(rows: Vec<(i64, String, String)>) -> Result<Vec<Offer>, StoreError> {
    let unreadable = |what| StoreError::Unreadable { what };
    rows.into_iter()
        .map(|(at, uid, case)| {
            let uid = Uid::new(&uid).map_err(|_| unreadable("task UID"))?;
            Ok((Moment(at), uid, case.parse().map_err(|_| unreadable("case id"))?))
        })
        .collect()
}

impl Store {
    /// Offers that should have been claimed by now, longest due first, those behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offers_past(
        &self,
        now: Moment,
        after: Option<&(Moment, Uid)>,
        limit: i64,
    ) -> Result<Vec<Offer>, StoreError> {
        // With the condition of the partial index `tasks_unclaimed`, word for word.
        const SQL: &str = "SELECT expires_us, uid, case_id FROM tasks WHERE state = 'SCHEDULED' AND expires_us IS NOT NULL \
             AND expires_us <= $1 AND (expires_us, uid) > ($2, $3) ORDER BY expires_us, uid LIMIT $4";
        let (at, uid) = after.map_or((i64::MIN, ""), |(at, uid)| (at.0, uid.as_str()));
        offers(on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(at).bind(uid).bind(limit).fetch_all(p).await)?)
    }

    /// Offers of one urgency that this reader has by this channel and nobody has claimed, in the order they were made, those behind
    /// `after`. Images go by DICOM, an order alone by HL7; to the origin nothing goes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offers_to(
        &self,
        (reader, channel): (&PartnerId, Channel),
        priority: Priority,
        after: Option<&(Moment, Uid)>,
        limit: i64,
    ) -> Result<Vec<Offer>, StoreError> {
        const SQL: &str = "SELECT scheduled_us, uid, case_id FROM tasks WHERE reader = $1 AND state = 'SCHEDULED' AND rank = $2 \
             AND (scheduled_us, uid) > ($3, $4) AND origin <> $1 \
             AND EXISTS (SELECT 1 FROM cases c WHERE c.id = tasks.case_id AND c.has_study = $6) \
             ORDER BY scheduled_us, uid LIMIT $5";
        let (at, uid) = after.map_or((i64::MIN, ""), |(at, uid)| (at.0, uid.as_str()));
        let rows = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(reader.as_str())
            .bind(rank(priority))
            .bind(at)
            .bind(uid)
            .bind(limit)
            .bind(i64::from(channel == Channel::Dicom))
            .fetch_all(p)
            .await)?;
        offers(rows)
    }

    /// Claims whose lease has passed, with their case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claims_past_lease(&self, now: Moment, limit: i64) -> Result<Vec<(CaseId, Uid)>, StoreError> {
        // With the condition of the partial index `tasks_leased`, word for word.
        const SQL: &str = "SELECT case_id, uid FROM tasks WHERE lease_us IS NOT NULL AND lease_us <= $1 \
             ORDER BY lease_us LIMIT $2";
        let rows: Vec<(String, String)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(limit).fetch_all(p).await)?;
        let unreadable = |what| StoreError::Unreadable { what };
        rows.into_iter()
            .map(|(case, uid)| {
                let case = case.parse().map_err(|_| unreadable("case id"))?;
                Ok((case, Uid::new(&uid).map_err(|_| unreadable("task UID"))?))
            })
            .collect()
    }
}

impl Tx {
    /// Partners that have taken nothing since then, each channel by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn down_since(&mut self, since: Moment) -> Result<Vec<Down>, StoreError> {
        const SQL: &str =
            "SELECT partner, channel, since_us FROM pauses WHERE since_us <= $1 ORDER BY since_us, partner, channel";
        let rows: Vec<(String, String, i64)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(since.0).fetch_all(&mut **c).await)?;
        rows.into_iter()
            .map(|(name, channel, since)| {
                let channel = Channel::parse(&channel).ok_or(StoreError::Unreadable { what: "channel" })?;
                Ok(Down { partner: partner(&name)?, channel, since: Moment(since) })
            })
            .collect()
    }

    /// How much this reader has to read: offered, or claimed and not reported.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_load(&mut self, reader: &PartnerId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM tasks WHERE reader = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL).bind(reader.as_str()).fetch_one(&mut **c).await)?;
        Ok(count)
    }

    /// Who reads other open cases of the same patient, the latest first. An identifier that was merged means the one it was
    /// merged into, under which the cases are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn readers_of_patient(&mut self, case: &CaseRow) -> Result<Vec<PartnerId>, StoreError> {
        const SQL: &str = "SELECT id, reader FROM (SELECT id, reader, state, last_us FROM cases WHERE origin = $1 \
             AND patient_id = $2 AND patient_issuer = $3 ORDER BY last_us DESC LIMIT $4) newest \
             WHERE state IN ('routed', 'delivered', 'preliminary') AND reader IS NOT NULL ORDER BY last_us DESC, id";
        let given = &case.facts.patient_id;
        if given.value.is_empty() {
            return Ok(Vec::new());
        }
        let id = self.surviving_patient(&case.origin, given).await?.unwrap_or_else(|| given.clone());
        let rows: Vec<(String, String)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(case.origin.as_str())
            .bind(key(&id.value))
            .bind(key(&id.issuer))
            .bind(MAX_OF_PATIENT)
            .fetch_all(&mut **c)
            .await)?;
        let own = case.id.to_string();
        let mut readers = Vec::new();
        for (_, name) in rows.iter().filter(|(id, _)| *id != own) {
            let reader = partner(name)?;
            if !readers.contains(&reader) {
                readers.push(reader);
            }
        }
        Ok(readers)
    }

    /// Who has been offered the case, and why the last offer to each ended: empty where it is open, or was done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn readers_offered(&mut self, case: CaseId) -> Result<Vec<(PartnerId, String)>, StoreError> {
        const SQL: &str = "SELECT t.reader, t.reason FROM tasks t WHERE t.case_id = $1 \
             AND t.round = (SELECT MAX(l.round) FROM tasks l WHERE l.case_id = $1 AND l.reader = t.reader)";
        let id = case.to_string();
        let rows: Vec<(String, String)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        rows.into_iter().map(|(name, reason)| Ok((partner(&name)?, reason))).collect()
    }

    /// A person has been told that the offer stays with a reader that is down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_task_told(&mut self, task: &Uid, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET told_us = $2 WHERE uid = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(task.as_str()).bind(now.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The case waits for a report again: what is open of it has a clock again, if it had none any more. The case must be held for
    /// change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn restart_task_clocks(&mut self, case: &CaseRow, lease: Moment, now: Moment) -> Result<(), StoreError> {
        const OFFER: &str = "UPDATE tasks SET expires_us = $2, updated_us = $3 WHERE case_id = $1 AND state = 'SCHEDULED' \
             AND expires_us IS NULL";
        const CLAIM: &str =
            "UPDATE tasks SET lease_us = $2 WHERE case_id = $1 AND state = 'IN PROGRESS' AND lease_us IS NULL";
        let id = case.id.to_string();
        if let Some(within) = case.reading().and_then(|reading| reading.claim_within) {
            let expires = (now + within).0;
            on_tx!(self, |c| sqlx::query(OFFER).bind(&id).bind(expires).bind(now.0).execute(&mut **c).await.map(drop))?;
        }
        on_tx!(self, |c| sqlx::query(CLAIM).bind(&id).bind(lease.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// An offer that does not end by itself any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_offer(&mut self, task: &Uid, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET expires_us = NULL, updated_us = $2 WHERE uid = $1 AND state = 'SCHEDULED'";
        on_tx!(self, |c| sqlx::query(SQL).bind(task.as_str()).bind(now.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The claim holds until then; `None`: until its performer ends it. The case must be held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_claim(&mut self, task: &Uid, until: Option<Moment>) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET lease_us = $2 WHERE uid = $1 AND state = 'IN PROGRESS'";
        let until = until.map(|at| at.0);
        on_tx!(self, |c| sqlx::query(SQL).bind(task.as_str()).bind(until).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}
