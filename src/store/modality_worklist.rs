//! Scheduled steps as the modality worklist looks for them: written with their order, found by whatever a scanner names.
//!
//! In: an order with its steps; or whose worklist, one thing to look by and a span of time. Out: pages of steps with their
//! orders, each page behind the last one, so that a long answer holds no transaction open. Every look goes by an index that
//! begins with the hospital.
//!
//! Does not match keys: `worklist` does, with what is found here.

use super::{
    Db, OrderFacts, OrderRow, Sql, Store, StoreError, Tx,
    cases::{from_json, from_word, partner},
    on_read, on_tx,
};
use crate::model::{IssuedId, OrderId, OrderState, PartnerId, Priority, StepState, Uid, fold};
use serde::Serialize;

/// One step that is to be done, with its order.
#[derive(Clone, Debug)]
pub struct Listed {
    pub order: OrderId,
    /// Which of the order's steps, from 1.
    pub number: i64,
    pub origin: PartnerId,
    pub state: StepState,
    pub study: Uid,
    pub placer: IssuedId,
    pub filler: IssuedId,
    pub accession: IssuedId,
    pub patient: IssuedId,
    pub priority: Priority,
    /// Patient data: never into a log.
    pub facts: OrderFacts,
    /// What it was found by, for the next page.
    pub place: Place,
}

/// What to look by; one that names few is the better one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Study(String),
    Accession(String),
    Patient(String),
    /// The beginning of a name, folded.
    Name(String),
    /// Steps for this scanner, and those for whichever asks.
    Station(String),
    Modality(String),
    /// Whatever there is, the earliest first.
    Start,
}

/// Whose worklist, what to look by, and when: in the hospital's time, `YYYYMMDD`, both inclusive.
#[derive(Clone, Debug)]
pub struct Look {
    pub origin: PartnerId,
    pub by: By,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Where a page ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    key: String,
    order: String,
    number: i64,
}

/// One step, as `save_order` writes it.
#[derive(Serialize)]
pub(super) struct StepRow<'a> {
    // Text: `->>` gives SQLite a number, and PostgreSQL text.
    number: String,
    modality: &'a str,
    station: &'a str,
    start: &'a str,
    step: &'a str,
    study: &'a str,
    accession: &'a str,
    name: &'a str,
    listed: &'a str,
}

/// The rows of an order's steps; none where it has no study to be made under.
pub(super) fn steps_of(order: &OrderRow) -> Vec<serde_json::Value> {
    let Some(study) = order.studies.first() else { return Vec::new() };
    let name = fold(&order.facts.patient_name);
    let listed = if order.state == OrderState::Open { "1" } else { "0" };
    let row = |(step, number): (&crate::model::Step, usize)| {
        serde_json::to_value(StepRow {
            number: number.to_string(),
            modality: &step.modality,
            station: &step.station_ae,
            start: &step.start,
            step: &step.id,
            study: study.as_str(),
            accession: &order.accession.value,
            name: &name,
            listed,
        })
    };
    order.facts.requested.steps.iter().zip(1..).filter_map(|pair| row(pair).ok()).collect()
}

/// Part of the statement that saves an order: $1 its id, $2 its origin, $10 its patient; `from` yields `value`, `get` begins how
/// a member of it is read. Another step at the same place has not been done because the one before it has.
macro_rules! save_steps {
    ($from:literal, $get:literal) => {
        concat!(
            "INSERT INTO scheduled_steps (order_id, number, origin, state, listed, patient_id, accession, name_key, modality, \
             station, start_at, study_uid, step_id) SELECT $1, CAST(",
            $get,
            "number' AS BIGINT), $2, 'scheduled', CAST(",
            $get,
            "listed' AS BIGINT), $10, ",
            $get,
            "accession', ",
            $get,
            "name', ",
            $get,
            "modality', ",
            $get,
            "station', ",
            $get,
            "start', ",
            $get,
            "study', ",
            $get,
            "step' FROM ",
            $from,
            " ON CONFLICT (order_id, number) DO UPDATE SET patient_id = excluded.patient_id, accession = excluded.accession, \
             name_key = excluded.name_key, modality = excluded.modality, station = excluded.station, \
             start_at = excluded.start_at, study_uid = excluded.study_uid, step_id = excluded.step_id, \
             state = CASE WHEN scheduled_steps.step_id = excluded.step_id THEN scheduled_steps.state ELSE 'scheduled' END, \
             listed = CASE WHEN scheduled_steps.state = 'done' AND scheduled_steps.step_id = excluded.step_id THEN 0 \
             ELSE excluded.listed END"
        )
    };
}
pub(super) use save_steps;

