//! Cases: one row each, read and written whole.

use super::{Sql, Store, StoreError, Tx, on_read, on_tx};
use crate::model::{
    CaseEvent, CaseId, CaseState, Decision, Discipline, Disposition, Moment, PartnerId, Priority, StudyFacts, Uid, case,
};
use serde::{Serialize, de::DeserializeOwned};

/// All that waits for a person on one case. More is in its story.
const MAX_ATTENTION_BYTES: usize = 4000;

/// A case as it is stored.
#[derive(Clone, Debug)]
pub struct CaseRow {
    pub id: CaseId,
    pub origin: PartnerId,
    pub study: Uid,
    pub state: CaseState,
    pub discipline: Discipline,
    pub priority: Priority,
    pub calling_ae: String,
    pub called_ae: String,
    /// Patient data: never into a log.
    pub facts: StudyFacts,
    /// Instances joined; the next gets this number plus one.
    pub instances: i64,
    pub bytes: i64,
    /// Instances up to here have been made owed to the reader.
    pub routed_to: i64,
    pub first: Moment,
    pub last: Moment,
    pub whole: Option<Moment>,
    pub decision: Option<Decision>,
    pub reader: Option<PartnerId>,
    /// Why a person should look; empty when nobody needs to.
    pub attention: String,
    /// False: begun by an order, no study yet; `study` is then derived from the order and means nothing outside.
    pub has_study: bool,
    /// When its final report is due; a person is told once that has passed.
    pub report_due: Option<Moment>,
    /// It waits for its order until then before it is decided without.
    pub waits_until: Option<Moment>,
}

impl CaseRow {
    /// Moves the case by the one table of moves.
    ///
    /// # Errors
    /// When the table has no such move.
    pub fn take(&mut self, event: CaseEvent) -> Result<(), StoreError> {
        self.state = case::next(self.state, event)?;
        Ok(())
    }

    /// Adds a reason for a person to look, once. True if it is new.
    pub fn needs_a_person(&mut self, reason: &str) -> bool {
        let reason = &super::plain(reason);
        // A reason may hold the separator itself.
        if format!("; {}; ", self.attention).contains(&format!("; {reason}; ")) {
            return false;
        }
        // Somebody is told already, and the story has every reason.
        if self.attention.len() + reason.len() > MAX_ATTENTION_BYTES && !self.attention.is_empty() {
            return true;
        }
        if !self.attention.is_empty() {
            self.attention.push_str("; ");
        }
        self.attention.push_str(reason);
        true
    }

    /// A reason has gone away by itself.
    pub fn needs_nobody_for(&mut self, reason: &str) {
        let padded = format!("; {}; ", self.attention);
        let rest = padded.replacen(&format!("; {reason}; "), "; ", 1);
        self.attention = rest.trim_start_matches("; ").trim_end_matches("; ").to_owned();
    }

    /// Who gets the images: the reader it is offered to now, and who gets copies. What is read on site stays there.
    pub fn receivers(&self) -> Vec<PartnerId> {
        let also_to = match self.decision.as_ref().map(|decision| &decision.disposition) {
            Some(Disposition::Read(reading)) => reading.also_to.as_slice(),
            _ => &[],
        };
        let mut receivers: Vec<PartnerId> = Vec::new();
        for partner in self.reader.iter().chain(also_to) {
            if *partner != self.origin && !receivers.contains(partner) {
                receivers.push(partner.clone());
            }
        }
        receivers
    }
}

/// What waits to become whole.
#[derive(Clone, Debug)]
pub struct IncompleteCase {
    pub id: CaseId,
    pub origin: PartnerId,
    pub study: Uid,
    pub last: Moment,
}

/// One line of `neisse cases list`.
#[derive(Clone, Debug)]
pub struct CaseSummary {
    pub case: CaseRow,
    /// Deliveries not finished, and those that ended in front of a person.
    pub open: i64,
    pub stopped: i64,
    pub reports: i64,
}

