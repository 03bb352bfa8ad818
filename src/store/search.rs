//! Studies, series and instances as partners search them.
//!
//! In: who searches, one thing to look by and a span of time. Out: pages, each behind the last one, so that a long answer
//! holds no transaction open. Every look goes by an index that begins with the partner, or by a UID. A partner sees what it
//! sent, what it is to read now, and of anything else the instances it was owed and that were not withdrawn, and of a study what
//! those say; anything more is not there.
//!
//! Does not match keys: `worklist` does, with what is found here.

use super::{
    Sql, Store, StoreError,
    cases::{from_json, key, partner, to_json},
    instances::place,
    on_read,
};
use crate::model::{CaseId, JournalPlace, PartnerId, StudyFacts, Uid};
use std::collections::HashMap;

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

/// What of a study its searcher may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    All,
    /// What was owed to this partner: runs of instances, inclusive, in order and apart.
    Runs(PartnerId, Vec<(i64, i64)>),
}

impl Seen {
    fn has(&self, seq: i64) -> bool {
        match self {
            Self::All => true,
            Self::Runs(_, runs) => runs.iter().any(|(first, last)| (*first..=*last).contains(&seq)),
        }
    }
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
    pub seen: Seen,
    /// Those of its series, each once, as far as they are seen; so the counts.
    pub modalities: Vec<String>,
    pub series: i64,
    pub instances: i64,
    pub place: StudyPlace,
    /// All it has, conflicting duplicates included.
    last_seq: i64,
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

/// The next instances of a case, as far as they are seen.
#[derive(Clone, Debug)]
pub struct InstancePage {
    pub instances: Vec<FoundInstance>,
    /// Behind which the next page begins; `None`: there are no more.
    pub next: Option<i64>,
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
    instances: i64,
    is_whole: i32,
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

/// Whether partner $1 may see all of `cases c`.
macro_rules! whole {
    () => {
        "(c.origin = $1 OR (c.reader = $1 AND c.state <> 'held'))"
    };
}
/// The deliveries that give partner $1 something of case `c.id`.
macro_rules! given {
    ($case:literal) => {
        concat!("d.case_id = ", $case, " AND d.partner = $1 AND d.kind = 'images' AND d.state <> 'withdrawn'")
    };
}
/// What partner $1 may see of `cases c`. What was owed to it and withdrawn is not there any more, unless another part of it
/// has arrived.
macro_rules! visible {
    () => {
        concat!("(", whole!(), " OR EXISTS (SELECT 1 FROM deliveries d WHERE ", given!("c.id"), "))")
    };
}

/// $1 the partner, $2 what it is looked by, $3 and $4 the span, $5 and $6 behind which, $7 how many.
macro_rules! studies {
    ($from:expr, $key:literal, $at:literal, $look:expr, $behind:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $key,
            " AS found_key, v.case_id, c.origin, c.study_uid, c.facts, c.purged_us, c.instances, CASE WHEN ",
            whole!(),
            " THEN 1 ELSE 0 END AS is_whole FROM ",
            $from,
            " JOIN cases c ON c.id = v.case_id WHERE v.partner = $1 AND ",
            $look,
            " AND ",
            $at,
            " >= $3 AND ",
            $at,
            " < $4 AND (",
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
/// The newest first, along the index that has them so.
macro_rules! by_time {
    ($from:literal, $look:expr) => {
        studies!($from, "v.study_at", "v.study_at", $look, "<", " DESC")
    };
}
/// The newest first of the few that are named. Both databases would rather go through all of the partner's by their time: hence
/// `study_at || ''`, which no index has, and what is named comes first (CROSS JOIN).
macro_rules! named {
    ($named:expr, $look:expr) => {
        studies!(
            concat!("(SELECT DISTINCT ", $named, ") n CROSS JOIN study_views v"),
            "(v.study_at || '')",
            "(v.study_at || '')",
            $look,
            "<",
            " DESC"
        )
    };
}
/// The same by a list of values. PostgreSQL takes an array for few, and a set for a hundred.
macro_rules! listed {
    ($named:literal, $from:literal, $value:literal, $look:literal) => {
        Sql {
            sqlite: named!(
                concat!($named, " FROM json_each($2) AS l CROSS JOIN ", $from, " WHERE ", $value, " = l.value"),
                $look
            ),
            postgres: named!(
                concat!(
                    $named,
                    " FROM ",
                    $from,
                    " WHERE ",
                    $value,
                    " = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))"
                ),
                $look
            ),
        }
    };
}
/// By values of the view itself.
macro_rules! listed_there {
    ($look:literal) => {
        Sql {
            sqlite: named!("l.value FROM json_each($2) AS l", concat!($look, " = n.value")),
            postgres: named!("1 AS one", concat!($look, " = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))")),
        }
    };
}
/// In the order of what begins like that. U+10FFFF is behind every letter.
macro_rules! beginning {
    ($key:literal) => {
        studies!(
            "study_views v",
            $key,
            "(v.study_at || '')",
            concat!($key, " >= $2 AND ", $key, " < $2 || '\u{10FFFF}'"),
            ">",
            ""
        )
    };
}
const fn one(sql: &'static str) -> Sql {
    Sql { sqlite: sql, postgres: sql }
}

const BY_STUDIES: Sql = listed_there!("v.study_uid");
const BY_SERIES: Sql = listed!("s.case_id", "series s", "s.series_uid", "v.case_id = n.case_id");
const BY_INSTANCES: Sql = listed!("i.case_id", "instances i", "i.sop_uid", "v.case_id = n.case_id");
const BY_ACCESSION: Sql = listed_there!("v.accession");
const BY_PATIENT: Sql = listed_there!("v.patient_id");
const BY_START_OF_ACCESSION: Sql = one(beginning!("v.accession"));
const BY_START_OF_PATIENT: Sql = one(beginning!("v.patient_id"));
const BY_STUDY_ID: Sql = one(named!("$2 AS value", "v.study_id = n.value"));
const BY_TIME: Sql = one(by_time!("study_views v", "$2 = ''"));
const BY_NAME: Sql = one(beginning!("v.name_key"));
const BY_REFERRER: Sql = one(beginning!("v.referrer_key"));
const BY_DESCRIPTION: Sql = one(beginning!("v.description_key"));
const BY_PART_OF_NAME: Sql = Sql {
    sqlite: studies!("study_views v", "v.name_key", "(v.study_at || '')", "instr(v.name_key, $2) > 0", ">", ""),
    postgres: studies!("study_views v", "v.name_key", "(v.study_at || '')", "strpos(v.name_key, $2) > 0", ">", ""),
};
const BY_MODALITY: Sql = one(by_time!("study_modalities v", "v.modality = $2"));

/// Of a page: case, modality, how many series and instances.
const SUMMARY: Sql = Sql {
    sqlite: "SELECT case_id, modality, COUNT(*), CAST(SUM(instances) AS BIGINT) FROM series \
             WHERE case_id IN (SELECT value FROM json_each($1)) GROUP BY case_id, modality ORDER BY case_id, modality",
    postgres: "SELECT case_id, modality, COUNT(*), CAST(SUM(instances) AS BIGINT) FROM series \
               WHERE case_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) \
               GROUP BY case_id, modality ORDER BY case_id, modality",
};

/// The same of cases that partner $1 sees in parts: what those parts say.
macro_rules! summary_of_parts {
    ($list:literal) => {
        concat!(
            "SELECT p.case_id, p.modality, COUNT(*), CAST(SUM(p.instances) AS BIGINT) FROM (SELECT i.case_id, i.series_uid, \
             COALESCE(s.modality, '') AS modality, COUNT(*) AS instances FROM instances i \
             LEFT JOIN series s ON s.case_id = i.case_id AND s.series_uid = i.series_uid \
             WHERE i.conflict = 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE ",
            given!("i.case_id"),
            " AND i.seq BETWEEN d.first_seq AND d.last_seq) AND i.case_id IN ",
            $list,
            " GROUP BY i.case_id, i.series_uid, s.modality) p GROUP BY p.case_id, p.modality ORDER BY p.case_id, p.modality"
        )
    };
}
const SUMMARY_OF_PARTS: Sql = Sql {
    sqlite: summary_of_parts!("(SELECT value FROM json_each($2))"),
    postgres: summary_of_parts!("(SELECT value FROM jsonb_array_elements_text($2::jsonb))"),
};
macro_rules! runs {
    ($list:literal) => {
        concat!(
            "SELECT d.case_id, d.first_seq, d.last_seq FROM ",
            $list,
            " JOIN deliveries d ON ",
            given!("n.value"),
            " ORDER BY d.case_id, d.first_seq"
        )
    };
}
const RUNS: Sql =
    Sql { sqlite: runs!("json_each($2) AS n"), postgres: runs!("jsonb_array_elements_text($2::jsonb) AS n (value)") };

/// Of case $1, by $2. What partner $3 may see of it: all, or what its parts have of each series.
macro_rules! series {
    ($instances:literal, $from:literal, $look:literal) => {
        concat!(
            "SELECT s.series_uid, s.modality, s.number, s.description, s.body_part, s.started_on, s.started_at, ",
            $instances,
            " AS instances FROM series s ",
            $from,
            " WHERE s.case_id = $1 AND s.series_uid ",
            $look
        )
    };
}
macro_rules! series_of_parts {
    ($look:literal) => {
        series!(
            "p.instances",
            "JOIN (SELECT i.series_uid, COUNT(*) AS instances FROM instances i WHERE i.case_id = $1 AND i.conflict = 0 \
             AND EXISTS (SELECT 1 FROM deliveries d WHERE d.case_id = $1 AND d.partner = $3 AND d.kind = 'images' \
             AND d.state <> 'withdrawn' AND i.seq BETWEEN d.first_seq AND d.last_seq) GROUP BY i.series_uid) p \
             ON p.series_uid = s.series_uid",
            $look
        )
    };
}

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
        let read = |raw: Raw| raw.read(&search.partner);
        let mut found = raws.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.see_in_parts(&search.partner, &mut found).await?;
        self.sum_up(&search.partner, &mut found).await?;
        Ok(found)
    }

    /// What is seen of those that are not seen for what their searcher is. A copy of everything is everything.
    async fn see_in_parts(&self, partner: &PartnerId, studies: &mut [FoundStudy]) -> Result<(), StoreError> {
        let ids: Vec<String> = ids_of(studies, |study| study.seen != Seen::All);
        if ids.is_empty() {
            return Ok(());
        }
        let (sql, ids) = (self.pick(RUNS), to_json(&ids, "list of cases")?);
        let rows: Vec<(String, i64, i64)> =
            on_read!(self, |p| sqlx::query_as(sql).bind(partner.as_str()).bind(&ids).fetch_all(p).await)?;
        let mut runs: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
        for (case, first, last) in rows {
            add_run(runs.entry(case).or_default(), first, last);
        }
        for study in studies.iter_mut().filter(|study| study.seen != Seen::All) {
            let runs = runs.remove(&study.case.to_string()).unwrap_or_default();
            study.seen = match runs.as_slice() {
                [(first, last)] if *first <= 1 && study.last_seq <= *last => Seen::All,
                _ => Seen::Runs(partner.clone(), runs),
            };
        }
        Ok(())
    }

    async fn sum_up(&self, partner: &PartnerId, studies: &mut [FoundStudy]) -> Result<(), StoreError> {
        let (sql, ids) =
            (self.pick(SUMMARY), to_json(&ids_of(studies, |study| study.seen == Seen::All), "list of cases")?);
        let mut rows: Vec<(String, String, i64, i64)> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&ids).fetch_all(p).await)?;
        let in_parts = ids_of(studies, |study| study.seen != Seen::All);
        if !in_parts.is_empty() {
            let (sql, ids) = (self.pick(SUMMARY_OF_PARTS), to_json(&in_parts, "list of cases")?);
            let more: Vec<(String, String, i64, i64)> =
                on_read!(self, |p| sqlx::query_as(sql).bind(partner.as_str()).bind(&ids).fetch_all(p).await)?;
            rows.extend(more);
        }
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