#[derive(sqlx::FromRow)]
struct Raw {
    found_key: String,
    order_id: String,
    number: i64,
    origin: String,
    state: String,
    study_uid: String,
    placer: String,
    placer_issuer: String,
    filler: String,
    filler_issuer: String,
    accession: String,
    accession_issuer: String,
    patient_id: String,
    patient_issuer: String,
    priority: String,
    facts: String,
}

impl Raw {
    fn read(self) -> Result<Listed, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(Listed {
            order: self.order_id.parse().map_err(|_| unreadable("order id"))?,
            number: self.number,
            origin: partner(&self.origin)?,
            state: StepState::parse(&self.state).ok_or(unreadable("step state"))?,
            study: Uid::new(&self.study_uid).map_err(|_| unreadable("UID"))?,
            placer: IssuedId::new(self.placer, self.placer_issuer),
            filler: IssuedId::new(self.filler, self.filler_issuer),
            accession: IssuedId::new(self.accession, self.accession_issuer),
            patient: IssuedId::new(self.patient_id, self.patient_issuer),
            priority: from_word(&self.priority, "priority")?,
            facts: from_json(&self.facts, "order")?,
            place: Place { key: self.found_key, order: self.order_id, number: self.number },
        })
    }
}

/// A page: `inner` says which steps, in their order, and how many. Only then are their orders fetched: SQLite keeps to the order
/// of a CROSS JOIN.
macro_rules! page {
    ($inner:expr) => {
        concat!(
            "SELECT s.found_key, s.order_id, s.number, o.origin, s.state, s.study_uid, o.placer, o.placer_issuer, o.filler, \
             o.filler_issuer, o.accession, o.accession_issuer, o.patient_id, o.patient_issuer, o.priority, o.facts FROM (",
            $inner,
            ") AS s CROSS JOIN orders o WHERE o.id = s.order_id ORDER BY s.found_key, s.order_id, s.number"
        )
    };
}

/// $1 the hospital, $2 what it is looked by, $3 and $4 the span, $5 to $7 behind which, $8 how many.
macro_rules! steps {
    ($table:expr, $key:literal, $look:literal) => {
        concat!(
            "SELECT ",
            $key,
            " AS found_key, order_id, number, state, study_uid FROM ",
            $table,
            " WHERE origin = $1 AND listed = 1 AND ",
            $look,
            " AND start_at >= $3 AND start_at < $4 AND (",
            $key,
            ", order_id, number) > ($5, $6, $7) ORDER BY ",
            $key,
            ", order_id, number LIMIT $8"
        )
    };
}

/// By an index. SQLite, which has counted nothing, would take that of the starts for everything.
macro_rules! look {
    ($index:literal, $key:literal, $look:literal) => {
        Sql {
            sqlite: page!(steps!(concat!("scheduled_steps INDEXED BY scheduled_steps_by_", $index), $key, $look)),
            postgres: page!(steps!("scheduled_steps", $key, $look)),
        }
    };
}

/// Steps for one scanner and those for whichever asks: each of the two in its own order, so that neither is read to its end.
macro_rules! both {
    ($table:literal) => {
        page!(concat!(
            "SELECT * FROM (SELECT * FROM (",
            steps!($table, "start_at", "station = $2"),
            ") AS own UNION ALL SELECT * FROM (",
            steps!($table, "start_at", "station = ''"),
            ") AS anybodys) AS both_of_them ORDER BY found_key, order_id, number LIMIT $8"
        ))
    };
}