#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub state: Option<CaseState>,
    pub partner: Option<PartnerId>,
    pub attention: bool,
    pub limit: i64,
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    origin: String,
    study_uid: String,
    state: String,
    discipline: String,
    priority: String,
    calling_ae: String,
    called_ae: String,
    facts: String,
    instances: i64,
    bytes: i64,
    routed_to: i64,
    first_us: i64,
    last_us: i64,
    whole_us: Option<i64>,
    decision: Option<String>,
    reader: Option<String>,
    attention: String,
    has_study: i64,
    report_due_us: Option<i64>,
    waits_until_us: Option<i64>,
}

macro_rules! select_cases {
    ($rest:literal) => {
        concat!(
            "SELECT id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention, has_study, report_due_us, \
             waits_until_us FROM cases ",
            $rest
        )
    };
}

/// PostgreSQL locks the row; SQLite has the only writer already.
const BY_ID_LOCKED: Sql =
    Sql { sqlite: select_cases!("WHERE id = $1"), postgres: select_cases!("WHERE id = $1 FOR UPDATE") };
/// One more than [`MAX_ALIKE`].
const BY_STUDY: &str = select_cases!("WHERE study_uid = $1 ORDER BY id LIMIT 65");
/// By an accession or order number. That none is empty is known; said, it tells PostgreSQL, which plans for any number,
/// that this finds few though most cases have no order number.
macro_rules! has_number {
    ($number:literal) => {
        concat!(
            "((accession = ",
            $number,
            " AND accession <> '') OR (placer_order = ",
            $number,
            " AND placer_order <> '') OR (filler_order = ",
            $number,
            " AND filler_order <> ''))"
        )
    };
}
const BY_NUMBER: &str = concat!(select_cases!("WHERE "), has_number!("$1"), " ORDER BY id LIMIT 65");
/// Each case with what it was found by. A number that is not given is NULL, which nothing is equal to. By the number and
/// not by the origin, whose cases SQLite would otherwise read one and all: hence `origin || ''`, which no index has.
macro_rules! of_origin_with {
    ($studies:literal) => {
        concat!(
            "SELECT 0 AS look, id FROM cases WHERE origin = $1 AND study_uid IN (SELECT value FROM ",
            $studies,
            ") UNION ALL SELECT 1, id FROM (SELECT id FROM cases WHERE origin || '' = $1 AND ",
            has_number!("$3"),
            " LIMIT 65) AS a UNION ALL SELECT 2, id FROM (SELECT id FROM cases WHERE origin || '' = $1 AND ",
            has_number!("$4"),
            " LIMIT 65) AS b UNION ALL SELECT 3, id FROM (SELECT id FROM cases WHERE origin || '' = $1 AND ",
            has_number!("$5"),
            " LIMIT 65) AS c"
        )
    };
}
const OF_ORIGIN_WITH: Sql =
    Sql { sqlite: of_origin_with!("json_each($2)"), postgres: of_origin_with!("jsonb_array_elements_text($2::jsonb)") };
pub(super) use has_number;

/// More cases than this with one UID or number: it names none of them (`0`, `NONE`, a scanner's test pattern).
pub const MAX_ALIKE: usize = 64;

const BY_STUDY_LOCKED: Sql = Sql {
    sqlite: select_cases!("WHERE origin = $1 AND study_uid = $2"),
    postgres: select_cases!("WHERE origin = $1 AND study_uid = $2 FOR UPDATE"),
};

/// What a query names of a case.
#[derive(Clone, Copy, Debug)]
pub enum Meant<'a> {
    Study(&'a [&'a str]),
    /// Identifiers, and the origins that may have given them.
    Patient(&'a [&'a str], &'a [&'a str]),
    Accession(&'a [&'a str]),
}

