//! What waits for a person about specimens, whether there is a case or not; and what is late by now.
//!
//! Reasons carry no patient data and no id of a specimen but our own.

use super::{
    Store, StoreError, Tx, UnreadableRow,
    cases::{from_word, partner},
    error::each,
    on_read, on_tx,
    pages::{Behind, Page},
    plain,
    specimens::{Raw, SpecimenRow},
};
use crate::model::{CaseId, Moment, OrderId, PartnerId, SpecimenId};
use serde::Deserialize;
use std::fmt;
use uuid::Uuid;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Shipped, and not received in time.
    NotReceived,
    /// Received, and nobody has ordered anything.
    NotOrdered,
    /// Ordered, and nothing was collected or received in time.
    NoSpecimen,
    Rejected,
    Lost,
}

impl AlarmKind {
    pub const ALL: [AlarmKind; 5] =
        [AlarmKind::NotReceived, AlarmKind::NotOrdered, AlarmKind::NoSpecimen, AlarmKind::Rejected, AlarmKind::Lost];

    pub fn as_str(self) -> &'static str {
        match self {
            AlarmKind::NotReceived => "not_received",
            AlarmKind::NotOrdered => "not_ordered",
            AlarmKind::NoSpecimen => "no_specimen",
            AlarmKind::Rejected => "rejected",
            AlarmKind::Lost => "lost",
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecimenAlarm {
    pub id: String,
    pub kind: AlarmKind,
    /// Whose specimen or order it is.
    pub partner: PartnerId,
    pub specimen: Option<SpecimenId>,
    pub order: Option<OrderId>,
    /// One of its cases, where there is one: it says the same there.
    pub case: Option<CaseId>,
    pub raised: Moment,
    pub reason: String,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Specimen(SpecimenId),
    Order(OrderId),
}

impl About {
    /// Which of two statements, each with an index of its own.
    fn pick(self, of_specimen: &'static str, of_order: &'static str) -> (&'static str, String) {
        match self {
            About::Specimen(id) => (of_specimen, id.to_string()),
            About::Order(id) => (of_order, id.to_string()),
        }
    }

    fn ids(self) -> (Option<String>, Option<String>) {
        match self {
            About::Specimen(id) => (Some(id.to_string()), None),
            About::Order(id) => (None, Some(id.to_string())),
        }
    }
}

#[derive(sqlx::FromRow)]
struct RawAlarm {
    id: String,
    kind: String,
    partner: String,
    specimen_id: Option<String>,
    order_id: Option<String>,
    case_id: Option<String>,
    raised_us: i64,
    reason: String,
}

impl RawAlarm {
    fn read(self) -> Result<SpecimenAlarm, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(SpecimenAlarm {
            id: self.id,
            kind: from_word(&self.kind, "kind of alarm")?,
            partner: partner(&self.partner)?,
            specimen: self.specimen_id.map(|id| id.parse().map_err(|_| unreadable("specimen id"))).transpose()?,
            order: self.order_id.map(|id| id.parse().map_err(|_| unreadable("order id"))).transpose()?,
            case: self.case_id.map(|id| id.parse().map_err(|_| unreadable("case id"))).transpose()?,
            raised: Moment(self.raised_us),
            reason: self.reason,
        })
    }
}

macro_rules! select_alarms {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.kind, a.partner, a.specimen_id, a.order_id, a.raised_us, a.reason, \
             COALESCE((SELECT MIN(oc.case_id) FROM order_cases oc WHERE oc.order_id = a.order_id), \
             (SELECT MIN(oc.case_id) FROM specimen_orders so JOIN order_cases oc ON oc.order_id = so.order_id \
             WHERE so.specimen_id = a.specimen_id)) AS case_id FROM specimen_alarms a ",
            $rest
        )
    };
}

