//! Studies, series and instances as partners search them.
//!
//! In: who searches, one thing to look by and a span of time. Out: pages, each behind the last one, so that a long answer
//! holds no transaction open. Every look goes by an index that begins with the partner, or by a UID. A partner sees what it
//! sent, what it is to read now, and what it was owed and was not withdrawn; anything else is not there.
//!
//! Does not match keys: `worklist` does, with what is found here.

use super::{
    Sql, Store, StoreError,
    cases::{from_json, key, partner, to_json},
    instances::place,
    on_read,
};
use crate::model::{CaseId, JournalPlace, PartnerId, StudyFacts, Uid};

/// What to look by; one that names few is the better one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchBy {
    Studies(Vec<String>),
    Series(Vec<String>),
    Instances(Vec<String>),
    Accession(Vec<String>),
    Patient(Vec<String>),
    StudyId(String),
    /// The beginning of an accession number.
    AccessionBegins(String),
    /// The beginning of a patient's identifier.
    PatientBegins(String),
    /// The beginning of the patient's name, folded, as [`name_key`] writes it.
    Name(String),
    /// The beginning of the referring physician's, folded.
    Referrer(String),
    /// The beginning of the study's description.
    Description(String),
    /// Somewhere in the patient's name, folded: every name of the partner's is looked at.
    NameHas(String),
    Modality(String),
    /// Whatever there is, the newest first.
    Time,
}

/// Who searches, what to look by, and when: `YYYYMMDD`, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudySearch {
    pub partner: PartnerId,
    pub by: SearchBy,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyPlace {
    key: String,
    case: String,
}

