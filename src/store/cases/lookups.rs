//! Cases by what they may be meant by: a study's UID, an accession or order number, a patient's identifier.
//!
//! In: what somebody names. Out: the cases it may mean, those of every origin unless one is named. A number that so many
//! have that it names nobody finds none, or more than the caller takes.
//!
//! Does not compare issuers, nor what is longer than an index takes: the caller does, who has both sides.

use super::{CaseRow, Raw, key, select_cases, to_json};
use crate::{
    model::{CaseId, PartnerId, Uid},
    store::{Db, Sql, Store, StoreError, Tx, on_read, on_tx},
};

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
pub(in crate::store) use has_number;

/// More cases than this with one UID or number: it names none of them (`0`, `NONE`, a scanner's test pattern).
pub const MAX_ALIKE: usize = 64;

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

impl Tx {
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
    /// Cases that may be meant by one of these studies, by a patient's identifier, or by an accession number, whoever issued
    /// it: the caller compares the rest. `None`: more than `limit` are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_meant(&self, by: &Meant<'_>, limit: i64) -> Result<Option<Vec<CaseId>>, StoreError> {
        let is_sqlite = matches!(self.db, Db::Sqlite(_));
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
}
