//! Reports that have not come when they were due.
//!
//! A deadline is an instant, counted from the first image (or from a release by a person): no change of the clocks moves
//! it. The first report, preliminary or final, ends it. Whoever says that the reading is done while the final report is not there
//! owes that one soon.

use super::{CaseRow, Store, StoreError, Tx, on_read, on_tx};
use crate::model::{CaseId, CaseState, Moment, OrderState, PartnerId};
use std::time::Duration;

/// How a late report is called among the reasons for a person to look.
const LATE: &str = "no report from ";
/// How long the final report of what is said to be read may take where the rule's own time does not run (any more): it was sent before,
/// or is on its way.
const AFTER_READING: Duration = Duration::from_secs(2 * 3600);

/// Whether the orders of a case still want a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    /// All of its orders that go on are on hold.
    NotNow,
    /// All of its orders have been taken back.
    No,
}

impl CaseRow {
    /// Who owes a report by when. What the origin reads itself does not come by this node.
    pub fn report_awaited(&self) -> Option<(&PartnerId, Moment)> {
        // After a preliminary report a final one is due only where the reading is said to be done.
        let waits = matches!(self.state, CaseState::Routed | CaseState::Delivered | CaseState::Preliminary);
        let reader = self.reader.as_ref().filter(|reader| waits && **reader != self.origin)?;
        Some((reader, self.report_due?))
    }

    /// Its reader has completed its task, and the final report is not there: it is due by the rule, or soon. What the origin reads
    /// itself does not come by this node.
    pub fn await_report_of_what_is_read(&mut self, now: Moment) {
        let waits = matches!(self.state, CaseState::Routed | CaseState::Delivered | CaseState::Preliminary);
        if waits && self.report_due.is_none() && self.reader.as_ref() != Some(&self.origin) {
            self.report_due = Some(now + AFTER_READING);
        }
    }

    /// A person has released it: its reader has as long as the rule gives, from now on.
    pub fn await_report(&mut self, from: Moment) {
        self.report_due = self.reading().and_then(|reading| reading.report_within).map(|within| from + within);
    }

    /// The first report has come: it is late no more.
    pub fn report_came(&mut self) {
        self.report_due = None;
        self.keep_reasons(|reason| !reason.starts_with(LATE));
        self.is_claimed_now();
    }

    /// A person has seen to everything but a report that is late: only the report itself mends that.
    pub fn all_seen_but_late(&mut self) {
        self.keep_reasons(|reason| reason.starts_with(LATE));
    }

    pub(super) fn keep_reasons(&mut self, keep: impl Fn(&str) -> bool) {
        let kept: Vec<&str> = self.attention.split("; ").filter(|reason| keep(reason)).collect();
        self.attention = kept.join("; ");
    }

    /// What a person reads when the report of this reader is late; `is_read`: it has completed its task.
    pub fn late_report(&self, reader: &PartnerId, is_read: bool) -> String {
        if is_read {
            let what = if self.state == CaseState::Preliminary { " beyond a preliminary one" } else { "" };
            return format!("{LATE}{reader}{what}, though it has completed its reading");
        }
        let within = self.reading().and_then(|reading| reading.report_within);
        let within = within.map_or_else(|| "its deadline".to_owned(), spoken);
        format!("{LATE}{reader} within {within} (report_within)")
    }
}

/// `45 min`, `2 h`, `2 h 30 min`, `90 s`.
pub fn spoken(span: Duration) -> String {
    let (hours, minutes, seconds) = (span.as_secs() / 3600, span.as_secs() / 60 % 60, span.as_secs() % 60);
    match (hours, minutes, seconds) {
        (_, _, 1..) => format!("{} s", span.as_secs()),
        (0, minutes, 0) => format!("{minutes} min"),
        (hours, 0, 0) => format!("{hours} h"),
        (hours, minutes, 0) => format!("{hours} h {minutes} min"),
    }
}

impl Store {
    /// Cases whose report is due by now, longest due first, those behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reports_due(
        &self,
        now: Moment,
        after: Option<(Moment, CaseId)>,
        limit: i64,
    ) -> Result<Vec<(Moment, CaseId)>, StoreError> {
        // With the condition of the partial index `cases_by_report_due`, word for word.
        const SQL: &str = "SELECT report_due_us, id FROM cases WHERE report_due_us IS NOT NULL AND report_due_us <= $1 \
             AND (report_due_us, id) > ($2, $3) ORDER BY report_due_us, id LIMIT $4";
        let (due, id) = after.map_or((i64::MIN, String::new()), |(due, id)| (due.0, id.to_string()));
        let rows: Vec<(i64, String)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).bind(due).bind(&id).bind(limit).fetch_all(p).await)?;
        let read = |id: &str| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" });
        rows.into_iter().map(|(due, id)| Ok((Moment(due), read(&id)?))).collect()
    }
}

impl Tx {
    /// Whether the case's orders still want a report. A case without orders does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_wanted(&mut self, case: CaseId) -> Result<Wanted, StoreError> {
        const SQL: &str =
            "SELECT DISTINCT o.state FROM order_cases oc JOIN orders o ON o.id = oc.order_id WHERE oc.case_id = $1";
        let id = case.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        let states: Vec<OrderState> = rows.iter().filter_map(|(state,)| OrderState::parse(state)).collect();
        Ok(wanted(&states))
    }
}

fn wanted(states: &[OrderState]) -> Wanted {
    // What was broken off has images that somebody reads.
    let ended = |state: &OrderState| matches!(state, OrderState::Cancelled | OrderState::Replaced);
    let mut going_on = states.iter().filter(|state| !ended(state));
    let ended_all = !states.is_empty() && states.iter().all(ended);
    let on_hold = going_on.next().is_some_and(|first| *first == OrderState::OnHold)
        && going_on.all(|state| *state == OrderState::OnHold);
    if ended_all {
        Wanted::No
    } else if on_hold {
        Wanted::NotNow
    } else {
        Wanted::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_as_people_say_it() {
        let said = [45 * 60, 7200, 9000, 90, 3600 + 60].map(|secs| spoken(Duration::from_secs(secs)));
        assert_eq!(said, ["45 min", "2 h", "2 h 30 min", "90 s", "1 h 1 min"]);
    }

    #[test]
    fn no_report_is_wanted_of_what_was_taken_back() {
        use OrderState as S;
        assert_eq!(wanted(&[]), Wanted::Yes);
        assert_eq!(wanted(&[S::Open]), Wanted::Yes);
        assert_eq!(wanted(&[S::Completed, S::Cancelled]), Wanted::Yes);
        assert_eq!(wanted(&[S::Cancelled, S::Replaced]), Wanted::No);
        assert_eq!(wanted(&[S::Cancelled, S::Discontinued]), Wanted::Yes);
        assert_eq!(wanted(&[S::OnHold, S::Cancelled]), Wanted::NotNow);
        assert_eq!(wanted(&[S::OnHold, S::Open]), Wanted::Yes);
    }
}