impl Tx {
    /// Puts something before a person, once. False when it is there already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn raise_specimen_alarm(
        &mut self,
        kind: AlarmKind,
        about: About,
        partner: &PartnerId,
        reason: &str,
        now: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO specimen_alarms (id, kind, specimen_id, order_id, partner, reason, raised_us, ended_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, '')";
        let (specimen, order) = about.ids();
        if self.specimen_alarms_of(about).await?.iter().any(|alarm| alarm.kind == kind) {
            return Ok(false);
        }
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(Uuid::now_v7().to_string())
            .bind(kind.as_str())
            .bind(&specimen)
            .bind(&order)
            .bind(partner.as_str())
            .bind(plain(reason))
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(true)
    }

    /// The open alarms of a specimen or an order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimen_alarms_of(&mut self, about: About) -> Result<Vec<SpecimenAlarm>, StoreError> {
        const OF_SPECIMEN: &str = select_alarms!("WHERE a.specimen_id = $1 AND a.ended_us IS NULL");
        const OF_ORDER: &str = select_alarms!("WHERE a.order_id = $1 AND a.ended_us IS NULL");
        let (sql, id) = about.pick(OF_SPECIMEN, OF_ORDER);
        let raws: Vec<RawAlarm> = on_tx!(self, |c| sqlx::query_as(sql).bind(&id).fetch_all(&mut **c).await)?;
        raws.into_iter().map(RawAlarm::read).collect()
    }

    /// An alarm has gone away by itself, or a person has looked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_specimen_alarm(&mut self, id: &str, by: &str, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE specimen_alarms SET ended_us = $2, ended_by = $3 WHERE id = $1 AND ended_us IS NULL";
        let ended = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id)
            .bind(now.0)
            .bind(plain(by))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(ended == 1)
    }

    /// Somebody looks whether the specimens of an order came in time: whose order it is and when it came. `None`: somebody
    /// has looked, or it has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_specimens_looked(&mut self, order: OrderId) -> Result<Option<(PartnerId, Moment)>, StoreError> {
        const SQL: &str = "UPDATE orders SET specimens_looked = 1 WHERE id = $1 AND state = 'open' AND specimens_looked = 0 \
             RETURNING origin, received_us";
        let id = order.to_string();
        let row: Option<(String, i64)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_optional(&mut **c).await)?;
        row.map(|(origin, received)| Ok((partner(&origin)?, Moment(received)))).transpose()
    }
}