/// As arrays, PostgreSQL looks each key up; as a set, it may read every case for it.
const MEANT_STUDY: Sql = Sql {
    sqlite: "SELECT id FROM cases WHERE study_uid IN (SELECT value FROM json_each($1)) AND $2 = '' LIMIT $3",
    postgres: "SELECT id FROM cases WHERE study_uid = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND $2 = '' LIMIT $3",
};
const MEANT_PATIENT: Sql = Sql {
    sqlite: "SELECT id FROM cases WHERE patient_id IN (SELECT value FROM json_each($1)) \
             AND origin IN (SELECT value FROM json_each($2)) LIMIT $3",
    postgres: "SELECT id FROM cases WHERE patient_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) \
               AND origin = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))) LIMIT $3",
};
const MEANT_ACCESSION: Sql = Sql {
    sqlite: "SELECT id FROM cases WHERE accession IN (SELECT value FROM json_each($1)) AND accession <> '' AND $2 = '' LIMIT $3",
    postgres: "SELECT id FROM cases WHERE accession = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) \
               AND accession <> '' AND $2 = '' LIMIT $3",
};

macro_rules! list_cases {
    ($where:literal) => {
        concat!(
            "SELECT id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention, has_study, report_due_us, \
             waits_until_us, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.case_id = cases.id AND d.state IN ('owed', 'queued', 'attempting')) AS open, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.case_id = cases.id AND d.state = 'stopped') AS stopped, \
             (SELECT COUNT(*) FROM reports r WHERE r.case_id = cases.id) AS reports \
             FROM cases WHERE ",
            $where,
            " AND ($1 = '' OR state = $1) AND ($2 = '' OR origin = $2 OR reader = $2) ORDER BY last_us DESC LIMIT $3"
        )
    };
}
const LIST: &str = list_cases!("1 = 1");
const LIST_WAITING: &str = list_cases!("(attention <> '' OR state = 'held')");

impl Raw {
    /// For lists: a case whose texts cannot be read is shown without them, and says so. It is what is looked for.
    fn read_for_list(mut self) -> Result<CaseRow, StoreError> {
        let facts = from_json::<StudyFacts>(&self.facts, "study header").is_ok();
        let decided = |text: &String| from_json::<Decision>(text, "decision").is_ok();
        let decision = self.decision.as_ref().is_none_or(decided);
        if !facts {
            self.facts = "{}".into();
        }
        self.decision = self.decision.filter(|_| decision);
        let mut case = self.read()?;
        if !(facts && decision) {
            case.needs_a_person("its row in the database cannot be read");
        }
        Ok(case)
    }

    fn read(self) -> Result<CaseRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(CaseRow {
            id: self.id.parse().map_err(|_| unreadable("case id"))?,
            origin: partner(&self.origin)?,
            study: Uid::new(&self.study_uid).map_err(|_| unreadable("study UID"))?,
            state: CaseState::parse(&self.state).ok_or(unreadable("case state"))?,
            discipline: from_word(&self.discipline, "discipline")?,
            priority: from_word(&self.priority, "priority")?,
            calling_ae: self.calling_ae,
            called_ae: self.called_ae,
            facts: from_json(&self.facts, "study header")?,
            instances: self.instances,
            bytes: self.bytes,
            routed_to: self.routed_to,
            first: Moment(self.first_us),
            last: Moment(self.last_us),
            whole: self.whole_us.map(Moment),
            decision: self.decision.map(|text| from_json(&text, "decision")).transpose()?,
            reader: self.reader.map(|name| partner(&name)).transpose()?,
            attention: self.attention,
            has_study: self.has_study != 0,
            report_due: self.report_due_us.map(Moment),
            waits_until: self.waits_until_us.map(Moment),
        })
    }
}

/// What an identifier is looked up by: its beginning, without control characters. A sender may write 4 KB into a field
/// of 16 letters, and PostgreSQL refuses a row whose index entry passes 2.7 KB. Whoever looks up compares the whole.
pub(super) fn key(identifier: &str) -> String {
    super::plain(identifier).chars().take(128).collect()
}

pub(super) fn partner(name: &str) -> Result<PartnerId, StoreError> {
    PartnerId::new(name).map_err(|_| StoreError::Unreadable { what: "partner id" })
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { what })
}

pub(super) fn to_json<T: Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Unreadable { what })
}

pub(super) fn from_word<T: DeserializeOwned>(word: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::from(word)).map_err(|_| StoreError::Unreadable { what })
}

pub(super) fn to_word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

