//! Performed procedure steps (PS3.4 F): what scanners say they do and did, the scheduled steps it was, and the images they name.
//!
//! In: a step of a hospital with its attributes. Out: the same, held for change; and those that have ended, for `intake`, which
//! looks whether their images are there. States are moved by `worklist`.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{from_json, partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, IssuedId, Moment, OrderId, PartnerId, StepState, Uid};

/// As its modality told it.
#[derive(Clone, Debug)]
pub struct PerformedStep {
    pub origin: PartnerId,
    pub uid: Uid,
    /// Performed Procedure Step Status (0040,0252).
    pub state: String,
    /// Every instance of its Performed Series Sequence.
    pub instances: Vec<Uid>,
    /// DICOM JSON. Patient data: never into a log.
    pub attributes: String,
    pub created: Moment,
    pub changed: Moment,
    /// It has ended, and its images are looked for.
    pub awaited: bool,
}

/// What one item of a Scheduled Step Attributes Sequence names. Empty where it names none.
#[derive(Clone, Debug, Default)]
pub struct StepNamed {
    pub study: String,
    /// Where it has an issuer, the order's has to be the same.
    pub accession: IssuedId,
    pub patient: String,
    pub step: String,
}

/// One that has ended, whose images may still be on their way; once for each of its studies.
#[derive(Clone, Debug)]
pub struct AwaitedStep {
    pub origin: PartnerId,
    pub uid: Uid,
    pub is_completed: bool,
    /// How many instances it names.
    pub named: i64,
    pub changed: Moment,
    /// The case of the study. `None`: none of its images has come.
    pub case: Option<CaseId>,
    /// How many instances the cases of all its studies have.
    pub instances: i64,
}

type Raw = (String, String, String, i64, i64, i64);
const ONE: Sql = Sql {
    sqlite: "SELECT state, instances, attributes, created_us, changed_us, awaited FROM performed_steps \
             WHERE origin = $1 AND uid = $2",
    postgres: "SELECT state, instances, attributes, created_us, changed_us, awaited FROM performed_steps \
               WHERE origin = $1 AND uid = $2 FOR UPDATE",
};
/// None of the cases of the step's studies has it.
macro_rules! missing {
    ($wanted:literal) => {
        concat!(
            "SELECT COUNT(*) FROM performed_steps p, ",
            $wanted,
            " WHERE p.origin = $1 AND p.uid = $2 AND NOT EXISTS (SELECT 1 FROM performed_studies s \
             JOIN cases c ON c.origin = s.origin AND c.study_uid = s.study_uid JOIN instances i ON i.case_id = c.id \
             WHERE s.origin = p.origin AND s.uid = p.uid AND i.sop_uid = wanted.value)"
        )
    };
}
const MISSING: Sql = Sql {
    sqlite: missing!("json_each(p.instances) AS wanted"),
    postgres: missing!("jsonb_array_elements_text(p.instances::jsonb) AS wanted (value)"),
};

/// $1 the hospital, $2 what they are looked for by, $3 the id of the step. SQLite keeps to the order of a CROSS JOIN.
macro_rules! named_steps {
    ($look:literal) => {
        concat!(
            "SELECT s.order_id, s.step_id, o.patient_id, o.patient_issuer FROM scheduled_steps s CROSS JOIN orders o \
             WHERE o.id = s.order_id AND s.origin = $1 AND ($3 = '' OR s.step_id = $3) AND ",
            $look,
            " ORDER BY s.order_id, s.number LIMIT 65"
        )
    };
}