impl Store {
    /// What waits for a person about specimens, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimen_alarms(&self, limit: i64) -> Result<Vec<SpecimenAlarm>, StoreError> {
        const SQL: &str = select_alarms!("WHERE a.ended_us IS NULL ORDER BY a.raised_us, a.id LIMIT $1");
        let raws: Vec<RawAlarm> = on_read!(self, |p| sqlx::query_as(SQL).bind(limit).fetch_all(p).await)?;
        raws.into_iter().map(RawAlarm::read).collect()
    }

    /// How many of each kind wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_specimen_alarms(&self) -> Result<Vec<(AlarmKind, i64)>, StoreError> {
        const SQL: &str = "SELECT kind, COUNT(*) FROM specimen_alarms WHERE ended_us IS NULL GROUP BY kind";
        let rows: Vec<(String, i64)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.into_iter().map(|(kind, count)| Ok((from_word(&kind, "kind of alarm")?, count))).collect()
    }

    /// Specimens that were shipped and should have been received by now, the longest overdue first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_overdue(
        &self,
        now: Moment,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<SpecimenId>, StoreError> {
        // The condition is that of the partial index `specimens_due`, word for word.
        const SQL: &str = "SELECT due_us, id FROM specimens WHERE state = 'shipped' AND due_us IS NOT NULL AND due_us <= $1 \
             AND (due_us, id) > ($2, $3) ORDER BY due_us, id LIMIT $4";
        let rows: Vec<(i64, String)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(now.0)
            .bind(behind.at_us)
            .bind(&behind.row)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        Ok(ids(limit, rows, "specimen id"))
    }

    /// Specimens that lay in a laboratory without an order, whether a person has seen that or not, and for which there is one
    /// now by the look of an id; those behind this one, in the order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_not_ordered(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<(String, Result<SpecimenRow, UnreadableRow>)>, StoreError> {
        // The condition is that of the partial index `specimens_without_order`. What its own order has made known begins with
        // the open alarms, which are few: CROSS JOIN and `|| ''` keep SQLite from beginning with all there ever were.
        const SQL: &str = "SELECT s.id, s.origin, s.said, s.state, s.since_us, s.ordered, s.due_us FROM specimens s \
             WHERE s.ordered = 0 AND s.id > $1 \
             AND EXISTS (SELECT 1 FROM specimen_alarms a WHERE a.specimen_id = s.id AND a.kind = 'not_ordered') \
             AND (EXISTS (SELECT 1 FROM specimens o WHERE o.ordered = 1 AND o.placer = s.placer AND o.placer <> '') \
             OR EXISTS (SELECT 1 FROM specimens o WHERE o.ordered = 1 AND o.filler = s.filler AND o.filler <> '') \
             OR EXISTS (SELECT 1 FROM specimen_containers c JOIN specimen_containers oc ON oc.value = c.value \
             JOIN specimens o ON o.id = oc.specimen_id WHERE c.specimen_id = s.id AND o.ordered = 1)) \
             UNION ALL SELECT s.id, s.origin, s.said, s.state, s.since_us, s.ordered, s.due_us FROM specimen_alarms a \
             CROSS JOIN specimens s WHERE a.ended_us IS NULL AND a.kind = 'not_ordered' AND s.id = a.specimen_id \
             AND s.ordered = 1 AND s.id || '' > $1 ORDER BY 1 LIMIT $2";
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(p).await)?;
        let keys: Vec<String> = raws.iter().map(|raw| raw.id.clone()).collect();
        let read = each(keys.iter().cloned().zip(raws), Raw::read);
        Ok(keys.into_iter().zip(read).collect())
    }

    /// Open orders of this origin for which a specimen should have been collected or received by now, and nobody has
    /// looked yet, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_to_look_for_specimens(
        &self,
        origin: &PartnerId,
        received_by: Moment,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<OrderId>, StoreError> {
        // The condition is that of the partial index `orders_without_look`, word for word.
        const SQL: &str = "SELECT received_us, id FROM orders WHERE origin = $1 AND received_us <= $2 AND discipline = 'pathology' \
             AND state = 'open' AND specimens_looked = 0 AND (received_us, id) > ($3, $4) ORDER BY received_us, id LIMIT $5";
        let rows: Vec<(i64, String)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(received_by.0)
            .bind(behind.at_us)
            .bind(&behind.row)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        Ok(ids(limit, rows, "order id"))
    }

    /// Orders without specimen that have ended since: nobody needs to look any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alarms_of_ended_orders(&self, behind: &Behind, limit: i64) -> Result<Page<OrderId>, StoreError> {
        const SQL: &str = "SELECT a.raised_us, o.id FROM specimen_alarms a JOIN orders o ON o.id = a.order_id \
             WHERE a.ended_us IS NULL AND a.kind = 'no_specimen' AND o.state <> 'open' AND o.state <> 'on_hold' \
             AND (a.raised_us, o.id) > ($1, $2) ORDER BY a.raised_us, o.id LIMIT $3";
        let rows: Vec<(i64, String)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(behind.at_us)
            .bind(&behind.row)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        Ok(ids(limit, rows, "order id"))
    }
}

fn ids<T: std::str::FromStr>(limit: i64, rows: Vec<(i64, String)>, what: &'static str) -> Page<T> {
    let placed = rows.into_iter().map(|(at_us, id)| (Behind { at_us, row: id.clone() }, id)).collect();
    Page::of(limit, placed, |id: String| id.parse().map_err(|_| StoreError::Unreadable { what }))
}
