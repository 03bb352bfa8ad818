//! Storage commitments asked of us: written down before they are answered, kept until the answer has been taken; without their
//! instances for a while longer.
//!
//! In: who asks for which instances. Out: what is due to be told, and what is known of those instances. Which of them is
//! committed to is decided by `worklist`.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{from_json, partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, Moment, PartnerId};
use uuid::Uuid;

/// One transaction (PS3.4 J.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentRow {
    pub partner: PartnerId,
    pub ae_title: String,
    pub transaction: String,
    /// SOP class and SOP instance.
    pub instances: Vec<(String, String)>,
    pub asked: Moment,
    pub next: Moment,
    pub attempts: i64,
}

/// What is known of an instance that its origin wants kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptInstance {
    pub sop_class: String,
    pub sop_instance: String,
    pub on_disk: bool,
    /// Came with other bytes, too, and these are not the ones that count.
    pub is_conflict: bool,
    /// Its reader has it; or it is read where it came from.
    pub is_with_reader: bool,
    /// `None`: a report, which is no part of a case's study.
    pub case: Option<CaseId>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitmentEnd {
    Told,
    /// Nobody took its answer in time. The notice for a person, where no case says so.
    GivenUp {
        notice: Option<&'static str>,
    },
}

#[derive(sqlx::FromRow)]
struct Raw {
    partner: String,
    ae_title: String,
    transaction_uid: String,
    instances: String,
    asked_us: i64,
    next_us: i64,
    attempts: i64,
}

macro_rules! kept {
    ($list:literal, $refused:literal) => {
        concat!(
            "SELECT i.sop_class, i.sop_uid, i.on_disk, CASE WHEN c.reader = c.origin OR EXISTS (SELECT 1 FROM deliveries d \
             WHERE d.case_id = i.case_id AND d.partner = c.reader AND d.kind = 'images' \
             AND d.state <> 'withdrawn' AND i.seq BETWEEN d.first_seq AND d.done_to \
             AND (d.refused = '[]' OR NOT EXISTS (SELECT 1 FROM ",
            $refused,
            " = i.seq))) THEN 1 ELSE 0 END, i.conflict, i.case_id \
             FROM instances i JOIN cases c ON c.id = i.case_id WHERE c.origin = $1 AND i.sop_uid IN ",
            $list,
            " UNION ALL SELECT sop_class, sop_uid, on_disk, 1, 0, '' FROM report_objects WHERE sender = $1 AND sop_uid IN ",
            $list
        )
    };
}
const KEPT: Sql = Sql {
    sqlite: kept!("(SELECT value FROM json_each($2))", "json_each(d.refused) AS r WHERE r.value ->> 'seq'"),
    postgres: kept!(
        "(SELECT value FROM jsonb_array_elements_text($2::jsonb))",
        "jsonb_array_elements(d.refused::jsonb) AS r (value) WHERE (r.value ->> 'seq')::bigint"
    ),
};

macro_rules! due {
    ($list:literal) => {
        concat!(
            "SELECT partner, ae_title, transaction_uid, instances, asked_us, next_us, attempts FROM commitments \
             WHERE state = 'asked' AND next_us <= $1 AND partner NOT IN ",
            $list,
            " ORDER BY next_us LIMIT $3"
        )
    };
}
const DUE: Sql = Sql {
    sqlite: due!("(SELECT value FROM json_each($2))"),
    postgres: due!("(SELECT value FROM jsonb_array_elements_text($2::jsonb))"),
};

