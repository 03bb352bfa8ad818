//! What happens to tasks, and who is told: subscriptions, events, and a notice for each subscriber of each event.
//!
//! An event is written in the transaction of what it tells. Later, and once, it becomes a notice for every subscriber
//! (`worklist::tasks::events` decides for whom); a notice is deleted when the subscriber has it. So events survive a
//! restart, and one subscriber that is away keeps nobody from the others'. Events of one subscriber keep their order.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, Moment, PartnerId, TaskEvent, TaskState, Uid};
use serde::Serialize;
use std::collections::HashSet;

/// A subscription of one receiving AE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSubscription {
    pub partner: PartnerId,
    pub ae_title: String,
    /// A task's UID or a well-known one.
    pub scope: String,
    /// Keys of a filtered subscription, DICOM JSON; empty otherwise.
    pub keys: String,
    pub deletion_lock: bool,
    /// Not this task, though a global subscription would have it.
    pub excluded: bool,
    pub since: Moment,
    /// Global, but suspended: no task made later.
    pub until: Option<Moment>,
}

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
struct NewsRow {
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

fn news(row: NewsRow) -> Result<TaskNews, StoreError> {
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

/// What another node is noting at this moment is not waited for.
const STILL_TO_NOTE: Sql = Sql {
    sqlite: "SELECT id FROM task_events WHERE noted = 0 AND id IN (SELECT value FROM json_each($1)) ORDER BY id",
    postgres: "SELECT id FROM task_events WHERE noted = 0 \
               AND id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))) ORDER BY id \
               FOR UPDATE SKIP LOCKED",
};

const NOTE: Sql = Sql {
    sqlite: "INSERT INTO task_notices (partner, ae, event_id) \
             SELECT value ->> 'partner', value ->> 'ae', value ->> 'event' \
             FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO task_notices (partner, ae, event_id) SELECT partner, ae, event \
               FROM jsonb_to_recordset($1::jsonb) AS r (partner text, ae text, event bigint) ON CONFLICT DO NOTHING",
};

/// In one order for all nodes: two that write the same two receivers must not wait for each other.
const RECEIVERS: Sql = Sql {
    sqlite: "INSERT INTO task_receivers (partner, ae, attempts, next_us) \
             SELECT DISTINCT value ->> 'partner', value ->> 'ae', 0, 0 FROM json_each($1) WHERE true ORDER BY 1, 2 \
             ON CONFLICT (partner, ae) DO NOTHING",
    postgres: "INSERT INTO task_receivers (partner, ae, attempts, next_us) \
               SELECT DISTINCT partner, ae, 0, 0 FROM jsonb_to_recordset($1::jsonb) AS r (partner text, ae text) \
               ORDER BY 1, 2 ON CONFLICT (partner, ae) DO NOTHING",
};

const NOTED: Sql = Sql {
    sqlite: "UPDATE task_events SET noted = 1 WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "UPDATE task_events SET noted = 1 \
               WHERE id = ANY (ARRAY(SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)))",
};

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

/// One by one: a notice of an earlier event may have been written meanwhile.
const TOLD: Sql = Sql {
    sqlite: "DELETE FROM task_notices WHERE partner = $1 AND ae = $2 AND event_id IN (SELECT value FROM json_each($3))",
    postgres: "DELETE FROM task_notices WHERE partner = $1 AND ae = $2 \
               AND event_id IN (SELECT value::bigint FROM jsonb_array_elements_text($3::jsonb))",
};

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
        partner: &PartnerId,
        ae_title: &str,
        limit: i64,
        now: Moment,
    ) -> Result<Vec<(CaseId, Uid)>, StoreError> {
        const WANTED: &str = concat!(
            "SELECT case_id, uid FROM tasks WHERE ",
            without_first!("reader = $1 AND state IN ('SCHEDULED', 'IN PROGRESS')"),
            " ORDER BY scheduled_us LIMIT $3"
        );
        let wanted: Vec<(String, String)> = on_tx!(self, |c| sqlx::query_as(WANTED)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(limit)
            .fetch_all(&mut **c)
            .await)?;
        let sql = self.pick(FIRST);
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

    /// Writes a subscription in place of the one there is for this receiver and scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_task_subscription(&mut self, wanted: &TaskSubscription) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO task_subscriptions (partner, ae, scope, keys, deletion_lock, excluded, since_us, until_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (partner, ae, scope) DO UPDATE SET keys = excluded.keys, \
             deletion_lock = excluded.deletion_lock, excluded = excluded.excluded, until_us = excluded.until_us";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(wanted.partner.as_str())
            .bind(&wanted.ae_title)
            .bind(&wanted.scope)
            .bind(&wanted.keys)
            .bind(i64::from(wanted.deletion_lock))
            .bind(i64::from(wanted.excluded))
            .bind(wanted.since.0)
            .bind(wanted.until.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Takes a receiver's subscription of this scope away; `None`: all it has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_task_subscriptions(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        scope: Option<&str>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM task_subscriptions WHERE partner = $1 AND ae = $2 AND ($3 = '' OR scope = $3)";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(scope.unwrap_or_default())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// No task made from now on: global subscriptions of this receiver end, what they had goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn suspend_task_subscriptions(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        scopes: [&str; 2],
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE task_subscriptions SET until_us = COALESCE(until_us, $5) \
             WHERE partner = $1 AND ae = $2 AND scope IN ($3, $4)";
        let [global, filtered] = scopes;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(global)
            .bind(filtered)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Everybody in each list is to be told its event, once. Events that somebody else has noted meanwhile, or is noting now,
    /// are left alone. How many were noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_task_events(&mut self, events: &[(i64, Vec<(PartnerId, String)>)]) -> Result<usize, StoreError> {
        #[derive(Serialize)]
        struct To<'a> {
            partner: &'a str,
            ae: &'a str,
            event: i64,
        }
        let ids: Vec<i64> = events.iter().map(|(id, _)| *id).collect();
        let (sql, ids) = (self.pick(STILL_TO_NOTE), to_json(&ids, "list of events")?);
        let still: Vec<(i64,)> = on_tx!(self, |c| sqlx::query_as(sql).bind(&ids).fetch_all(&mut **c).await)?;
        let still: Vec<i64> = still.into_iter().map(|(id,)| id).collect();
        let wanted = events.iter().filter(|(id, _)| still.contains(id));
        let to: Vec<To<'_>> = wanted
            .flat_map(|(id, to)| to.iter().map(|(partner, ae)| To { partner: partner.as_str(), ae, event: *id }))
            .collect();
        if !to.is_empty() {
            let to = to_json(&to, "list of subscribers")?;
            for sql in [self.pick(RECEIVERS), self.pick(NOTE)] {
                on_tx!(self, |c| sqlx::query(sql).bind(&to).execute(&mut **c).await.map(drop))?;
            }
        }
        let (sql, noted) = (self.pick(NOTED), to_json(&still, "list of events")?);
        on_tx!(self, |c| sqlx::query(sql).bind(&noted).execute(&mut **c).await.map(drop))?;
        Ok(still.len())
    }

    /// Whether a receiver of a partner is subscribed to everything there is, by one of these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_task_subscriber(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        scopes: [&str; 2],
    ) -> Result<bool, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM task_subscriptions WHERE partner = $1 AND ae = $2 AND scope IN ($3, $4)";
        let [global, filtered] = scopes;
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(global)
            .bind(filtered)
            .fetch_one(&mut **c)
            .await)?;
        Ok(count > 0)
    }

    /// Takes a subscriber for telling until `lease`, and counts the attempt. False: somebody else tells it now, or it is not
    /// its time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_task_receiver(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        now: Moment,
        lease: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE task_receivers SET attempts = attempts + 1, next_us = $4 \
             WHERE partner = $1 AND ae = $2 AND next_us <= $3";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(now.0)
            .bind(lease.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// A subscriber has been told these events; it is tried next at `next`. `failed`: attempts go on being counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_receiver_told(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        told: &[i64],
        failed: bool,
        next: Moment,
    ) -> Result<(), StoreError> {
        const NEXT: &str = "UPDATE task_receivers SET attempts = CASE WHEN $3 = 1 THEN attempts ELSE 0 END, next_us = $4 \
             WHERE partner = $1 AND ae = $2";
        if !told.is_empty() {
            let sql = self.pick(TOLD);
            let told = to_json(&told, "list of events")?;
            on_tx!(self, |c| sqlx::query(sql)
                .bind(partner.as_str())
                .bind(ae_title)
                .bind(&told)
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        on_tx!(self, |c| sqlx::query(NEXT)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(i64::from(failed))
            .bind(next.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Forgets what everybody knows, `limit` events at most, and notices that nobody has taken since `before`. How many of the latter;
    /// and whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_task_events(&mut self, before: Moment, limit: i64) -> Result<(u64, bool), StoreError> {
        const OLD: &str = "DELETE FROM task_notices WHERE event_id IN (SELECT id FROM task_events WHERE noted = 1 \
             AND at_us < $1 ORDER BY at_us LIMIT $2)";
        const KNOWN: &str = "DELETE FROM task_events WHERE id IN (SELECT e.id FROM task_events e WHERE e.noted = 1 \
             AND NOT EXISTS (SELECT 1 FROM task_notices n WHERE n.event_id = e.id) ORDER BY e.at_us LIMIT $1)";
        let dropped = on_tx!(self, |c| sqlx::query(OLD)
            .bind(before.0)
            .bind(limit)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        let forgotten =
            on_tx!(self, |c| sqlx::query(KNOWN).bind(limit).execute(&mut **c).await.map(|done| done.rows_affected()))?;
        Ok((dropped, i64::try_from(forgotten).is_ok_and(|forgotten| forgotten >= limit)))
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

    /// Everything that may concern a task: subscriptions of its own, global and filtered ones, and of `partners` alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_subscriptions(&self, scopes: [&str; 3]) -> Result<Vec<TaskSubscription>, StoreError> {
        const SQL: &str = "SELECT partner, ae, scope, keys, deletion_lock, excluded, since_us, until_us \
             FROM task_subscriptions WHERE scope IN ($1, $2, $3) ORDER BY partner, ae, scope";
        type Row = (String, String, String, String, i64, i64, i64, Option<i64>);
        let [a, b, c] = scopes;
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(a).bind(b).bind(c).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(name, ae_title, scope, keys, lock, excluded, since, until)| {
                Ok(TaskSubscription {
                    partner: partner(&name)?,
                    ae_title,
                    scope,
                    keys,
                    deletion_lock: lock != 0,
                    excluded: excluded != 0,
                    since: Moment(since),
                    until: until.map(Moment),
                })
            })
            .collect()
    }

    /// How many subscriptions a partner has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_task_subscriptions(&self, partner: &PartnerId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM task_subscriptions WHERE partner = $1";
        let (count,): (i64,) = on_read!(self, |p| sqlx::query_as(SQL).bind(partner.as_str()).fetch_one(p).await)?;
        Ok(count)
    }

    /// Whether anybody is subscribed to this task or to all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_task_subscribers(&self, partner: &PartnerId, scopes: [&str; 3]) -> Result<bool, StoreError> {
        let found = self.task_subscriptions(scopes).await?;
        Ok(found.iter().any(|subscription| subscription.partner == *partner && !subscription.excluded))
    }

    /// Subscribers that have something to be told and whose time has come: with how often that has been tried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_receivers_due(
        &self,
        now: Moment,
        limit: i64,
    ) -> Result<Vec<(PartnerId, String, i64)>, StoreError> {
        const SQL: &str = "SELECT r.partner, r.ae, r.attempts FROM task_receivers r WHERE r.next_us <= $1 AND EXISTS \
             (SELECT 1 FROM task_notices n WHERE n.partner = r.partner AND n.ae = r.ae) ORDER BY r.next_us LIMIT $2";
        let rows: Vec<(String, String, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(limit).fetch_all(p).await)?;
        rows.into_iter().map(|(name, ae, attempts)| Ok((partner(&name)?, ae, attempts))).collect()
    }

    /// What a subscriber has not been told yet, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_news(
        &self,
        partner: &PartnerId,
        ae_title: &str,
        limit: i64,
    ) -> Result<Vec<TaskNews>, StoreError> {
        const SQL: &str = select_events!(
            "JOIN task_notices n ON n.event_id = e.id WHERE n.partner = $1 AND n.ae = $2 ORDER BY n.event_id LIMIT $3"
        );
        let rows: Vec<NewsRow> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        rows.into_iter().map(news).collect()
    }
}
