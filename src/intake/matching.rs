//! Joins a batch of durable instances to their cases, in the caller's transaction.
//!
//! In: instances of one study of one origin, in the order they became durable. Out: the case they belong to, with what
//! was new. Of equal bytes under a known SOP Instance UID the newest copy is kept, and nothing else changes; other bytes
//! are kept beside them and flagged (PS3.5 9.1: a UID names one object). SR and PDF objects that a reader sends about somebody else's study become reports instead.

use super::{completeness, orders, slides};
use crate::{
    config::{Config, Partner, Reader},
    dicom::documents,
    model::{
        Bell, CaseEvent, CaseId, CaseState, Discipline, IdentifierKind, IssuedId, JournalId, Moment, PartnerId,
        Priority, ReceivedInstance, Uid,
    },
    store::{CaseRow, IndexedCase, MAX_ALIKE, ReportObject, StoreError, Tx},
};
use std::collections::HashSet;

const LATE: &str = "late instance joined, to be delivered as an amendment";
const BACK: &str = "images that had been taken off the disk came again: on disk again, not sent again";
const TWO_PATIENTS: &str = "its images name different patients: ask the sender which is right";
const CONFLICT: &str = "an instance came twice with different content: both kept, the first was delivered";

/// Joins instances of one study from one origin to their case. `sender`: what is configured of that origin.
///
/// # Errors
/// When the database fails; nothing has been changed then.
pub async fn join(
    tx: &mut Tx,
    sender: Option<&Partner>,
    origin: &PartnerId,
    study: &Uid,
    instances: &[ReceivedInstance],
    now: Moment,
) -> Result<Option<IndexedCase>, StoreError> {
    let Some(first) = instances.first() else { return Ok(None) };
    tx.hold_origin(origin).await?;
    let (mut case, created) = find_or_add(tx, origin, study, first, now).await?;
    let (fresh, again) = without_known(tx, case.id, instances).await?;
    // First: what came twice in this batch is where its second copy lies.
    tx.add_instances(case.id, case.instances + 1, &fresh).await?;
    if tx.back_on_disk(case.id, &again).await? > 0 {
        case.last = again.iter().map(|i| i.received).fold(case.last, Ord::max);
        tx.tell(case.id, now, "intake", BACK).await?;
        tx.save_case(&case).await?;
    }
    if fresh.is_empty() {
        return Ok(Some(IndexedCase { case: case.id, created, added: 0 }));
    }
    if created {
        let from = format!("first instance of a {} study from {origin} ({})", modality(&case), case.calling_ae);
        tx.tell(case.id, case.first, "intake", &from).await?;
    }
    if case.instances == 0 {
        tx.show_to_origin(&case).await?;
    }
    tx.add_series(case.id, &fresh).await?;
    let conflicts = fresh.iter().filter(|(_, conflict)| *conflict).count();
    if conflicts > 0 {
        case.needs_a_person(CONFLICT);
        tx.tell(case.id, now, "intake", CONFLICT).await?;
    }
    note_patients(tx, &mut case, &fresh, now).await?;
    let named: Vec<&IssuedId> = fresh.iter().flat_map(|(instance, _)| &instance.facts.specimens).collect();
    slides::note(tx, &mut case, &named).await?;
    note_lateness(tx, &mut case, now).await?;
    let added = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
    case.instances += added;
    case.bytes += fresh.iter().map(|(i, _)| i64::try_from(i.place.length).unwrap_or(0)).sum::<i64>();
    case.priority = fresh.iter().map(|(i, _)| i.facts.priority).fold(case.priority, Ord::max);
    case.last = fresh.iter().map(|(i, _)| i.received).fold(case.last, Ord::max);
    note_evidence(tx, &mut case, now).await?;
    tx.save_case(&case).await?;
    orders::join_orders(tx, &mut case, now).await?;
    if created {
        slides::join_asked(tx, &mut case, now).await?;
        wait_for_its_order(tx, sender, &mut case).await?;
    }
    Ok(Some(IndexedCase { case: case.id, created, added }))
}

async fn find_or_add(
    tx: &mut Tx,
    origin: &PartnerId,
    study: &Uid,
    first: &ReceivedInstance,
    now: Moment,
) -> Result<(CaseRow, bool), StoreError> {
    if let Some(case) = tx.case_of_study(origin, study).await? {
        return Ok((case, false));
    }
    let mut case = new_case(origin, study, first);
    // Its patient's identifier may have been merged into another one before these images came.
    if let Some(surviving) = tx.surviving_patient(origin, &case.facts.patient_id).await? {
        let former = std::mem::replace(&mut case.facts.patient_id, surviving);
        case.facts.former_patient_ids.push(former);
    }
    if let Some(begun) = slides::adopt(tx, &case, now).await? {
        return Ok((begun, false));
    }
    if tx.add_case(&case).await? {
        return Ok((case, true));
    }
    // Another node added it between the two statements.
    let found = tx.case_of_study(origin, study).await?;
    found.map(|case| (case, false)).ok_or(StoreError::NotFound { what: "case of study", id: String::new() })
}

