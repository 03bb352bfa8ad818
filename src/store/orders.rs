//! Orders: what hospitals asked for, every message that spoke of it, and the cases it became.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{CaseRow, MAX_ALIKE, from_json, from_word, partner, to_json, to_word},
    modality_worklist::{save_steps, steps_of},
    on_read, on_tx,
};
use crate::model::{CaseId, Discipline, IssuedId, Moment, OrderId, OrderState, PartnerId, Priority, Requested, Uid};
use serde::{Deserialize, Serialize};

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    pub id: OrderId,
    pub origin: PartnerId,
    pub state: OrderState,
    /// At least one of the two is there; each with its issuer.
    pub placer: IssuedId,
    pub filler: IssuedId,
    /// ORC-4: what one request has in common. May be empty.
    pub group: IssuedId,
    pub accession: IssuedId,
    /// Studies it was announced with.
    pub studies: Vec<Uid>,
    pub patient: IssuedId,
    pub discipline: Discipline,
    pub modality: String,
    pub priority: Priority,
    /// Patient data: never into a log.
    pub facts: OrderFacts,
    pub received: Moment,
    pub changed: Moment,
}

/// What a person reads of an order. Patient data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderFacts {
    /// `Family^Given^Middle^Prefix^Suffix`, as in DICOM.
    pub patient_name: String,
    pub birth_date: String,
    pub sex: String,
    /// Every identifier of the patient the order was announced with.
    pub patients: Vec<IssuedId>,
    /// OBR-4: code and text.
    pub procedure_code: String,
    pub procedure: String,
    /// For the scanner's worklist; complete (`Requested::completed`) where it has steps.
    pub requested: Requested,
}

/// What a message asked of an order.
#[derive(Clone, Debug)]
pub struct OrderMessageRow {
    pub received: Moment,
    /// Of the whole message.
    pub sha256: String,
    /// Which ORC of it, from 1.
    pub sequence: usize,
    /// ORC-1 as received, and as answered.
    pub control: &'static str,
    pub answer: &'static str,
}

/// An order of a case, for its story.
#[derive(Clone, Debug)]
pub struct OrderOfCase {
    pub id: OrderId,
    pub state: OrderState,
    pub joined_by: String,
    pub joined: Moment,
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    origin: String,
    state: String,
    placer: String,
    placer_issuer: String,
    filler: String,
    filler_issuer: String,
    group_number: String,
    group_issuer: String,
    accession: String,
    accession_issuer: String,
    patient_id: String,
    patient_issuer: String,
    discipline: String,
    modality: String,
    priority: String,
    facts: String,
    received_us: i64,
    changed_us: i64,
}

impl Raw {
    fn read(self) -> Result<OrderRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(OrderRow {
            id: self.id.parse().map_err(|_| unreadable("order id"))?,
            origin: partner(&self.origin)?,
            state: OrderState::parse(&self.state).ok_or(unreadable("order state"))?,
            placer: IssuedId::new(self.placer, self.placer_issuer),
            filler: IssuedId::new(self.filler, self.filler_issuer),
            group: IssuedId::new(self.group_number, self.group_issuer),
            accession: IssuedId::new(self.accession, self.accession_issuer),
            studies: Vec::new(),
            patient: IssuedId::new(self.patient_id, self.patient_issuer),
            discipline: from_word(&self.discipline, "discipline")?,
            modality: self.modality,
            priority: from_word(&self.priority, "priority")?,
            facts: from_json(&self.facts, "order")?,
            received: Moment(self.received_us),
            changed: Moment(self.changed_us),
        })
    }
}

macro_rules! select_orders {
    ($rest:literal) => {
        concat!(
            "SELECT id, origin, state, placer, placer_issuer, filler, filler_issuer, group_number, \
             group_issuer, accession, accession_issuer, patient_id, patient_issuer, discipline, modality, priority, facts, received_us, changed_us FROM orders ",
            $rest
        )
    };
}

