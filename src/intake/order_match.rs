//! Whether an order and a study belong together. Pure: both in, yes and by what, or no.
//!
//! Only within one origin, and only by the Study Instance UID the order was announced with, by an accession number with
//! its issuer, or by the order's numbers in the images (which DICOM gives no issuer: they are the origin's). A patient
//! identifier that contradicts stops it: images joined to the wrong order are read for the wrong patient.

use crate::{
    model::{IssuedId, OrderState},
    store::{CaseRow, OrderRow},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    No,
    /// Together, and by what.
    By(&'static str),
    /// Together by this, but the patients differ.
    OtherPatient(&'static str),
    /// Together by this, but the order has been taken back.
    NotWanted(&'static str),
    /// Together by this alone, which is too little: nothing they have in common names the patient.
    NoPatient(&'static str),
}

pub fn fits(order: &OrderRow, case: &CaseRow) -> Fit {
    if order.origin != case.origin {
        return Fit::No;
    }
    let (accession, imaged) = (&case.facts.accession, &case.facts.patient_id);
    let by = if order.studies.contains(&case.study) {
        "Study Instance UID"
    } else if !accession.is_empty() && *accession == order.accession {
        "accession number"
    } else if imaged.is_empty() || !known_as(case).any(|id| order.facts.patients.contains(id)) {
        // Order numbers in images have no issuer, and two systems of one hospital may count alike: not without the patient.
        return Fit::No;
    } else if same(&order.placer, &case.facts.placer_order_number) {
        "placer order number"
    } else if case.facts.placer_order_number.is_empty() && same(&order.filler, &case.facts.filler_order_number) {
        "filler order number"
    } else {
        return Fit::No;
    };
    match order.state {
        _ if contradict(&order.facts.patients, &known_as(case).cloned().collect::<Vec<_>>()) => Fit::OtherPatient(by),
        OrderState::Cancelled | OrderState::Replaced => Fit::NotWanted(by),
        // What was done before it was broken off or called complete may arrive after.
        OrderState::Open | OrderState::OnHold | OrderState::Discontinued | OrderState::Completed => Fit::By(by),
    }
}

const SPECIMEN: &str = "specimen";

/// Whether images that name a specimen of an order of the same hospital belong to it. Not without the patient: labels are
/// misread, and numbers on them are short.
pub fn fits_by_specimen(order: &OrderRow, case: &CaseRow) -> Fit {
    let imaged: Vec<IssuedId> = known_as(case).cloned().collect();
    if order.origin != case.origin {
        return Fit::No;
    }
    match order.state {
        _ if contradict(&order.facts.patients, &imaged) => Fit::OtherPatient(SPECIMEN),
        _ if !imaged.iter().any(|id| order.facts.patients.contains(id)) => Fit::NoPatient(SPECIMEN),
        OrderState::Cancelled | OrderState::Replaced => Fit::NotWanted(SPECIMEN),
        _ => Fit::By(SPECIMEN),
    }
}

/// Whether images of a laboratory that name a specimen of an order it got belong to it. The two houses number patients
/// apart: an identifier both have given must be equal, and else the day of birth.
pub fn fits_what_was_asked(order: &OrderRow, case: &CaseRow) -> Fit {
    let (asked, imaged) = (&order.facts, &case.facts);
    let born = (asked.birth_date.as_str(), imaged.birth_date.as_str());
    let other_birth = born.0 != born.1 && !born.0.is_empty() && !born.1.is_empty();
    let known: Vec<IssuedId> = known_as(case).cloned().collect();
    if other_birth || contradict(&asked.patients, &known) {
        Fit::OtherPatient(SPECIMEN)
    } else if known.iter().any(|id| asked.patients.contains(id)) || (born.0 == born.1 && !born.0.is_empty()) {
        Fit::By(SPECIMEN)
    } else {
        Fit::NoPatient(SPECIMEN)
    }
}

/// The case's patient, by whatever identifiers it had before they were merged too.
pub fn known_as(case: &CaseRow) -> impl Iterator<Item = &IssuedId> {
    std::iter::once(&case.facts.patient_id).chain(&case.facts.former_patient_ids)
}

/// Whether two lists of identifiers are of two patients: the same authority has given both, and none is equal.
pub fn contradict(some: &[IssuedId], others: &[IssuedId]) -> bool {
    let (some, others) = (some.iter().filter(|id| !id.is_empty()), others.iter().filter(|id| !id.is_empty()));
    let pairs: Vec<(&IssuedId, &IssuedId)> =
        some.flat_map(|one| others.clone().map(move |other| (one, other))).collect();
    pairs.iter().any(|(one, other)| one.issuer == other.issuer) && !pairs.iter().any(|(one, other)| one == other)
}

fn same(number: &IssuedId, in_images: &str) -> bool {
    !in_images.is_empty() && number.value == in_images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_contradict_only_within_one_authority() {
        let ids = |list: &[(&str, &str)]| -> Vec<IssuedId> {
            list.iter().map(|(value, issuer)| IssuedId::new(*value, *issuer)).collect()
        };
        let order = ids(&[("123", "GKV"), ("77", "RABENSTEIN")]);
        for (imaged, contradicts) in [
            (ids(&[("77", "RABENSTEIN")]), false),
            (ids(&[("78", "RABENSTEIN")]), true),
            (ids(&[("78", "OTHER")]), false),
            (ids(&[("", "RABENSTEIN")]), false),
            (ids(&[("78", "RABENSTEIN"), ("123", "GKV")]), false),
        ] {
            assert_eq!(contradict(&order, &imaged), contradicts, "{}", imaged.len());
        }
    }
}
