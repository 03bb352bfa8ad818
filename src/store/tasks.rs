//! Reading tasks: one open one for a case and the reader it is offered to.
//!
//! In: a case held for change, and what has become of it. Out: its task offered, ended, completed, with an event for whoever
//! is subscribed (`task_events`). A claim is one UPDATE that only one can win. The case is held before its tasks are touched,
//! by everybody; so what a case does and what its performer does exclude each other.
//!
//! What may become of a task is `model::task`'s; who may ask is decided in `worklist`.

use super::{
    CaseRow, Store, StoreError, Tx,
    cases::{from_json, partner},
    on_read, on_tx,
};
use crate::model::{
    CaseId, CaseState, Disposition, Moment, PartnerId, Priority, ReportId, StudyFacts, TaskEvent, TaskState, Uid,
};

/// Letters of Worklist Label (0074,1202), LO.
const MAX_LABEL: usize = 64;

/// A task as it is stored. `transaction` never leaves this process.
#[derive(Clone, Debug)]
pub struct TaskRow {
    pub uid: Uid,
    pub case: CaseId,
    pub reader: PartnerId,
    pub origin: PartnerId,
    pub state: TaskState,
    /// The performer's lock; empty where nobody has claimed it.
    pub transaction: String,
    pub claimed_by: String,
    pub claimed: Option<Moment>,
    /// The claim may be ended when this has passed.
    pub lease: Option<Moment>,
    pub priority: Priority,
    pub label: String,
    pub scheduled: Moment,
    pub expires: Option<Moment>,
    pub updated: Moment,
    pub ended: Option<Moment>,
    /// All images are there.
    pub is_ready: bool,
    /// What its performer has set, DICOM JSON.
    pub attributes: String,
    /// The report that completed it.
    pub report: Option<ReportId>,
    pub reason: String,
    pub replaces: Option<Uid>,
    /// What was known of its case when it ended. `None`: it is open, or ended before that was kept.
    pub ended_facts: Option<StudyFacts>,
    /// A person was told that it stays with a reader that is down.
    pub told: Option<Moment>,
}

/// What became of an offer that was to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    Withdrawn,
    /// Somebody has claimed it: it stays where it is.
    Claimed,
    /// There is no open task of this reader.
    None,
}

/// A claim as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct NewClaim<'a> {
    pub task: &'a Uid,
    /// The performer's Transaction UID.
    pub transaction: &'a str,
    /// AE title, or name of a token.
    pub by: &'a str,
    pub lease: Option<Moment>,
    pub now: Moment,
}

#[derive(sqlx::FromRow)]
pub(super) struct Raw {
    uid: String,
    case_id: String,
    reader: String,
    origin: String,
    state: String,
    transaction_uid: String,
    claimed_by: String,
    claimed_us: Option<i64>,
    lease_us: Option<i64>,
    rank: i64,
    label: String,
    scheduled_us: i64,
    expires_us: Option<i64>,
    updated_us: i64,
    ended_us: Option<i64>,
    ready: i64,
    attributes: String,
    report_id: String,
    reason: String,
    replaces: String,
    ended_facts: String,
    told_us: Option<i64>,
}

macro_rules! select_tasks {
    ($rest:literal) => {
        concat!(
            "SELECT uid, case_id, reader, origin, state, transaction_uid, claimed_by, claimed_us, lease_us, rank, label, \
             scheduled_us, expires_us, updated_us, ended_us, ready, attributes, report_id, reason, replaces, ended_facts, told_us \
             FROM tasks ",
            $rest
        )
    };
}
pub(super) use select_tasks;

/// A task ends, at $2, with what is known of its case then.
macro_rules! ended {
    ($state:literal, $rest:literal) => {
        concat!(
            "UPDATE tasks SET state = ",
            $state,
            ", ended_us = $2, updated_us = $2, lease_us = NULL, \
             ended_facts = COALESCE((SELECT c.facts FROM cases c WHERE c.id = tasks.case_id), '')",
            $rest
        )
    };
}