#[derive(Clone, Debug)]
pub struct FoundStudy {
    pub case: CaseId,
    pub origin: PartnerId,
    pub study: Uid,
    /// Patient data: never into a log.
    pub facts: StudyFacts,
    /// Its images have left the disk.
    pub is_purged: bool,
    /// Those of its series, each once.
    pub modalities: Vec<String>,
    pub series: i64,
    pub instances: i64,
    pub place: StudyPlace,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct FoundSeries {
    pub series_uid: String,
    pub modality: String,
    pub number: Option<i64>,
    pub description: String,
    pub body_part: String,
    pub started_on: String,
    pub started_at: String,
    pub instances: i64,
}

/// One of a case's instances: no conflicting duplicate.
#[derive(Clone, Debug)]
pub struct FoundInstance {
    pub seq: i64,
    pub series: Uid,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub number: Option<i64>,
    pub on_disk: bool,
    pub place: JournalPlace,
}

/// Which of a case's instances; an empty list is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    pub series: Vec<String>,
    pub instances: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct Raw {
    found_key: String,
    case_id: String,
    origin: String,
    study_uid: String,
    facts: String,
    purged_us: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct RawInstance {
    seq: i64,
    series_uid: String,
    sop_class: String,
    sop_uid: String,
    transfer_syntax: String,
    instance_number: Option<i64>,
    journal: String,
    record_at: i64,
    data_at: i64,
    length: i64,
    sha256: String,
    on_disk: i64,
}

/// What partner $1 may see of `cases c`. What was owed to it and withdrawn is not there any more, unless another part of it
/// has arrived.
macro_rules! visible {
    () => {
        "(c.origin = $1 OR (c.reader = $1 AND c.state <> 'held') OR EXISTS (SELECT 1 FROM deliveries d \
         WHERE d.case_id = c.id AND d.partner = $1 AND d.kind = 'images' AND d.state <> 'withdrawn'))"
    };
}

/// $1 the partner, $2 what it is looked by, $3 and $4 the span, $5 and $6 behind which, $7 how many.
macro_rules! studies {
    ($from:expr, $key:literal, $look:expr, $behind:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $key,
            " AS found_key, v.case_id, c.origin, c.study_uid, c.facts, c.purged_us FROM ",
            $from,
            " JOIN cases c ON c.id = v.case_id WHERE v.partner = $1 AND ",
            $look,
            " AND v.study_at >= $3 AND v.study_at < $4 AND (",
            $key,
            ", v.case_id) ",
            $behind,
            " ($5, $6) AND ",
            visible!(),
            " ORDER BY ",
            $key,
            $order,
            ", v.case_id",
            $order,
            " LIMIT $7"
        )
    };
}
/// SQLite, which has counted nothing, would take the index of the times for everything.
macro_rules! by {
    ($index:literal) => {
        concat!("study_views AS v INDEXED BY study_views_by_", $index)
    };
}
macro_rules! on_both {
    ($index:literal, $key:literal, $sqlite:expr, $postgres:expr, $behind:literal, $order:literal) => {
        Sql {
            sqlite: studies!(by!($index), $key, $sqlite, $behind, $order),
            postgres: studies!("study_views v", $key, $postgres, $behind, $order),
        }
    };
}
/// The newest first.
macro_rules! newest {
    ($index:literal, $sqlite:expr, $postgres:expr) => {
        on_both!($index, "v.study_at", $sqlite, $postgres, "<", " DESC")
    };
    ($index:literal, $look:expr) => {
        newest!($index, $look, $look)
    };
}
/// One of those in the list.
macro_rules! any_of {
    ($index:literal, $key:literal) => {
        newest!(
            $index,
            concat!($key, " IN (SELECT value FROM json_each($2))"),
            concat!($key, " IN (SELECT value FROM jsonb_array_elements_text($2::jsonb))")
        )
    };
}
/// The cases that have one of those in the list.
macro_rules! having_any_of {
    ($table:literal, $key:literal) => {
        newest!(
            "case",
            concat!(
                "v.case_id IN (SELECT case_id FROM ",
                $table,
                " WHERE ",
                $key,
                " IN (SELECT value FROM json_each($2)))"
            ),
            concat!(
                "v.case_id IN (SELECT case_id FROM ",
                $table,
                " WHERE ",
                $key,
                " IN (SELECT value FROM jsonb_array_elements_text($2::jsonb)))"
            )
        )
    };
}
/// In the order of what begins like that. U+10FFFF is behind every letter.
macro_rules! beginning {
    ($index:literal, $key:literal) => {
        on_both!(
            $index,
            $key,
            concat!($key, " >= $2 AND ", $key, " < $2 || '\u{10FFFF}'"),
            concat!($key, " >= $2 AND ", $key, " < $2 || '\u{10FFFF}'"),
            ">",
            ""
        )
    };
}

const fn one(sql: &'static str) -> Sql {
    Sql { sqlite: sql, postgres: sql }
}

const BY_STUDIES: Sql = any_of!("study", "v.study_uid");
const BY_SERIES: Sql = having_any_of!("series", "series_uid");
const BY_INSTANCES: Sql = having_any_of!("instances", "sop_uid");
const BY_ACCESSION: Sql = any_of!("accession", "v.accession");
const BY_PATIENT: Sql = any_of!("patient", "v.patient_id");
const BY_START_OF_ACCESSION: Sql = beginning!("accession", "v.accession");
const BY_START_OF_PATIENT: Sql = beginning!("patient", "v.patient_id");
const BY_STUDY_ID: Sql = newest!("study_id", "v.study_id = $2");
const BY_TIME: Sql = newest!("time", "$2 = ''");
const BY_NAME: Sql = beginning!("name", "v.name_key");
const BY_REFERRER: Sql = beginning!("referrer", "v.referrer_key");
const BY_DESCRIPTION: Sql = beginning!("description", "v.description_key");
const BY_PART_OF_NAME: Sql =
    on_both!("name", "v.name_key", "instr(v.name_key, $2) > 0", "strpos(v.name_key, $2) > 0", ">", "");
const BY_MODALITY: Sql = one(studies!("study_modalities v", "v.study_at", "v.modality = $2", "<", " DESC"));

/// Of a page: case, modality, how many series and instances.
const SUMMARY: Sql = Sql {
    sqlite: "SELECT case_id, modality, COUNT(*), CAST(SUM(instances) AS BIGINT) FROM series \
             WHERE case_id IN (SELECT value FROM json_each($1)) GROUP BY case_id, modality ORDER BY case_id, modality",
    postgres: "SELECT case_id, modality, COUNT(*), CAST(SUM(instances) AS BIGINT) FROM series \
               WHERE case_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) \
               GROUP BY case_id, modality ORDER BY case_id, modality",
};

macro_rules! instances {
    ($look:literal) => {
        concat!(
            "SELECT seq, series_uid, sop_class, sop_uid, transfer_syntax, instance_number, journal, record_at, data_at, \
             length, sha256, on_disk FROM instances WHERE case_id = $1 AND conflict = 0 AND seq > $2 AND ",
            $look,
            " ORDER BY seq LIMIT $4"
        )
    };
}
const ALL_INSTANCES: Sql = one(instances!("$3 = ''"));
const OF_SERIES: Sql = Sql {
    sqlite: instances!("series_uid IN (SELECT value FROM json_each($3))"),
    postgres: instances!("series_uid IN (SELECT value FROM jsonb_array_elements_text($3::jsonb))"),
};
const OF_UIDS: Sql = Sql {
    sqlite: instances!("sop_uid IN (SELECT value FROM json_each($3))"),
    postgres: instances!("sop_uid IN (SELECT value FROM jsonb_array_elements_text($3::jsonb))"),
};

impl SearchBy {
    fn statement(&self) -> Result<(Sql, String), StoreError> {
        let list = |sql, values: &[String]| {
            let values: Vec<String> = values.iter().map(|value| key(value)).collect();
            Ok((sql, to_json(&values, "list to search by")?))
        };
        let one = |sql, value: &str| Ok((sql, key(value)));
        match self {
            Self::Studies(uids) => list(BY_STUDIES, uids),
            Self::Series(uids) => list(BY_SERIES, uids),
            Self::Instances(uids) => list(BY_INSTANCES, uids),
            Self::Accession(values) => list(BY_ACCESSION, values),
            Self::Patient(values) => list(BY_PATIENT, values),
            Self::AccessionBegins(value) => one(BY_START_OF_ACCESSION, value),
            Self::PatientBegins(value) => one(BY_START_OF_PATIENT, value),
            Self::StudyId(value) => one(BY_STUDY_ID, value),
            Self::Name(value) => one(BY_NAME, value),
            Self::Referrer(value) => one(BY_REFERRER, value),
            Self::Description(value) => one(BY_DESCRIPTION, value),
            Self::NameHas(value) => one(BY_PART_OF_NAME, value),
            Self::Modality(value) => one(BY_MODALITY, value),
            Self::Time => one(BY_TIME, ""),
        }
    }

