//! What leaves as HL7 about an order, its specimens or its patient; and how far each partner has been told of each order.
//!
//! A message is made when it becomes owed and is kept as it will be sent, so that a repetition is the same to the byte.
//! Messages of one case to one partner leave in their sequence (`deliveries.version`), whatever they are about.

use super::{Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{CaseId, DeliveryId, DeliveryKind, Lane, Moment, OrderId, PartnerId};

/// A message to be owed.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub case: CaseId,
    pub partner: PartnerId,
    pub lane: Lane,
    /// MSH-9, such as `ORM^O01`.
    pub what: String,
    /// MSH-10 of it.
    pub control_id: String,
    /// In the partner's character set.
    pub content: Vec<u8>,
    pub deadline: Option<Moment>,
    pub give_up: Moment,
    pub now: Moment,
}

/// The same, read back for sending.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CaseMessage {
    pub control_id: String,
    pub what: String,
    pub content: Vec<u8>,
}

/// How far a partner has been told of an order for a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderForward {
    pub order: OrderId,
    pub partner: PartnerId,
    /// The number of the last message about the order that was made owed.
    pub sent_to: i64,
    /// It has been told that the order is not its any more.
    pub withdrawn: bool,
}

/// One message about an order, as received, for whoever sends it on.
#[derive(Clone, Debug)]
pub struct ReceivedOrderMessage {
    pub number: i64,
    /// Which ORC of the message, from 1.
    pub sequence: usize,
    /// ORC-1 as received, and as answered.
    pub control: String,
    pub answer: String,
    pub received: Moment,
    pub content: Vec<u8>,
}

impl Tx {
    /// Owes a message, behind those the partner is owed for this case already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owe_message(&mut self, new: &NewMessage) -> Result<DeliveryId, StoreError> {
        const NEXT: &str = "SELECT COALESCE(MAX(version), 0) + 1 FROM deliveries WHERE case_id = $1 AND partner = $2 AND kind = 'message'";
        const KEEP: &str = "INSERT INTO case_messages (delivery_id, control_id, what, content) VALUES ($1, $2, $3, $4)";
        let (version,): (i64,) = on_tx!(self, |c| sqlx::query_as(NEXT)
            .bind(new.case.to_string())
            .bind(new.partner.as_str())
            .fetch_one(&mut **c)
            .await)?;
        let id = self
            .owe(&super::NewDelivery {
                case: new.case,
                partner: new.partner.clone(),
                lane: new.lane,
                kind: DeliveryKind::Message,
                first_seq: 0,
                last_seq: 0,
                report: None,
                version,
                items: 1,
                bytes: i64::try_from(new.content.len()).unwrap_or(i64::MAX),
                deadline: new.deadline,
                give_up: new.give_up,
                now: new.now,
            })
            .await?;
        on_tx!(self, |c| sqlx::query(KEEP)
            .bind(id.to_string())
            .bind(&new.control_id)
            .bind(&new.what)
            .bind(&new.content)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(id)
    }

    /// The case of a message that was sent to a partner with this control id, and its MSH-9. None: there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn message_sent_as(
        &mut self,
        partner: &PartnerId,
        control_id: &str,
    ) -> Result<Option<(CaseId, String)>, StoreError> {
        const SQL: &str = "SELECT d.case_id, m.what FROM case_messages m JOIN deliveries d ON d.id = m.delivery_id \
             WHERE m.control_id = $2 AND d.partner = $1 LIMIT 1";
        let control_id = super::plain(control_id);
        let row: Option<(String, String)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(partner.as_str())
            .bind(&control_id)
            .fetch_optional(&mut **c)
            .await)?;
        let unreadable = |_| StoreError::Unreadable { what: "case id" };
        row.map(|(case, what)| Ok((case.parse().map_err(unreadable)?, what))).transpose()
    }

    /// Who has been told of the orders of a case, and how far.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_forwards(&mut self, case: CaseId) -> Result<Vec<OrderForward>, StoreError> {
        const SQL: &str = "SELECT order_id, partner, sent_to, withdrawn FROM order_forwards WHERE case_id = $1 \
             ORDER BY order_id, partner";
        let case = case.to_string();
        let rows: Vec<(String, String, i64, i64)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&case).fetch_all(&mut **c).await)?;
        rows.into_iter()
            .map(|(order, name, sent_to, withdrawn)| {
                let order = order.parse().map_err(|_| StoreError::Unreadable { what: "order id" })?;
                Ok(OrderForward { order, partner: partner(&name)?, sent_to, withdrawn: withdrawn != 0 })
            })
            .collect()
    }

    /// # Errors
    /// When the database fails.
    pub async fn save_order_forward(&mut self, case: CaseId, forward: &OrderForward) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO order_forwards (case_id, order_id, partner, sent_to, withdrawn) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (case_id, order_id, partner) \
             DO UPDATE SET sent_to = excluded.sent_to, withdrawn = excluded.withdrawn";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .bind(forward.order.to_string())
            .bind(forward.partner.as_str())
            .bind(forward.sent_to)
            .bind(i64::from(forward.withdrawn))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The orders joined to a case, in the order they were joined.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_joined(&mut self, case: CaseId) -> Result<Vec<OrderId>, StoreError> {
        const SQL: &str = "SELECT order_id FROM order_cases WHERE case_id = $1 ORDER BY joined_us, order_id LIMIT 500";
        let case = case.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&case).fetch_all(&mut **c).await)?;
        let unreadable = |_| StoreError::Unreadable { what: "order id" };
        rows.into_iter().map(|(id,)| id.parse().map_err(unreadable)).collect()
    }

    /// The messages about an order behind number `after`, in the order they were committed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order_messages_after(
        &mut self,
        order: OrderId,
        after: i64,
    ) -> Result<Vec<ReceivedOrderMessage>, StoreError> {
        const SQL: &str = "SELECT m.number, m.sequence, m.control, m.answer, m.received_us, c.content FROM order_messages m \
             JOIN order_contents c ON c.sha256 = m.sha256 AND c.received_us = m.received_us \
             WHERE m.order_id = $1 AND m.number > $2 ORDER BY m.number LIMIT 100";
        let order = order.to_string();
        let rows: Vec<(i64, i64, String, String, i64, Vec<u8>)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&order).bind(after).fetch_all(&mut **c).await)?;
        Ok(rows
            .into_iter()
            .map(|(number, sequence, control, answer, received, content)| ReceivedOrderMessage {
                number,
                sequence: usize::try_from(sequence).unwrap_or(0),
                control,
                answer,
                received: Moment(received),
                content,
            })
            .collect())
    }
}

impl Store {
    /// What is to be sent for a delivery of the kind `message`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn case_message(&self, delivery: DeliveryId) -> Result<CaseMessage, StoreError> {
        const SQL: &str = "SELECT control_id, what, content FROM case_messages WHERE delivery_id = $1";
        let id = delivery.to_string();
        let found = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_optional(p).await)?;
        found.ok_or(StoreError::NotFound { what: "message of delivery", id })
    }
}
