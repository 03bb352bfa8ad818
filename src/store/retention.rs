//! What may leave the disk: cases that are done, and the journals nothing needs any more. Rows stay, marked.
//!
//! An instance is marked first, in a synced commit, and its bytes are taken off the disk afterwards: what is not marked
//! is there. The marks: 1 on disk, 2 may go, 0 gone.

use super::{Store, StoreError, Tx, instances::place, on_read, on_tx};
use crate::model::{CaseId, JournalId, JournalPlace, Moment, ReceivedInstance};

/// A case whose last event is older than this may go, by whether it has its final report. `None`: never.
#[derive(Clone, Copy, Debug)]
pub struct PurgeBefore {
    pub reported: Option<Moment>,
    pub unreported: Option<Moment>,
}

/// What the index knows of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalUse {
    /// There are instances or report objects that must stay readable.
    pub live: bool,
    /// There are some that may be taken off the disk.
    pub to_go: bool,
    pub indexed_to: u64,
}

/// A case that is done: nothing owed, on its way, stopped or for a person to look at, and everybody who was asked whether it
/// keeps the images has answered; the last image, the last report and the last delivery are before the time of its state. `$1` reported, `$2` unreported; NULL compares as never.
macro_rules! done_cases {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM cases c WHERE c.purged_us IS NULL AND c.routed_to = c.instances AND c.attention = '' \
             AND c.whole_us IS NOT NULL AND c.state IN ('delivered', 'preliminary', 'reported') \
             AND c.last_us <= CASE c.state WHEN 'reported' THEN CAST($1 AS BIGINT) ELSE CAST($2 AS BIGINT) END \
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.case_id = c.id AND (d.finished_us IS NULL \
               OR d.state = 'stopped' OR d.finished_us > CASE c.state WHEN 'reported' THEN CAST($1 AS BIGINT) ELSE CAST($2 AS BIGINT) END)) \
             AND NOT EXISTS (SELECT 1 FROM reports r WHERE r.case_id = c.id \
               AND r.received_us > CASE c.state WHEN 'reported' THEN CAST($1 AS BIGINT) ELSE CAST($2 AS BIGINT) END) \
             AND NOT EXISTS (SELECT 1 FROM asked_commitments a WHERE a.case_id = c.id AND a.ended_us IS NULL) ",
            $rest
        )
    };
}

impl Store {
    /// Cases whose images may leave the disk, longest done first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_purge(&self, before: PurgeBefore, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = done_cases!("SELECT c.id", "ORDER BY c.last_us LIMIT $3");
        let (reported, unreported) = before.columns();
        let rows: Vec<(String,)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(reported).bind(unreported).bind(limit).fetch_all(p).await)?;
        rows.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }

    /// Every partner that wants to be told of tasks, as it is written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_subscribers(&self) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT partner FROM task_subscriptions UNION SELECT partner FROM task_receivers";
        let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        Ok(rows.into_iter().map(|(partner,)| partner).collect())
    }

    /// What a journal is needed for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn journal_use(&self, journal: JournalId) -> Result<JournalUse, StoreError> {
        const INDEXED: &str = "SELECT indexed_to FROM journals WHERE id = $1";
        // `on_disk > 0` is the condition of the partial indexes, word for word. Smallest and largest mark are their ends.
        const INSTANCES: &str = "SELECT MIN(on_disk), MAX(on_disk) FROM instances WHERE journal = $1 AND on_disk > 0";
        const OBJECTS: &str =
            "SELECT MIN(on_disk), MAX(on_disk) FROM report_objects WHERE journal = $1 AND on_disk > 0";
        let id = journal.to_string();
        // First: what is indexed after this makes the journal longer than it says.
        let indexed: Option<(i64,)> = on_read!(self, |p| sqlx::query_as(INDEXED).bind(&id).fetch_optional(p).await)?;
        let (mut live, mut to_go) = (false, false);
        for sql in [INSTANCES, OBJECTS] {
            let (least, most): (Option<i64>, Option<i64>) =
                on_read!(self, |p| sqlx::query_as(sql).bind(&id).fetch_one(p).await)?;
            live |= least == Some(1);
            to_go |= most == Some(2);
        }
        let indexed_to = indexed.map_or(0, |(to,)| u64::try_from(to).unwrap_or(0));
        Ok(JournalUse { live, to_go, indexed_to })
    }

    /// The records of a journal that may be taken off the disk.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn places_to_purge(&self, journal: JournalId) -> Result<Vec<JournalPlace>, StoreError> {
        const SQL: &str = "SELECT record_at, data_at, length, sha256 FROM instances WHERE journal = $1 AND on_disk > 0 AND on_disk = 2 \
             UNION ALL SELECT record_at, data_at, length, sha256 FROM report_objects WHERE journal = $1 AND on_disk > 0 AND on_disk = 2";
        let id = journal.to_string();
        let rows: Vec<(i64, i64, i64, String)> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_all(p).await)?;
        rows.into_iter().map(|(record, data, length, sha256)| place(&id, record, data, length, &sha256)).collect()
    }
}

impl PurgeBefore {
    fn columns(self) -> (Option<i64>, Option<i64>) {
        (self.reported.map(|at| at.0), self.unreported.map(|at| at.0))
    }
}

