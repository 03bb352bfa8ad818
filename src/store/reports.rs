//! Reports, what is made of them, and the HL7 messages that have been answered.

use super::{
    Sql, Store, StoreError, Tx, TxKind,
    cases::{from_json, partner, to_json},
    contents::{AS_RECEIVED, in_row},
    instances::place,
    on_read, on_tx,
};
use crate::model::{CaseId, JournalPlace, Moment, PartnerId, Pieces, ReportId, ReportStatus, StudyFacts, Uid};
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

/// MSH-3, MSH-4, MSH-10 and the digest of the whole under the partner that sent it: two hospitals do use the same
/// control ids, and one hospital the same for two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageKey {
    pub partner: PartnerId,
    pub application: String,
    pub facility: String,
    pub control_id: String,
    pub sha256: String,
}

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

macro_rules! take_message {
    () => {
        "INSERT INTO messages (partner, application, facility, control_id, sha256, received_us, answer) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (partner, application, facility, control_id, sha256) DO NOTHING"
    };
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

    /// Takes a message for the first time: `None`. The same message again, to the byte: the answer it got. A second
    /// connection with the same message waits here until the first has committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_message(&mut self, key: &MessageKey, received: Moment) -> Result<Option<Vec<u8>>, StoreError> {
        const CLAIM: &str = take_message!();
        let claimed = on_tx!(self, |c| sqlx::query(CLAIM)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(received.0)
            .bind(Vec::<u8>::new())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if claimed == 1 {
            return Ok(None);
        }
        let row: Option<(Vec<u8>,)> = on_tx!(self, |c| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(&mut **c)
            .await)?;
        Ok(row.map(|(answer,)| answer))
    }

    /// Keeps the answer to a claimed message.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answer(&mut self, key: &MessageKey, answer: &[u8]) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE messages SET answer = $6 WHERE partner = $1 AND application = $2 AND facility = $3 \
             AND control_id = $4 AND sha256 = $5";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(answer)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Keeps a message about orders with its answer, both at once. It has come before: the answer it got, and the caller's
    /// transaction is to be dropped. A second connection with the same message waits here until the first has committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answered(
        &mut self,
        key: &MessageKey,
        received: Moment,
        content: &Bytes,
        answer: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = self.pick(KEEP_ANSWERED);
        let kept = on_tx!(self, |c| sqlx::query(sql)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .bind(received.0)
            .bind(answer)
            .bind(&content[..])
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        // SQLite counts the row of both statements, PostgreSQL that of the last, which there is only with the first.
        let all = match self.kind {
            TxKind::Sqlite(_) => 2,
            TxKind::Postgres(_) => 1,
        };
        if kept == all {
            return Ok(None);
        }
        let row: Option<(Vec<u8>,)> = on_tx!(self, |c| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(&mut **c)
            .await)?;
        row.map(|(answer,)| Some(answer)).ok_or(StoreError::NotFound { what: "answer", id: String::new() })
    }

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

/// The content of what one hospital sends at one moment under two names is one row.
const KEEP_ANSWERED: Sql = Sql {
    sqlite: concat!(
        take_message!(),
        "; INSERT INTO order_contents (sha256, received_us, content) VALUES ($5, $6, $8) \
         ON CONFLICT (sha256, received_us) DO UPDATE SET content = excluded.content"
    ),
    postgres: concat!(
        "WITH taken AS (",
        take_message!(),
        " RETURNING 1) INSERT INTO order_contents (sha256, received_us, content) SELECT $5, $6, $8 FROM taken \
         ON CONFLICT (sha256, received_us) DO UPDATE SET content = excluded.content"
    ),
};

const ANSWER: &str = "SELECT answer FROM messages WHERE partner = $1 AND application = $2 AND facility = $3 \
     AND control_id = $4 AND sha256 = $5";

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

impl Store {
    /// The answer this message got when it came before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_given(&self, key: &MessageKey) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = on_read!(self, |p| sqlx::query_as(ANSWER)
            .bind(key.partner.as_str())
            .bind(&key.application)
            .bind(&key.facility)
            .bind(&key.control_id)
            .bind(&key.sha256)
            .fetch_optional(p)
            .await)?;
        Ok(row.map(|(answer,)| answer))
    }

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