impl Tx {
    /// Adds a step. False: the hospital has one of that UID.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_performed_step(&mut self, step: &PerformedStep) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO performed_steps (origin, uid, state, instances, named, attributes, created_us, \
             changed_us, awaited) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (origin, uid) DO NOTHING";
        self.write_performed(SQL, step).await.map(|rows| rows == 1)
    }

    /// Writes a step anew that is held for change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_performed_step(&mut self, step: &PerformedStep) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE performed_steps SET state = $3, instances = $4, named = $5, attributes = $6, \
             created_us = $7, changed_us = $8, awaited = $9 WHERE origin = $1 AND uid = $2";
        self.write_performed(SQL, step).await.map(drop)
    }

    async fn write_performed(&mut self, sql: &'static str, step: &PerformedStep) -> Result<u64, StoreError> {
        let instances = to_json(&step.instances, "UID list")?;
        let written = on_tx!(self, |c| sqlx::query(sql)
            .bind(step.origin.as_str())
            .bind(step.uid.as_str())
            .bind(&step.state)
            .bind(&instances)
            .bind(i64::try_from(step.instances.len()).unwrap_or(i64::MAX))
            .bind(&step.attributes)
            .bind(step.created.0)
            .bind(step.changed.0)
            .bind(i64::from(step.awaited))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(written)
    }

    /// The step of that UID of this hospital, held for change. None: there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn performed_step(&mut self, origin: &PartnerId, uid: &Uid) -> Result<Option<PerformedStep>, StoreError> {
        let sql = self.pick(ONE);
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(origin.as_str())
            .bind(uid.as_str())
            .fetch_optional(&mut **c)
            .await)?;
        raw.map(|raw| read(origin, uid, raw)).transpose()
    }

    /// The hospital's scheduled steps that a performed one names: of that study, or else of that accession number, if that is
    /// one patient's; of these the one with that step id, or all where it names none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steps_named(
        &mut self,
        origin: &PartnerId,
        named: &StepNamed,
    ) -> Result<Vec<(OrderId, String)>, StoreError> {
        const BY_STUDY: &str = named_steps!("s.study_uid = $2 AND $4 = '' AND $5 = ''");
        const BY_ACCESSION: &str = named_steps!(
            "s.accession = $2 AND ($4 = '' OR o.accession_issuer = $4) AND ($5 = '' OR s.patient_id = $5)"
        );
        let (issuer, patient) = (named.accession.issuer.as_str(), named.patient.as_str());
        for (sql, value, issuer, patient) in
            [(BY_STUDY, &named.study, "", ""), (BY_ACCESSION, &named.accession.value, issuer, patient)]
        {
            if value.is_empty() {
                continue;
            }
            let rows: Vec<(String, String, String, String)> = on_tx!(self, |c| sqlx::query_as(sql)
                .bind(origin.as_str())
                .bind(super::plain(value))
                .bind(super::plain(&named.step))
                .bind(super::plain(issuer))
                .bind(super::plain(patient))
                .fetch_all(&mut **c)
                .await)?;
            let [first, ..] = rows.as_slice() else { continue };
            let is_one_patients = rows.iter().all(|row| (&row.2, &row.3) == (&first.2, &first.3));
            // As with numbers that a great many have: it names nobody's.
            if rows.len() <= super::MAX_ALIKE && is_one_patients {
                let unreadable = |_| StoreError::Unreadable { what: "order id" };
                return rows.into_iter().map(|row| Ok((row.0.parse().map_err(unreadable)?, row.1))).collect();
            }
        }
        Ok(Vec::new())
    }

    /// Notes which scheduled step it was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn link_performed(
        &mut self,
        origin: &PartnerId,
        uid: &Uid,
        (order, step): &(OrderId, String),
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO performed_orders (origin, uid, order_id, step_id) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (origin, uid, order_id, step_id) DO NOTHING";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(origin.as_str())
            .bind(uid.as_str())
            .bind(order.to_string())
            .bind(step)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Notes a study it belongs to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_performed_study(&mut self, step: &PerformedStep, study: &Uid) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO performed_studies (origin, study_uid, uid) VALUES ($1, $2, $3) \
             ON CONFLICT (origin, study_uid, uid) DO NOTHING";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(step.origin.as_str())
            .bind(study.as_str())
            .bind(step.uid.as_str())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Whether a scanner is still at work on a study.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_being_performed(&mut self, origin: &PartnerId, study: &Uid) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT 1 FROM performed_studies s JOIN performed_steps p ON p.origin = s.origin AND p.uid = s.uid \
             WHERE s.origin = $1 AND s.study_uid = $2 AND p.state = 'IN PROGRESS' LIMIT 1";
        let found: Option<(i32,)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(study.as_str())
            .fetch_optional(&mut **c)
            .await)?;
        Ok(found.is_some())
    }

    /// Moves the scheduled steps that it was. What is done stays done; what is not is listed while its order is open. What another
    /// performed step is still at work on does not go back to what is scheduled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_steps_of(&mut self, origin: &PartnerId, uid: &Uid, to: StepState) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE scheduled_steps SET state = $3, listed = CASE WHEN $3 <> 'done' AND EXISTS (SELECT 1 FROM \
             orders o WHERE o.id = scheduled_steps.order_id AND o.state = 'open') THEN 1 ELSE 0 END \
             WHERE order_id IN (SELECT order_id FROM performed_orders WHERE origin = $1 AND uid = $2) AND state <> 'done' \
             AND EXISTS (SELECT 1 FROM performed_orders p WHERE p.origin = $1 AND p.uid = $2 \
             AND p.order_id = scheduled_steps.order_id AND p.step_id = scheduled_steps.step_id) \
             AND ($3 <> 'scheduled' OR NOT EXISTS (SELECT 1 FROM performed_orders other JOIN performed_steps s \
             ON s.origin = other.origin AND s.uid = other.uid WHERE other.order_id = scheduled_steps.order_id \
             AND other.step_id = scheduled_steps.step_id AND other.origin = $1 AND other.uid <> $2 AND s.state = 'IN PROGRESS'))";
        let moved = on_tx!(self, |c| sqlx::query(SQL)
            .bind(origin.as_str())
            .bind(uid.as_str())
            .bind(to.as_str())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(moved)
    }

    /// How many of the instances a step names have not come, in whichever of its studies.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_instances(&mut self, step: &AwaitedStep) -> Result<i64, StoreError> {
        let sql = self.pick(MISSING);
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(step.origin.as_str())
            .bind(step.uid.as_str())
            .fetch_one(&mut **c)
            .await)?;
        Ok(count)
    }

    /// Its images are there, or have been asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn await_no_more(&mut self, step: &AwaitedStep) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE performed_steps SET awaited = 0 WHERE origin = $1 AND uid = $2";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(step.origin.as_str())
            .bind(step.uid.as_str())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }
}