/// Where orders are expected to come first, or soon after, the case is decided with its order. What is stat waits for
/// nothing.
async fn wait_for_its_order(tx: &mut Tx, sender: Option<&Partner>, case: &mut CaseRow) -> Result<(), StoreError> {
    let Some(origin) = sender else { return Ok(()) };
    let waits = origin.orders_expected && !origin.orders_wait.is_zero() && case.priority != Priority::Stat;
    if !waits || case.state != CaseState::New || !tx.orders_joined(case.id).await?.is_empty() {
        return Ok(());
    }
    case.waits_until = Some(case.first + origin.orders_wait);
    let what = format!("waits for its order, {} min at most", origin.orders_wait.as_secs().div_ceil(60));
    tx.tell(case.id, case.first, "intake", &what).await?;
    tx.save_case(case).await
}

fn new_case(origin: &PartnerId, study: &Uid, first: &ReceivedInstance) -> CaseRow {
    CaseRow {
        id: CaseId::generate(),
        origin: origin.clone(),
        study: study.clone(),
        state: CaseState::New,
        discipline: Discipline::of_modality(&first.facts.modality),
        priority: first.facts.priority,
        calling_ae: first.calling_ae.clone(),
        called_ae: first.called_ae.clone(),
        facts: first.facts.clone(),
        instances: 0,
        bytes: 0,
        routed_to: 0,
        first: first.received,
        last: first.received,
        whole: None,
        decision: None,
        reader: None,
        attention: String::new(),
        has_study: true,
        report_due: None,
        waits_until: None,
    }
}

fn modality(case: &CaseRow) -> &str {
    if case.facts.modality.is_empty() { "unnamed" } else { &case.facts.modality }
}

