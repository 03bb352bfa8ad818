//! What an order says for the scanner's worklist: taken over, and completed where the hospital's system leaves to others what a
//! scanner cannot do without.
//!
//! In: an order as far as it is known and what a message says. Out: the order with its steps, and with a Study Instance UID that
//! its images are to be made under (PS3.4 Table K.6-1): the hospital's where it gives one, else one of ours, which stays.

use crate::{
    config::Partner,
    model::{Discipline, Requested, Uid, scheduled::local_start},
    store::OrderRow,
};

/// Studies an order may name.
const MAX_STUDIES: usize = 20;

/// The studies a message names. One that a scanner may have got from us stays among them: its images may come yet.
pub(super) fn take_studies(order: &mut OrderRow, said: &[Uid]) {
    if said.is_empty() {
        return;
    }
    let ours = assigned(order);
    let had_ours = order.studies.contains(&ours);
    order.studies = said.to_vec();
    if had_ours && !said.contains(&ours) {
        order.studies.truncate(MAX_STUDIES - 1);
        order.studies.push(ours);
    }
}

/// The sender takes back what it has named; what a scanner may have got from us stays.
pub(super) fn forget_studies(order: &mut OrderRow) {
    let ours = assigned(order);
    order.studies.retain(|study| *study == ours);
}

/// Images are made under the first: ours only where the hospital has named none.
pub(super) fn own_study_last(order: &mut OrderRow) {
    let ours = assigned(order);
    order.studies.sort_by_key(|study| *study == ours);
}

/// Takes over what is said of the steps. A pathology order has none: nothing is scanned before there are slides.
pub(super) fn take(order: &mut OrderRow, said: &Requested, partner: &Partner) {
    let zone = partner.time_zone;
    let mut said = said.clone();
    for step in &mut said.steps {
        step.start = local_start(&step.start, zone);
    }
    order.facts.requested.change(&said);
    if order.discipline == Discipline::Pathology {
        order.facts.requested.steps.clear();
        return;
    }
    if order.studies.is_empty() {
        order.studies.push(assigned(order));
    }
    let fallback = order.received.utc().with_timezone(&zone).format("%Y%m%d%H%M%S").to_string();
    let number = if order.placer.is_empty() { &order.filler.value } else { &order.placer.value };
    order.facts.requested = order.facts.requested.completed(order.id, number, &order.modality, &fallback);
}

/// Always the same for the same order.
fn assigned(order: &OrderRow) -> Uid {
    Uid::derived(&["study of order", &order.id.to_string()])
}
