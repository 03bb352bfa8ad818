//! Which order a request is about, and what the order takes from it.
//!
//! In: one request of a message. Out: the order that is known by its numbers, or why there is not one; and the order with
//! what the message says.
//!
//! Does not move the order (`model::order`), and writes nothing down.

use crate::{
    config::Partner,
    hl7::order::{OrderMessage, OrderRequest},
    intake::{order_match::contradict, scheduled},
    model::{Discipline, IssuedId, Moment, OrderId, OrderState, PartnerId, Uid, Unable},
    store::{OrderFacts, OrderRow, StoreError, Tx},
};
use std::collections::BTreeSet;

/// The order a request is about: by its placer order number; by the filler's, which those of a group may share, only where
/// the placer's does not contradict.
pub(super) async fn find(
    tx: &mut Tx,
    partner: &Partner,
    request: &OrderRequest,
) -> Result<Result<Option<OrderRow>, Unable>, StoreError> {
    let issued = |id: &IssuedId| with_issuer(id, &partner.issuer);
    let (placer, filler) = (issued(&request.placer), issued(&request.filler));
    if !placer.is_empty()
        && let Some(order) = tx.order_with_placer(&partner.id, &placer).await?
    {
        let other = !filler.is_empty() && !order.filler.is_empty() && order.filler != filler;
        return Ok(if other { Err(Unable::OtherNumber) } else { Ok(Some(order)) });
    }
    if filler.is_empty() {
        return Ok(Ok(None));
    }
    let mut orders = tx.orders_with_filler(&partner.id, &filler).await?;
    orders.retain(|order| placer.is_empty() || order.placer.is_empty());
    Ok(match orders.len() {
        0 | 1 => Ok(orders.pop()),
        _ => Err(Unable::Ambiguous),
    })
}

/// A number without an issuer is the sender's own.
pub(super) fn with_issuer(id: &IssuedId, issuer: &str) -> IssuedId {
    let issuer = if id.issuer.is_empty() && !id.is_empty() { issuer } else { &id.issuer };
    IssuedId::new(id.value.clone(), issuer)
}

/// What the patient's identifiers have been merged into is the same patient's.
pub(super) async fn add_surviving(tx: &mut Tx, origin: &PartnerId, ids: &mut Vec<IssuedId>) -> Result<(), StoreError> {
    for id in ids.clone() {
        if let Some(surviving) = tx.surviving_patient(origin, &id).await?
            && !ids.contains(&surviving)
        {
            ids.push(surviving);
        }
    }
    Ok(())
}

/// An order does not change hands: a number that comes back with another patient is a mistake somebody must look at.
pub(super) fn same_patient(known: Option<&OrderRow>, said: &[IssuedId]) -> Result<(), Unable> {
    let Some(known) = known else { return Ok(()) };
    if contradict(&known.facts.patients, said) { Err(Unable::OtherPatient) } else { Ok(()) }
}

pub(super) fn new_order(partner: &Partner, now: Moment) -> OrderRow {
    OrderRow {
        id: OrderId::generate(),
        origin: partner.id.clone(),
        state: OrderState::Open,
        placer: IssuedId::default(),
        filler: IssuedId::default(),
        group: IssuedId::default(),
        accession: IssuedId::default(),
        studies: Vec::new(),
        patient: IssuedId::default(),
        discipline: Discipline::Radiology,
        modality: String::new(),
        priority: Default::default(),
        facts: OrderFacts::default(),
        received: now,
        changed: now,
    }
}

/// What the message says is taken; what it leaves out stays, and what it empties (`""`) goes (HL7 v2.5.1 2.5.3). What is
/// ordered is said by a new order, which may come again with more, by a change and by a status; numbers that are not known
/// yet are taken from every message. Of an order that has ended, or ends without being done, nothing is taken.
pub(super) fn update(
    order: &mut OrderRow,
    is_new: bool,
    message: &OrderMessage,
    request: &OrderRequest,
    partner: &Partner,
    state: OrderState,
) {
    let issuer = &partner.issuer;
    let was_live = order.state.is_live();
    order.state = state;
    scheduled::own_study_last(order);
    let numbers = [
        (&mut order.placer, &request.placer),
        (&mut order.filler, &request.filler),
        (&mut order.group, &request.group),
    ];
    for (known, said) in numbers {
        if known.is_empty() {
            *known = with_issuer(said, issuer);
        }
    }
    let goes_on = was_live && (state.is_live() || state == OrderState::Completed);
    if !(is_new || (goes_on && request.control.says_what_is_ordered())) {
        return;
    }
    if is_new {
        order.facts.patients = message.patient_ids.iter().map(|id| with_issuer(id, issuer)).collect();
        // The hospital's own identifier first: it is the one its images carry.
        let own = order.facts.patients.iter().find(|id| id.issuer == *issuer);
        order.patient = own.or(order.facts.patients.first()).cloned().unwrap_or_default();
    }
    if request.empties_accession || !request.accession.is_empty() {
        order.accession = with_issuer(&request.accession, issuer);
    }
    if request.empties_studies {
        scheduled::forget_studies(order);
    }
    scheduled::take_studies(order, &request.study_uids);
    let text = |known: &mut String, said: &str| {
        if !said.is_empty() {
            said.clone_into(known);
        }
    };
    text(&mut order.modality, &request.modality);
    text(&mut order.facts.patient_name, &message.patient_name);
    text(&mut order.facts.birth_date, &message.birth_date);
    text(&mut order.facts.sex, &message.sex);
    text(&mut order.facts.procedure_code, &request.procedure.code);
    text(&mut order.facts.procedure, &request.procedure.text);
    order.priority = request.priority.unwrap_or(order.priority);
    if request.discipline == Discipline::Pathology {
        order.discipline = Discipline::Pathology;
    }
    scheduled::take(order, &request.requested, partner);
}

/// Whether what is ordered is not what it was: not its state, nor numbers that have come to be known.
pub(super) fn differs(before: &OrderRow, after: &OrderRow) -> bool {
    let studies = |order: &OrderRow| order.studies.iter().cloned().collect::<BTreeSet<Uid>>();
    let rest = |order: &OrderRow| {
        (order.accession.clone(), order.modality.clone(), order.priority, order.discipline, order.facts.clone())
    };
    studies(before) != studies(after) || rest(before) != rest(after)
}
