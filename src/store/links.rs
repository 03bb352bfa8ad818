//! Orders and cases that a person links or unlinks, and those that resemble each other.

use super::{OrderRow, Store, StoreError, Tx, cases::from_json, cases::to_json, on_read, on_tx};
use crate::model::{CaseId, IssuedId, Moment, OrderId, OrderState, PartnerId};

/// An order on a list for a person. No patient data.
#[derive(Clone, Debug, sqlx::FromRow)]
struct RawLine {
    id: String,
    origin: String,
    state: String,
    discipline: String,
    modality: String,
    priority: String,
    received_us: i64,
    cases: i64,
}

/// One line of `neisse orders list`.
#[derive(Clone, Debug)]
pub struct OrderSummary {
    pub id: OrderId,
    pub origin: PartnerId,
    pub state: OrderState,
    pub discipline: String,
    pub modality: String,
    pub priority: String,
    pub received: Moment,
    /// How many cases it has become.
    pub cases: i64,
}

#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub origin: Option<PartnerId>,
    /// Only orders no case has been joined to.
    pub unjoined: bool,
    pub limit: i64,
}

impl Tx {
    /// Notes what a case took over from an order when they were joined.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_taken(&mut self, order: OrderId, case: CaseId, taken: &[&str]) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE order_cases SET taken = $3 WHERE order_id = $1 AND case_id = $2";
        let taken = to_json(&taken, "list of what was taken")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(order.to_string())
            .bind(case.to_string())
            .bind(&taken)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Parts an order and a case, so that nothing joins them again by itself. Returned: what the case had taken over.
    /// None: they were not joined.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unlink_order(
        &mut self,
        order: OrderId,
        case: CaseId,
        why: &str,
        now: Moment,
    ) -> Result<Option<Vec<String>>, StoreError> {
        const PART: &str = "DELETE FROM order_cases WHERE order_id = $1 AND case_id = $2 RETURNING taken";
        const KEEP: &str = "INSERT INTO order_unlinks (order_id, case_id, unlinked_us, why) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (order_id, case_id) DO UPDATE SET unlinked_us = excluded.unlinked_us, why = excluded.why";
        let (order, case) = (order.to_string(), case.to_string());
        let taken: Option<(String,)> =
            on_tx!(self, |c| sqlx::query_as(PART).bind(&order).bind(&case).fetch_optional(&mut **c).await)?;
        let Some((taken,)) = taken else { return Ok(None) };
        on_tx!(self, |c| sqlx::query(KEEP)
            .bind(&order)
            .bind(&case)
            .bind(now.0)
            .bind(super::plain(why))
            .execute(&mut **c)
            .await
            .map(drop))?;
        from_json(&taken, "list of what was taken").map(Some)
    }

    /// Whether a person has said that these do not belong together.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_unlinked(&mut self, order: OrderId, case: CaseId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT 1 FROM order_unlinks WHERE order_id = $1 AND case_id = $2";
        let (order, case) = (order.to_string(), case.to_string());
        let found: Option<(i32,)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&order).bind(&case).fetch_optional(&mut **c).await)?;
        Ok(found.is_some())
    }

    /// A person links them after all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_unlink(&mut self, order: OrderId, case: CaseId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM order_unlinks WHERE order_id = $1 AND case_id = $2";
        let (order, case) = (order.to_string(), case.to_string());
        on_tx!(self, |c| sqlx::query(SQL).bind(&order).bind(&case).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Orders for this patient of this origin that wait for their study since `since`: no case is joined to them. Few, the
    /// newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_orders_of_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
        since: Moment,
    ) -> Result<Vec<OrderRow>, StoreError> {
        const SQL: &str = "SELECT id FROM orders WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 \
             AND received_us >= $4 AND state IN ('open', 'on_hold') \
             AND NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.order_id = orders.id) \
             ORDER BY received_us DESC LIMIT 10";
        let (origin, value, issuer) = (origin.as_str(), super::plain(&patient.value), super::plain(&patient.issuer));
        let ids: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin)
            .bind(&value)
            .bind(&issuer)
            .bind(since.0)
            .fetch_all(&mut **c)
            .await)?;
        let mut orders = Vec::with_capacity(ids.len());
        for (id,) in ids {
            let id = id.parse().map_err(|_| StoreError::Unreadable { what: "order id" })?;
            // Only compared: the case is held already, and orders come before cases.
            orders.extend(self.order_as_it_is(id).await?);
        }
        Ok(orders)
    }

    /// Cases of the order's patient and origin with images and without an order, with something new since `since`. Few, the
    /// newest first; none when the order has found its study.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_patient_without_order(
        &mut self,
        order: &OrderRow,
        since: Moment,
    ) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = "SELECT id FROM cases WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 \
             AND last_us >= $4 AND has_study = 1 AND NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.case_id = cases.id) \
             AND NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.order_id = $5) ORDER BY last_us DESC LIMIT 10";
        let (origin, patient, order) = (order.origin.as_str(), &order.patient, order.id.to_string());
        let (value, issuer) = (super::cases::key(&patient.value), super::cases::key(&patient.issuer));
        let ids: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin)
            .bind(&value)
            .bind(&issuer)
            .bind(since.0)
            .bind(&order)
            .fetch_all(&mut **c)
            .await)?;
        let unreadable = |_| StoreError::Unreadable { what: "case id" };
        ids.into_iter().map(|(id,)| id.parse().map_err(unreadable)).collect()
    }
}

impl Store {
    /// The newest orders that pass the filter.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_orders(&self, filter: &OrderFilter) -> Result<Vec<OrderSummary>, StoreError> {
        const SQL: &str = "SELECT id, origin, state, discipline, modality, priority, received_us, \
             (SELECT COUNT(*) FROM order_cases oc WHERE oc.order_id = orders.id) AS cases FROM orders \
             WHERE ($1 = '' OR origin = $1) \
             AND ($2 = 0 OR NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.order_id = orders.id)) \
             ORDER BY received_us DESC LIMIT $3";
        let origin = filter.origin.as_ref().map_or("", PartnerId::as_str);
        let unjoined = i64::from(filter.unjoined);
        let lines: Vec<RawLine> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(origin).bind(unjoined).bind(filter.limit).fetch_all(p).await)?;
        let unreadable = |what| StoreError::Unreadable { what };
        lines
            .into_iter()
            .map(|line| {
                Ok(OrderSummary {
                    id: line.id.parse().map_err(|_| unreadable("order id"))?,
                    origin: super::cases::partner(&line.origin)?,
                    state: OrderState::parse(&line.state).ok_or(unreadable("order state"))?,
                    discipline: line.discipline,
                    modality: line.modality,
                    priority: line.priority,
                    received: Moment(line.received_us),
                    cases: line.cases,
                })
            })
            .collect()
    }
}
