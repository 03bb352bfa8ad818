//! What hospitals tell of their patients: whose cases and orders it concerns, which identifiers were merged, and who has been
//! told.

use super::{
    OrderRow, StoreError, Tx,
    cases::{key, to_json},
    on_tx,
};
use crate::model::{CaseId, IssuedId, Moment, OrderId, PartnerId};

/// Cases or orders of a patient that are read at a time.
const PAGE: usize = 500;

/// A message about the patient of a case, for whoever sends it on.
#[derive(Clone, Debug)]
pub struct PatientMessage {
    pub received: Moment,
    pub sha256: String,
    /// Identifiers were merged.
    pub merge: bool,
    pub content: Vec<u8>,
}

impl Tx {
    /// The cases of this origin whose patient's identifier begins as this one does (see `key`), in the order of their ids,
    /// `most` of them: whoever asks compares the whole.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
        most: usize,
    ) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = "SELECT id FROM cases WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 AND id > $4 \
             ORDER BY id LIMIT $5";
        let ids = self.of_patient(SQL, origin, [&key(&patient.value), &key(&patient.issuer)], most).await?;
        ids.into_iter().map(|id| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }

    /// The same for orders, by the whole identifier.
    ///
    /// # Errors
    /// As above.
    pub async fn orders_of_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
        most: usize,
    ) -> Result<Vec<OrderId>, StoreError> {
        const SQL: &str = "SELECT id FROM orders WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 AND id > $4 \
             ORDER BY id LIMIT $5";
        let ids = self.of_patient(SQL, origin, [&patient.value, &patient.issuer], most).await?;
        ids.into_iter().map(|id| id.parse().map_err(|_| StoreError::Unreadable { what: "order id" })).collect()
    }

    /// Page by page.
    async fn of_patient(
        &mut self,
        sql: &'static str,
        origin: &PartnerId,
        patient: [&str; 2],
        most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let [value, issuer] = patient.map(super::plain);
        let mut ids: Vec<String> = Vec::new();
        while ids.len() < most {
            let after = ids.last().cloned().unwrap_or_default();
            let page = i64::try_from(PAGE.min(most - ids.len())).unwrap_or(1);
            let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(sql)
                .bind(origin.as_str())
                .bind(&value)
                .bind(&issuer)
                .bind(&after)
                .bind(page)
                .fetch_all(&mut **c)
                .await)?;
            if rows.is_empty() {
                break;
            }
            ids.extend(rows.into_iter().map(|(id,)| id));
        }
        Ok(ids)
    }

    /// Notes that an identifier has been merged into another one; what had been merged into it goes along.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn merge_patient(
        &mut self,
        origin: &PartnerId,
        old: &IssuedId,
        new: &IssuedId,
        now: Moment,
    ) -> Result<(), StoreError> {
        const ALONG: &str = "UPDATE patient_merges SET new_id = $4, new_issuer = $5 \
             WHERE origin = $1 AND new_id = $2 AND new_issuer = $3";
        const MERGE: &str = "INSERT INTO patient_merges (origin, old_id, old_issuer, new_id, new_issuer, merged_us) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (origin, old_id, old_issuer) \
             DO UPDATE SET new_id = excluded.new_id, new_issuer = excluded.new_issuer, merged_us = excluded.merged_us";
        // What survives now has not been merged into anything, whatever was said before.
        const SURVIVES: &str = "DELETE FROM patient_merges WHERE origin = $1 AND old_id = $2 AND old_issuer = $3";
        let origin = origin.as_str();
        on_tx!(self, |c| sqlx::query(SURVIVES)
            .bind(origin)
            .bind(&new.value)
            .bind(&new.issuer)
            .execute(&mut **c)
            .await
            .map(drop))?;
        on_tx!(self, |c| sqlx::query(ALONG)
            .bind(origin)
            .bind(&old.value)
            .bind(&old.issuer)
            .bind(&new.value)
            .bind(&new.issuer)
            .execute(&mut **c)
            .await
            .map(drop))?;
        on_tx!(self, |c| sqlx::query(MERGE)
            .bind(origin)
            .bind(&old.value)
            .bind(&old.issuer)
            .bind(&new.value)
            .bind(&new.issuer)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// What an identifier has been merged into; None: nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn surviving_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
    ) -> Result<Option<IssuedId>, StoreError> {
        const SQL: &str =
            "SELECT new_id, new_issuer FROM patient_merges WHERE origin = $1 AND old_id = $2 AND old_issuer = $3";
        let (value, issuer) = (super::plain(&patient.value), super::plain(&patient.issuer));
        let found: Option<(String, String)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(&value)
            .bind(&issuer)
            .fetch_optional(&mut **c)
            .await)?;
        Ok(found.map(|(value, issuer)| IssuedId::new(value, issuer)))
    }

    /// Writes what is known of an order's patient anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_patient_of_order(&mut self, order: &OrderRow) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE orders SET patient_id = $2, patient_issuer = $3, facts = $4, changed_us = $5 WHERE id = $1";
        let facts = to_json(&order.facts, "order")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(order.id.to_string())
            .bind(&order.patient.value)
            .bind(&order.patient.issuer)
            .bind(facts)
            .bind(order.changed.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.save_patient_of_steps(order).await
    }

    /// Keeps the message itself, once for all the cases it concerns.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_patient_content(
        &mut self,
        sha256: &str,
        received: Moment,
        content: &[u8],
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO order_contents (sha256, received_us, content) VALUES ($1, $2, $3) \
             ON CONFLICT (sha256, received_us) DO NOTHING";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(sha256)
            .bind(received.0)
            .bind(content)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Keeps that the readers of a case are to get a message about its patient.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_patient_message(
        &mut self,
        case: CaseId,
        received: Moment,
        sha256: &str,
        merge: bool,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO patient_messages (case_id, received_us, sha256, merge) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (case_id, received_us, sha256) DO NOTHING";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .bind(received.0)
            .bind(sha256)
            .bind(i64::from(merge))
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.note_order_news(case, true).await
    }

    /// The newest messages about the patient of a case, the oldest of them first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn patient_messages(&mut self, case: CaseId) -> Result<Vec<PatientMessage>, StoreError> {
        const SQL: &str = "SELECT m.received_us, m.sha256, m.merge, c.content FROM patient_messages m \
             JOIN order_contents c ON c.sha256 = m.sha256 AND c.received_us = m.received_us \
             WHERE m.case_id = $1 ORDER BY m.received_us DESC, m.sha256 LIMIT 100";
        let case = case.to_string();
        let rows: Vec<(i64, String, i64, Vec<u8>)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&case).fetch_all(&mut **c).await)?;
        let read = |(received, sha256, merge, content)| PatientMessage {
            received: Moment(received),
            sha256,
            merge: merge != 0,
            content,
        };
        Ok(rows.into_iter().rev().map(read).collect())
    }

    /// Notes that a partner is owed a message about a patient. False: it has been owed it for another case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn patient_message_goes_to(
        &mut self,
        partner: &PartnerId,
        message: &PatientMessage,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO patient_messages_sent (partner, received_us, sha256) VALUES ($1, $2, $3) \
             ON CONFLICT (partner, received_us, sha256) DO NOTHING";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(partner.as_str())
            .bind(message.received.0)
            .bind(&message.sha256)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }
}
