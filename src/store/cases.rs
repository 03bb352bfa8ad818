//! Cases: one row each, read whole, held for change or as they stand.
//!
//! In: a case's id, or the study of its origin. Out: its row as a value; and how identifiers, words and JSON stand in columns,
//! for the whole store. Beside it: `cases::changes` writes cases, `cases::lookups` finds those that a UID or a number may mean,
//! `cases::lists` says which ones wait for something.
//!
//! Does not decide: a case moves by `model::case::next` alone.

mod changes;
mod lists;
mod lookups;

pub use lists::{CaseSummary, IncompleteCase, ListFilter};
pub(super) use lookups::has_number;
pub use lookups::{MAX_ALIKE, Meant};

use super::{Sql, Store, StoreError, Tx, on_read, on_tx};
use crate::model::{
    CaseEvent, CaseId, CaseState, Decision, Discipline, Disposition, HELD_BY_A_PERSON, Moment, PartnerId, Priority,
    StudyFacts, Uid, WITHOUT_ITS_ORDER, case,
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

    /// Why it is held, as long as no person has said anything about that: no rule names a reader, or its order has not come.
    pub fn held_undecided(&self) -> Option<&str> {
        let reason = match self.decision.as_ref().map(|decision| &decision.disposition) {
            None => WITHOUT_ITS_ORDER,
            Some(Disposition::Hold { reason }) => reason,
            Some(Disposition::Read(_)) => return None,
        };
        let says = |what: &str| self.attention.contains(what);
        (self.state == CaseState::Held && says(&super::plain(reason)) && !says(HELD_BY_A_PERSON)).then_some(reason)
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
use select_cases;

/// PostgreSQL locks the row; SQLite has the only writer already.
const BY_ID_LOCKED: Sql =
    Sql { sqlite: select_cases!("WHERE id = $1"), postgres: select_cases!("WHERE id = $1 FOR UPDATE") };
const BY_STUDY_LOCKED: Sql = Sql {
    sqlite: select_cases!("WHERE origin = $1 AND study_uid = $2"),
    postgres: select_cases!("WHERE origin = $1 AND study_uid = $2 FOR UPDATE"),
};

impl Raw {
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
}
