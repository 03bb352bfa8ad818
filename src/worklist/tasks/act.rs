//! What performers and requesters do with a task: claim, finish, note progress, ask that it be canceled.
//!
//! What may be done is `model::task`'s table. The case is held before its task is touched, so that what a case does and what
//! its performer does come one after the other. Everything is durable before it is answered, and told in the case's story.

use super::{
    Tasks,
    attributes::{SETTABLE, first_item},
    copied, done, events, failed, refused, request_said, text,
};
use crate::{
    dicom::{
        service::{Asker, DataSet, Done, Refusal, Target},
        ups,
    },
    model::{
        TaskEvent, TaskKey, TaskMove, TaskRefusal, TaskState, Uid,
        task::{self, CancelRequest},
    },
    store::{Durability, NewClaim, StoreError, TaskRow, Tx},
};
use dicom_dictionary_std::tags;

/// Of what a performer sets, as DICOM JSON.
const MAX_SET_BYTES: usize = 64 << 10;
/// Who tells it in the case's story.
const ACTOR: &str = "worklist";

/// N-ACTION type 1 (PS3.4 CC.2.1).
pub(super) async fn change_state(
    tasks: &Tasks,
    asker: &Asker,
    target: &Target,
    information: &DataSet,
) -> Result<Done, Refusal> {
    let seen = tasks.to_read(asker, target).await?;
    let wanted = text(information, tags::PROCEDURE_STEP_STATE);
    let wanted = TaskState::parse(&wanted).ok_or(Refusal {
        element: Some(tags::PROCEDURE_STEP_STATE),
        ..Refusal::new(0x0115, "Invalid argument value")
    })?;
    let given = text(information, tags::TRANSACTION_UID);
    if !given.is_empty() && Uid::new(&given).is_err() {
        let element = Some(tags::TRANSACTION_UID);
        return Err(Refusal { element, ..Refusal::new(0x0115, "Invalid argument value") });
    }
    // Whoever comes late is told so without waiting for those before: nothing that is refused now would be granted later.
    may_move(&seen, wanted, &given).map_err(refused)?;
    let outcome = moved(tasks, asker, &seen, wanted, &given).await.map_err(|error| failed(&error))?;
    let moved = outcome.map_err(refused)?;
    tasks.bell.ring();
    let label = wanted.as_str();
    metrics::counter!("neisse_tasks_moved_total", "state" => label).increment(1);
    Ok(done(moved.status(), seen.uid))
}

fn may_move(task: &TaskRow, wanted: TaskState, given: &str) -> Result<TaskMove, TaskRefusal> {
    let key = TaskKey::of(given, &task.transaction);
    task::change_state(task.state, wanted, key, is_final_state_met(task, wanted))
}

