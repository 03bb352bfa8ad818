//! What the images of a case name of containers and specimens, so that an order that comes later finds them.

use super::{
    Store, StoreError, Tx,
    cases::MAX_ALIKE,
    on_read, on_tx,
    pages::{Behind, Page},
};
use crate::model::{CaseId, IssuedId, PartnerId};

impl Store {
    /// Cases that nobody has decided yet, because no rule names a reader or their order has not come, whose images name a
    /// specimen of another partner: in the order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_slides(&self, behind: &Behind, limit: i64) -> Result<Page<CaseId>, StoreError> {
        const SQL: &str = "SELECT c.id FROM cases c WHERE c.state IN ('held', 'new') AND c.id > $1 AND c.has_study = 1 \
             AND ((c.state = 'held' AND c.attention <> '') OR c.waits_until_us IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.case_id = c.id) \
             AND EXISTS (SELECT 1 FROM case_specimens n WHERE n.case_id = c.id AND (\
             EXISTS (SELECT 1 FROM specimens s WHERE s.placer = n.value AND s.placer <> '' \
             AND s.placer_issuer = n.issuer AND s.origin <> c.origin) \
             OR EXISTS (SELECT 1 FROM specimens s WHERE s.filler = n.value AND s.filler <> '' \
             AND s.filler_issuer = n.issuer AND s.origin <> c.origin) \
             OR EXISTS (SELECT 1 FROM specimen_containers sc JOIN specimens s ON s.id = sc.specimen_id \
             WHERE sc.value = n.value AND sc.issuer = n.issuer AND s.origin <> c.origin))) \
             ORDER BY c.id LIMIT $2";
        let rows: Vec<(String,)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(&behind.row).bind(limit).fetch_all(p).await)?;
        let read = |id: String| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" });
        Ok(Page::of(limit, rows.into_iter().map(|(id,)| (Behind::row(&id), id)).collect(), read))
    }
}

impl Tx {
    /// Notes what the images of a case name; what is known already stays.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_case_specimens(
        &mut self,
        case: CaseId,
        origin: &PartnerId,
        specimens: &[IssuedId],
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO case_specimens (case_id, origin, value, issuer) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (case_id, value, issuer) DO NOTHING";
        for id in specimens {
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(case.to_string())
                .bind(origin.as_str())
                .bind(super::plain(&id.value))
                .bind(super::plain(&id.issuer))
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(())
    }

    /// Cases of this origin whose images name this container or specimen; none where so many do that it names nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_that_name(
        &mut self,
        origin: &PartnerId,
        specimen: &IssuedId,
    ) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = "SELECT case_id FROM case_specimens WHERE origin = $1 AND value = $2 AND issuer = $3 \
             ORDER BY case_id LIMIT 65";
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(super::plain(&specimen.value))
            .bind(super::plain(&specimen.issuer))
            .fetch_all(&mut **c)
            .await)?;
        if rows.len() > MAX_ALIKE {
            return Ok(Vec::new());
        }
        rows.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }
}
