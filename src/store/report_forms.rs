//! What is made of reports: each form that is to be sent, an HL7 message or a data set.
//!
//! In: the form as it will be sent. Out: the same, for the attempt to deliver it; where it is large, but for its pieces
//! (`contents`).
//!
//! Does not make forms: `results` does.

use super::{Store, StoreError, Tx, contents::in_row, on_read, on_tx};
use crate::model::{Pieces, ReportId};
use bytes::Bytes;

/// What is to be sent for a report: an HL7 message (`control_id` set) or a data set (the UIDs set).
#[derive(Clone, Debug)]
pub struct ReportFormRow {
    pub form: &'static str,
    pub control_id: String,
    pub sop_class: String,
    pub sop_uid: String,
    pub transfer_syntax: String,
    pub content: Pieces,
}

/// The same, read back for sending.
#[derive(Clone, Debug)]
pub struct ReportContent {
    pub control_id: String,
    pub sop_class: String,
    pub sop_uid: String,
    pub transfer_syntax: String,
    /// Bytes of the whole.
    pub length: u64,
    /// The whole, or nothing: then it is in pieces (`Store::report_piece`).
    pub in_row: Bytes,
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn add_report_form(&mut self, report: ReportId, form: &ReportFormRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO report_forms (report_id, form, control_id, sop_class, sop_uid, transfer_syntax, content) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let row = in_row(&form.content);
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(report.to_string())
            .bind(form.form)
            .bind(&form.control_id)
            .bind(&form.sop_class)
            .bind(&form.sop_uid)
            .bind(&form.transfer_syntax)
            .bind(&row[..])
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.add_pieces(report, form.form, &form.content).await
    }
}

impl Store {
    /// What is to be sent for a report in one form, but for its pieces.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn report_content(&self, report: ReportId, form: &str) -> Result<ReportContent, StoreError> {
        const SQL: &str = "SELECT control_id, sop_class, sop_uid, transfer_syntax, content FROM report_forms \
             WHERE report_id = $1 AND form = $2";
        type Row = (String, String, String, String, Vec<u8>);
        let id = report.to_string();
        let row: Option<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).bind(form).fetch_optional(p).await)?;
        let (control_id, sop_class, sop_uid, transfer_syntax, content) =
            row.ok_or(StoreError::NotFound { what: "report", id })?;
        let length = match content.len() as u64 {
            0 => self.length_of_pieces(report, form).await?.ok_or(StoreError::Unreadable { what: "report form" })?,
            length => length,
        };
        Ok(ReportContent { control_id, sop_class, sop_uid, transfer_syntax, length, in_row: content.into() })
    }
}