const BY_STUDY: Sql = look!("study", "start_at", "study_uid = $2");
const BY_ACCESSION: Sql = look!("accession", "start_at", "accession = $2");
const BY_PATIENT: Sql = look!("patient", "start_at", "patient_id = $2");
const BY_MODALITY: Sql = look!("modality", "start_at", "modality = $2");
const BY_START: Sql = look!("start", "start_at", "$2 = ''");
// U+10FFFF is behind every letter.
const BY_NAME: Sql = look!("name", "name_key", "name_key >= $2 AND name_key < $2 || '\u{10FFFF}'");
const BY_STATION: Sql =
    Sql { sqlite: both!("scheduled_steps INDEXED BY scheduled_steps_by_station"), postgres: both!("scheduled_steps") };

impl Store {
    /// The next steps behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn scheduled_steps(&self, look: &Look, after: &Place, limit: i64) -> Result<Vec<Listed>, StoreError> {
        let (sql, value) = match &look.by {
            By::Study(value) => (BY_STUDY, value.as_str()),
            By::Accession(value) => (BY_ACCESSION, value.as_str()),
            By::Patient(value) => (BY_PATIENT, value.as_str()),
            By::Name(value) => (BY_NAME, value.as_str()),
            By::Station(value) => (BY_STATION, value.as_str()),
            By::Modality(value) => (BY_MODALITY, value.as_str()),
            By::Start => (BY_START, ""),
        };
        let sql = match &self.db {
            Db::Sqlite(_) => sql.sqlite,
            Db::Postgres(_) => sql.postgres,
        };
        let value = super::plain(value);
        let from = look.from.clone().unwrap_or_default();
        // PostgreSQL begins to read where the last page ended, and not where the span begins.
        let first = Place { key: from.clone(), ..Place::default() };
        let is_before = !matches!(look.by, By::Name(_)) && after.key < from;
        let after = if is_before { &first } else { after };
        // Behind every time of its last day.
        let to = look.to.as_ref().map_or_else(|| "~".to_owned(), |day| format!("{day}~"));
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(sql)
            .bind(look.origin.as_str())
            .bind(&value)
            .bind(from)
            .bind(to)
            .bind(&after.key)
            .bind(&after.order)
            .bind(after.number)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        raws.into_iter().map(Raw::read).collect()
    }
}

impl Tx {
    /// An order that is changed may have fewer steps than before.
    pub(super) async fn forget_steps_behind(&mut self, order: OrderId, steps: usize) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM scheduled_steps WHERE order_id = $1 AND number > $2";
        let (order, steps) = (order.to_string(), i64::try_from(steps).unwrap_or(i64::MAX));
        on_tx!(self, |c| sqlx::query(SQL).bind(&order).bind(steps).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The steps of an order that is changed may have other places now: what scanners have said of them stays said.
    pub(super) async fn recall_steps(&mut self, order: OrderId) -> Result<(), StoreError> {
        macro_rules! said {
            ($state:literal) => {
                concat!(
                    "EXISTS (SELECT 1 FROM performed_orders p JOIN performed_steps d ON d.origin = p.origin AND d.uid = p.uid \
                     WHERE p.order_id = scheduled_steps.order_id AND p.step_id = scheduled_steps.step_id AND d.state = '",
                    $state,
                    "')"
                )
            };
        }
        const SQL: &str = concat!(
            "UPDATE scheduled_steps SET listed = CASE WHEN ",
            said!("COMPLETED"),
            " THEN 0 ELSE listed END, state = CASE WHEN state = 'done' OR ",
            said!("COMPLETED"),
            " THEN 'done' WHEN ",
            said!("IN PROGRESS"),
            " THEN 'started' ELSE state END WHERE order_id = $1 \
             AND EXISTS (SELECT 1 FROM performed_orders p WHERE p.order_id = $1)"
        );
        on_tx!(self, |c| sqlx::query(SQL).bind(order.to_string()).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The patient of an order's steps is called otherwise now.
    pub(super) async fn save_patient_of_steps(&mut self, order: &OrderRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE scheduled_steps SET patient_id = $2, name_key = $3 WHERE order_id = $1";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(order.id.to_string())
            .bind(&order.patient.value)
            .bind(fold(&order.facts.patient_name))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }
}
