//! What hospitals tell of their patients: whose cases and orders it concerns, which identifiers were merged, and who has been
//! told.

use super::{
    OrderRow, Store, StoreError, Tx,
    cases::{key, partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, IssuedId, Moment, OrderId, PartnerId};
use std::str::FromStr;

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

/// A case or an order of a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfPatient<I> {
    pub id: I,
    /// A case without its final report, whose images have not been given up; an order that is to be carried out.
    pub is_open: bool,
}

/// News of a patient that are still to reach what is closed.
#[derive(Clone, Debug)]
pub struct PatientNewsRow {
    pub id: String,
    pub origin: PartnerId,
    pub received: Moment,
    pub sha256: String,
    /// As `intake` writes it. Patient data.
    pub news: String,
    /// Which of its lists is gone through, and the last id in it.
    pub list: usize,
    pub after: String,
}

impl Tx {
    /// News that are to be gone on with.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_patient_news(&mut self, news: &PatientNewsRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO patient_news (id, origin, received_us, sha256, news, list, after_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET list = excluded.list, \
             after_id = excluded.after_id";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(&news.id)
            .bind(news.origin.as_str())
            .bind(news.received.0)
            .bind(&news.sha256)
            .bind(&news.news)
            .bind(i64::try_from(news.list).unwrap_or(i64::MAX))
            .bind(&news.after)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// They have reached everything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_patient_news(&mut self, id: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM patient_news WHERE id = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(id).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The oldest news of this origin that are to be gone on with.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_patient_news(&mut self, origin: &PartnerId) -> Result<Option<PatientNewsRow>, StoreError> {
        const SQL: &str = "SELECT id, received_us, sha256, news, list, after_id FROM patient_news WHERE origin = $1 \
             ORDER BY id LIMIT 1";
        let row: Option<(String, i64, String, String, i64, String)> =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(origin.as_str()).fetch_optional(&mut **c).await)?;
        Ok(row.map(|(id, received, sha256, news, list, after)| PatientNewsRow {
            id,
            origin: origin.clone(),
            received: Moment(received),
            sha256,
            news,
            list: usize::try_from(list).unwrap_or(usize::MAX),
            after,
        }))
    }

    /// Whether later news than these have reached a case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_later_news(&mut self, case: CaseId, than: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM patient_messages WHERE case_id = $1 AND received_us > $2";
        let case = case.to_string();
        let (count,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&case).bind(than.0).fetch_one(&mut **c).await)?;
        Ok(count > 0)
    }
    /// The cases of this origin whose patient's identifier begins as this one does (see `key`), in the order of their ids,
    /// `most` of them behind `after`: whoever asks compares the whole.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
        after: &str,
        most: usize,
    ) -> Result<Vec<OfPatient<CaseId>>, StoreError> {
        const SQL: &str = "SELECT id, CASE WHEN state <> 'reported' AND purged_us IS NULL THEN 1 ELSE 0 END FROM cases \
             WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 AND id > $4 ORDER BY id LIMIT $5";
        self.of_patient(SQL, origin, [&key(&patient.value), &key(&patient.issuer)], after, most).await
    }

    /// The same for orders, by the whole identifier.
    ///
    /// # Errors
    /// As above.
    pub async fn orders_of_patient(
        &mut self,
        origin: &PartnerId,
        patient: &IssuedId,
        after: &str,
        most: usize,
    ) -> Result<Vec<OfPatient<OrderId>>, StoreError> {
        const SQL: &str = "SELECT id, CASE WHEN state IN ('open', 'on_hold') THEN 1 ELSE 0 END FROM orders \
             WHERE origin = $1 AND patient_id = $2 AND patient_issuer = $3 AND id > $4 ORDER BY id LIMIT $5";
        self.of_patient(SQL, origin, [&patient.value, &patient.issuer], after, most).await
    }

    /// Page by page.
    async fn of_patient<I: FromStr>(
        &mut self,
        sql: &'static str,
        origin: &PartnerId,
        patient: [&str; 2],
        after: &str,
        most: usize,
    ) -> Result<Vec<OfPatient<I>>, StoreError> {
        let [value, issuer] = patient.map(super::plain);
        let (mut found, mut after) = (Vec::new(), after.to_owned());
        while found.len() < most {
            let page = i64::try_from(PAGE.min(most - found.len())).unwrap_or(1);
            let rows: Vec<(String, i32)> = on_tx!(self, |c| sqlx::query_as(sql)
                .bind(origin.as_str())
                .bind(&value)
                .bind(&issuer)
                .bind(&after)
                .bind(page)
                .fetch_all(&mut **c)
                .await)?;
            let Some((last, _)) = rows.last() else { break };
            after.clone_from(last);
            let is_last = i64::try_from(rows.len()).unwrap_or(0) < page;
            for (id, is_open) in rows {
                let id = id.parse().map_err(|_| StoreError::Unreadable { what: "id of a patient's case or order" })?;
                found.push(OfPatient { id, is_open: is_open != 0 });
            }
            if is_last {
                break;
            }
        }
        Ok(found)
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

impl Store {
    /// Whose news are to be gone on with.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn origins_with_patient_news(&self) -> Result<Vec<PartnerId>, StoreError> {
        const SQL: &str = "SELECT DISTINCT origin FROM patient_news ORDER BY origin";
        let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        rows.iter().map(|(origin,)| partner(origin)).collect()
    }
}
