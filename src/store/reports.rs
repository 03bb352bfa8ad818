//! Reports as they came: joined to their cases as versions, or held for a person.
//!
//! In: a report, and what a person decides of a held one. Out: the versions of a case's report, what is held, and each as it
//! came. What is made of them is in `report_forms`, the objects they came in are in `report_objects`.
//!
//! Does not correlate: `results` says whose a report is.

use super::{
    Store, StoreError, Tx,
    cases::partner,
    contents::{AS_RECEIVED, in_row},
    on_read, on_tx,
};
use crate::model::{CaseId, Moment, PartnerId, Pieces, ReportId, ReportStatus, Uid};
use bytes::Bytes;

/// A report as it came.
#[derive(Clone, Debug)]
pub struct NewReport {
    pub id: ReportId,
    /// `None`: fits no case, held for a person.
    pub case: Option<CaseId>,
    pub sender: PartnerId,
    /// `oru`, `sr` or `pdf`.
    pub source: &'static str,
    pub status: ReportStatus,
    pub version: i64,
    pub received: Moment,
    /// By what it was joined to its case, for the story.
    pub correlated_by: String,
    pub hold_reason: String,
    pub sha256: String,
    /// Tens of megabytes at worst, and so shared with who received it.
    pub content: Bytes,
}

#[derive(Clone, Debug)]
pub struct ReportRow {
    pub id: ReportId,
    pub sender: PartnerId,
    pub source: String,
    pub status: ReportStatus,
    pub version: i64,
    pub received: Moment,
    pub correlated_by: String,
}

#[derive(Clone, Debug)]
pub struct HeldReport {
    pub id: ReportId,
    pub sender: PartnerId,
    pub source: String,
    pub status: ReportStatus,
    pub received: Moment,
    pub hold_reason: String,
}

/// A report as it came: a held one for a person who knows whose it is, or the one that an addendum adds to.
#[derive(Clone, Debug)]
pub struct HeldContent {
    pub sender: PartnerId,
    pub source: String,
    pub received: Moment,
    pub content: Bytes,
    /// SOP class, SOP instance and transfer syntax; `None` for an HL7 message, and for an object that could not be read.
    pub object: Option<(Uid, Uid, Uid)>,
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn add_report(&mut self, report: &NewReport) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO reports (id, case_id, sender, source, status, version, received_us, correlated_by, \
             hold_reason, sha256, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let content = Pieces::from(report.content.clone());
        let row = in_row(&content);
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.id.to_string())
            .bind(report.case.map(|case| case.to_string()))
            .bind(report.sender.as_str())
            .bind(report.source)
            .bind(report.status.as_str())
            .bind(report.version)
            .bind(report.received.0)
            .bind(&report.correlated_by)
            .bind(&report.hold_reason)
            .bind(&report.sha256)
            .bind(&row[..])
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.add_pieces(report.id, AS_RECEIVED, &content).await
    }

    /// A person has said whose a held report is. False: it is not held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attach_report(
        &mut self,
        report: ReportId,
        case: CaseId,
        version: i64,
        correlated_by: &str,
        why: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE reports SET case_id = $2, version = $3, correlated_by = $4, decided_why = $5 \
             WHERE id = $1 AND case_id IS NULL AND dismissed_us IS NULL";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.to_string())
            .bind(case.to_string())
            .bind(version)
            .bind(correlated_by)
            .bind(super::plain(why))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// A person has seen to a held report otherwise: it is kept, and listed no more. False: it is not held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dismiss_report(&mut self, report: ReportId, why: &str, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE reports SET dismissed_us = $2, decided_why = $3 \
             WHERE id = $1 AND case_id IS NULL AND dismissed_us IS NULL";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.to_string())
            .bind(now.0)
            .bind(super::plain(why))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// The version the next report of a case gets, and when the one before came.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_version(&mut self, case: CaseId) -> Result<(i64, Option<Moment>), StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(version), 0), MAX(received_us) FROM reports WHERE case_id = $1";
        let (version, at): (i64, Option<i64>) =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(case.to_string()).fetch_one(&mut **c).await)?;
        Ok((version + 1, at.map(Moment)))
    }
}