    /// The next series of a study, those whose UIDs follow `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn series_of(&self, study: &FoundStudy, after: &str, limit: i64) -> Result<Vec<FoundSeries>, StoreError> {
        const ALL: &str = series!("s.instances", "", "> $2 AND $3 = '' ORDER BY s.series_uid LIMIT $4");
        const OF_PARTS: &str = series_of_parts!("> $2 ORDER BY s.series_uid LIMIT $4");
        self.series(ALL, OF_PARTS, study, after, limit).await
    }

    /// One of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one_series(&self, study: &FoundStudy, series: &Uid) -> Result<Option<FoundSeries>, StoreError> {
        const ALL: &str = series!("s.instances", "", "= $2 AND $3 = '' LIMIT $4");
        const OF_PARTS: &str = series_of_parts!("= $2 LIMIT $4");
        let found = self.series(ALL, OF_PARTS, study, series.as_str(), 1).await?;
        Ok(found.into_iter().next())
    }

    async fn series(
        &self,
        all: &'static str,
        of_parts: &'static str,
        study: &FoundStudy,
        by: &str,
        limit: i64,
    ) -> Result<Vec<FoundSeries>, StoreError> {
        let (sql, partner) = match &study.seen {
            Seen::All => (all, ""),
            Seen::Runs(partner, _) => (of_parts, partner.as_str()),
        };
        let id = study.case.to_string();
        Ok(on_read!(self, |p| sqlx::query_as(sql).bind(&id).bind(by).bind(partner).bind(limit).fetch_all(p).await)?)
    }

    /// The next instances of a study in the order they came, those numbered behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_of(
        &self,
        study: &FoundStudy,
        which: &Searched,
        after: i64,
        limit: i64,
    ) -> Result<InstancePage, StoreError> {
        self.instances(study.case, &study.seen, which, after, limit).await
    }

    /// The next instances of a case, whoever may see them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_of_case(&self, case: CaseId, after: i64, limit: i64) -> Result<InstancePage, StoreError> {
        self.instances(case, &Seen::All, &Searched::default(), after, limit).await
    }

    async fn instances(
        &self,
        case: CaseId,
        seen: &Seen,
        which: &Searched,
        after: i64,
        limit: i64,
    ) -> Result<InstancePage, StoreError> {
        let (sql, list) = match which {
            Searched { instances, .. } if !instances.is_empty() => (OF_UIDS, to_json(instances, "list of UIDs")?),
            Searched { series, .. } if !series.is_empty() => (OF_SERIES, to_json(series, "list of UIDs")?),
            Searched { .. } => (ALL_INSTANCES, String::new()),
        };
        let (sql, id) = (self.pick(sql), case.to_string());
        let raws: Vec<RawInstance> =
            on_read!(self, |p| sqlx::query_as(sql).bind(&id).bind(after).bind(&list).bind(limit).fetch_all(p).await)?;
        let is_last = i64::try_from(raws.len()).is_ok_and(|count| count < limit);
        let next = raws.last().filter(|_| !is_last).map(|last| last.seq);
        let shown = raws.into_iter().filter(|raw| seen.has(raw.seq));
        Ok(InstancePage { instances: shown.map(RawInstance::read).collect::<Result<_, _>>()?, next })
    }
}

fn ids_of(studies: &[FoundStudy], which: impl Fn(&FoundStudy) -> bool) -> Vec<String> {
    studies.iter().filter(|study| which(study)).map(|study| study.case.to_string()).collect()
}

/// To runs that begin before it or where it does.
fn add_run(runs: &mut Vec<(i64, i64)>, first: i64, last: i64) {
    match runs.last_mut() {
        Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
        _ => runs.push((first, last)),
    }
}

impl Raw {
    fn read(self, searcher: &PartnerId) -> Result<FoundStudy, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(FoundStudy {
            case: self.case_id.parse().map_err(|_| unreadable("case id"))?,
            origin: partner(&self.origin)?,
            study: Uid::new(&self.study_uid).map_err(|_| unreadable("study UID"))?,
            facts: from_json(&self.facts, "study header")?,
            is_purged: self.purged_us.is_some(),
            seen: if self.is_whole == 1 { Seen::All } else { Seen::Runs(searcher.clone(), Vec::new()) },
            modalities: Vec::new(),
            series: 0,
            instances: 0,
            place: StudyPlace { key: self.found_key, case: self.case_id },
            last_seq: self.instances,
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
