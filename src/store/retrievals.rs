//! What partners fetched by themselves: one row for each case a request meant, however many instances it named.
//!
//! In: who, which case, by which service, when, how much. Out: nothing here: `events` tells it with the story of the case,
//! `disclosures` with what else has left for the partner.

use super::{Sql, StoreError, Tx, cases::to_json, on_tx};
use crate::model::{CaseId, Moment, PartnerId};
use serde::Serialize;

/// Images of one case that a partner asked for. What is noted again for the same moment is added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retrieval {
    pub case: CaseId,
    pub partner: PartnerId,
    /// `C-GET`, `C-MOVE` or `DICOMweb`.
    pub by: &'static str,
    /// Of the first request.
    pub at: Moment,
    pub requests: i64,
    pub images: i64,
}

#[derive(Serialize)]
struct Row<'a> {
    case_id: String,
    partner: &'a str,
    by: &'static str,
    at_us: i64,
    requests: i64,
    images: i64,
}

macro_rules! note {
    ($from:literal) => {
        concat!(
            "INSERT INTO retrievals (case_id, partner, way, at_us, requests, images) ",
            $from,
            " ON CONFLICT (case_id, partner, way, at_us) DO UPDATE SET requests = retrievals.requests + excluded.requests, \
             images = retrievals.images + excluded.images"
        )
    };
}
const NOTE: Sql = Sql {
    sqlite: note!(
        "SELECT value ->> 'case_id', value ->> 'partner', value ->> 'by', value ->> 'at_us', value ->> 'requests', \
         value ->> 'images' FROM json_each($1) WHERE true"
    ),
    postgres: note!(
        "SELECT case_id, partner, \"by\", at_us, requests, images FROM jsonb_to_recordset($1::jsonb) \
         AS r (case_id text, partner text, \"by\" text, at_us bigint, requests bigint, images bigint)"
    ),
};

impl Tx {
    /// Notes what is about to leave. No two of them are of one case, partner, service and moment. Holds no case: one statement
    /// for all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_retrievals(&mut self, retrievals: &[Retrieval]) -> Result<(), StoreError> {
        let mut ordered: Vec<&Retrieval> = retrievals.iter().collect();
        ordered.sort();
        let rows = ordered.iter().map(|one| Row {
            case_id: one.case.to_string(),
            partner: one.partner.as_str(),
            by: one.by,
            at_us: one.at.0,
            requests: one.requests,
            images: one.images,
        });
        let rows: Vec<Row<'_>> = rows.collect();
        let (sql, list) = (self.pick(NOTE), to_json(&rows, "list of retrievals")?);
        on_tx!(self, |c| sqlx::query(sql).bind(&list).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}
