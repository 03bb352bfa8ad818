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
}

pub fn fits(order: &OrderRow, case: &CaseRow) -> Fit {
    if order.origin != case.origin {
        return Fit::No;
    }
    let accession = &case.facts.accession;
    let by = if order.studies.contains(&case.study) {
        "Study Instance UID"
    } else if !accession.is_empty() && *accession == order.accession {
        "accession number"
    } else if same(&order.placer, &case.facts.placer_order_number)
        && (case.facts.filler_order_number.is_empty()
            || order.filler.is_empty()
            || same(&order.filler, &case.facts.filler_order_number))
    {
        "placer order number"
    } else if same(&order.filler, &case.facts.filler_order_number) {
        "filler order number"
    } else {
        return Fit::No;
    };
    let (ordered, imaged) = (&order.patient, &case.facts.patient_id);
    let contradicts =
        !ordered.is_empty() && !imaged.is_empty() && ordered.issuer == imaged.issuer && ordered.value != imaged.value;
    match order.state {
        _ if contradicts => Fit::OtherPatient(by),
        OrderState::Cancelled | OrderState::Replaced => Fit::NotWanted(by),
        // What was done before it was broken off or called complete may arrive after.
        OrderState::Open | OrderState::OnHold | OrderState::Discontinued | OrderState::Completed => Fit::By(by),
    }
}

fn same(number: &IssuedId, in_images: &str) -> bool {
    !in_images.is_empty() && number.value == in_images
}
