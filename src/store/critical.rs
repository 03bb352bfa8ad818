//! Critical results, who has acknowledged them, and until when somebody must; and what has gone out of a case's reports so
//! far, by which an answer or a next version finds its report.

use super::{
    Store, StoreError, Tx,
    cases::partner,
    on_read, on_tx,
    pages::{Behind, Page},
};
use crate::model::{CaseId, Moment, PartnerId, ReportId};

/// A version of a report whose origin must say that it has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriticalResult {
    pub report: ReportId,
    pub case: CaseId,
    pub version: i64,
    pub asked: Moment,
    pub due: Moment,
    /// When, and who.
    pub acknowledged: Option<(Moment, String)>,
    /// What waits on the case since it was not acknowledged in time; empty: nothing.
    pub told: String,
}

/// A form in which an earlier version was owed to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormBefore {
    pub form: String,
    pub report: ReportId,
    pub version: i64,
    pub sop_class: String,
    pub sop_uid: String,
}

/// Which version of whose report a message of ours carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentReport {
    pub case: CaseId,
    pub version: i64,
    pub reader: PartnerId,
}

#[derive(sqlx::FromRow)]
struct Raw {
    report_id: String,
    case_id: String,
    version: i64,
    asked_us: i64,
    due_us: i64,
    acknowledged_us: Option<i64>,
    acknowledged_by: String,
    told: String,
}

impl Raw {
    fn read(self) -> Result<CriticalResult, StoreError> {
        let by = self.acknowledged_by;
        Ok(CriticalResult {
            report: self.report_id.parse().map_err(|_| StoreError::Unreadable { what: "report id" })?,
            case: self.case_id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })?,
            version: self.version,
            asked: Moment(self.asked_us),
            due: Moment(self.due_us),
            acknowledged: self.acknowledged_us.map(|at| (Moment(at), by)),
            told: self.told,
        })
    }
}

macro_rules! select_critical {
    ($rest:literal) => {
        concat!(
            "SELECT c.report_id, c.case_id, r.version, c.asked_us, c.due_us, c.acknowledged_us, c.acknowledged_by, c.told \
             FROM critical_results c JOIN reports r ON r.id = c.report_id ",
            $rest
        )
    };
}
const OF_CASE: &str = select_critical!("WHERE c.case_id = $1 ORDER BY r.version");
const OVERDUE: &str = select_critical!(
    "WHERE c.acknowledged_us IS NULL AND c.told = '' AND c.due_us <= $1 AND (c.due_us, c.report_id) > ($2, $3) \
     ORDER BY c.due_us, c.report_id LIMIT $4"
);

impl Tx {
    /// The origin is to acknowledge this version of its case's report.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_acknowledgement(
        &mut self,
        report: ReportId,
        case: CaseId,
        now: Moment,
        due: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO critical_results (report_id, case_id, asked_us, due_us) VALUES ($1, $2, $3, $4)";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.to_string())
            .bind(case.to_string())
            .bind(now.0)
            .bind(due.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The critical results of a case, by version. The caller holds the case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn critical_results(&mut self, case: CaseId) -> Result<Vec<CriticalResult>, StoreError> {
        let id = case.to_string();
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(OF_CASE).bind(&id).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// # Errors
    /// When the database fails.
    pub async fn acknowledge_critical(&mut self, report: ReportId, by: &str, now: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE critical_results SET acknowledged_us = $2, acknowledged_by = $3, told = '' \
             WHERE report_id = $1 AND acknowledged_us IS NULL";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.to_string())
            .bind(now.0)
            .bind(super::plain(by))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// A person has been told that nobody did in time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn critical_told(&mut self, report: ReportId, told: &str) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE critical_results SET told = $2 WHERE report_id = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(report.to_string()).bind(told).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The last earlier version of a case's report in each form it was owed in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forms_before(&mut self, case: CaseId) -> Result<Vec<FormBefore>, StoreError> {
        const SQL: &str = "SELECT f.form, r.id, r.version, f.sop_class, f.sop_uid FROM reports r \
             JOIN report_forms f ON f.report_id = r.id WHERE r.case_id = $1 AND r.version = (SELECT MAX(s.version) \
             FROM reports s JOIN report_forms g ON g.report_id = s.id WHERE s.case_id = $1 AND g.form = f.form)";
        let id = case.to_string();
        let rows: Vec<(String, String, i64, String, String)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        rows.into_iter()
            .map(|(form, report, version, sop_class, sop_uid)| {
                let report = report.parse().map_err(|_| StoreError::Unreadable { what: "report id" })?;
                Ok(FormBefore { form, report, version, sop_class, sop_uid })
            })
            .collect()
    }

    /// The report that went to this origin under this control id (MSH-10).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_sent_as(
        &mut self,
        origin: &PartnerId,
        control_id: &str,
    ) -> Result<Option<SentReport>, StoreError> {
        // The condition is that of the partial index `report_forms_by_control_id`.
        const SQL: &str = "SELECT r.case_id, r.version, r.sender FROM report_forms f JOIN reports r ON r.id = f.report_id \
             JOIN cases c ON c.id = r.case_id WHERE f.control_id = $2 AND f.control_id <> '' AND c.origin = $1 LIMIT 1";
        let control_id = super::plain(control_id);
        let row: Option<(String, i64, String)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(&control_id)
            .fetch_optional(&mut **c)
            .await)?;
        row.map(|(case, version, reader)| {
            let case = case.parse().map_err(|_| StoreError::Unreadable { what: "case id" })?;
            Ok(SentReport { case, version, reader: partner(&reader)? })
        })
        .transpose()
    }
}

impl Store {
    /// The critical results of a case, by version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn critical_results(&self, case: CaseId) -> Result<Vec<CriticalResult>, StoreError> {
        let id = case.to_string();
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(OF_CASE).bind(&id).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// What was to be acknowledged by now, was not, and nobody has been told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn overdue_critical(
        &self,
        now: Moment,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<CriticalResult>, StoreError> {
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(OVERDUE)
            .bind(now.0)
            .bind(behind.at_us)
            .bind(&behind.row)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        let place = |raw: &Raw| Behind { at_us: raw.due_us, row: raw.report_id.clone() };
        Ok(Page::of(limit, raws.into_iter().map(|raw| (place(&raw), raw)).collect(), Raw::read))
    }
}
