//! Specimens in HL7 v2: SPM with its SAC in, a [`SpecimenSaid`] out (HL7 v2.5.1 7.4.3, 13.4.3).
//!
//! Values are taken as they are said; texts longer than they may be are cut, numbers longer than they may be are refused
//! with their place. Which order a specimen belongs to is not decided here.

use super::read::{is_number, refused};
use crate::hl7::{
    ack::{ErrorCode, Rejected},
    message::{Segment, Value},
    oru::{Reader, coded},
};
use crate::model::{
    IssuedId, SpecimenCode, SpecimenSaid, TimeSaid,
    specimen::{MAX_CODES, MAX_CONTAINERS, MAX_PARENTS},
};

/// SPM-14 is an ST of 250; the parts of a CWE are shorter.
const MAX_TEXT: usize = 250;

/// What SPM number `sequence` of the message says. Its containers follow as SAC.
///
/// # Errors
/// When one of its numbers is none, or it names more parents than a specimen has.
pub(in crate::hl7) fn spm(
    segment: &Segment<'_>,
    sequence: usize,
    reader: &Reader<'_>,
) -> Result<SpecimenSaid, Rejected> {
    let own = segment.field(2);
    let said = SpecimenSaid {
        placer: entity(own.component(1), reader),
        filler: entity(own.component(2), reader),
        parents: parents(segment.field(3), sequence, reader)?,
        kind: code(segment.field(4), reader),
        site: code(segment.field(8), reader),
        description: short(&reader.text(segment.field(14).first())),
        handling: codes(segment.field(15), reader),
        risk: codes(segment.field(16), reader),
        // DR: the range begins in its first component.
        collected: time(segment.field(17).component(1), reader),
        received: time(segment.field(18).component(1), reader),
        available: short(&reader.text(segment.field(20).component(1))),
        rejected: codes(segment.field(21), reader),
        condition: codes(segment.field(24), reader),
        ..SpecimenSaid::default()
    };
    for (id, field) in [(&said.placer, 2), (&said.filler, 2)].into_iter().chain(said.parents.iter().map(|id| (id, 3))) {
        if !is_number(id) {
            return Err(refused("SPM", sequence, field, ErrorCode::DataType, super::read::NO_NUMBER));
        }
    }
    Ok(said)
}

/// SAC-3 of SAC number `sequence` of the message: what the specimen travels in.
///
/// # Errors
/// When it is no number, or the specimen has more containers than one has.
pub(in crate::hl7) fn sac(
    segment: &Segment<'_>,
    sequence: usize,
    specimen: &mut SpecimenSaid,
    reader: &Reader<'_>,
) -> Result<(), Rejected> {
    let container = reader.entity(segment.field(3));
    if !is_number(&container) {
        return Err(refused("SAC", sequence, 3, ErrorCode::DataType, super::read::NO_NUMBER));
    }
    if container.is_empty() || specimen.containers.contains(&container) {
        return Ok(());
    }
    if specimen.containers.len() >= MAX_CONTAINERS {
        let text = "more than 50 containers of one specimen";
        return Err(refused("SAC", sequence, 0, ErrorCode::SegmentSequence, text));
    }
    specimen.containers.push(container);
    Ok(())
}

/// SPM-3: EIP, repeated; both halves are names of the same parent.
fn parents(field: Value<'_>, sequence: usize, reader: &Reader<'_>) -> Result<Vec<IssuedId>, Rejected> {
    let mut parents = Vec::new();
    for parent in field.repetitions() {
        for half in [1, 2] {
            let id = entity(parent.component(half), reader);
            if id.is_empty() || parents.contains(&id) {
                continue;
            }
            if parents.len() >= MAX_PARENTS {
                let text = "more than 50 parents of one specimen";
                return Err(refused("SPM", sequence, 3, ErrorCode::DataType, text));
            }
            parents.push(id);
        }
    }
    Ok(parents)
}

/// One half of an EIP (v2.5.1 2.A.27): an EI in subcomponents.
fn entity(half: Value<'_>, reader: &Reader<'_>) -> IssuedId {
    let namespace = [2, 3].into_iter().map(|n| half.subcomponent(n)).find(Value::is_valued);
    IssuedId::new(reader.text(half.subcomponent(1)), namespace.map(|n| reader.text(n)).unwrap_or_default())
}

fn code(field: Value<'_>, reader: &Reader<'_>) -> SpecimenCode {
    let read = coded(field, reader);
    SpecimenCode { code: short(&read.code), text: short(&read.text), system: short(&read.system) }
}

fn codes(field: Value<'_>, reader: &Reader<'_>) -> Vec<SpecimenCode> {
    field.repetitions().map(|one| code(one, reader)).filter(|code| !code.is_empty()).take(MAX_CODES).collect()
}

/// A time longer than one can be is none.
fn time(value: Value<'_>, reader: &Reader<'_>) -> TimeSaid {
    let text = reader.text(value.subcomponent(1));
    TimeSaid(if text.chars().count() <= TimeSaid::MAX { short(&text) } else { String::new() })
}

/// Cut, and without control characters: it goes into lists that people read.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