fn read(origin: &PartnerId, uid: &Uid, raw: Raw) -> Result<PerformedStep, StoreError> {
    let (state, instances, attributes, created, changed, awaited) = raw;
    Ok(PerformedStep {
        origin: origin.clone(),
        uid: uid.clone(),
        state,
        instances: from_json(&instances, "UID list")?,
        attributes,
        created: Moment(created),
        changed: Moment(changed),
        awaited: awaited != 0,
    })
}

impl Store {
    /// Steps that have ended, whose images are looked for and of which some have come; and those that ended before
    /// `overdue`. The one that ended first before the others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn awaited_steps(&self, overdue: Moment, limit: i64) -> Result<Vec<AwaitedStep>, StoreError> {
        const SQL: &str = "SELECT p.origin, p.uid, p.state, p.named, p.changed_us, c.id, \
             (SELECT CAST(COALESCE(SUM(o.instances), 0) AS BIGINT) FROM performed_studies t JOIN cases o \
             ON o.origin = t.origin AND o.study_uid = t.study_uid WHERE t.origin = p.origin AND t.uid = p.uid) \
             FROM performed_steps p \
             LEFT JOIN performed_studies s ON s.origin = p.origin AND s.uid = p.uid \
             LEFT JOIN cases c ON c.origin = s.origin AND c.study_uid = s.study_uid \
             WHERE p.awaited = 1 AND (c.id IS NOT NULL OR p.changed_us <= $1) ORDER BY p.changed_us, p.uid LIMIT $2";
        type Row = (String, String, String, i64, i64, Option<String>, i64);
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL).bind(overdue.0).bind(limit).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(origin, uid, state, named, changed, case, instances)| {
                let unreadable = |what| StoreError::Unreadable { what };
                let case = case.map(|id| id.parse().map_err(|_| unreadable("case id"))).transpose()?;
                Ok(AwaitedStep {
                    origin: partner(&origin)?,
                    uid: Uid::new(&uid).map_err(|_| unreadable("UID"))?,
                    is_completed: state == "COMPLETED",
                    named,
                    changed: Moment(changed),
                    case,
                    instances,
                })
            })
            .collect()
    }
}
