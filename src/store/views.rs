//! What partners can search: kept with each batch of instances, and when something is owed to a partner.
//!
//! In: a case that has a study, its new instances, a partner its images are owed to. Out: a row of `study_views` for each
//! partner, its modalities, and a row for each series; never one for an instance. All hold the origin's identifiers, also
//! where the partner has names of its own for them: `worklist` turns those round.
//!
//! Does not say who may see a study: `search` asks that anew each time.

use super::{CaseRow, Sql, Store, StoreError, Tx, cases::key, cases::to_json, on_read, on_tx};
use crate::model::{CaseId, PartnerId, ReceivedInstance, StudyFacts, fold};
use serde::Serialize;
use std::collections::BTreeMap;

/// A new series, or more of one that is known. Numbers as text, which both databases read alike.
#[derive(Serialize)]
struct SeriesRow<'a> {
    uid: &'a str,
    modality: &'a str,
    number: Option<i32>,
    description: String,
    body_part: String,
    started_on: &'a str,
    started_at: &'a str,
    instances: i64,
}

/// What a later instance says first is kept, too.
macro_rules! add_series {
    ($from:literal) => {
        concat!(
            "INSERT INTO series (case_id, series_uid, modality, number, description, body_part, started_on, started_at, \
             instances) ",
            $from,
            " ON CONFLICT (case_id, series_uid) DO UPDATE SET instances = series.instances + excluded.instances, \
             modality = CASE series.modality WHEN '' THEN excluded.modality ELSE series.modality END, \
             number = COALESCE(series.number, excluded.number), \
             description = CASE series.description WHEN '' THEN excluded.description ELSE series.description END \
             RETURNING series_uid, instances"
        )
    };
}
const ADD_SERIES: Sql = Sql {
    sqlite: add_series!(
        "SELECT $1, value ->> 'uid', value ->> 'modality', value ->> 'number', value ->> 'description', \
         value ->> 'body_part', value ->> 'started_on', value ->> 'started_at', value ->> 'instances' \
         FROM json_each($2) WHERE true"
    ),
    postgres: add_series!(
        "SELECT $1, uid, modality, number, description, body_part, started_on, started_at, instances \
         FROM jsonb_to_recordset($2::jsonb) AS r (uid text, modality text, number bigint, description text, \
         body_part text, started_on text, started_at text, instances bigint)"
    ),
};

/// Of each partner that has the study.
const ADD_MODALITIES: &str = "INSERT INTO study_modalities (partner, modality, study_at, case_id) \
     SELECT DISTINCT v.partner, s.modality, v.study_at, v.case_id FROM study_views v JOIN series s ON s.case_id = v.case_id \
     WHERE v.case_id = $1 AND s.modality <> '' ON CONFLICT DO NOTHING";