impl Tx {
    /// Marks the images of a case, held by this transaction, as free to go. How many and how many bytes; `None`: the
    /// case is not done (any more).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_case(
        &mut self,
        case: CaseId,
        before: PurgeBefore,
        now: Moment,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        const DONE: &str = done_cases!("SELECT c.id", "AND c.id = $3");
        const COUNT: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(length), 0) AS BIGINT) FROM instances \
             WHERE case_id = $1 AND on_disk = 1";
        const MARK: &str = "UPDATE instances SET on_disk = 2 WHERE case_id = $1 AND on_disk = 1";
        const NOTE: &str = "UPDATE cases SET purged_us = $2 WHERE id = $1";
        let (id, (reported, unreported)) = (case.to_string(), before.columns());
        let done: Option<(String,)> = on_tx!(self, |c| sqlx::query_as(DONE)
            .bind(reported)
            .bind(unreported)
            .bind(&id)
            .fetch_optional(&mut **c)
            .await)?;
        if done.is_none() {
            return Ok(None);
        }
        let counted: (i64, i64) = on_tx!(self, |c| sqlx::query_as(COUNT).bind(&id).fetch_one(&mut **c).await)?;
        on_tx!(self, |c| sqlx::query(MARK).bind(&id).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(NOTE).bind(&id).bind(now.0).execute(&mut **c).await.map(drop))?;
        self.forget_performed_of(&id).await?;
        self.strip_tasks_of(&id).await?;
        Ok(Some(counted))
    }

    /// What performers have said of a case's tasks that have ended, and who was to be told of them. The rows stay: a task's UID
    /// follows from how many there were.
    async fn strip_tasks_of(&mut self, case: &str) -> Result<(), StoreError> {
        const ENDED: &str = "SELECT uid FROM tasks WHERE case_id = $1 AND ended_us IS NOT NULL";
        const STRIP: [&str; 4] = [
            "UPDATE tasks SET attributes = '{}' WHERE uid = $1",
            "DELETE FROM task_notices WHERE event_id IN (SELECT id FROM task_events WHERE task_uid = $1)",
            "DELETE FROM task_events WHERE task_uid = $1",
            "DELETE FROM task_subscriptions WHERE scope = $1",
        ];
        let ended: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(ENDED).bind(case).fetch_all(&mut **c).await)?;
        for (uid,) in &ended {
            for sql in STRIP {
                on_tx!(self, |c| sqlx::query(sql).bind(uid).execute(&mut **c).await.map(drop))?;
            }
        }
        Ok(())
    }

    /// Forgets what a partner that is no partner any more wanted to be told of tasks.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_subscriber(&mut self, partner: &str) -> Result<(), StoreError> {
        const FORGET: [&str; 3] = [
            "DELETE FROM task_subscriptions WHERE partner = $1",
            "DELETE FROM task_notices WHERE partner = $1",
            "DELETE FROM task_receivers WHERE partner = $1",
        ];
        for sql in FORGET {
            on_tx!(self, |c| sqlx::query(sql).bind(partner).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
    }

    /// Marks report objects that have become a report of a case, whose content is kept with it, before this time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_report_objects(&mut self, before: Moment) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE report_objects SET on_disk = 2 WHERE on_disk = 1 AND done = 1 AND received_us <= $1 \
             AND EXISTS (SELECT 1 FROM reports r WHERE r.sha256 = report_objects.sha256 AND r.case_id IS NOT NULL)";
        Ok(on_tx!(self, |c| sqlx::query(SQL).bind(before.0).execute(&mut **c).await.map(|done| done.rows_affected()))?)
    }

    /// What was free to go in this journal is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn journal_purged(&mut self, journal: JournalId, places: &[JournalPlace]) -> Result<(), StoreError> {
        const INSTANCE: &str =
            "UPDATE instances SET on_disk = 0 WHERE journal = $1 AND on_disk > 0 AND on_disk = 2 AND record_at = $2";
        const OBJECT: &str = "UPDATE report_objects SET on_disk = 0 WHERE journal = $1 AND on_disk > 0 AND on_disk = 2 AND record_at = $2";
        let id = journal.to_string();
        for place in places {
            let at = i64::try_from(place.record).unwrap_or(i64::MAX);
            for sql in [INSTANCE, OBJECT] {
                on_tx!(self, |c| sqlx::query(sql).bind(&id).bind(at).execute(&mut **c).await.map(drop))?;
            }
        }
        Ok(())
    }

    /// The journal has been unlinked: forgets how far it was indexed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn journal_gone(&mut self, journal: JournalId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM journals WHERE id = $1";
        let id = journal.to_string();
        on_tx!(self, |c| sqlx::query(SQL).bind(id).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The same bytes came again: the instances of a case, held by this transaction, are where they are now. The older
    /// copy may be the damaged one that its sender was asked to send again. How many of them had been given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn back_on_disk(&mut self, case: CaseId, again: &[&ReceivedInstance]) -> Result<i64, StoreError> {
        // The same record read again is no other copy: it may be on its way off the disk.
        const SQL: &str = "UPDATE instances SET on_disk = 1, journal = $4, record_at = $5, data_at = $6 \
             WHERE case_id = $1 AND sop_uid = $2 AND sha256 = $3 AND (journal <> $4 OR record_at <> $5)";
        const NOTE: &str = "UPDATE cases SET purged_us = NULL WHERE id = $1";
        if again.is_empty() {
            return Ok(0);
        }
        let (id, purged) = (case.to_string(), self.images_purged(case).await?);
        let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        for instance in again {
            let place = &instance.place;
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(&id)
                .bind(instance.sop_instance.as_str())
                .bind(place.sha256.to_string())
                .bind(place.journal.to_string())
                .bind(offset(place.record))
                .bind(offset(place.data))
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        let back = if purged > 0 { purged - self.images_purged(case).await? } else { 0 };
        if back > 0 {
            on_tx!(self, |c| sqlx::query(NOTE).bind(&id).execute(&mut **c).await.map(drop))?;
        }
        Ok(back)
    }

    /// How many of a case's images have been given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn images_purged(&mut self, case: CaseId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM instances WHERE case_id = $1 AND on_disk <> 1";
        let id = case.to_string();
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL).bind(id).fetch_one(&mut **c).await)?;
        Ok(count)
    }
}
