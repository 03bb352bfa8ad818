//! What the images of a case name of containers and specimens, so that an order that comes later finds them.

use super::{StoreError, Tx, cases::MAX_ALIKE, on_tx};
use crate::model::{CaseId, IssuedId, PartnerId};

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
