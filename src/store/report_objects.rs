//! Report objects: SR and PDF instances of readers, in a journal, that wait to be correlated.
//!
//! In: the object as `intake` saw it, and that it has been seen to. Out: those that wait, oldest first.
//!
//! Does not read them: their bytes stay where the journal has them.

use super::{
    Store, StoreError, Tx,
    cases::{from_json, partner, to_json},
    instances::place,
    on_read, on_tx,
};
use crate::model::{JournalPlace, Moment, PartnerId, StudyFacts, Uid};

/// An SR or PDF object in a journal that a reader sent.
#[derive(Clone, Debug)]
pub struct ReportObject {
    pub sender: PartnerId,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub study: Uid,
    pub facts: StudyFacts,
    pub place: JournalPlace,
    pub received: Moment,
}

#[derive(sqlx::FromRow)]
struct RawObject {
    sender: String,
    sop_uid: String,
    sha256: String,
    sop_class: String,
    transfer_syntax: String,
    study_uid: String,
    facts: String,
    journal: String,
    record_at: i64,
    data_at: i64,
    length: i64,
    received_us: i64,
}

impl RawObject {
    fn read(self) -> Result<ReportObject, StoreError> {
        let uid = |text: &str| Uid::new(text).map_err(|_| StoreError::Unreadable { what: "UID" });
        Ok(ReportObject {
            sender: partner(&self.sender)?,
            sop_class: uid(&self.sop_class)?,
            sop_instance: uid(&self.sop_uid)?,
            transfer_syntax: uid(&self.transfer_syntax)?,
            study: uid(&self.study_uid)?,
            facts: from_json(&self.facts, "study header")?,
            place: place(&self.journal, self.record_at, self.data_at, self.length, &self.sha256)?,
            received: Moment(self.received_us),
        })
    }
}

impl Tx {
    /// Keeps a report object until `results` has correlated it. A repeated one is where its newest copy lies, and is
    /// read anew if the one before was held because our own journal would not give it: no report has its digest then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_report_object(&mut self, object: &ReportObject) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO report_objects (sender, sop_uid, sha256, sop_class, transfer_syntax, study_uid, facts, \
             journal, record_at, data_at, length, received_us, done) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0) ON CONFLICT (sender, sop_uid, sha256) \
             DO UPDATE SET journal = excluded.journal, record_at = excluded.record_at, data_at = excluded.data_at, on_disk = 1, \
             done = CASE WHEN EXISTS (SELECT 1 FROM reports r WHERE r.sha256 = excluded.sha256) THEN report_objects.done ELSE 0 END \
             WHERE report_objects.journal <> excluded.journal OR report_objects.record_at <> excluded.record_at";
        let facts = to_json(&object.facts, "study header")?;
        let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(object.sender.as_str())
            .bind(object.sop_instance.as_str())
            .bind(object.place.sha256.to_string())
            .bind(object.sop_class.as_str())
            .bind(object.transfer_syntax.as_str())
            .bind(object.study.as_str())
            .bind(facts)
            .bind(object.place.journal.to_string())
            .bind(offset(object.place.record))
            .bind(offset(object.place.data))
            .bind(offset(object.place.length))
            .bind(object.received.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The object has become a report, or is held as one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_object_done(&mut self, object: &ReportObject) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE report_objects SET done = 1 WHERE sender = $1 AND sop_uid = $2 AND sha256 = $3 AND done = 0";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(object.sender.as_str())
            .bind(object.sop_instance.as_str())
            .bind(object.place.sha256.to_string())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }
}

impl Store {
    /// Report objects that wait to be correlated, oldest first, without the first `skip`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_report_objects(&self, skip: i64, limit: i64) -> Result<Vec<ReportObject>, StoreError> {
        const SQL: &str = "SELECT sender, sop_uid, sha256, sop_class, transfer_syntax, study_uid, facts, journal, record_at, \
             data_at, length, received_us FROM report_objects WHERE done = 0 ORDER BY received_us, sop_uid LIMIT $1 OFFSET $2";
        let raws: Vec<RawObject> = on_read!(self, |p| sqlx::query_as(SQL).bind(limit).bind(skip).fetch_all(p).await)?;
        raws.into_iter().map(RawObject::read).collect()
    }
}