/// What the case does not have yet, each with whether it contradicts one it has; and what it has.
async fn without_known<'a>(
    tx: &mut Tx,
    case: CaseId,
    instances: &'a [ReceivedInstance],
) -> Result<(Vec<(&'a ReceivedInstance, bool)>, Vec<&'a ReceivedInstance>), StoreError> {
    let mut known = tx.known_instances(case, instances.iter().map(|i| &i.sop_instance)).await?;
    let (mut fresh, mut again) = (Vec::with_capacity(instances.len()), Vec::new());
    for instance in instances {
        let digest = instance.place.sha256.to_string();
        let digests = known.entry(instance.sop_instance.as_str().to_owned()).or_default();
        if digests.contains(&digest) {
            again.push(instance);
            continue;
        }
        fresh.push((instance, !digests.is_empty()));
        digests.push(digest);
    }
    Ok((fresh, again))
}

/// A study has one patient (PS3.3 A.1.2). A scanner whose operator did not close the last patient's study sends two under
/// one UID: the images go on, and a person is told. An issuer that is not known contradicts none, and an identifier that was
/// merged into the case's is the same patient's.
async fn note_patients(
    tx: &mut Tx,
    case: &mut CaseRow,
    fresh: &[(&ReceivedInstance, bool)],
    now: Moment,
) -> Result<(), StoreError> {
    for id in fresh.iter().map(|(instance, _)| &instance.facts.patient_id).filter(|id| !id.is_empty()) {
        if case.facts.former_patient_ids.contains(id) {
            continue;
        }
        let known = &mut case.facts.patient_id;
        if known.is_empty() {
            *known = id.clone();
            tx.save_facts(case).await?;
            continue;
        }
        let differs =
            id.value != known.value || (id.issuer != known.issuer && !id.issuer.is_empty() && !known.issuer.is_empty());
        if !differs {
            continue;
        }
        let known = known.clone();
        if tx.surviving_patient(&case.origin, id).await?.is_some_and(|surviving| surviving == known) {
            case.facts.former_patient_ids.push(id.clone());
            tx.save_facts(case).await?;
        } else if case.needs_a_person(TWO_PATIENTS) {
            return tx.tell(case.id, now, "intake", TWO_PATIENTS).await;
        }
    }
    Ok(())
}

/// A sender that says how many instances there are (Number of Study Related Instances, (0020,1208)) need not be waited
/// for once they are there; an instance that came twice with different content is one of them.
async fn note_evidence(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    let announced = case.facts.expected_instances.map(i64::from).filter(|announced| *announced > 0);
    match announced {
        Some(announced)
            if case.whole.is_none()
                && case.instances >= announced
                && tx.distinct_instances(case.id).await? >= announced =>
        {
            completeness::become_whole(tx, case, &format!("all {announced} its sender announced"), now).await
        }
        _ => Ok(()),
    }
}

async fn note_lateness(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    if case.whole.is_none() {
        return Ok(());
    }
    if case.state != CaseState::New {
        case.take(CaseEvent::LateInstance)?;
    }
    // Until nothing more comes: `completeness` sees that.
    tx.note_task_input(case.id, false, now).await?;
    tx.tell(case.id, now, "intake", LATE).await
}

/// Decides for an SR or PDF object whether it is a report that comes back rather than part of the sender's own study.
///
/// It is its own study's part when the sender has a case of that study. It is a report when the sender reads somebody
/// else's case of that study or with its numbers (readers' systems do put reports into studies of their own), or when
/// the sender only ever reads (no rule names it as a source): then it is at worst a report that fits no case, and a
/// person is told.
///
/// # Errors
/// When the database fails.
pub async fn is_returning_report(
    tx: &mut Tx,
    config: &Config,
    instance: &ReceivedInstance,
) -> Result<bool, StoreError> {
    if !documents::is_report(&instance.sop_class) {
        return Ok(false);
    }
    let cases = tx.cases_with_study(&instance.study).await?;
    if cases.iter().any(|case| case.origin == instance.origin) {
        return Ok(false);
    }
    let reads_it = cases.iter().any(|case| slides::reads(case, &instance.origin));
    Ok(reads_it || only_reads(config, &instance.origin) || has_a_number_it_reads(tx, instance).await?)
}

/// Whether the sender reads somebody else's case with a number of this object: together with its issuer, or with the
/// patient's identifier and its issuer. A bare number could be one of the sender's own.
async fn has_a_number_it_reads(tx: &mut Tx, instance: &ReceivedInstance) -> Result<bool, StoreError> {
    let (said, sender) = (&instance.facts, &instance.origin);
    let patient = own_again(tx, sender, IdentifierKind::Patient, &said.patient_id).await?;
    for (kind, number) in [
        (IdentifierKind::Accession, said.accession.clone()),
        (IdentifierKind::Placer, IssuedId::new(said.placer_order_number.as_str(), "")),
        (IdentifierKind::Filler, IssuedId::new(said.filler_order_number.as_str(), "")),
    ] {
        if number.is_empty() {
            continue;
        }
        let number = own_again(tx, sender, kind, &number).await?;
        let alike = tx.cases_with_number(&number.value).await?;
        let fits = |case: &CaseRow| {
            let same_patient = patient == case.facts.patient_id && !patient.issuer.is_empty();
            let same_issuer = !number.issuer.is_empty() && number.issuer == case.facts.accession.issuer;
            case.origin != *sender && slides::reads(case, sender) && (same_issuer || same_patient)
        };
        if alike.len() <= MAX_ALIKE && alike.iter().any(fits) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an identifier stands for that was given out to its sender; any other is what it is.
async fn own_again(
    tx: &mut Tx,
    sender: &PartnerId,
    kind: IdentifierKind,
    said: &IssuedId,
) -> Result<IssuedId, StoreError> {
    let numbers = IdentifierKind::NUMBERS.into_iter().filter(|other| kind != IdentifierKind::Patient && *other != kind);
    for kind in std::iter::once(kind).chain(numbers) {
        if let Some(given) = tx.unmapped(sender, kind, &said.value).await? {
            return Ok(given.id);
        }
    }
    Ok(said.clone())
}

fn only_reads(config: &Config, partner: &PartnerId) -> bool {
    let is_reader = config.routes.iter().any(|route| route.to.contains(&Reader::Partner(partner.clone())));
    let is_source = config.routes.iter().any(|route| route.when.from.any.contains(partner));
    is_reader && !is_source
}

/// Keeps a report object for `results`.
///
/// # Errors
/// When the database fails.
pub async fn keep_report(tx: &mut Tx, instance: &ReceivedInstance) -> Result<(), StoreError> {
    tx.add_report_object(&ReportObject {
        sender: instance.origin.clone(),
        sop_class: instance.sop_class.clone(),
        sop_instance: instance.sop_instance.clone(),
        transfer_syntax: instance.transfer_syntax.clone(),
        study: instance.study.clone(),
        facts: instance.facts.clone(),
        place: instance.place,
        received: instance.received,
    })
    .await
}

/// Who is woken by what a batch did.
#[derive(Clone, Debug, Default)]
pub struct Bells {
    pub routing: Bell,
    pub results: Bell,
    pub completeness: Bell,
}

/// The journals a batch came from, each with the byte behind its last record in the batch.
pub fn journal_ends(instances: &[ReceivedInstance]) -> Vec<(JournalId, u64)> {
    let mut seen = HashSet::new();
    let newest_first = instances.iter().rev().map(|instance| (instance.place.journal, instance.place.end()));
    newest_first.filter(|(journal, _)| seen.insert(*journal)).collect()
}
