//! Performed procedure steps (PS3.4 F): a scanner says that it has begun, what it made, and how it ended.
//!
//! In: N-CREATE and N-SET of a hospital's scanner; N-GET of the retrieve class. Out: the step, kept and synced before the answer;
//! the scheduled steps that it is move with it, so that what is done leaves the worklist. A step that is broken off leaves its
//! scheduled step where it was: whoever asked decides whether it is still wanted.
//!
//! Every attribute of type 1 has to be there. Those of type 2 are taken as empty where they are left out: many scanners do, and
//! nothing here depends on them. Does not look for the images: `intake` does.

use super::performed_rules::{self as rules, Status};
use crate::{
    config::Partner,
    dicom::{
        matching::{value, values},
        service::{DataSet, Done, Refusal, Target},
    },
    model::{IssuedId, Moment, StepState, Uid, chain},
    store::{Durability, PerformedStep, StepNamed, Store, StoreError, Telling, Tx},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

const CLASS: &str = "1.2.840.10008.3.1.2.3.3";
const RETRIEVE: &str = "1.2.840.10008.3.1.2.3.4";

/// PS3.7 Annex C.
const WRONG_OPERATION: Refusal = Refusal::new(0x0211, "this class does not have this operation");
const NO_SUCH_CLASS: Refusal = Refusal::new(0x0118, "no such SOP class here");
const NO_SUCH_STEP: Refusal = Refusal::new(0x0112, "no such performed procedure step");
const DUPLICATE: Refusal = Refusal::new(0x0111, "a performed procedure step of this UID is known");
const AWAY: Refusal = Refusal::new(0x0213, "it cannot be kept now; send it again");
const TOO_MUCH: Refusal = Refusal::new(0x0213, "more is said of the step than can be kept");
const NOT_KEPT: Refusal = Refusal::new(0x0110, "it cannot be kept");
/// PS3.4 Table F.7.2-2 and its words.
pub const NO_MORE: Refusal = Refusal {
    error_id: Some(rules::MAY_NO_LONGER_BE_UPDATED),
    ..Refusal::new(0x0110, "Performed Procedure Step Object may no longer be updated")
};
/// Attribute List error, a warning (PS3.7 C.5.5): some were not taken over.
const SOME_NOT_TAKEN: u16 = 0x0107;

/// Studies one performed step may name.
const MAX_STUDIES: usize = 20;
/// Bytes of one step: an N-SET adds to what is known, as often as a scanner likes.
const MAX_KEPT: usize = 8 << 20;

/// Begins a step.
///
/// # Errors
/// The standard's refusal; nothing is kept then.
pub async fn create(
    store: &Store,
    partner: &Partner,
    target: Target,
    attributes: DataSet,
    now: Moment,
) -> Result<Done, Refusal> {
    let class = target.class.as_str();
    if class != CLASS {
        return Err(if class == RETRIEVE { WRONG_OPERATION } else { NO_SUCH_CLASS });
    }
    rules::may_begin(&attributes)?;
    let uid = target.instance.unwrap_or_else(Uid::generate);
    let step = PerformedStep {
        origin: partner.id.clone(),
        uid: uid.clone(),
        state: Status::InProgress.as_str().to_owned(),
        instances: rules::instances(&attributes)?,
        attributes: kept(&attributes)?,
        created: now,
        changed: now,
        awaited: false,
    };
    if !begin(store, partner, &step, &attributes).await.map_err(|error| not_kept(partner, &error))? {
        return Err(DUPLICATE);
    }
    told(partner, Status::InProgress);
    Ok(Done { status: 0, instance: uid, reply: None })
}

async fn begin(
    store: &Store,
    partner: &Partner,
    step: &PerformedStep,
    attributes: &DataSet,
) -> Result<bool, StoreError> {
    let mut tx = store.begin(Durability::Synced).await?;
    tx.hold_origin(&step.origin).await?;
    if !tx.add_performed_step(step).await? {
        return Ok(false);
    }
    for study in studies(attributes) {
        tx.add_performed_study(step, &study).await?;
    }
    link(&mut tx, step, attributes).await?;
    tx.move_steps_of(&step.origin, &step.uid, StepState::Started).await?;
    if is_sent_on(partner) {
        tx.owe_telling(Telling::Performed, &step.origin, &step.uid, true, &step.attributes, step.created).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Which of the hospital's scheduled steps it is, by what each item of the Scheduled Step Attributes Sequence names.
async fn link(tx: &mut Tx, step: &PerformedStep, attributes: &DataSet) -> Result<(), StoreError> {
    for item in items(attributes, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE).iter().take(MAX_STUDIES) {
        let issuer = items(item, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE).first().map(issuer).unwrap_or_default();
        let named = StepNamed {
            study: value(item, tags::STUDY_INSTANCE_UID),
            accession: IssuedId::new(value(item, tags::ACCESSION_NUMBER), issuer),
            patient: value(attributes, tags::PATIENT_ID),
            step: value(item, tags::SCHEDULED_PROCEDURE_STEP_ID),
        };
        for scheduled in tx.steps_named(&step.origin, &named).await? {
            tx.link_performed(&step.origin, &step.uid, &scheduled).await?;
        }
    }
    Ok(())
}

/// The HL7v2 Hierarchic Designator Macro (PS3.3 Table 10-17).
fn issuer(item: &DataSet) -> String {
    let local = value(item, tags::LOCAL_NAMESPACE_ENTITY_ID);
    if local.is_empty() { value(item, tags::UNIVERSAL_ENTITY_ID) } else { local }
}

/// Changes a step that is in progress, or ends it.
///
/// # Errors
/// The standard's refusal; nothing is changed then.
pub async fn set(
    store: &Store,
    partner: &Partner,
    target: Target,
    modifications: DataSet,
    now: Moment,
) -> Result<Done, Refusal> {
    let class = target.class.as_str();
    if class != CLASS {
        return Err(if class == RETRIEVE { WRONG_OPERATION } else { NO_SUCH_CLASS });
    }
    let uid = target.instance.ok_or(NO_SUCH_STEP)?;
    let away = |error: StoreError| not_kept(partner, &error);
    let mut tx = store.begin(Durability::Synced).await.map_err(away)?;
    tx.hold_origin(&partner.id).await.map_err(away)?;
    let mut step = tx.performed_step(&partner.id, &uid).await.map_err(away)?.ok_or(NO_SUCH_STEP)?;
    if step.state != Status::InProgress.as_str() {
        return Err(NO_MORE);
    }
    let mut attributes: DataSet = dicom_json::from_str(&step.attributes).map_err(|_| NOT_KEPT)?;
    // It is read again to be sent on: what cannot be is not taken.
    let said = if is_sent_on(partner) { Some(kept(&modifications)?) } else { None };
    let all_taken = rules::change(&mut attributes, modifications)?;
    let status = rules::status(&attributes)?;
    if status != Status::InProgress {
        rules::may_end(&attributes, status)?;
    }
    step.state = status.as_str().to_owned();
    step.instances = rules::instances(&attributes)?;
    step.attributes = kept(&attributes)?;
    step.changed = now;
    step.awaited = status != Status::InProgress;
    tx.save_performed_step(&step).await.map_err(away)?;
    if let Some(said) = said {
        tx.owe_telling(Telling::Performed, &partner.id, &uid, false, &said, now).await.map_err(away)?;
    }
    let scheduled = match status {
        Status::InProgress => StepState::Started,
        Status::Completed => StepState::Done,
        Status::Discontinued => StepState::Scheduled,
    };
    tx.move_steps_of(&partner.id, &uid, scheduled).await.map_err(away)?;
    tx.commit().await.map_err(away)?;
    told(partner, status);
    Ok(Done { status: if all_taken { 0 } else { SOME_NOT_TAKEN }, instance: uid, reply: None })
}

/// What is known of a step (PS3.4 F.8); only by the retrieve class.
///
/// # Errors
/// The standard's refusal.
pub async fn get(store: &Store, partner: &Partner, target: Target, wanted: Vec<Tag>) -> Result<Done, Refusal> {
    let class = target.class.as_str();
    if class != RETRIEVE {
        return Err(if class == CLASS { WRONG_OPERATION } else { NO_SUCH_CLASS });
    }
    let uid = target.instance.ok_or(NO_SUCH_STEP)?;
    let away = |error: StoreError| not_kept(partner, &error);
    let mut tx = store.begin(Durability::Process).await.map_err(away)?;
    let step = tx.performed_step(&partner.id, &uid).await.map_err(away)?.ok_or(NO_SUCH_STEP)?;
    drop(tx);
    let mut attributes: DataSet = dicom_json::from_str(&step.attributes).map_err(|_| NOT_KEPT)?;
    if !wanted.is_empty() {
        attributes.retain(|element| wanted.contains(&dicom_core::header::Header::tag(element)));
    }
    Ok(Done { status: 0, instance: uid, reply: Some(attributes) })
}

/// As it is stored. What would not be read again could never be ended.
fn kept(attributes: &DataSet) -> Result<String, Refusal> {
    let text = dicom_json::to_string(attributes).map_err(|_| NOT_KEPT)?;
    if text.len() > MAX_KEPT {
        return Err(TOO_MUCH);
    }
    dicom_json::from_str::<DataSet>(&text).map_err(|_| NOT_KEPT)?;
    Ok(text)
}

fn studies(attributes: &DataSet) -> Vec<Uid> {
    let items = items(attributes, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE);
    let named = items.iter().filter_map(|item| item.get(tags::STUDY_INSTANCE_UID)).flat_map(values);
    let mut studies: Vec<Uid> = Vec::new();
    for uid in named.filter_map(|uid| Uid::new(&uid).ok()).take(MAX_STUDIES) {
        if !studies.contains(&uid) {
            studies.push(uid);
        }
    }
    studies
}

pub(super) fn items(set: &DataSet, tag: Tag) -> &[DataSet] {
    set.get(tag).and_then(|sequence| sequence.items()).unwrap_or_default()
}

/// Whether its hospital's own system is told, too.
fn is_sent_on(partner: &Partner) -> bool {
    partner.dicom.as_ref().is_some_and(|dicom| dicom.mpps_to.is_some())
}

fn told(partner: &Partner, status: Status) {
    let word = status.label();
    tracing::info!(site = %partner.id, status = word, "A scanner of {} says that a step is {word}", partner.id);
    metrics::counter!("neisse_performed_steps_total", "partner" => partner.id.to_string(), "status" => word)
        .increment(1);
}

/// What the database will not have now or later is the request's fault; else it may be sent again.
fn not_kept(partner: &Partner, error: &StoreError) -> Refusal {
    tracing::error!(site = %partner.id, error = %chain(error), "A performed procedure step of {} cannot be kept", partner.id);
    if error.is_about_one() { NOT_KEPT } else { AWAY }
}