/// What is said of an order, and the parameters of it: also `new_orders`.
macro_rules! order_columns {
    () => {
        "orders (id, origin, state, placer, placer_issuer, filler, filler_issuer, accession, accession_issuer, patient_id, \
         patient_issuer, modality, priority, facts, received_us, changed_us, discipline, group_number, group_issuer)"
    };
}
macro_rules! order_values {
    () => {
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $24, $25"
    };
}
/// $1 to $26: the order, the message that spoke of it, and as texts its facts, studies and scheduled steps.
macro_rules! bind_order {
    ($query:expr, $order:expr, $message:expr, $texts:expr) => {
        $query
            .bind($order.id.to_string())
            .bind($order.origin.as_str())
            .bind($order.state.as_str())
            .bind(&$order.placer.value)
            .bind(&$order.placer.issuer)
            .bind(&$order.filler.value)
            .bind(&$order.filler.issuer)
            .bind(&$order.accession.value)
            .bind(&$order.accession.issuer)
            .bind(&$order.patient.value)
            .bind(&$order.patient.issuer)
            .bind(&$order.modality)
            .bind(to_word($order.priority))
            .bind(&$texts.0)
            .bind($order.received.0)
            .bind($order.changed.0)
            .bind(to_word($order.discipline))
            .bind(&$texts.1)
            .bind($message.received.0)
            .bind(&$message.sha256)
            .bind(i64::try_from($message.sequence).unwrap_or(i64::MAX))
            .bind($message.control)
            .bind($message.answer)
            .bind(&$order.group.value)
            .bind(&$order.group.issuer)
            .bind(&$texts.2)
    };
}
pub(super) use {bind_order, order_columns, order_values};

macro_rules! save_order {
    () => {
        concat!("INSERT INTO ", order_columns!(), " VALUES (", order_values!(), ") \
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, placer = excluded.placer, \
         placer_issuer = excluded.placer_issuer, filler = excluded.filler, filler_issuer = excluded.filler_issuer, \
         accession = excluded.accession, accession_issuer = excluded.accession_issuer, \
         patient_id = excluded.patient_id, patient_issuer = excluded.patient_issuer, modality = excluded.modality, \
         priority = excluded.priority, facts = excluded.facts, changed_us = excluded.changed_us, \
         discipline = excluded.discipline, group_number = excluded.group_number, group_issuer = excluded.group_issuer")
    };
}

/// Numbered while the order is held: a reader is sent them in this order.
macro_rules! keep_message {
    ($values:literal) => {
        concat!(
            "INSERT INTO order_messages (order_id, received_us, sha256, sequence, control, answer, number) VALUES (",
            $values,
            ", (SELECT COALESCE(MAX(number), 0) + 1 FROM order_messages WHERE order_id = $1)) \
             ON CONFLICT (order_id, received_us, sha256, sequence) DO NOTHING"
        )
    };
}

/// PostgreSQL locks the row, but not against `order_cases`, which refers to it: whoever joins holds the case already.
/// SQLite has the only writer.
const BY_PLACER: Sql = Sql {
    sqlite: select_orders!("WHERE origin = $1 AND placer = $2 AND placer_issuer = $3 AND placer <> ''"),
    postgres: select_orders!(
        "WHERE origin = $1 AND placer = $2 AND placer_issuer = $3 AND placer <> '' FOR NO KEY UPDATE"
    ),
};
const BY_FILLER: Sql = Sql {
    sqlite: select_orders!("WHERE origin = $1 AND filler = $2 AND filler_issuer = $3 AND filler <> ''"),
    postgres: select_orders!(
        "WHERE origin = $1 AND filler = $2 AND filler_issuer = $3 AND filler <> '' FOR NO KEY UPDATE"
    ),
};
// Each takes an origin, a value and an issuer; those that need no issuer do not look at it.
const BY_ACCESSION: &str = select_orders!(
    "WHERE origin = $1 AND accession = $2 AND accession_issuer = $3 AND accession <> '' ORDER BY id LIMIT 65"
);
const BY_STUDY: &str = select_orders!(
    "WHERE id IN (SELECT order_id FROM order_studies WHERE origin = $1 AND study_uid = $2 AND $3 = '') ORDER BY id LIMIT 65"
);
const WITH_PLACER: &str =
    select_orders!("WHERE origin = $1 AND placer = $2 AND placer <> '' AND $3 = '' ORDER BY id LIMIT 65");