    /// Before the first page.
    fn start(&self) -> StudyPlace {
        let rises = matches!(
            self,
            Self::Name(_)
                | Self::Referrer(_)
                | Self::Description(_)
                | Self::NameHas(_)
                | Self::AccessionBegins(_)
                | Self::PatientBegins(_)
        );
        // Behind every time.
        let key = if rises { "" } else { "~" };
        StudyPlace { key: key.to_owned(), case: String::new() }
    }
}

impl Store {
    /// The next studies behind `after`, at most `limit`; fewer: there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn search_studies(
        &self,
        search: &StudySearch,
        after: Option<&StudyPlace>,
        limit: i64,
    ) -> Result<Vec<FoundStudy>, StoreError> {
        let (sql, value) = search.by.statement()?;
        let sql = self.pick(sql);
        let start = search.by.start();
        let after = after.unwrap_or(&start);
        let from = search.from.clone().unwrap_or_default();
        // Behind every time of its last day.
        let to = search.to.as_ref().map_or_else(|| "~".to_owned(), |day| format!("{day}~"));
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(sql)
            .bind(search.partner.as_str())
            .bind(&value)
            .bind(&from)
            .bind(&to)
            .bind(&after.key)
            .bind(&after.case)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        let mut found = raws.into_iter().map(Raw::read).collect::<Result<Vec<_>, _>>()?;
        self.sum_up(&mut found).await?;
        Ok(found)
    }