impl Store {
    /// The versions of a case's report, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reports(&self, case: CaseId) -> Result<Vec<ReportRow>, StoreError> {
        const SQL: &str = "SELECT id, sender, source, status, version, received_us, correlated_by FROM reports \
             WHERE case_id = $1 ORDER BY version";
        type Row = (String, String, String, String, i64, i64, String);
        let id = case.to_string();
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(id, sender, source, status, version, received, correlated_by)| {
                let unreadable = |what| StoreError::Unreadable { what };
                Ok(ReportRow {
                    id: id.parse().map_err(|_| unreadable("report id"))?,
                    sender: partner(&sender)?,
                    source,
                    status: ReportStatus::parse(&status).ok_or(unreadable("report status"))?,
                    version,
                    received: Moment(received),
                    correlated_by,
                })
            })
            .collect()
    }

    /// The newest hundred reports that fit no case, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_reports(&self) -> Result<Vec<HeldReport>, StoreError> {
        const SQL: &str = "SELECT id, sender, source, status, received_us, hold_reason FROM reports \
             WHERE case_id IS NULL AND dismissed_us IS NULL ORDER BY received_us DESC, id DESC LIMIT 100";
        type Row = (String, String, String, String, i64, String);
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(id, sender, source, status, received, hold_reason)| {
                let unreadable = |what| StoreError::Unreadable { what };
                Ok(HeldReport {
                    id: id.parse().map_err(|_| unreadable("report id"))?,
                    sender: partner(&sender)?,
                    source,
                    status: ReportStatus::parse(&status).ok_or(unreadable("report status"))?,
                    received: Moment(received),
                    hold_reason,
                })
            })
            .collect()
    }

    /// How many reports fit no case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_held_reports(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM reports WHERE case_id IS NULL AND dismissed_us IS NULL";
        let (count,): (i64,) = on_read!(self, |p| sqlx::query_as(SQL).fetch_one(p).await)?;
        Ok(count)
    }

    /// A held report as it came; `None`: there is no such report, or it is not held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_report(&self, report: ReportId) -> Result<Option<HeldContent>, StoreError> {
        const SQL: &str = "SELECT sender, source, received_us, sha256, content FROM reports \
             WHERE id = $1 AND case_id IS NULL AND dismissed_us IS NULL";
        self.as_received(SQL, report).await
    }

    /// A version of a case's report as it came; `None`: there is no such version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn joined_report(&self, report: ReportId) -> Result<Option<HeldContent>, StoreError> {
        const SQL: &str = "SELECT sender, source, received_us, sha256, content FROM reports \
             WHERE id = $1 AND case_id IS NOT NULL";
        self.as_received(SQL, report).await
    }

    /// Bytes of a version of a case's report as it came; `None`: there is no such version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn joined_report_length(&self, report: ReportId) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT CAST(LENGTH(content) AS BIGINT) FROM reports WHERE id = $1 AND case_id IS NOT NULL";
        let id = report.to_string();
        let row: Option<(i64,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_optional(p).await)?;
        match row.map(|(length,)| u64::try_from(length).unwrap_or(u64::MAX)) {
            Some(0) => self.length_of_pieces(report, AS_RECEIVED).await,
            length => Ok(length),
        }
    }

    async fn as_received(&self, sql: &'static str, report: ReportId) -> Result<Option<HeldContent>, StoreError> {
        const OBJECT: &str =
            "SELECT sop_class, sop_uid, transfer_syntax FROM report_objects WHERE sender = $1 AND sha256 = $2 LIMIT 1";
        type Row = (String, String, i64, String, Vec<u8>);
        let id = report.to_string();
        let row: Option<Row> = on_read!(self, |p| sqlx::query_as(sql).bind(&id).fetch_optional(p).await)?;
        let Some((sender, source, received, sha256, content)) = row else { return Ok(None) };
        let object: Option<(String, String, String)> =
            on_read!(self, |p| sqlx::query_as(OBJECT).bind(&sender).bind(&sha256).fetch_optional(p).await)?;
        let uid = |text: String| Uid::new(&text).map_err(|_| StoreError::Unreadable { what: "UID" });
        let read = |(class, instance, syntax)| Ok::<_, StoreError>((uid(class)?, uid(instance)?, uid(syntax)?));
        let object = object.map(read).transpose()?;
        let (sender, received) = (partner(&sender)?, Moment(received));
        let content = self.whole_content(report, content).await?;
        Ok(Some(HeldContent { sender, source, received, content, object }))
    }
}