const WITH_FILLER: &str =
    select_orders!("WHERE origin = $1 AND filler = $2 AND filler <> '' AND $3 = '' ORDER BY id LIMIT 65");

/// One round to the database for all that a message says of an order. PostgreSQL checks references at the end of a
/// statement, SQLite takes several statements at once.
const SAVE: Sql = Sql {
    sqlite: concat!(
        save_order!(),
        "; INSERT INTO order_studies (order_id, origin, study_uid) SELECT $1, $2, value FROM json_each($18) WHERE true \
         ON CONFLICT (order_id, study_uid) DO NOTHING; ",
        keep_message!("$1, $19, $20, $21, $22, $23"),
        "; ",
        save_steps!("json_each($26) WHERE true", "value ->> '$.")
    ),
    postgres: concat!(
        "WITH saved AS (",
        save_order!(),
        "), named AS (INSERT INTO order_studies (order_id, origin, study_uid) \
         SELECT $1, $2, value FROM jsonb_array_elements_text($18::jsonb) \
         ON CONFLICT (order_id, study_uid) DO NOTHING), scheduled AS (",
        save_steps!("jsonb_array_elements($26::jsonb) AS step (value) WHERE true", "value ->> '"),
        ") ",
        keep_message!("$1, $19, $20, $21, $22, $23")
    ),
};

/// What of an order is written as JSON: its facts, its studies, its scheduled steps.
pub(super) fn order_texts(order: &OrderRow) -> Result<(String, String, String), StoreError> {
    Ok((
        to_json(&order.facts, "order")?,
        to_json(&uids(&order.studies), "list of studies")?,
        to_json(&steps_of(order), "list of steps")?,
    ))
}

pub(super) fn uids(studies: &[Uid]) -> Vec<&str> {
    studies.iter().map(Uid::as_str).collect()
}

