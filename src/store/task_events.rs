//! What happens to tasks, as events.
//!
//! In: what becomes of a task, in the transaction that does it. Out: events that nobody has been told of yet. Later, and once, each
//! becomes a notice for every subscriber (`task_notices`; `worklist::tasks::events` decides for whom). So events survive a restart, and
//! one subscriber that is away keeps nobody from the others'. Events of one subscriber keep their order.

use super::{Sql, Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{CaseId, Moment, PartnerId, TaskEvent, TaskState, Uid};
use std::collections::HashSet;

/// An event as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNews {
    pub id: i64,
    pub task: Uid,
    pub event: TaskEvent,
    pub state: TaskState,
    pub is_ready: bool,
    /// What else it says, DICOM JSON.
    pub content: String,
    pub at: Moment,
    /// For this subscriber alone.
    pub only: Option<(PartnerId, String)>,
    /// Of the task: who reads it, whose case it is, when it was made.
    pub reader: PartnerId,
    pub origin: PartnerId,
    pub created: Moment,
}

#[derive(sqlx::FromRow)]
pub(super) struct NewsRow {
    id: i64,
    task_uid: String,
    kind: i64,
    state: String,
    ready: i64,
    content: String,
    at_us: i64,
    only_partner: String,
    only_ae: String,
    reader: String,
    origin: String,
    created_us: i64,
}

pub(super) fn news(row: NewsRow) -> Result<TaskNews, StoreError> {
    let unreadable = |what| StoreError::Unreadable { what };
    Ok(TaskNews {
        id: row.id,
        task: Uid::new(&row.task_uid).map_err(|_| unreadable("task UID"))?,
        event: TaskEvent::of(row.kind).ok_or(unreadable("task event"))?,
        state: TaskState::parse(&row.state).ok_or(unreadable("task state"))?,
        is_ready: row.ready != 0,
        content: row.content,
        at: Moment(row.at_us),
        only: if row.only_partner.is_empty() { None } else { Some((partner(&row.only_partner)?, row.only_ae)) },
        reader: partner(&row.reader)?,
        origin: partner(&row.origin)?,
        created: Moment(row.created_us),
    })
}

macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT e.id AS id, e.task_uid AS task_uid, e.kind AS kind, e.state AS state, e.ready AS ready, \
             e.content AS content, e.at_us AS at_us, e.only_partner AS only_partner, e.only_ae AS only_ae, \
             t.reader AS reader, t.origin AS origin, t.created_us AS created_us \
             FROM task_events e JOIN tasks t ON t.uid = e.task_uid ",
            $rest
        )
    };
}
pub(super) use select_events;

/// Tasks of which this receiver has no state report of its own that waits to be told: whoever subscribes again and again is told
/// no more for it. The list in the middle is made once a statement.
macro_rules! without_first {
    ($which:literal) => {
        concat!(
            $which,
            " AND uid NOT IN (SELECT e.task_uid FROM task_events e WHERE e.noted = 0 AND e.only_partner = $1 \
             AND e.only_ae = $2 UNION ALL SELECT e.task_uid FROM task_notices n JOIN task_events e ON e.id = n.event_id \
             WHERE n.partner = $1 AND n.ae = $2 AND e.only_partner = $1 AND e.only_ae = $2)"
        )
    };
}

/// State reports for one receiver alone.
macro_rules! first_events {
    ($which:literal, $rest:literal) => {
        concat!(
            "INSERT INTO task_events (task_uid, kind, state, ready, content, only_partner, only_ae, at_us, noted) \
             SELECT uid, 1, state, ready, '{}', $1, $2, $3, 0 FROM tasks WHERE ",
            without_first!($which),
            $rest
        )
    };
}

/// Of everything open that the partner is to read. In PostgreSQL without those that somebody is changing at this moment: what
/// their state will be is not known yet.
const FIRST: Sql = Sql {
    sqlite: first_events!(
        "reader = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')",
        " ORDER BY scheduled_us LIMIT $4 RETURNING task_uid"
    ),
    postgres: first_events!(
        "reader = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')",
        " ORDER BY scheduled_us LIMIT $4 FOR SHARE OF tasks SKIP LOCKED RETURNING task_uid"
    ),
};

