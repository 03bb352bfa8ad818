//! The story of a case: what happened, when, by whom. Texts carry no patient data.

use super::{Store, StoreError, Tx, on_read, on_tx};
use crate::model::{CaseId, Moment};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Moment,
    pub actor: String,
    pub what: String,
}

impl Tx {
    /// Adds a line to the case's story.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell(&mut self, case: CaseId, at: Moment, actor: &str, what: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO events (case_id, at_us, actor, what) VALUES ($1, $2, $3, $4)";
        let id = case.to_string();
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(id)
            .bind(at.0)
            .bind(actor)
            .bind(super::plain(what))
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }
}

impl Tx {
    /// Whether a line is in the case's story already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_told(&mut self, case: CaseId, what: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM events WHERE case_id = $1 AND what = $2";
        let id = case.to_string();
        let (count,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).bind(super::plain(what)).fetch_one(&mut **c).await)?;
        Ok(count > 0)
    }
}

impl Store {
    /// The case's story, oldest first, with who fetched its images by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn story(&self, case: CaseId) -> Result<Vec<Event>, StoreError> {
        const SQL: &str = "SELECT at_us, actor, what FROM events WHERE case_id = $1 ORDER BY id";
        let id = case.to_string();
        let rows: Vec<(i64, String, String)> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        let told = rows.into_iter().map(|(at, actor, what)| Event { at: Moment(at), actor, what });
        Ok(by_time(told, self.fetched(case).await?))
    }

    /// The newest of them.
    async fn fetched(&self, case: CaseId) -> Result<Vec<Event>, StoreError> {
        const SQL: &str = "SELECT partner, way, at_us, requests, images FROM retrievals WHERE case_id = $1 \
             ORDER BY at_us DESC, partner, way LIMIT 1000";
        let id = case.to_string();
        let rows: Vec<(String, String, i64, i64, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        let event = |(partner, way, at, requests, images): (String, String, i64, i64, i64)| {
            let times = if requests == 1 { String::new() } else { format!(" with {requests} requests") };
            let images = if images == 1 { "1 image".to_owned() } else { format!("{images} images") };
            let what = format!("{partner} asked for {images} by {way}{times}");
            Event { at: Moment(at), actor: "retrieval".to_owned(), what }
        };
        Ok(rows.into_iter().rev().map(event).collect())
    }
}

/// What was told keeps its order; what was fetched stands before what was told later.
fn by_time(told: impl Iterator<Item = Event>, fetched: Vec<Event>) -> Vec<Event> {
    let (mut story, mut fetched) = (Vec::new(), fetched.into_iter().peekable());
    for event in told {
        while let Some(earlier) = fetched.next_if(|fetched| fetched.at < event.at) {
            story.push(earlier);
        }
        story.push(event);
    }
    story.extend(fetched);
    story
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_stands_where_its_time_is() {
        let event = |at, what: &str| Event { at: Moment(at), actor: String::new(), what: what.into() };
        // A clock that was set back does not change the order of what was told.
        let told = [event(10, "a"), event(30, "b"), event(20, "c")];
        let fetched = vec![event(5, "1"), event(10, "2"), event(25, "3"), event(40, "4")];
        let story = by_time(told.into_iter(), fetched);
        let words: Vec<&str> = story.iter().map(|event| event.what.as_str()).collect();
        assert_eq!(words.join(""), "1a23bc4");
    }
}
