//! Studies that are whole and with everybody who gets them, until those who want to know have been told.
//!
//! In: a case, in the transaction that finds that all of it has been delivered. Out: such cases, oldest first; one that has grown
//! since when nothing more has come for a while. Who wants to know, `worklist` sees.

use super::{CaseRow, Sql, Store, StoreError, Tx, UnreadableRow, cases::to_json, error::each, on_read, on_tx};
use crate::model::{CaseId, Moment, PartnerId};

macro_rules! note {
    ($has_a_new_receiver:literal) => {
        concat!(
            "INSERT INTO available_studies (case_id, noted_us, instances, receivers) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (case_id) DO UPDATE SET noted_us = excluded.noted_us, instances = excluded.instances, \
             receivers = excluded.receivers, told = 0, again = 1 WHERE available_studies.instances < excluded.instances OR ",
            $has_a_new_receiver
        )
    };
}

/// What is to be told, and its place among all.
pub type Available = ((Moment, String), Result<CaseId, UnreadableRow>);

impl Tx {
    /// The caller holds the case. One that is read where it came from has gone nowhere; one of which nothing is new stays told: that
    /// somebody is no longer to have it is no news.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn note_available(&mut self, case: &CaseRow, now: Moment) -> Result<(), StoreError> {
        const SQL: Sql = Sql {
            sqlite: note!(
                "EXISTS (SELECT 1 FROM json_each(excluded.receivers) AS n WHERE n.value NOT IN \
                 (SELECT b.value FROM json_each(available_studies.receivers) AS b))"
            ),
            postgres: note!("NOT available_studies.receivers::jsonb @> excluded.receivers::jsonb"),
        };
        let receivers = case.receivers();
        if !case.has_study || receivers.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = receivers.iter().map(PartnerId::as_str).collect();
        let (sql, names) = (self.pick(SQL), to_json(&names, "list of receivers")?);
        on_tx!(self, |c| sqlx::query(sql)
            .bind(case.id.to_string())
            .bind(now.0)
            .bind(case.instances)
            .bind(&names)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// It is being told. False: somebody else tells it, or it has become available anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_available(&mut self, case: CaseId, noted: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE available_studies SET told = 1 WHERE case_id = $1 AND noted_us = $2 AND told = 0";
        let id = case.to_string();
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(&id)
            .bind(noted.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }
}

impl Store {
    /// Cases of which nobody has been told, behind `after`, with the time at which they became available. What was told before only
    /// where nothing has come since `quiet_since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn available_studies(
        &self,
        quiet_since: Moment,
        after: Option<&(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Available>, StoreError> {
        const SQL: &str = "SELECT a.case_id, a.noted_us FROM available_studies a JOIN cases c ON c.id = a.case_id \
             WHERE a.told = 0 AND (a.again = 0 OR c.last_us <= $1) AND (a.noted_us, a.case_id) > ($2, $3) \
             ORDER BY a.noted_us, a.case_id LIMIT $4";
        let (noted, id) = after.map_or((i64::MIN, ""), |(noted, id)| (noted.0, id.as_str()));
        let rows: Vec<(String, i64)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(quiet_since.0)
            .bind(noted)
            .bind(id)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        let places: Vec<(Moment, String)> = rows.iter().map(|(id, noted)| (Moment(*noted), id.clone())).collect();
        let parse = |id: String| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" });
        Ok(places.into_iter().zip(each(rows.into_iter().map(|(id, _)| (id.clone(), id)), parse)).collect())
    }
}