impl Tx {
    /// Transactions of a partner that have not been answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_commitments(&mut self, partner: &PartnerId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM commitments WHERE partner = $1 AND state = 'asked'";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL).bind(partner.as_str()).fetch_one(&mut **c).await)?;
        Ok(count)
    }

    /// Writes down what is asked. Asked again under the same UID, it is answered again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_commitment(&mut self, row: &CommitmentRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO commitments (partner, ae_title, transaction_uid, instances, state, asked_us, next_us, \
             attempts, id, stopped) VALUES ($1, $2, $3, $4, 'asked', $5, $6, 0, $7, '') \
             ON CONFLICT (partner, ae_title, transaction_uid) DO UPDATE SET instances = excluded.instances, \
             state = 'asked', asked_us = excluded.asked_us, next_us = excluded.next_us, attempts = 0, stopped = ''";
        let instances = to_json(&row.instances, "list of instances")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(row.partner.as_str())
            .bind(&row.ae_title)
            .bind(&row.transaction)
            .bind(&instances)
            .bind(row.asked.0)
            .bind(row.next.0)
            .bind(Uuid::now_v7().to_string())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Takes a transaction in hand until `until`, and counts an attempt where one is made. False: somebody else has, or it has
    /// been asked anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_commitment(
        &mut self,
        row: &CommitmentRow,
        until: Moment,
        is_attempt: bool,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE commitments SET next_us = $4, attempts = attempts + $5 WHERE partner = $1 AND ae_title = $2 \
             AND transaction_uid = $3 AND state = 'asked' AND next_us = $6 AND asked_us = $7";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(row.partner.as_str())
            .bind(&row.ae_title)
            .bind(&row.transaction)
            .bind(until.0)
            .bind(i64::from(is_attempt))
            .bind(row.next.0)
            .bind(row.asked.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// How it ended. Not if it has been asked anew meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_commitment(&mut self, row: &CommitmentRow, end: CommitmentEnd) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE commitments SET state = $4, stopped = $6, instances = '[]' WHERE partner = $1 \
             AND ae_title = $2 AND transaction_uid = $3 AND asked_us = $5";
        let (state, stopped) = match end {
            CommitmentEnd::Told => ("told", ""),
            CommitmentEnd::GivenUp { notice } => ("given_up", notice.unwrap_or_default()),
        };
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(row.partner.as_str())
            .bind(&row.ae_title)
            .bind(&row.transaction)
            .bind(state)
            .bind(row.asked.0)
            .bind(stopped)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Forgets transactions that ended before this, and their notices.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_ended_commitments(&mut self, before: Moment) -> Result<(), StoreError> {
        // The condition of the partial index, word for word.
        const SQL: &str = "DELETE FROM commitments WHERE state <> 'asked' AND next_us < $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(before.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}

impl Store {
    /// What is to be told, longest due first, but for some partners.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_commitments(
        &self,
        now: Moment,
        but_of: &[&str],
        limit: i64,
    ) -> Result<Vec<CommitmentRow>, StoreError> {
        let (sql, but_of) = (self.pick(DUE), to_json(&but_of, "list of partners")?);
        let raws: Vec<Raw> =
            on_read!(self, |p| sqlx::query_as(sql).bind(now.0).bind(&but_of).bind(limit).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// What is known of instances that this partner sent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_of(&self, origin: &PartnerId, uids: &[&str]) -> Result<Vec<KeptInstance>, StoreError> {
        let sql = match &self.db {
            super::Db::Sqlite(_) => KEPT.sqlite,
            super::Db::Postgres(_) => KEPT.postgres,
        };
        let uids = to_json(&uids, "list of UIDs")?;
        let rows: Vec<(String, String, i64, i32, i64, String)> =
            on_read!(self, |p| sqlx::query_as(sql).bind(origin.as_str()).bind(&uids).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(sop_class, sop_instance, on_disk, with_reader, conflict, case)| {
                let unreadable = |_| StoreError::Unreadable { what: "case id" };
                Ok(KeptInstance {
                    sop_class,
                    sop_instance,
                    on_disk: on_disk == 1,
                    is_conflict: conflict == 1,
                    is_with_reader: with_reader == 1,
                    case: if case.is_empty() { None } else { Some(case.parse().map_err(unreadable)?) },
                })
            })
            .collect()
    }
}

impl Raw {
    fn read(self) -> Result<CommitmentRow, StoreError> {
        Ok(CommitmentRow {
            partner: partner(&self.partner)?,
            ae_title: self.ae_title,
            transaction: self.transaction_uid,
            instances: from_json(&self.instances, "list of instances")?,
            asked: Moment(self.asked_us),
            next: Moment(self.next_us),
            attempts: self.attempts,
        })
    }
}