async fn moved(
    tasks: &Tasks,
    asker: &Asker,
    seen: &TaskRow,
    wanted: TaskState,
    given: &str,
) -> Result<Result<TaskMove, TaskRefusal>, StoreError> {
    let now = tasks.clock.now();
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    let mut case = tx.case(seen.case).await?;
    let Some(task) = tx.task(&seen.uid).await? else { return Ok(Err(TaskRefusal::Unknown)) };
    let moved = match may_move(&task, wanted, given) {
        Ok(TaskMove::To(state)) => state,
        other => return Ok(other),
    };
    let by = format!("{} ({})", asker.ae_title, asker.partner);
    let is_done = if moved == TaskState::InProgress {
        let lease = Some(tasks.lease(now));
        let claim = NewClaim { task: &task.uid, transaction: given, by: &asker.ae_title, lease, now };
        case.is_claimed_now();
        tx.save_case(&case).await?;
        tx.claim_task(claim).await?
    } else {
        tx.finish_task(&task, moved, now).await?
    };
    if !is_done {
        // Only who does not hold the case can have been quicker.
        return Ok(Err(TaskRefusal::AlreadyInProgress));
    }
    let what = match moved {
        TaskState::InProgress => format!("claimed by {by}"),
        TaskState::Completed => format!("its reading was completed by {by}"),
        TaskState::Canceled | TaskState::Scheduled => format!("its reading was canceled by {by}"),
    };
    tx.tell(task.case, now, ACTOR, &what).await?;
    match moved {
        TaskState::Canceled => tell_a_person(&mut tx, &task, now).await?,
        TaskState::Completed if case.reader.as_ref() == Some(&task.reader) => {
            case.await_report_of_what_is_read(now);
            tx.save_case(&case).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    Ok(Ok(TaskMove::To(moved)))
}

/// Who had claimed it will not read it: somebody must see that another does.
async fn tell_a_person(tx: &mut Tx, task: &TaskRow, now: crate::model::Moment) -> Result<(), StoreError> {
    let mut case = tx.case(task.case).await?;
    let reason = format!("{} has canceled its reading: release the case to another reader", task.reader);
    if case.reader.as_ref() == Some(&task.reader) && case.needs_a_person(&reason) {
        tx.tell(case.id, now, ACTOR, &reason).await?;
        tx.save_case(&case).await?;
    }
    Ok(())
}

/// PS3.4 CC.2.5.1.1. For CANCELED, what is missing is known here: when it was, and that no reason was given (its note says that
/// two N-ACTIONs are enough).
fn is_final_state_met(task: &TaskRow, wanted: TaskState) -> bool {
    if wanted != TaskState::Completed {
        return true;
    }
    let Some(set) = ups::parse(&task.attributes) else { return false };
    let performed = first_item(&set, tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE);
    let has_items = |tag| performed.get(tag).and_then(|element| element.items()).is_some_and(|items| !items.is_empty());
    let has_value = |tag| !text(&performed, tag).is_empty();
    has_items(tags::PERFORMED_STATION_NAME_CODE_SEQUENCE)
        && has_items(tags::PERFORMED_WORKITEM_CODE_SEQUENCE)
        && has_value(tags::PERFORMED_PROCEDURE_STEP_START_DATE_TIME)
        && has_value(tags::PERFORMED_PROCEDURE_STEP_END_DATE_TIME)
}

/// N-ACTION type 2 (PS3.4 CC.2.2).
pub(super) async fn request_cancel(
    tasks: &Tasks,
    asker: &Asker,
    target: &Target,
    information: &DataSet,
) -> Result<Done, Refusal> {
    let (seen, _) = tasks.seen(asker, target).await?;
    let said = ups::json(&request_said(information, &asker.ae_title));
    if said.len() > MAX_SET_BYTES {
        return Err(Refusal::new(0x0213, "Resource limitation"));
    }
    let asked = cancel_asked(tasks, asker, &seen, &said).await.map_err(|error| failed(&error))?;
    let status = if asked.map_err(refused)? == CancelRequest::Already { 0xB304 } else { 0x0000 };
    tasks.bell.ring();
    Ok(done(status, seen.uid))
}

async fn cancel_asked(
    tasks: &Tasks,
    asker: &Asker,
    seen: &TaskRow,
    said: &str,
) -> Result<Result<CancelRequest, TaskRefusal>, StoreError> {
    let now = tasks.clock.now();
    let hears = events::performer_hears(tasks, seen, now).await?;
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    let mut case = tx.case(seen.case).await?;
    let Some(task) = tx.task(&seen.uid).await? else { return Ok(Err(TaskRefusal::Unknown)) };
    let by = format!("{} ({})", asker.ae_title, asker.partner);
    match task::request_cancel(task.state, hears) {
        Ok(CancelRequest::Cancel) => {
            tx.add_task_event(&task.uid, TaskEvent::CancelRequested, said, now).await?;
            tx.cancel_task(&task, "canceled on request", now).await?;
            tx.tell(case.id, now, ACTOR, &format!("its reading was canceled on request of {by}")).await?;
            // The case itself goes on: whether anybody reads it now is a person's to say.
            let reason = format!("{by} has canceled its reading: hold the case, or release it to a reader");
            if case.reader.as_ref() == Some(&task.reader) && case.needs_a_person(&reason) {
                tx.save_case(&case).await?;
            }
        }
        Ok(CancelRequest::AskPerformer) => {
            tx.add_task_event(&task.uid, TaskEvent::CancelRequested, said, now).await?;
            tx.tell(case.id, now, ACTOR, &format!("{by} asked its reader to cancel")).await?;
        }
        other => return Ok(other),
    }
    tx.commit().await?;
    Ok(task::request_cancel(task.state, hears))
}

/// N-SET (PS3.4 CC.2.6): progress, what was performed, by whom.
pub(super) async fn set(
    tasks: &Tasks,
    asker: &Asker,
    target: &Target,
    modifications: &DataSet,
) -> Result<Done, Refusal> {
    let seen = tasks.to_read(asker, target).await?;
    if modifications.get(tags::PROCEDURE_STEP_STATE).is_some() {
        return Err(refused(TaskRefusal::OnlyCreatedScheduled));
    }
    let given = text(modifications, tags::TRANSACTION_UID);
    let wanted = copied(modifications, &SETTABLE);
    let ignored = modifications.iter().any(|element| {
        let tag = element.header().tag;
        tag != tags::TRANSACTION_UID && tag != tags::SPECIFIC_CHARACTER_SET && !SETTABLE.contains(&tag)
    });
    let outcome = write(tasks, &seen, &given, &wanted).await.map_err(|error| failed(&error))?;
    outcome?;
    tasks.bell.ring();
    // Requested optional attributes are not supported (PS3.4 Table CC.2.6-1).
    Ok(done(if ignored { 0x0001 } else { 0x0000 }, seen.uid))
}

async fn write(
    tasks: &Tasks,
    seen: &TaskRow,
    given: &str,
    wanted: &DataSet,
) -> Result<Result<(), Refusal>, StoreError> {
    let now = tasks.clock.now();
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    tx.case(seen.case).await?;
    let Some(task) = tx.task(&seen.uid).await? else { return Ok(Err(refused(TaskRefusal::Unknown))) };
    if let Err(why) = task::update(task.state, TaskKey::of(given, &task.transaction)) {
        return Ok(Err(refused(why)));
    }
    let before = ups::parse(&task.attributes).unwrap_or_else(DataSet::new_empty);
    let mut after = before.clone();
    for element in wanted.iter() {
        after.put(element.clone());
    }
    let json = ups::json(&after);
    if json.len() > MAX_SET_BYTES {
        return Ok(Err(Refusal::new(0x0213, "Resource limitation")));
    }
    tx.set_task(&task.uid, &json, Some(tasks.lease(now)), now).await?;
    let changed = |tag| wanted.get(tag).is_some() && wanted.get(tag) != before.get(tag);
    if changed(tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE) {
        let said = copied(&after, &[tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE]);
        tx.add_task_event(&task.uid, TaskEvent::Progress, &ups::json(&said), now).await?;
    }
    if changed(tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE) {
        let human = first_item(&after, tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE);
        let said = copied(&human, &[tags::HUMAN_PERFORMER_CODE_SEQUENCE, tags::HUMAN_PERFORMER_ORGANIZATION]);
        tx.add_task_event(&task.uid, TaskEvent::Assigned, &ups::json(&said), now).await?;
    }
    tx.commit().await?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::ups::{coded, put, put_items};
    use crate::model::{CaseId, Moment, PartnerId, Priority};
    use dicom_core::VR;

    fn task(attributes: &DataSet) -> TaskRow {
        let partner = PartnerId::new("chemnitz").expect("a partner");
        TaskRow {
            uid: Uid::new("2.25.1").expect("a UID"),
            case: CaseId::generate(),
            reader: partner.clone(),
            origin: partner,
            state: TaskState::InProgress,
            transaction: "1.2.3".into(),
            claimed_by: String::new(),
            claimed: None,
            lease: None,
            priority: Priority::Routine,
            label: String::new(),
            scheduled: Moment(0),
            expires: None,
            updated: Moment(0),
            ended: None,
            is_ready: true,
            attributes: ups::json(attributes),
            report: None,
            reason: String::new(),
            replaces: None,
            ended_facts: None,
            told: None,
        }
    }

    /// Each of the four that PS3.4 Table CC.2.5-3 marks with P.
    #[test]
    fn completed_requires_what_was_performed_where_and_when() {
        let sequences = [tags::PERFORMED_STATION_NAME_CODE_SEQUENCE, tags::PERFORMED_WORKITEM_CODE_SEQUENCE];
        let times = [tags::PERFORMED_PROCEDURE_STEP_START_DATE_TIME, tags::PERFORMED_PROCEDURE_STEP_END_DATE_TIME];
        let without = |missing: Option<dicom_core::Tag>| {
            let mut performed = DataSet::new_empty();
            for tag in sequences.into_iter().filter(|tag| Some(*tag) != missing) {
                put_items(&mut performed, tag, vec![coded("1", "L", "one")]);
            }
            for tag in times.into_iter().filter(|tag| Some(*tag) != missing) {
                put(&mut performed, tag, VR::DT, "20260524120000");
            }
            let mut set = DataSet::new_empty();
            put_items(&mut set, tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE, vec![performed]);
            task(&set)
        };
        assert!(is_final_state_met(&without(None), TaskState::Completed));
        for missing in sequences.into_iter().chain(times) {
            assert!(!is_final_state_met(&without(Some(missing)), TaskState::Completed), "{missing}");
            assert!(is_final_state_met(&without(Some(missing)), TaskState::Canceled), "{missing}");
        }
        assert!(!is_final_state_met(&task(&DataSet::new_empty()), TaskState::Completed));
    }
}
