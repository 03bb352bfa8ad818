//! Slides and other images of specimens find the order by what stands on their labels.
//!
//! In: a study that has just come, with the containers and specimens its images name (PS3.3 C.7.6.22), each with its issuer.
//! Out: from the hospital itself, its order's case becomes the case of this study; from the laboratory that examines it, a
//! case of its own, joined to the order, so that `routing` sends it to the hospital that asked. Never across patients.

use super::{
    order_match::{Fit, fits, fits_by_specimen, fits_what_was_asked},
    orders::{join_as, warn},
};
use crate::{
    model::{CaseEvent, CaseState, Disposition, IssuedId, Moment, PartnerId, StudyFacts},
    store::{CaseRow, OrderRow, SpecimenRow, StoreError, Tx},
};

/// From a slide over its block to the specimen, and one more.
const GENERATIONS: usize = 4;
/// Ids looked for in one generation, at most.
const MAX_IDS: usize = 64;
/// What a case keeps of the ids its images name.
const MAX_NAMED: usize = 200;

/// The orders of this origin that speak of one of these containers or specimens, or of what they were taken from.
///
/// # Errors
/// When the database fails.
pub async fn orders_of(tx: &mut Tx, origin: &PartnerId, named: &[IssuedId]) -> Result<Vec<OrderRow>, StoreError> {
    let specimens = specimens(tx, named, &|specimen| specimen.origin == *origin).await?;
    orders_about(tx, &specimens).await
}

async fn orders_about(tx: &mut Tx, specimens: &[SpecimenRow]) -> Result<Vec<OrderRow>, StoreError> {
    let mut orders: Vec<OrderRow> = Vec::new();
    for specimen in specimens {
        for id in tx.orders_of_specimen(specimen.id).await? {
            if !orders.iter().any(|known| known.id == id) {
                orders.extend(tx.order_as_it_is(id).await?);
            }
        }
    }
    Ok(orders)
}

/// The specimens that go by these ids, and what they were taken from.
async fn specimens(
    tx: &mut Tx,
    named: &[IssuedId],
    counts: &(dyn Fn(&SpecimenRow) -> bool + Sync),
) -> Result<Vec<SpecimenRow>, StoreError> {
    let (mut found, mut looked): (Vec<SpecimenRow>, Vec<IssuedId>) = (Vec::new(), Vec::new());
    let mut ids: Vec<IssuedId> = named.iter().take(MAX_IDS).cloned().collect();
    for _ in 0..GENERATIONS {
        let mut parents = Vec::new();
        for id in ids {
            for specimen in tx.specimens_with(&id.value).await? {
                let goes_by = specimen.said.ids().any(|known| *known == id);
                if goes_by && counts(&specimen) && !found.iter().any(|known| known.id == specimen.id) {
                    parents.extend(specimen.said.parents.iter().cloned());
                    found.push(specimen);
                }
            }
            looked.push(id);
        }
        ids = parents.into_iter().filter(|id| !looked.contains(id)).take(MAX_IDS).collect();
    }
    Ok(found)
}