/// The same of what fits this receiver's filter.
const FIRST_FITTING: Sql = Sql {
    sqlite: first_events!(
        "uid IN (SELECT f.task_uid FROM task_fits f WHERE f.partner = $1 AND f.ae = $2) \
         AND state IN ('SCHEDULED', 'IN PROGRESS')",
        " ORDER BY scheduled_us LIMIT $4 RETURNING task_uid"
    ),
    postgres: first_events!(
        "uid IN (SELECT f.task_uid FROM task_fits f WHERE f.partner = $1 AND f.ae = $2) \
         AND state IN ('SCHEDULED', 'IN PROGRESS')",
        " ORDER BY scheduled_us LIMIT $4 FOR SHARE OF tasks SKIP LOCKED RETURNING task_uid"
    ),
};

/// Of which tasks a receiver is told at once how they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstOf {
    /// All that its partner is to read.
    All,
    /// What fits its filter.
    Fitting,
}

impl Tx {
    /// Writes down what has just happened to a task: its state and readiness as they are now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_task_event(
        &mut self,
        task: &Uid,
        event: TaskEvent,
        content: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        self.write_event(task, event, None, content, now).await
    }

    /// A state that the task only passes through.
    pub(super) async fn add_task_event_as(
        &mut self,
        task: &Uid,
        state: TaskState,
        content: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        self.write_event(task, TaskEvent::StateReport, Some(state), content, now).await
    }

    /// The first event after somebody has subscribed: the state as it is now, for this one alone. Not beside one that it has
    /// not been told yet. The task's case must be held for change: else a change that is under way could be told before it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_first_task_event(
        &mut self,
        task: &Uid,
        partner: &PartnerId,
        ae_title: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = first_events!("uid = $4", "");
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(now.0)
            .bind(task.as_str())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    async fn write_event(
        &mut self,
        task: &Uid,
        event: TaskEvent,
        state: Option<TaskState>,
        content: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO task_events (task_uid, kind, state, ready, content, only_partner, only_ae, at_us, noted) \
             SELECT uid, $2, CASE WHEN $3 = '' THEN state ELSE $3 END, ready, $4, '', '', $5, 0 FROM tasks WHERE uid = $1";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(task.as_str())
            .bind(i64::from(event.id()))
            .bind(state.map_or("", TaskState::as_str))
            .bind(content)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The same for everything open that this partner is to read: who subscribes to all with a lock gets it (PS3.4 CC.2.4.3). Its
    /// subscription is committed before, so that no change falls between the two. Those that are just being changed are left out and
    /// returned, each with its case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_first_task_events(
        &mut self,
        (partner, ae_title): (&PartnerId, &str),
        of: FirstOf,
        limit: i64,
        now: Moment,
    ) -> Result<Vec<(CaseId, Uid)>, StoreError> {
        const FITTING: &str = concat!(
            "SELECT case_id, uid FROM tasks WHERE ",
            without_first!(
                "uid IN (SELECT f.task_uid FROM task_fits f WHERE f.partner = $1 AND f.ae = $2) \
                 AND state IN ('SCHEDULED', 'IN PROGRESS')"
            ),
            " ORDER BY scheduled_us LIMIT $3"
        );
        const ALL: &str = concat!(
            "SELECT case_id, uid FROM tasks WHERE ",
            without_first!("reader = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')"),
            " ORDER BY scheduled_us LIMIT $3"
        );
        let (wanted, sql) = match of {
            FirstOf::All => (ALL, self.pick(FIRST)),
            FirstOf::Fitting => (FITTING, self.pick(FIRST_FITTING)),
        };
        let wanted: Vec<(String, String)> = on_tx!(self, |c| sqlx::query_as(wanted)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(limit)
            .fetch_all(&mut **c)
            .await)?;
        let written: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(now.0)
            .bind(limit)
            .fetch_all(&mut **c)
            .await)?;
        let written: HashSet<String> = written.into_iter().map(|(uid,)| uid).collect();
        let unreadable = |what| StoreError::Unreadable { what };
        let left = wanted.into_iter().filter(|(_, uid)| !written.contains(uid));
        left.map(|(case, uid)| {
            let uid = Uid::new(&uid).map_err(|_| unreadable("task UID"))?;
            Ok((case.parse().map_err(|_| unreadable("case id"))?, uid))
        })
        .collect()
    }
}

impl Store {
    /// Events that have no notices yet, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_events_to_note(&self, limit: i64) -> Result<Vec<TaskNews>, StoreError> {
        const SQL: &str = select_events!("WHERE e.noted = 0 ORDER BY e.id LIMIT $1");
        let rows: Vec<NewsRow> = on_read!(self, |p| sqlx::query_as(SQL).bind(limit).fetch_all(p).await)?;
        rows.into_iter().map(news).collect()
    }
}