impl Tx {
    /// The origin of a study can search it from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn show_to_origin(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO study_views (partner, case_id, study_uid, study_at, name_key, patient_id, accession, \
             study_id, referrer_key, description_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
        let (facts, keys) = (&case.facts, Keys::of(&case.facts));
        let id = case.id.to_string();
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.origin.as_str())
            .bind(&id)
            .bind(case.study.as_str())
            .bind(format!("{}{}", facts.study_date, facts.study_time))
            .bind(&keys.name)
            .bind(&keys.patient)
            .bind(&keys.accession)
            .bind(&keys.study_id)
            .bind(&keys.referrer)
            .bind(&keys.description)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// A partner is owed images of a case: what its origin can search of it, that one can.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn show_to(&mut self, case: CaseId, partner: &PartnerId) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO study_views (partner, case_id, study_uid, study_at, name_key, patient_id, accession, \
             study_id, referrer_key, description_key) SELECT $2, v.case_id, v.study_uid, v.study_at, v.name_key, \
             v.patient_id, v.accession, v.study_id, v.referrer_key, v.description_key FROM cases c \
             JOIN study_views v ON v.partner = c.origin AND v.case_id = c.id WHERE c.id = $1 ON CONFLICT DO NOTHING";
        let id = case.to_string();
        let added = on_tx!(self, |c| sqlx::query(SQL)
            .bind(&id)
            .bind(partner.as_str())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if added > 0 {
            on_tx!(self, |c| sqlx::query(ADD_MODALITIES).bind(&id).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
    }

    /// New instances of a case, whose views are there. `true` marks a conflicting duplicate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_series(&mut self, case: CaseId, fresh: &[(&ReceivedInstance, bool)]) -> Result<(), StoreError> {
        let mut rows: BTreeMap<&str, SeriesRow<'_>> = BTreeMap::new();
        for (instance, _) in fresh.iter().filter(|(_, conflict)| !conflict) {
            let row = rows.entry(instance.series.as_str()).or_insert_with(|| SeriesRow {
                uid: instance.series.as_str(),
                modality: &instance.facts.modality,
                number: instance.own.series_number,
                description: super::plain(&instance.own.series_description),
                body_part: super::plain(&instance.facts.body_part),
                started_on: &instance.own.performed_on,
                started_at: &instance.own.performed_at,
                instances: 0,
            });
            row.instances += 1;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let list = to_json(&rows.values().collect::<Vec<_>>(), "list of series")?;
        let (sql, id) = (self.pick(ADD_SERIES), case.to_string());
        let now: Vec<(String, i64)> =
            on_tx!(self, |c| sqlx::query_as(sql).bind(&id).bind(list).fetch_all(&mut **c).await)?;
        // One that has no more than this batch brought is new.
        if now.iter().any(|(uid, all)| rows.get(uid.as_str()).is_some_and(|row| row.instances == *all)) {
            on_tx!(self, |c| sqlx::query(ADD_MODALITIES).bind(&id).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
    }

    /// More, or something else, is known of a study.
    pub(super) async fn save_views(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE study_views SET name_key = $2, patient_id = $3, accession = $4, study_id = $5, \
             referrer_key = $6, description_key = $7 WHERE case_id = $1";
        let keys = Keys::of(&case.facts);
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(&keys.name)
            .bind(&keys.patient)
            .bind(&keys.accession)
            .bind(&keys.study_id)
            .bind(&keys.referrer)
            .bind(&keys.description)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Makes a case searchable that came before there was anything to search: for its origin, and for whoever its images were
    /// owed to. Of its series is known what its instances' rows and its first instance said; of one that has been added to since,
    /// the rest is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn make_searchable(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SERIES: &str = "INSERT INTO series (case_id, series_uid, modality, number, description, body_part, started_on, \
             started_at, instances) SELECT case_id, series_uid, $2, NULL, '', $3, '', '', COUNT(*) FROM instances \
             WHERE case_id = $1 AND conflict = 0 GROUP BY case_id, series_uid ON CONFLICT (case_id, series_uid) \
             DO UPDATE SET instances = excluded.instances";
        const NOTE: &str = "UPDATE cases SET searchable = 1 WHERE id = $1";
        const OWED: &str = "SELECT DISTINCT partner FROM deliveries WHERE case_id = $1 AND kind = 'images'";
        let id = case.id.to_string();
        self.show_to_origin(case).await?;
        on_tx!(self, |c| sqlx::query(SERIES)
            .bind(&id)
            .bind(&case.facts.modality)
            .bind(&case.facts.body_part)
            .execute(&mut **c)
            .await
            .map(drop))?;
        let partners: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(OWED).bind(&id).fetch_all(&mut **c).await)?;
        for (partner,) in partners {
            self.show_to(case.id, &super::cases::partner(&partner)?).await?;
        }
        on_tx!(self, |c| sqlx::query(ADD_MODALITIES).bind(&id).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(NOTE).bind(&id).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}

impl Store {
    /// Cases with a study that cannot be searched yet, those behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_make_searchable(&self, after: Option<CaseId>, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        // The condition of the partial index, word for word.
        const SQL: &str = "SELECT id FROM cases WHERE searchable = 0 AND has_study = 1 AND instances > 0 AND id > $1 \
             ORDER BY id LIMIT $2";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let ids: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(&after).bind(limit).fetch_all(p).await)?;
        ids.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }
}

/// What a study is looked up by.
struct Keys {
    name: String,
    patient: String,
    accession: String,
    study_id: String,
    referrer: String,
    description: String,
}

impl Keys {
    fn of(facts: &StudyFacts) -> Self {
        Self {
            name: key(&name_key(&facts.patient_name)),
            patient: key(&facts.patient_id.value),
            accession: key(&facts.accession.value),
            study_id: key(&facts.study_id),
            referrer: key(&name_key(&facts.referring_physician)),
            description: key(&facts.description),
        }
    }
}

/// A person's name as it is looked up: without case and accents, without spaces around components.
pub fn name_key(name: &str) -> String {
    let folded = fold(name);
    folded.split('^').map(str::trim).collect::<Vec<_>>().join("^")
}