impl Tx {
    /// The order with this placer order number of this origin, held for change until the transaction ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_with_placer(
        &mut self,
        origin: &PartnerId,
        placer: &IssuedId,
    ) -> Result<Option<OrderRow>, StoreError> {
        let sql = self.pick(BY_PLACER);
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(origin.as_str())
            .bind(&placer.value)
            .bind(&placer.issuer)
            .fetch_optional(&mut **c)
            .await)?;
        match raw {
            Some(raw) => Ok(Some(self.with_studies(raw.read()?).await?)),
            None => Ok(None),
        }
    }

    /// The orders with this filler order number of this origin, which those of a group may share; held as above.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_with_filler(
        &mut self,
        origin: &PartnerId,
        filler: &IssuedId,
    ) -> Result<Vec<OrderRow>, StoreError> {
        let sql = self.pick(BY_FILLER);
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(origin.as_str())
            .bind(&filler.value)
            .bind(&filler.issuer)
            .fetch_all(&mut **c)
            .await)?;
        let mut orders = Vec::with_capacity(raws.len());
        for raw in raws {
            orders.push(self.with_studies(raw.read()?).await?);
        }
        Ok(orders)
    }

    /// The order with this id, held for change. None: there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order(&mut self, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
        const SQL: Sql = Sql {
            sqlite: select_orders!("WHERE id = $1"),
            postgres: select_orders!("WHERE id = $1 FOR NO KEY UPDATE"),
        };
        let (sql, id) = (self.pick(SQL), id.to_string());
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql).bind(&id).fetch_optional(&mut **c).await)?;
        match raw {
            Some(raw) => Ok(Some(self.with_studies(raw.read()?).await?)),
            None => Ok(None),
        }
    }

    /// The order as it is now, not held: for looking.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_as_it_is(&mut self, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
        const SQL: &str = select_orders!("WHERE id = $1");
        let id = id.to_string();
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_optional(&mut **c).await)?;
        match raw {
            Some(raw) => Ok(Some(self.with_studies(raw.read()?).await?)),
            None => Ok(None),
        }
    }

    /// Orders of every origin with this placer or filler order number, whoever gave it: the caller compares issuers. None
    /// where so many have it that it names nobody's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_with_number(&mut self, number: &str) -> Result<Vec<OrderRow>, StoreError> {
        const SQL: &str = select_orders!(
            "WHERE (placer = $1 AND placer <> '') OR (filler = $1 AND filler <> '') ORDER BY id LIMIT 65"
        );
        let number = super::plain(number);
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&number).fetch_all(&mut **c).await)?;
        if raws.len() > MAX_ALIKE { Ok(Vec::new()) } else { raws.into_iter().map(Raw::read).collect() }
    }

    /// The orders of one request: those of this origin with this group number. None where so many have it that it names
    /// no request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_of_group(&mut self, origin: &PartnerId, group: &IssuedId) -> Result<Vec<OrderRow>, StoreError> {
        const SQL: &str = select_orders!(
            "WHERE origin = $1 AND group_number = $2 AND group_issuer = $3 AND group_number <> '' ORDER BY id LIMIT 201"
        );
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(&group.value)
            .bind(&group.issuer)
            .fetch_all(&mut **c)
            .await)?;
        // As many as one message may hold, and no more.
        if raws.len() > 200 { Ok(Vec::new()) } else { raws.into_iter().map(Raw::read).collect() }
    }

    /// Where an order stands now. None: there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_state(&mut self, id: OrderId) -> Result<Option<OrderState>, StoreError> {
        const SQL: &str = "SELECT state FROM orders WHERE id = $1";
        let id = id.to_string();
        let found: Option<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_optional(&mut **c).await)?;
        let unreadable = StoreError::Unreadable { what: "order state" };
        found.map(|(state,)| OrderState::parse(&state).ok_or(unreadable)).transpose()
    }

    async fn with_studies(&mut self, mut order: OrderRow) -> Result<OrderRow, StoreError> {
        const SQL: &str = "SELECT study_uid FROM order_studies WHERE order_id = $1 ORDER BY study_uid LIMIT 100";
        let id = order.id.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        order.studies = rows.into_iter().filter_map(|(uid,)| Uid::new(&uid).ok()).collect();
        Ok(order)
    }

    /// Orders of the case's origin that name its study, its accession number with its issuer, or one of the order numbers
    /// in its images.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_for_case(&mut self, case: &CaseRow) -> Result<Vec<OrderRow>, StoreError> {
        let (origin, facts) = (case.origin.as_str(), &case.facts);
        let (accession, issuer) = (facts.accession.value.as_str(), facts.accession.issuer.as_str());
        let looks = [
            (BY_STUDY, case.study.as_str(), ""),
            (BY_ACCESSION, accession, issuer),
            (WITH_PLACER, facts.placer_order_number.as_str(), ""),
            (WITH_FILLER, facts.filler_order_number.as_str(), ""),
        ];
        let mut orders: Vec<OrderRow> = Vec::new();
        for (sql, value, issuer) in looks.into_iter().filter(|(_, value, _)| !value.is_empty()) {
            let value = super::plain(value);
            let raws: Vec<Raw> =
                on_tx!(self, |c| sqlx::query_as(sql).bind(origin).bind(&value).bind(issuer).fetch_all(&mut **c).await)?;
            // So many with one number: it names none of them (`0`, `NONE`).
            if raws.len() > MAX_ALIKE {
                continue;
            }
            for raw in raws {
                let order = raw.read()?;
                if !orders.iter().any(|known| known.id == order.id) {
                    orders.push(self.with_studies(order).await?);
                }
            }
        }
        Ok(orders)
    }

    /// Adds an order, or writes what has changed of it, with the message that said so.
    ///
    /// # Errors
    /// When the database fails, or the origin has another order with the same number.
    pub async fn save_order(
        &mut self,
        order: &OrderRow,
        is_new: bool,
        message: &OrderMessageRow,
    ) -> Result<(), StoreError> {
        const FORGET: &str = "DELETE FROM order_studies WHERE order_id = $1";
        if !is_new {
            on_tx!(self, |c| sqlx::query(FORGET).bind(order.id.to_string()).execute(&mut **c).await.map(drop))?;
            self.forget_steps_behind(order.id, order.facts.requested.steps.len()).await?;
        }
        let texts = order_texts(order)?;
        let sql = self.pick(SAVE);
        on_tx!(self, |c| bind_order!(sqlx::query(sql), order, message, texts).execute(&mut **c).await.map(drop))?;
        if !is_new {
            self.recall_steps(order.id).await?;
        }
        Ok(())
    }

    /// Keeps what a message asked of an order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_order_message(&mut self, order: OrderId, message: &OrderMessageRow) -> Result<(), StoreError> {
        const SQL: &str = keep_message!("$1, $2, $3, $4, $5, $6");
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(order.to_string())
            .bind(message.received.0)
            .bind(&message.sha256)
            .bind(i64::try_from(message.sequence).unwrap_or(i64::MAX))
            .bind(message.control)
            .bind(message.answer)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Joins an order to a case. False when they have been joined before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn join_order(
        &mut self,
        order: OrderId,
        case: CaseId,
        by: &str,
        now: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO order_cases (order_id, case_id, joined_by, joined_us) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (order_id, case_id) DO NOTHING";
        let joined = on_tx!(self, |c| sqlx::query(SQL)
            .bind(order.to_string())
            .bind(case.to_string())
            .bind(by)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if joined == 1 {
            self.specimen_events_have_news(order).await?;
        }
        Ok(joined == 1)
    }

    /// The orders that a case answers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_answered_by(&mut self, case: CaseId) -> Result<Vec<OrderRow>, StoreError> {
        const SQL: &str = select_orders!(
            "WHERE id IN (SELECT order_id FROM order_cases WHERE case_id = $1) ORDER BY received_us, id LIMIT 200"
        );
        let id = case.to_string();
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// The cases an order has become, in the order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_order(&mut self, order: OrderId) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = "SELECT case_id FROM order_cases WHERE order_id = $1 ORDER BY case_id LIMIT 100";
        let id = order.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        let unreadable = |_| StoreError::Unreadable { what: "case id" };
        rows.into_iter().map(|(case,)| case.parse().map_err(unreadable)).collect()
    }
}

impl Store {
    /// The orders a case answers, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_of_case(&self, case: CaseId) -> Result<Vec<OrderOfCase>, StoreError> {
        const SQL: &str = "SELECT o.id, o.state, oc.joined_by, oc.joined_us FROM order_cases oc \
             JOIN orders o ON o.id = oc.order_id WHERE oc.case_id = $1 ORDER BY oc.joined_us, o.id LIMIT 100";
        let id = case.to_string();
        let rows: Vec<(String, String, String, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        rows.into_iter()
            .map(|(id, state, joined_by, joined)| {
                let unreadable = |what| StoreError::Unreadable { what };
                Ok(OrderOfCase {
                    id: id.parse().map_err(|_| unreadable("order id"))?,
                    state: OrderState::parse(&state).ok_or(unreadable("order state"))?,
                    joined_by,
                    joined: Moment(joined),
                })
            })
            .collect()
    }
}
