//! Puts a case before a person when its report has not come by its deadline.
//!
//! In: cases whose report is due, from the index. Out: the reason on the case and in its story, once, and the deadline
//! taken off. Not told: what a person holds, what the origin reads itself, what was reported or taken back meanwhile.

use super::Escalation;
use crate::{
    model::{Aside, CaseId, Moment, PartnerId, TaskState, chain},
    store::{Durability, StoreError, Wanted},
};

const BATCH: i64 = 200;
/// Who tells, in the story.
const ACTOR: &str = "escalation";

enum Found {
    Late(PartnerId),
    /// Its order is on hold.
    NotNow,
    InOrder,
}

pub(super) async fn look(desk: &Escalation, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
    let now = desk.clock.now();
    let mut after = None;
    loop {
        let due = desk.store.reports_due(now, after, BATCH).await?;
        for (_, id) in due.iter().filter(|(_, id)| !aside.waits(id)).copied().collect::<Vec<_>>() {
            match tell_late(desk, id, now).await {
                Ok(Found::Late(reader)) => {
                    metrics::counter!("neisse_reports_late_total", "partner" => reader.to_string()).increment(1);
                }
                // Looked at again after growing waits: the order may be released.
                Ok(Found::NotNow) => _ = aside.failed(id),
                Ok(Found::InOrder) => {}
                Err(error) if error.is_about_one() => put_aside(desk, id, &error, aside).await?,
                Err(error) => return Err(error),
            }
        }
        match due.last() {
            Some(last) if due.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX) => after = Some(*last),
            _ => return Ok(()),
        }
    }
}

/// One that cannot be read is told of all the same, and keeps no other from it.
async fn put_aside(
    desk: &Escalation,
    id: CaseId,
    error: &StoreError,
    aside: &mut Aside<CaseId>,
) -> Result<(), StoreError> {
    aside.failed(id);
    tracing::error!(case.id = %id, error = %chain(error), "Case {id} cannot be read to see whether its report is late; the others go on");
    let mut tx = desk.store.begin(Durability::Process).await?;
    tx.mark_for_a_person(id, "its report is late, and it cannot be read: see the log").await?;
    tx.commit().await
}

async fn tell_late(desk: &Escalation, id: CaseId, now: Moment) -> Result<Found, StoreError> {
    let mut tx = desk.store.begin(Durability::Process).await?;
    let mut case = tx.case(id).await?;
    // A report may have come, or a person have acted, since the look.
    if case.report_due.is_none_or(|due| due > now) {
        return Ok(Found::InOrder);
    }
    let wanted = tx.report_wanted(id).await?;
    let found = match case.report_awaited().map(|(reader, _)| reader.clone()) {
        Some(_) if wanted == Wanted::NotNow => return Ok(Found::NotNow),
        Some(reader) if wanted == Wanted::Yes => {
            let done = tx.last_task(id, &reader).await?;
            let is_read = done.is_some_and(|task| task.state == TaskState::Completed);
            let reason = case.late_report(&reader, is_read);
            case.needs_a_person(&reason);
            tx.tell(id, now, ACTOR, &reason).await?;
            Found::Late(reader)
        }
        Some(_) => {
            tx.tell(id, now, ACTOR, "no report is due any more: its order was taken back").await?;
            Found::InOrder
        }
        None => Found::InOrder,
    };
    case.report_due = None;
    tx.save_case(&case).await?;
    tx.commit().await?;
    Ok(found)
}
