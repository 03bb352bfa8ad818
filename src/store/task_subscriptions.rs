//! Who wants to be told what becomes of tasks: of one, of all, of those that fit some keys.
//!
//! In: a subscription of a receiving AE, as `worklist` has allowed it. Out: those that may concern a task. Whom an event concerns is
//! decided there, too; which tasks have fitted a filter once is kept here.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{partner, to_json},
    on_read, on_tx,
};
use crate::model::{Moment, PartnerId, Uid};

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
    /// The last event that its first state report includes already; 0: none. Read back, not written.
    pub after: i64,
    /// Global, but suspended: no task made later.
    pub until: Option<Moment>,
}

const ADD_FITS: Sql = Sql {
    sqlite: "INSERT INTO task_fits (task_uid, partner, ae) SELECT value ->> 0, value ->> 1, value ->> 2 \
             FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
    // In one order for all nodes.
    postgres: "INSERT INTO task_fits (task_uid, partner, ae) SELECT value ->> 0, value ->> 1, value ->> 2 \
               FROM jsonb_array_elements($1::jsonb) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING",
};

const DROP_FITS: Sql = Sql {
    sqlite: "DELETE FROM task_fits WHERE task_uid IN (SELECT value FROM json_each($1))",
    postgres: "DELETE FROM task_fits WHERE task_uid = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))",
};

impl Tx {
    /// Writes a subscription in place of the one there is for this receiver and scope. Of one task: its case must be held for
    /// change, so that no other event of it is being written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_task_subscription(&mut self, wanted: &TaskSubscription) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO task_subscriptions (partner, ae, scope, keys, deletion_lock, excluded, since_us, until_us, \
             after_event) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT COALESCE(MAX(id), 0) FROM task_events \
             WHERE noted = 0 AND task_uid = $3)) ON CONFLICT (partner, ae, scope) DO UPDATE SET keys = excluded.keys, \
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

    /// No task made from now on: a global or filtered subscription of this receiver ends, what it had goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn suspend_task_subscription(
        &mut self,
        partner: &PartnerId,
        ae_title: &str,
        scope: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE task_subscriptions SET until_us = COALESCE(until_us, $4) \
             WHERE partner = $1 AND ae = $2 AND scope = $3";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(ae_title)
            .bind(scope)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// These tasks fit a filtered subscription of the receiver named with each: it is told of them from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_task_fits(&mut self, fits: &[(Uid, PartnerId, String)]) -> Result<(), StoreError> {
        let fits: Vec<[&str; 3]> =
            fits.iter().map(|(task, partner, ae)| [task.as_str(), partner.as_str(), ae.as_str()]).collect();
        if !fits.is_empty() {
            let (sql, fits) = (self.pick(ADD_FITS), to_json(&fits, "list of tasks")?);
            on_tx!(self, |c| sqlx::query(sql).bind(&fits).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
    }

    /// What fits no filter of this receiver any more: it has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_task_fits(&mut self, partner: &PartnerId, ae_title: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM task_fits WHERE partner = $1 AND ae = $2";
        on_tx!(self, |c| sqlx::query(SQL).bind(partner.as_str()).bind(ae_title).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// These tasks have ended, and that has been told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_fits_of_tasks(&mut self, ended: &[&str]) -> Result<(), StoreError> {
        if !ended.is_empty() {
            let (sql, ended) = (self.pick(DROP_FITS), to_json(&ended, "list of tasks")?);
            on_tx!(self, |c| sqlx::query(sql).bind(&ended).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
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
}

impl Store {
    /// Everything that may concern a task: subscriptions of its own, global and filtered ones, and of `partners` alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_subscriptions(&self, scopes: [&str; 3]) -> Result<Vec<TaskSubscription>, StoreError> {
        const SQL: &str = "SELECT partner, ae, scope, keys, deletion_lock, excluded, since_us, until_us, after_event \
             FROM task_subscriptions WHERE scope IN ($1, $2, $3) ORDER BY partner, ae, scope";
        type Row = (String, String, String, String, i64, i64, i64, Option<i64>, i64);
        let [a, b, c] = scopes;
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(a).bind(b).bind(c).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(name, ae_title, scope, keys, lock, excluded, since, until, after)| {
                Ok(TaskSubscription {
                    partner: partner(&name)?,
                    ae_title,
                    scope,
                    keys,
                    deletion_lock: lock != 0,
                    excluded: excluded != 0,
                    since: Moment(since),
                    after,
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

    /// Receivers with a filter that this task has fitted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_fits(&self, task: &Uid) -> Result<Vec<(PartnerId, String)>, StoreError> {
        const SQL: &str = "SELECT partner, ae FROM task_fits WHERE task_uid = $1";
        let rows: Vec<(String, String)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(task.as_str()).fetch_all(p).await)?;
        rows.into_iter().map(|(name, ae)| Ok((partner(&name)?, ae))).collect()
    }
}