    async fn sum_up(&self, studies: &mut [FoundStudy]) -> Result<(), StoreError> {
        let ids: Vec<String> = studies.iter().map(|study| study.case.to_string()).collect();
        let (sql, ids) = (self.pick(SUMMARY), to_json(&ids, "list of cases")?);
        let rows: Vec<(String, String, i64, i64)> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&ids).fetch_all(p).await)?;
        for study in studies {
            let id = study.case.to_string();
            for (_, modality, series, instances) in rows.iter().filter(|(case, ..)| *case == id) {
                if !modality.is_empty() {
                    study.modalities.push(modality.clone());
                }
                study.series += series;
                study.instances += instances;
            }
        }
        Ok(())
    }

    /// The next series of a case, those whose UIDs follow `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn series_of(&self, case: CaseId, after: &str, limit: i64) -> Result<Vec<FoundSeries>, StoreError> {
        const SQL: &str = "SELECT series_uid, modality, number, description, body_part, started_on, started_at, instances \
             FROM series WHERE case_id = $1 AND series_uid > $2 ORDER BY series_uid LIMIT $3";
        let id = case.to_string();
        Ok(on_read!(self, |p| sqlx::query_as(SQL).bind(&id).bind(after).bind(limit).fetch_all(p).await)?)
    }

    /// One of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one_series(&self, case: CaseId, series: &Uid) -> Result<Option<FoundSeries>, StoreError> {
        const SQL: &str = "SELECT series_uid, modality, number, description, body_part, started_on, started_at, instances \
             FROM series WHERE case_id = $1 AND series_uid = $2";
        let id = case.to_string();
        Ok(on_read!(self, |p| sqlx::query_as(SQL).bind(&id).bind(series.as_str()).fetch_optional(p).await)?)
    }

    /// The next instances of a case in the order they came, those numbered behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_of(
        &self,
        case: CaseId,
        which: &Searched,
        after: i64,
        limit: i64,
    ) -> Result<Vec<FoundInstance>, StoreError> {
        let (sql, list) = match which {
            Searched { instances, .. } if !instances.is_empty() => (OF_UIDS, to_json(instances, "list of UIDs")?),
            Searched { series, .. } if !series.is_empty() => (OF_SERIES, to_json(series, "list of UIDs")?),
            Searched { .. } => (ALL_INSTANCES, String::new()),
        };
        let (sql, id) = (self.pick(sql), case.to_string());
        let raws: Vec<RawInstance> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&id).bind(after).bind(&list).bind(limit).fetch_all(p).await)?;
        raws.into_iter().map(RawInstance::read).collect()
    }
}

impl Raw {
    fn read(self) -> Result<FoundStudy, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(FoundStudy {
            case: self.case_id.parse().map_err(|_| unreadable("case id"))?,
            origin: partner(&self.origin)?,
            study: Uid::new(&self.study_uid).map_err(|_| unreadable("study UID"))?,
            facts: from_json(&self.facts, "study header")?,
            is_purged: self.purged_us.is_some(),
            modalities: Vec::new(),
            series: 0,
            instances: 0,
            place: StudyPlace { key: self.found_key, case: self.case_id },
        })
    }
}

impl RawInstance {
    fn read(self) -> Result<FoundInstance, StoreError> {
        let uid = |text: &str, what| Uid::new(text).map_err(|_| StoreError::Unreadable { what });
        Ok(FoundInstance {
            seq: self.seq,
            series: uid(&self.series_uid, "series UID")?,
            sop_class: uid(&self.sop_class, "SOP class")?,
            sop_instance: uid(&self.sop_uid, "SOP instance")?,
            transfer_syntax: uid(&self.transfer_syntax, "transfer syntax")?,
            number: self.instance_number,
            on_disk: self.on_disk == 1,
            place: place(&self.journal, self.record_at, self.data_at, self.length, &self.sha256)?,
        })
    }
}

#[cfg(test)]
mod tests;
