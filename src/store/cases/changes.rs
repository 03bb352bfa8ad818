//! What is written of cases: a new one, what has changed of it, and what is marked on it by itself.
//!
//! In: a case as its caller, who holds it, has changed it; or its id and the one thing to be marked. Out: the row, and with
//! the facts of its study the rows it is found by (`views`).
//!
//! Does not hold a case, and does not look for any.

use super::{CaseRow, key, to_json, to_word};
use crate::{
    model::{CaseEvent, CaseId, CaseState, Moment, PartnerId, Uid},
    store::{StoreError, Tx, on_tx, plain},
};

impl Tx {
    /// Adds a case. False if another node has just added one for the same study: read that one instead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_case(&mut self, case: &CaseRow) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, \
             facts, patient_id, patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention, has_study, report_due_us, waits_until_us, \
             searchable) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
             $23, $24, $25, $26, $27, 1) \
             ON CONFLICT (origin, study_uid) DO NOTHING";
        self.concerns_a_case = true;
        let facts = to_json(&case.facts, "study header")?;
        let decision = case.decision.as_ref().map(|decision| to_json(decision, "decision")).transpose()?;
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(case.origin.as_str())
            .bind(case.study.as_str())
            .bind(case.state.as_str())
            .bind(to_word(case.discipline))
            .bind(to_word(case.priority))
            .bind(&case.calling_ae)
            .bind(&case.called_ae)
            .bind(facts)
            .bind(key(&case.facts.patient_id.value))
            .bind(key(&case.facts.patient_id.issuer))
            .bind(key(&case.facts.accession.value))
            .bind(key(&case.facts.accession.issuer))
            .bind(key(&case.facts.placer_order_number))
            .bind(key(&case.facts.filler_order_number))
            .bind(case.instances)
            .bind(case.bytes)
            .bind(case.routed_to)
            .bind(case.first.0)
            .bind(case.last.0)
            .bind(case.whole.map(|at| at.0))
            .bind(decision)
            .bind(case.reader.as_ref().map(PartnerId::as_str))
            .bind(&case.attention)
            .bind(i64::from(case.has_study))
            .bind(case.report_due.map(|at| at.0))
            .bind(case.waits_until.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Writes what can change of a case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_case(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET state = $2, priority = $3, instances = $4, bytes = $5, routed_to = $6, \
             last_us = $7, whole_us = $8, decision = $9, reader = $10, attention = $11, report_due_us = $12, waits_until_us = $13, \
             purged_us = CASE WHEN instances < $4 THEN NULL ELSE purged_us END WHERE id = $1";
        let decision = case.decision.as_ref().map(|decision| to_json(decision, "decision")).transpose()?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(case.state.as_str())
            .bind(to_word(case.priority))
            .bind(case.instances)
            .bind(case.bytes)
            .bind(case.routed_to)
            .bind(case.last.0)
            .bind(case.whole.map(|at| at.0))
            .bind(decision)
            .bind(case.reader.as_ref().map(PartnerId::as_str))
            .bind(&case.attention)
            .bind(case.report_due.map(|at| at.0))
            .bind(case.waits_until.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Writes what is known of a case's study anew: what its first instance did not say, a later one may.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_facts(&mut self, case: &CaseRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET facts = $2, patient_id = $3, patient_issuer = $4, accession = $5, \
             accession_issuer = $6, placer_order = $7, filler_order = $8 WHERE id = $1";
        let facts = to_json(&case.facts, "study header")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.id.to_string())
            .bind(facts)
            .bind(key(&case.facts.patient_id.value))
            .bind(key(&case.facts.patient_id.issuer))
            .bind(key(&case.facts.accession.value))
            .bind(key(&case.facts.accession.issuer))
            .bind(key(&case.facts.placer_order_number))
            .bind(key(&case.facts.filler_order_number))
            .execute(&mut **c)
            .await
            .map(drop))?;
        self.save_views(case).await?;
        Ok(())
    }

    /// Moves a case on when it is whole, all of it has been made owed, and all that was owed has arrived. The caller
    /// saves the case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_if_all_delivered(&mut self, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
        let waiting = matches!(case.state, CaseState::Routed | CaseState::Preliminary | CaseState::Reported);
        if !waiting || case.whole.is_none() || case.routed_to < case.instances {
            return Ok(false);
        }
        if self.images_not_delivered(case.id).await? > 0 {
            return Ok(false);
        }
        case.take(CaseEvent::AllDelivered)?;
        let read_on_site = case.reader.as_ref() == Some(&case.origin);
        let what = match (read_on_site, case.has_study) {
            (true, true) => "whole, read on site",
            (true, false) => "read on site",
            (false, true) => "whole, all images delivered",
            (false, false) => "its order has been delivered",
        };
        self.tell(case.id, now, "delivery", what).await?;
        self.note_available(case, now).await?;
        Ok(true)
    }

    /// A study has come for a case that was begun by its order: from now on it is the case of this study, which came by
    /// these AE titles.
    ///
    /// # Errors
    /// When the database fails, or another case has that study.
    pub async fn adopt_study(
        &mut self,
        case: CaseId,
        study: &Uid,
        calling_ae: &str,
        called_ae: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET study_uid = $2, has_study = 1, calling_ae = $3, called_ae = $4 \
             WHERE id = $1 AND has_study = 0";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .bind(study.as_str())
            .bind(calling_ae)
            .bind(called_ae)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Something about its orders has come that its readers do not know yet (`true`), or they have been made owed it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_order_news(&mut self, case: CaseId, is_news: bool) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE cases SET order_news = $2 WHERE id = $1";
        let news = i64::from(is_news);
        on_tx!(self, |c| sqlx::query(SQL).bind(case.to_string()).bind(news).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Takes the mark off a case that something about its orders has come. False: there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_order_news(&mut self, case: CaseId) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE cases SET order_news = 0 WHERE id = $1 AND order_news = 1";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(case.to_string())
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Writes on a case that a person should look, without reading the rest of it: it may be the rest that cannot be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_for_a_person(&mut self, id: CaseId, reason: &str) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE cases SET attention = CASE WHEN attention = '' THEN $2 ELSE attention || '; ' || $2 END \
             WHERE id = $1 AND attention NOT LIKE '%' || $2 || '%'";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(plain(reason))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }
}
