//! Tasks as they are searched, and what is said of each: its case's images, the documents its report became.
//!
//! In: whose tasks, in which state, behind which one. Out: the next of them, by an index. Changes nothing; keys are matched by
//! `worklist`.

use super::{
    Store, StoreError,
    cases::to_json,
    on_read,
    tasks::{Raw, TaskRow, rank, select_tasks},
};
use crate::model::{CaseId, Moment, PartnerId, Priority, ReportId, TaskState, Uid};

/// One step of a search: tasks in one state and of one priority, in the order they were offered.
#[derive(Clone, Debug)]
pub struct TaskPage<'a> {
    /// Whose: to read, or (`is_origin`) asked for.
    pub partner: &'a PartnerId,
    pub is_origin: bool,
    pub state: TaskState,
    pub priority: Priority,
    /// Worklist Label, whole.
    pub label: Option<&'a str>,
    pub from: Option<Moment>,
    pub to: Option<Moment>,
    /// Behind this one.
    pub after: Option<(Moment, Uid)>,
    pub limit: i64,
}

macro_rules! page {
    ($who:literal) => {
        concat!(
            $who,
            " AND state = $2 AND rank = $3 AND scheduled_us >= $4 AND scheduled_us <= $5 \
             AND (scheduled_us, uid) > ($6, $7)"
        )
    };
}
macro_rules! pages {
    ($who:literal) => {
        concat!(select_tasks!(""), page!($who), " ORDER BY scheduled_us, uid LIMIT $8")
    };
}

/// Of the instances `i` of case $1, at most $2.
macro_rules! named {
    ($what:literal, $given:expr, $order:literal) => {
        concat!("SELECT ", $what, " FROM instances i WHERE i.case_id = $1 AND i.conflict = 0 ", $given, $order)
    };
}
/// Given to partner $3, as `search` has it.
macro_rules! given {
    () => {
        "AND EXISTS (SELECT 1 FROM deliveries d WHERE d.case_id = $1 AND d.partner = $3 AND d.kind = 'images' \
         AND d.state <> 'withdrawn' AND i.seq BETWEEN d.first_seq AND d.last_seq) "
    };
}

impl Store {
    /// The next tasks of a search.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task_page(&self, page: &TaskPage<'_>) -> Result<Vec<TaskRow>, StoreError> {
        const READER: &str = pages!("WHERE reader = $1");
        const ORIGIN: &str = pages!("WHERE origin = $1 AND reader <> $1");
        const BY_LABEL: &str = concat!(
            select_tasks!(""),
            page!("WHERE reader = $1 AND label = $9"),
            " ORDER BY scheduled_us, uid LIMIT $8"
        );
        let (sql, label) = match (page.is_origin, page.label) {
            (true, _) => (ORIGIN, None),
            (false, None) => (READER, None),
            (false, Some(label)) => (BY_LABEL, Some(label)),
        };
        let (after, uid) = page.after.as_ref().map_or((i64::MIN, ""), |(at, uid)| (at.0, uid.as_str()));
        let raws: Vec<Raw> = on_read!(self, |p| {
            let query = sqlx::query_as(sql)
                .bind(page.partner.as_str())
                .bind(page.state.as_str())
                .bind(rank(page.priority))
                .bind(page.from.map_or(i64::MIN, |at| at.0))
                .bind(page.to.map_or(i64::MAX, |at| at.0))
                .bind(after)
                .bind(uid)
                .bind(page.limit);
            match label {
                Some(label) => query.bind(label).fetch_all(p).await,
                None => query.fetch_all(p).await,
            }
        })?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Tasks of these cases that the partner is to read, or asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks_of_cases(&self, cases: &[CaseId], partner: &PartnerId) -> Result<Vec<TaskRow>, StoreError> {
        // The plus signs keep it from reading all that the partner reads or asked for.
        const SQLITE: &str = select_tasks!(
            "WHERE case_id IN (SELECT value FROM json_each($1)) AND (+reader = $2 OR +origin = $2) ORDER BY scheduled_us, uid"
        );
        const POSTGRES: &str = select_tasks!(
            "WHERE case_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND (reader = $2 OR origin = $2) \
             ORDER BY scheduled_us, uid"
        );
        let sql = if matches!(self.db, super::Db::Sqlite(_)) { SQLITE } else { POSTGRES };
        let ids = to_json(&cases.iter().map(ToString::to_string).collect::<Vec<_>>(), "list of cases")?;
        let raws: Vec<Raw> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&ids).bind(partner.as_str()).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Instances of a case, the first in the order received: series, SOP Class, SOP Instance. Of what was `given_to` a partner, where
    /// one is named.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_named(
        &self,
        case: CaseId,
        given_to: Option<&PartnerId>,
        limit: i64,
    ) -> Result<Vec<(Uid, Uid, Uid)>, StoreError> {
        const ALL: &str = named!("i.series_uid, i.sop_class, i.sop_uid", "", "ORDER BY i.seq LIMIT $2");
        const GIVEN: &str = named!("i.series_uid, i.sop_class, i.sop_uid", given!(), "ORDER BY i.seq LIMIT $2");
        let id = case.to_string();
        let rows: Vec<(String, String, String)> = on_read!(self, |p| match given_to {
            Some(partner) => sqlx::query_as(GIVEN).bind(&id).bind(limit).bind(partner.as_str()).fetch_all(p).await,
            None => sqlx::query_as(ALL).bind(&id).bind(limit).fetch_all(p).await,
        })?;
        let uid = |text: &str| Uid::new(text).map_err(|_| StoreError::Unreadable { what: "instance UID" });
        rows.iter().map(|(series, class, instance)| Ok((uid(series)?, uid(class)?, uid(instance)?))).collect()
    }

    /// The series of a case, or of what was `given_to` a partner of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn series_named(
        &self,
        case: CaseId,
        given_to: Option<&PartnerId>,
        limit: i64,
    ) -> Result<Vec<Uid>, StoreError> {
        const ALL: &str = named!("i.series_uid", "", "GROUP BY i.series_uid ORDER BY MIN(i.seq) LIMIT $2");
        const GIVEN: &str = named!("i.series_uid", given!(), "GROUP BY i.series_uid ORDER BY MIN(i.seq) LIMIT $2");
        let id = case.to_string();
        let rows: Vec<(String,)> = on_read!(self, |p| match given_to {
            Some(partner) => sqlx::query_as(GIVEN).bind(&id).bind(limit).bind(partner.as_str()).fetch_all(p).await,
            None => sqlx::query_as(ALL).bind(&id).bind(limit).fetch_all(p).await,
        })?;
        rows.iter().map(|(uid,)| Uid::new(uid).map_err(|_| StoreError::Unreadable { what: "series UID" })).collect()
    }

    /// DICOM objects that a report was made into: SOP Class and Instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_objects_made(&self, report: ReportId) -> Result<Vec<(Uid, Uid)>, StoreError> {
        const SQL: &str =
            "SELECT sop_class, sop_uid FROM report_forms WHERE report_id = $1 AND sop_uid <> '' ORDER BY form";
        let id = report.to_string();
        let rows: Vec<(String, String)> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_all(p).await)?;
        let uid = |text: &str| Uid::new(text).map_err(|_| StoreError::Unreadable { what: "report UID" });
        rows.iter().map(|(class, instance)| Ok((uid(class)?, uid(instance)?))).collect()
    }
}