impl Raw {
    pub(super) fn read(self) -> Result<TaskRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        let uid = |text: &str| Uid::new(text).map_err(|_| unreadable("task UID"));
        Ok(TaskRow {
            uid: uid(&self.uid)?,
            case: self.case_id.parse().map_err(|_| unreadable("case id"))?,
            reader: partner(&self.reader)?,
            origin: partner(&self.origin)?,
            state: TaskState::parse(&self.state).ok_or(unreadable("task state"))?,
            transaction: self.transaction_uid,
            claimed_by: self.claimed_by,
            claimed: self.claimed_us.map(Moment),
            lease: self.lease_us.map(Moment),
            priority: priority(self.rank),
            label: self.label,
            scheduled: Moment(self.scheduled_us),
            expires: self.expires_us.map(Moment),
            updated: Moment(self.updated_us),
            ended: self.ended_us.map(Moment),
            is_ready: self.ready != 0,
            attributes: self.attributes,
            report: match self.report_id.as_str() {
                "" => None,
                id => Some(id.parse().map_err(|_| unreadable("report id"))?),
            },
            reason: self.reason,
            replaces: if self.replaces.is_empty() { None } else { Some(uid(&self.replaces)?) },
            ended_facts: match self.ended_facts.as_str() {
                "" => None,
                json => Some(from_json(json, "study header")?),
            },
            told: self.told_us.map(Moment),
        })
    }
}

/// The most urgent is 1, so that they are read in this order.
pub(super) fn rank(priority: Priority) -> i64 {
    match priority {
        Priority::Stat => 1,
        Priority::Urgent => 2,
        Priority::Routine => 3,
    }
}

fn priority(rank: i64) -> Priority {
    match rank {
        1 => Priority::Stat,
        2 => Priority::Urgent,
        _ => Priority::Routine,
    }
}

