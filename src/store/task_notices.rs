//! A notice for each subscriber of each event of a task, until it has it.
//!
//! In: events, and whom each is told to. Out: who is to be told something now, and what, in order; what has been told is deleted, what
//! nobody has taken for too long, too. What another node is noting or telling at this moment is left to it.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{partner, to_json},
    on_read, on_tx,
    task_events::{NewsRow, TaskNews, news, select_events},
};
use crate::model::{Moment, PartnerId};
use serde::Serialize;

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

/// One by one: a notice of an earlier event may have been written meanwhile.
const TOLD: Sql = Sql {
    sqlite: "DELETE FROM task_notices WHERE partner = $1 AND ae = $2 AND event_id IN (SELECT value FROM json_each($3))",
    postgres: "DELETE FROM task_notices WHERE partner = $1 AND ae = $2 \
               AND event_id IN (SELECT value::bigint FROM jsonb_array_elements_text($3::jsonb))",
};

impl Tx {
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