/// Notes what further images name, and with the first of them what those did.
///
/// # Errors
/// When the database fails.
pub async fn note(tx: &mut Tx, case: &mut CaseRow, named: &[&IssuedId]) -> Result<(), StoreError> {
    let mut new = if case.instances == 0 { case.facts.specimens.clone() } else { Vec::new() };
    let known = case.facts.specimens.len();
    for id in named {
        if !case.facts.specimens.contains(id) && case.facts.specimens.len() < MAX_NAMED {
            case.facts.specimens.push((*id).clone());
            new.push((*id).clone());
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    if case.facts.specimens.len() > known {
        tx.save_facts(case).await?;
    }
    let origin = case.origin.clone();
    tx.note_case_specimens(case.id, &origin, &new).await
}

/// The case that was begun by the order of this study, if there is one: from now on it is the study's. `study` is the case
/// that would be made otherwise.
///
/// # Errors
/// When the database fails.
pub async fn adopt(tx: &mut Tx, study: &CaseRow, now: Moment) -> Result<Option<CaseRow>, StoreError> {
    let mut orders: Vec<(OrderRow, Fit)> = Vec::new();
    for order in tx.orders_for_case(study).await? {
        let fit = fits(&order, study);
        orders.push((order, fit));
    }
    for order in orders_of(tx, &study.origin, &study.facts.specimens).await? {
        let fit = fits_by_specimen(&order, study);
        orders.push((order, fit));
    }
    let mut begun: Option<(CaseRow, &'static str)> = None;
    for (order, fit) in orders {
        let Fit::By(by) = fit else { continue };
        for id in tx.cases_of_order(order.id).await? {
            let case = tx.case_as_it_is(id).await?;
            let is_open = |case: &CaseRow| case.state != CaseState::Reported;
            let better = begun.as_ref().is_none_or(|(known, _)| !is_open(known) && is_open(&case));
            if !case.has_study && case.origin == study.origin && better {
                begun = Some((case, by));
            }
        }
    }
    let Some((case, by)) = begun else { return Ok(None) };
    let mut case = tx.case(case.id).await?;
    take_in(tx, &mut case, study, by, now).await?;
    Ok(Some(case))
}

async fn take_in(tx: &mut Tx, case: &mut CaseRow, study: &CaseRow, by: &str, now: Moment) -> Result<(), StoreError> {
    tx.adopt_study(case.id, &study.study, &study.calling_ae, &study.called_ae).await?;
    (case.study, case.has_study) = (study.study.clone(), true);
    (case.calling_ae, case.called_ae) = (study.calling_ae.clone(), study.called_ae.clone());
    case.facts = completed(&case.facts, &study.facts);
    case.whole = None;
    tx.note_task_input(case.id, false, now).await?;
    if case.state != CaseState::New {
        case.take(CaseEvent::LateInstance)?;
    }
    tx.save_facts(case).await?;
    let modality = if study.facts.modality.is_empty() { "unnamed" } else { &study.facts.modality };
    let what = format!("first instance of its {modality} study ({}), known by {by}", study.calling_ae);
    tx.tell(case.id, now, "intake", &what).await
}

/// What was asked for, by whom and for whom, as the order says it; all else as the images do.
fn completed(ordered: &StudyFacts, imaged: &StudyFacts) -> StudyFacts {
    let said = |ordered: &str, imaged: &str| if ordered.is_empty() { imaged } else { ordered }.to_owned();
    let mut former = ordered.former_patient_ids.clone();
    former.extend(imaged.former_patient_ids.iter().filter(|id| !ordered.former_patient_ids.contains(id)).cloned());
    StudyFacts {
        former_patient_ids: former,
        patient_id: if ordered.patient_id.is_empty() { &imaged.patient_id } else { &ordered.patient_id }.clone(),
        patient_name: said(&ordered.patient_name, &imaged.patient_name),
        birth_date: said(&ordered.birth_date, &imaged.birth_date),
        sex: said(&ordered.sex, &imaged.sex),
        accession: if ordered.accession.is_empty() { &imaged.accession } else { &ordered.accession }.clone(),
        placer_order_number: said(&ordered.placer_order_number, &imaged.placer_order_number),
        filler_order_number: said(&ordered.filler_order_number, &imaged.filler_order_number),
        placer_issuer: ordered.placer_issuer.clone(),
        filler_issuer: ordered.filler_issuer.clone(),
        description: said(&ordered.description, &imaged.description),
        priority: ordered.priority.max(imaged.priority),
        ..imaged.clone()
    }
}

/// Joins a laboratory's images to the order of another hospital that it examines, if that is one hospital and its patient.
///
/// # Errors
/// When the database fails.
pub async fn join_asked(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    let (sender, named) = (case.origin.clone(), case.facts.specimens.clone());
    if named.is_empty() {
        return Ok(());
    }
    let specimens = specimens(tx, &named, &|specimen| specimen.origin != sender).await?;
    let mut asked: Vec<(OrderRow, Fit)> = Vec::new();
    for order in orders_about(tx, &specimens).await? {
        if is_read_by(tx, &order, &sender).await? && !tx.is_unlinked(order.id, case.id).await? {
            let fit = fits_what_was_asked(&order, case);
            asked.push((order, fit));
        }
    }
    let fitting: Vec<&OrderRow> =
        asked.iter().filter(|(_, fit)| matches!(fit, Fit::By(_))).map(|(order, _)| order).collect();
    let Some(first) = fitting.first() else {
        // Why not, if there was anything.
        for (order, fit) in &asked {
            join_as(tx, order, case, *fit, now).await?;
        }
        return Ok(());
    };
    if fitting.iter().any(|order| order.origin != first.origin) {
        let reason = "its images name a specimen of orders of several hospitals: a person must say whose it is";
        warn(tx, case, reason, now).await?;
        return Ok(());
    }
    for order in &fitting {
        tx.join_order(order.id, case.id, "specimen", now).await?;
    }
    tx.tell(case.id, now, "intake", &format!("of a specimen that {} sent (its order is known)", first.origin)).await
}

/// The same of a case that nobody has decided, whose order may have come since. True when it has: the case is news to
/// `routing`. The case is held for change, and so is its origin.
///
/// # Errors
/// When the database fails.
pub async fn join_waiting(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
    let waits = case.waits_until.is_some() && case.state == CaseState::New;
    if !(waits || case.held_undecided().is_some()) || !tx.orders_joined(case.id).await?.is_empty() {
        return Ok(false);
    }
    join_asked(tx, case, now).await?;
    if tx.orders_joined(case.id).await?.is_empty() {
        return Ok(false);
    }
    case.waits_until = None;
    tx.note_order_news(case.id, true).await?;
    tx.save_case(case).await?;
    Ok(true)
}

/// Whether the case of this order is read by `partner`.
async fn is_read_by(tx: &mut Tx, order: &OrderRow, partner: &PartnerId) -> Result<bool, StoreError> {
    for id in tx.cases_of_order(order.id).await? {
        let case = tx.case_as_it_is(id).await?;
        if case.origin == order.origin && reads(&case, partner) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `partner` reads the case, may be offered it, or gets a copy.
pub fn reads(case: &CaseRow, partner: &PartnerId) -> bool {
    let decided = match case.decision.as_ref().map(|decision| &decision.disposition) {
        Some(Disposition::Read(reading)) => reading.readers.contains(partner) || reading.also_to.contains(partner),
        _ => false,
    };
    case.reader.as_ref() == Some(partner) || decided
}