impl Tx {
    /// Offers the case to the reader it has now, and ends what other readers had of it. An offer that is open already stays
    /// as it is. The case must be held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offer_task(&mut self, case: &CaseRow, now: Moment) -> Result<Option<Uid>, StoreError> {
        let reader = case.reader.as_ref().filter(|_| !matches!(case.state, CaseState::New | CaseState::Held));
        let Some(reader) = reader else { return Ok(None) };
        for other in self.open_tasks(case.id).await?.iter().filter(|task| task.reader != *reader) {
            self.cancel_task(other, "another reads it now", now).await?;
        }
        self.add_task(case, reader, None, now).await
    }

    async fn add_task(
        &mut self,
        case: &CaseRow,
        reader: &PartnerId,
        replaces: Option<&Uid>,
        now: Moment,
    ) -> Result<Option<Uid>, StoreError> {
        const SQL: &str = "INSERT INTO tasks (uid, case_id, reader, origin, round, state, transaction_uid, claimed_by, \
             claimed_us, lease_us, rank, label, scheduled_us, expires_us, created_us, updated_us, ended_us, ready, attributes, \
             report_id, reason, replaces) VALUES ($1, $2, $3, $4, $5, 'SCHEDULED', '', '', NULL, NULL, $6, $7, $8, $9, $8, $8, \
             NULL, $10, '{}', '', '', $11) ON CONFLICT DO NOTHING";
        const ROUND: &str = "SELECT COALESCE(MAX(round), 0) + 1 FROM tasks WHERE case_id = $1 AND reader = $2";
        let id = case.id.to_string();
        let (round,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(ROUND).bind(&id).bind(reader.as_str()).fetch_one(&mut **c).await)?;
        // Derived, so that a task which a power cut took back is the same when it is offered again.
        let uid = Uid::derived(&["task", &id, reader.as_str(), &round.to_string()]);
        let reading = match case.decision.as_ref().map(|decision| &decision.disposition) {
            Some(Disposition::Read(reading)) => Some(reading),
            _ => None,
        };
        let label = reading.map_or("", |reading| reading.rule.as_str());
        let label: String = super::plain(label).chars().take(MAX_LABEL).collect();
        let expires = reading.and_then(|reading| reading.claim_within).map(|within| (now + within).0);
        let is_ready = case.whole.is_some() || !case.has_study;
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(uid.as_str())
            .bind(&id)
            .bind(reader.as_str())
            .bind(case.origin.as_str())
            .bind(round)
            .bind(rank(case.priority))
            .bind(&label)
            .bind(now.0)
            .bind(expires)
            .bind(i64::from(is_ready))
            .bind(replaces.map_or("", Uid::as_str))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if done == 0 {
            return Ok(None);
        }
        self.add_task_event(&uid, TaskEvent::StateReport, "{}", now).await?;
        self.add_task_event(&uid, TaskEvent::Assigned, "{}", now).await?;
        Ok(Some(uid))
    }

    /// Takes an offer back, if nobody has claimed it. The case must be held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw_task(
        &mut self,
        case: CaseId,
        reader: &PartnerId,
        reason: &str,
        now: Moment,
    ) -> Result<Withdrawal, StoreError> {
        let open = self.open_tasks(case).await?;
        let Some(task) = open.iter().find(|task| task.reader == *reader) else { return Ok(Withdrawal::None) };
        if task.state == TaskState::InProgress {
            return Ok(Withdrawal::Claimed);
        }
        self.cancel_task(task, reason, now).await?;
        Ok(Withdrawal::Withdrawn)
    }

    /// Ends every open task of the case, claimed or not. The case must be held for change. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_tasks(&mut self, case: CaseId, reason: &str, now: Moment) -> Result<usize, StoreError> {
        let open = self.open_tasks(case).await?;
        for task in &open {
            self.cancel_task(task, reason, now).await?;
        }
        Ok(open.len())
    }

    /// Ends a claim that is not kept up: UPS has no way back to SCHEDULED, so the task is canceled and another one offered in
    /// its place. The case must be held for change. `None`: it is not claimed any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_claim(
        &mut self,
        case: &CaseRow,
        task: &Uid,
        reason: &str,
        now: Moment,
    ) -> Result<Option<Uid>, StoreError> {
        let Some(task) = self.task(task).await?.filter(|task| task.state == TaskState::InProgress) else {
            return Ok(None);
        };
        self.cancel_task(&task, reason, now).await?;
        self.add_task(case, &task.reader, Some(&task.uid), now).await
    }

    /// The report of `by` is there: whatever is open of the case is done, by its performer or without one. What `by` has completed
    /// before, or by an earlier version, has this report as its output now. That changes no state: there is no event of it (PS3.4
    /// CC.2.4.3).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete_tasks(
        &mut self,
        case: CaseId,
        by: &PartnerId,
        report: ReportId,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            ended!("'COMPLETED'", ", report_id = $3 WHERE uid = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')");
        const DONE: &str = "UPDATE tasks SET report_id = $3, updated_us = $4 WHERE case_id = $1 AND reader = $2 \
             AND state = 'COMPLETED' AND round = (SELECT MAX(round) FROM tasks WHERE case_id = $1 AND reader = $2)";
        let open = self.open_tasks(case).await?;
        if !open.iter().any(|task| task.reader == *by) {
            on_tx!(self, |c| sqlx::query(DONE)
                .bind(case.to_string())
                .bind(by.as_str())
                .bind(report.to_string())
                .bind(now.0)
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        for task in open {
            if task.state == TaskState::Scheduled {
                self.add_task_event_as(&task.uid, TaskState::InProgress, "{}", now).await?;
            }
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(task.uid.as_str())
                .bind(now.0)
                .bind(report.to_string())
                .execute(&mut **c)
                .await
                .map(drop))?;
            self.add_task_event(&task.uid, TaskEvent::StateReport, "{}", now).await?;
        }
        Ok(())
    }

    /// All images are there, or again not: Input Readiness State (0040,4041) of what is open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_task_input(&mut self, case: CaseId, is_ready: bool, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET ready = $2, updated_us = $3 WHERE uid = $1";
        for task in self.open_tasks(case).await?.iter().filter(|task| task.is_ready != is_ready) {
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(task.uid.as_str())
                .bind(i64::from(is_ready))
                .bind(now.0)
                .execute(&mut **c)
                .await
                .map(drop))?;
            self.add_task_event(&task.uid, TaskEvent::StateReport, "{}", now).await?;
        }
        Ok(())
    }

    /// The case has become more urgent, or less.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_task_priority(
        &mut self,
        case: CaseId,
        priority: Priority,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET rank = $2, updated_us = $3 WHERE case_id = $1 \
             AND state IN ('SCHEDULED', 'IN PROGRESS') AND rank <> $2 RETURNING uid";
        let id = case.to_string();
        let changed: Vec<(String,)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).bind(rank(priority)).bind(now.0).fetch_all(&mut **c).await)?;
        for (uid,) in changed {
            let uid = Uid::new(&uid).map_err(|_| StoreError::Unreadable { what: "task UID" })?;
            // The standard has no event of a priority. A state report makes who shows the list look again.
            self.add_task_event(&uid, TaskEvent::StateReport, "{}", now).await?;
        }
        Ok(())
    }

    /// Claims a task: SCHEDULED to IN PROGRESS. False: somebody else has, or it is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_task(&mut self, claim: NewClaim<'_>) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE tasks SET state = 'IN PROGRESS', transaction_uid = $2, claimed_by = $3, claimed_us = $4, \
             updated_us = $4, lease_us = $5 WHERE uid = $1 AND state = 'SCHEDULED'";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(claim.task.as_str())
            .bind(claim.transaction)
            .bind(super::plain(claim.by))
            .bind(claim.now.0)
            .bind(claim.lease.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if done == 1 {
            self.add_task_event(claim.task, TaskEvent::StateReport, "{}", claim.now).await?;
        }
        Ok(done == 1)
    }

    /// Its performer has completed or canceled it. False: it is not IN PROGRESS under this lock any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_task(&mut self, task: &TaskRow, to: TaskState, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str =
            ended!("$3", ", reason = $4 WHERE uid = $1 AND state = 'IN PROGRESS' AND transaction_uid = $5");
        let reason = if to == TaskState::Canceled { "its performer has canceled it" } else { "" };
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(task.uid.as_str())
            .bind(now.0)
            .bind(to.as_str())
            .bind(reason)
            .bind(&task.transaction)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if done == 1 {
            self.add_task_event(&task.uid, TaskEvent::StateReport, "{}", now).await?;
        }
        Ok(done == 1)
    }

    /// Writes what the performer has set, and keeps the claim up. The case must be held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_task(
        &mut self,
        task: &Uid,
        attributes: &str,
        lease: Option<Moment>,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tasks SET attributes = $2, updated_us = $3, \
             lease_us = CASE WHEN state = 'IN PROGRESS' THEN $4 ELSE NULL END WHERE uid = $1";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(task.as_str())
            .bind(attributes)
            .bind(now.0)
            .bind(lease.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Cancels an open task; one that nobody had begun goes through IN PROGRESS (PS3.4 CC.2.2.3). The case must be held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_task(&mut self, task: &TaskRow, reason: &str, now: Moment) -> Result<(), StoreError> {
        const SQL: &str =
            ended!("'CANCELED'", ", reason = $3 WHERE uid = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')");
        if task.state == TaskState::Scheduled {
            self.add_task_event_as(&task.uid, TaskState::InProgress, "{}", now).await?;
        }
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(task.uid.as_str())
            .bind(now.0)
            .bind(super::plain(reason))
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.add_task_event(&task.uid, TaskEvent::StateReport, "{}", now).await
    }

    /// The open tasks of a case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_tasks(&mut self, case: CaseId) -> Result<Vec<TaskRow>, StoreError> {
        const SQL: &str = select_tasks!("WHERE case_id = $1 AND state IN ('SCHEDULED', 'IN PROGRESS') ORDER BY reader");
        let id = case.to_string();
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// The task that the reader was offered last of this case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_task(&mut self, case: CaseId, reader: &PartnerId) -> Result<Option<TaskRow>, StoreError> {
        const SQL: &str = select_tasks!("WHERE case_id = $1 AND reader = $2 ORDER BY round DESC LIMIT 1");
        let id = case.to_string();
        let raw: Option<Raw> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).bind(reader.as_str()).fetch_optional(&mut **c).await)?;
        raw.map(Raw::read).transpose()
    }

    /// A task as it is in this transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task(&mut self, uid: &Uid) -> Result<Option<TaskRow>, StoreError> {
        const SQL: &str = select_tasks!("WHERE uid = $1");
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(uid.as_str()).fetch_optional(&mut **c).await)?;
        raw.map(Raw::read).transpose()
    }
}

impl Store {
    /// # Errors
    /// When the database fails.
    pub async fn find_task(&self, uid: &Uid) -> Result<Option<TaskRow>, StoreError> {
        const SQL: &str = select_tasks!("WHERE uid = $1");
        let raw: Option<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(uid.as_str()).fetch_optional(p).await)?;
        raw.map(Raw::read).transpose()
    }
}