impl Tx {
    /// Refuses what others of the same origin must not do at the same time: cases are found, begun and changed one after
    /// the other.
    ///
    /// # Errors
    /// [`StoreError::OriginShared`]: begin again, and hold the origin.
    pub fn alone_with_origin(&self) -> Result<(), StoreError> {
        if self.shares_origin { Err(StoreError::OriginShared) } else { Ok(()) }
    }

    /// The case, held for change until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn case(&mut self, id: CaseId) -> Result<CaseRow, StoreError> {
        self.alone_with_origin()?;
        self.concerns_a_case = true;
        let sql = self.pick(BY_ID_LOCKED);
        let key = id.to_string();
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql).bind(&key).fetch_optional(&mut **c).await)?;
        raw.ok_or(StoreError::NotFound { what: "case", id: key })?.read()
    }

    /// The case as it stands, not held: for who only wants to know whose it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn case_as_it_is(&mut self, id: CaseId) -> Result<CaseRow, StoreError> {
        const SQL: &str = select_cases!("WHERE id = $1");
        let key = id.to_string();
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&key).fetch_optional(&mut **c).await)?;
        raw.ok_or(StoreError::NotFound { what: "case", id: key })?.read()
    }

    /// The case of this origin's study, held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn case_of_study(&mut self, origin: &PartnerId, study: &Uid) -> Result<Option<CaseRow>, StoreError> {
        let sql = self.pick(BY_STUDY_LOCKED);
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(origin.as_str())
            .bind(study.as_str())
            .fetch_optional(&mut **c)
            .await)?;
        raw.map(Raw::read).transpose()
    }

    /// Adds a case. False if another node has just added one for the same study: read that one instead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_case(&mut self, case: &CaseRow) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, \
             facts, patient_id, patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention, has_study, report_due_us, waits_until_us, \
             searchable) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
             $23, $24, $25, $26, $27, 1) \
             ON CONFLICT (origin, study_uid) DO NOTHING";
        self.concerns_a_case = true;
        let facts = to_json(&case.facts, "study header")?;
        let decision = case.decision.as_ref().map(|decision| to_json(decision, "decision")).transpose()?;
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(case.origin.as_str())
            .bind(case.study.as_str())
            .bind(case.state.as_str())
            .bind(to_word(case.discipline))
            .bind(to_word(case.priority))
            .bind(&case.calling_ae)
            .bind(&case.called_ae)
            .bind(facts)
            .bind(key(&case.facts.patient_id.value))
            .bind(key(&case.facts.patient_id.issuer))
            .bind(key(&case.facts.accession.value))
            .bind(key(&case.facts.accession.issuer))
            .bind(key(&case.facts.placer_order_number))
            .bind(key(&case.facts.filler_order_number))
            .bind(case.instances)
            .bind(case.bytes)
            .bind(case.routed_to)
            .bind(case.first.0)
            .bind(case.last.0)
            .bind(case.whole.map(|at| at.0))
            .bind(decision)
            .bind(case.reader.as_ref().map(PartnerId::as_str))
            .bind(&case.attention)
            .bind(i64::from(case.has_study))
            .bind(case.report_due.map(|at| at.0))
            .bind(case.waits_until.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Writes what can change of a case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_case(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET state = $2, priority = $3, instances = $4, bytes = $5, routed_to = $6, \
             last_us = $7, whole_us = $8, decision = $9, reader = $10, attention = $11, report_due_us = $12, waits_until_us = $13, \
             purged_us = CASE WHEN instances < $4 THEN NULL ELSE purged_us END WHERE id = $1";
        let decision = case.decision.as_ref().map(|decision| to_json(decision, "decision")).transpose()?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(case.state.as_str())
            .bind(to_word(case.priority))
            .bind(case.instances)
            .bind(case.bytes)
            .bind(case.routed_to)
            .bind(case.last.0)
            .bind(case.whole.map(|at| at.0))
            .bind(decision)
            .bind(case.reader.as_ref().map(PartnerId::as_str))
            .bind(&case.attention)
            .bind(case.report_due.map(|at| at.0))
            .bind(case.waits_until.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Writes what is known of a case's study anew: what its first instance did not say, a later one may.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_facts(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET facts = $2, patient_id = $3, patient_issuer = $4, accession = $5, \
             accession_issuer = $6, placer_order = $7, filler_order = $8 WHERE id = $1";
        let facts = to_json(&case.facts, "study header")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(facts)
            .bind(key(&case.facts.patient_id.value))
            .bind(key(&case.facts.patient_id.issuer))
            .bind(key(&case.facts.accession.value))
            .bind(key(&case.facts.accession.issuer))
            .bind(key(&case.facts.placer_order_number))
            .bind(key(&case.facts.filler_order_number))
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.save_views(case).await?;
        Ok(())
    }

    /// Moves a case on when it is whole, all of it has been made owed, and all that was owed has arrived. The caller
    /// saves the case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_if_all_delivered(&mut self, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
        let waiting = matches!(case.state, CaseState::Routed | CaseState::Preliminary | CaseState::Reported);
        if !waiting || case.whole.is_none() || case.routed_to < case.instances {
            return Ok(false);
        }
        if self.images_not_delivered(case.id).await? > 0 {
            return Ok(false);
        }
        case.take(CaseEvent::AllDelivered)?;
        let read_on_site = case.reader.as_ref() == Some(&case.origin);
        let what = match (read_on_site, case.has_study) {
            (true, true) => "whole, read on site",
            (true, false) => "read on site",
            (false, true) => "whole, all images delivered",
            (false, false) => "its order has been delivered",
        };
        self.tell(case.id, now, "delivery", what).await?;
        self.note_available(case, now).await?;
        Ok(true)
    }

    /// A study has come for a case that was begun by its order: from now on it is the case of this study, which came by
    /// these AE titles.
    ///
    /// # Errors
    /// When the database fails, or another case has that study.
    pub async fn adopt_study(
        &mut self,
        case: CaseId,
        study: &Uid,
        calling_ae: &str,
        called_ae: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET study_uid = $2, has_study = 1, calling_ae = $3, called_ae = $4 \
             WHERE id = $1 AND has_study = 0";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .bind(study.as_str())
            .bind(calling_ae)
            .bind(called_ae)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Something about its orders has come that its readers do not know yet (`true`), or they have been made owed it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_order_news(&mut self, case: CaseId, is_news: bool) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET order_news = $2 WHERE id = $1";
        let news = i64::from(is_news);
        on_tx!(self, |c| sqlx::query(SQL).bind(case.to_string()).bind(news).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Takes the mark off a case that something about its orders has come. False: there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_order_news(&mut self, case: CaseId) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE cases SET order_news = 0 WHERE id = $1 AND order_news = 1";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Writes on a case that a person should look, without reading the rest of it: it may be the rest that cannot be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_for_a_person(&mut self, id: CaseId, reason: &str) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE cases SET attention = CASE WHEN attention = '' THEN $2 ELSE attention || '; ' || $2 END \
             WHERE id = $1 AND attention NOT LIKE '%' || $2 || '%'";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(super::plain(reason))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Cases of every origin with this Study Instance UID.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_with_study(&mut self, study: &Uid) -> Result<Vec<CaseRow>, StoreError> {
        const SQL: &str = BY_STUDY;
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(study.as_str()).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Cases of this origin with one of these studies, or with one of these three numbers as accession or order number;
    /// none by a number that so many have that it names nobody. In the order of their ids, each once; not held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_origin_with(
        &mut self,
        origin: &PartnerId,
        studies: &[Uid],
        numbers: [&str; 3],
    ) -> Result<Vec<CaseId>, StoreError> {
        let sql = self.pick(OF_ORIGIN_WITH);
        let studies = to_json(&studies.iter().map(Uid::as_str).collect::<Vec<_>>(), "list of studies")?;
        let [a, b, c] = numbers.map(|number| Some(key(number)).filter(|key| !key.is_empty()));
        let found: Vec<(i32, String)> = on_tx!(self, |connection| sqlx::query_as(sql)
            .bind(origin.as_str())
            .bind(&studies)
            .bind(&a)
            .bind(&b)
            .bind(&c)
            .fetch_all(&mut **connection)
            .await)?;
        let alike = |look| found.iter().filter(|(by, _)| *by == look).count();
        let named: Vec<i32> = (0..4).filter(|look| *look == 0 || alike(*look) <= MAX_ALIKE).collect();
        let mut ids = found
            .iter()
            .filter(|(look, _)| named.contains(look))
            .map(|(_, id)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" }))
            .collect::<Result<Vec<CaseId>, _>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Cases with this accession or order number, whoever issued it: the caller compares issuers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_with_number(&mut self, number: &str) -> Result<Vec<CaseRow>, StoreError> {
        const SQL: &str = BY_NUMBER;
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(key(number)).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }
}

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn case(&self, id: CaseId) -> Result<CaseRow, StoreError> {
        const SQL: &str = select_cases!("WHERE id = $1");
        let key = id.to_string();
        let raw: Option<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(&key).fetch_optional(p).await)?;
        raw.ok_or(StoreError::NotFound { what: "case", id: key })?.read()
    }

    /// These cases, in any order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_by_id(&self, ids: &[CaseId]) -> Result<Vec<CaseRow>, StoreError> {
        const SQLITE: &str = select_cases!("WHERE id IN (SELECT value FROM json_each($1))");
        const POSTGRES: &str = select_cases!("WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))");
        let sql = if matches!(self.db, super::Db::Sqlite(_)) { SQLITE } else { POSTGRES };
        let ids = to_json(&ids.iter().map(ToString::to_string).collect::<Vec<_>>(), "list of cases")?;
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(sql).bind(&ids).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Cases that may be meant by one of these studies, by a patient's identifier, or by an accession number, whoever issued
    /// it: the caller compares the rest. `None`: more than `limit` are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_meant(&self, by: &Meant<'_>, limit: i64) -> Result<Option<Vec<CaseId>>, StoreError> {
        let is_sqlite = matches!(self.db, super::Db::Sqlite(_));
        let list =
            |values: &[&str]| to_json(&values.iter().map(|value| key(value)).collect::<Vec<_>>(), "list of keys");
        let (sql, one, other) = match by {
            Meant::Study(uids) if is_sqlite => (MEANT_STUDY.sqlite, list(uids)?, String::new()),
            Meant::Study(uids) => (MEANT_STUDY.postgres, list(uids)?, String::new()),
            Meant::Patient(ids, origins) if is_sqlite => (MEANT_PATIENT.sqlite, list(ids)?, list(origins)?),
            Meant::Patient(ids, origins) => (MEANT_PATIENT.postgres, list(ids)?, list(origins)?),
            Meant::Accession(numbers) if is_sqlite => (MEANT_ACCESSION.sqlite, list(numbers)?, String::new()),
            Meant::Accession(numbers) => (MEANT_ACCESSION.postgres, list(numbers)?, String::new()),
        };
        let rows: Vec<(String,)> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&one).bind(&other).bind(limit + 1).fetch_all(p).await)?;
        if i64::try_from(rows.len()).unwrap_or(i64::MAX) > limit {
            return Ok(None);
        }
        let read = |(id,): &(String,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" });
        rows.iter().map(read).collect::<Result<Vec<CaseId>, _>>().map(Some)
    }

    /// The case of this origin's study.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_case(&self, origin: &PartnerId, study: &Uid) -> Result<Option<CaseRow>, StoreError> {
        const SQL: &str = select_cases!("WHERE origin = $1 AND study_uid = $2");
        let (origin, study) = (origin.as_str(), study.as_str());
        let raw: Option<Raw> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(origin).bind(study).fetch_optional(p).await)?;
        raw.map(Raw::read).transpose()
    }

    /// Cases with instances or order messages that are not owed to anybody yet, or not decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_route(&self, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        self.cases_to_route_after(None, limit).await
    }

    /// The same, those whose ids follow `after`: what cannot be routed now does not keep the rest from it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_route_after(&self, after: Option<CaseId>, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        // The conditions are those of the partial indexes `cases_to_route`, `cases_of_orders_to_route` and
        // `cases_with_news`, word for word.
        const SQL: &str = "SELECT id FROM (SELECT id FROM cases WHERE state IN ('new', 'routed', 'delivered', 'preliminary', 'reported') \
             AND routed_to < instances AND id > $1 ORDER BY id LIMIT $2) with_images \
             UNION SELECT id FROM (SELECT id FROM cases WHERE state = 'new' AND has_study = 0 AND id > $1 \
             ORDER BY id LIMIT $2) of_orders \
             UNION SELECT id FROM (SELECT id FROM cases WHERE order_news = 1 AND id > $1 ORDER BY id LIMIT $2) with_news \
             ORDER BY id LIMIT $2";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let ids: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(p).await)?;
        ids.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }

    /// Cases that are not whole and got nothing since `quiet_since`, longest quiet first, those behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_complete(
        &self,
        quiet_since: Moment,
        after: Option<(Moment, CaseId)>,
        limit: i64,
    ) -> Result<Vec<IncompleteCase>, StoreError> {
        const SQL: &str = "SELECT id, origin, study_uid, last_us FROM cases WHERE whole_us IS NULL AND last_us <= $1 \
             AND (last_us, id) > ($2, $3) ORDER BY last_us, id LIMIT $4";
        let (last, id) = after.map_or((i64::MIN, String::new()), |(last, id)| (last.0, id.to_string()));
        let rows: Vec<(String, String, String, i64)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(quiet_since.0)
            .bind(last)
            .bind(&id)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        let unreadable = |what| StoreError::Unreadable { what };
        rows.into_iter()
            .map(|(id, origin, study, last)| {
                Ok(IncompleteCase {
                    id: id.parse().map_err(|_| unreadable("case id"))?,
                    origin: partner(&origin)?,
                    study: Uid::new(&study).map_err(|_| unreadable("study UID"))?,
                    last: Moment(last),
                })
            })
            .collect()
    }

    /// When the first of the cases that are not whole, and not quiet since `quiet_since`, got its last instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_incomplete(&self, quiet_since: Moment) -> Result<Option<Moment>, StoreError> {
        const SQL: &str = "SELECT MIN(last_us) FROM cases WHERE whole_us IS NULL AND last_us > $1";
        let (oldest,): (Option<i64>,) = on_read!(self, |p| sqlx::query_as(SQL).bind(quiet_since.0).fetch_one(p).await)?;
        Ok(oldest.map(Moment))
    }

    /// The newest cases that pass the filter.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_cases(&self, filter: &ListFilter) -> Result<Vec<CaseSummary>, StoreError> {
        // For those who wait, with the conditions of the partial index `cases_waiting`, word for word.
        let sql = if filter.attention { LIST_WAITING } else { LIST };
        #[derive(sqlx::FromRow)]
        struct Line {
            #[sqlx(flatten)]
            case: Raw,
            open: i64,
            stopped: i64,
            reports: i64,
        }
        let state = filter.state.map_or("", CaseState::as_str);
        let partner = filter.partner.as_ref().map_or("", PartnerId::as_str);
        let lines: Vec<Line> =
            on_read!(self, |p| sqlx::query_as(sql).bind(state).bind(partner).bind(filter.limit).fetch_all(p).await)?;
        lines
            .into_iter()
            .map(|line| {
                Ok(CaseSummary {
                    case: line.case.read_for_list()?,
                    open: line.open,
                    stopped: line.stopped,
                    reports: line.reports,
                })
            })
            .collect()
    }

    /// How many cases are in each state, and how many wait for a person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_cases(&self) -> Result<(Vec<(CaseState, i64)>, i64), StoreError> {
        const SQL: &str = "SELECT state, COUNT(*) FROM cases GROUP BY state";
        const WAITING: &str = "SELECT COUNT(*) FROM cases WHERE attention <> '' OR state = 'held'";
        let rows: Vec<(String, i64)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        let (waiting,): (i64,) = on_read!(self, |p| sqlx::query_as(WAITING).fetch_one(p).await)?;
        let counted = rows.into_iter().filter_map(|(state, count)| Some((CaseState::parse(&state)?, count))).collect();
        Ok((counted, waiting))
    }
}
