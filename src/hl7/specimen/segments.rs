//! SPM and SAC, segment by segment: fields in, [`SpecimenSaid`] filled. Bounded in number and length.

use super::Status;
use crate::{
    hl7::{
        message::{Segment, Value},
        oru::Reader,
    },
    model::{
        IssuedId, SpecimenCode, SpecimenEvent, SpecimenSaid, TimeSaid,
        specimen::{MAX_CODES, MAX_CONTAINERS, MAX_PARENTS},
        specimen_event::reject_reason,
    },
};

/// CWE.2 has 199 characters (v2.5.1 2.A.13).
const MAX_CODE: usize = 199;
/// SPM-14 is ST, 250 characters.
const MAX_DESCRIPTION: usize = 250;

/// EI.1 has at most 199 characters (v2.7); control characters are no part of an id.
pub(super) fn is_id(id: &IssuedId) -> bool {
    [&id.value, &id.issuer].iter().all(|text| text.chars().count() <= 199 && !text.chars().any(char::is_control))
}

fn text(value: Value<'_>, most: usize, reader: &Reader<'_>) -> String {
    reader.text(value).chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

fn code(value: Value<'_>, reader: &Reader<'_>) -> SpecimenCode {
    let part = |n| text(value.component(n), MAX_CODE, reader);
    let mut read = SpecimenCode { code: part(1), text: part(2), system: part(3) };
    if read.is_empty() {
        // CWE.9: what the sender could not code.
        read.text = part(9);
    }
    read
}

fn codes(field: Value<'_>, reader: &Reader<'_>) -> Vec<SpecimenCode> {
    field.repetitions().take(MAX_CODES).map(|one| code(one, reader)).filter(|one| !one.is_empty()).collect()
}

/// A laboratory's own reason may say beside itself which one of table 0490 it is (CWE.4 to CWE.6): that is one more.
fn reasons(field: Value<'_>, reader: &Reader<'_>) -> Vec<SpecimenCode> {
    let mut reasons = codes(field, reader);
    for one in field.repetitions() {
        let part = |n| text(one.component(n), MAX_CODE, reader);
        let other = SpecimenCode { code: part(4), text: part(5), system: part(6) };
        let is_new = !reasons.iter().any(|known| known.code == other.code);
        if is_new && reasons.len() < MAX_CODES && reject_reason(&other.code).is_some() {
            reasons.push(other);
        }
    }
    reasons
}

fn time(value: Value<'_>, reader: &Reader<'_>) -> TimeSaid {
    TimeSaid(text(value.component(1).subcomponent(1), TimeSaid::MAX, reader))
}

/// EI in the subcomponents of an EIP component (v2.5.1 2.A.29).
fn entity_in(component: Value<'_>, reader: &Reader<'_>) -> IssuedId {
    let issuer = [2, 3].map(|n| component.subcomponent(n)).into_iter().find(Value::is_valued);
    let value = reader.text(component.subcomponent(1));
    IssuedId::new(value, issuer.map(|issuer| reader.text(issuer)).unwrap_or_default())
}

/// What an SPM says. Ids are not checked here: the caller refuses with the place.
pub(super) fn spm(segment: &Segment<'_>, reader: &Reader<'_>) -> SpecimenSaid {
    let halves = |id: Value<'_>| [entity_in(id.component(1), reader), entity_in(id.component(2), reader)];
    let [placer, filler] = halves(segment.field(2));
    let parents = segment.field(3).repetitions().take(MAX_PARENTS).flat_map(halves);
    SpecimenSaid {
        placer,
        filler,
        parents: parents.filter(|id| !id.is_empty() && is_id(id)).take(MAX_PARENTS).collect(),
        kind: code(segment.field(4), reader),
        site: code(segment.field(8), reader),
        description: text(segment.field(14), MAX_DESCRIPTION, reader),
        handling: codes(segment.field(15), reader),
        risk: codes(segment.field(16), reader),
        collected: time(segment.field(17), reader),
        received: time(segment.field(18), reader),
        available: text(segment.field(20), 1, reader),
        rejected: reasons(segment.field(21), reader),
        condition: codes(segment.field(24), reader),
        ..SpecimenSaid::default()
    }
}

/// SAC-3, or SAC-4 where the container has no id but that of the one it was filled from.
pub(super) fn container(segment: &Segment<'_>, reader: &Reader<'_>) -> IssuedId {
    let own = reader.entity(segment.field(3));
    if own.is_empty() { reader.entity(segment.field(4)) } else { own }
}

/// SAC-8 (CE): our own words first, which are more exact than table 0370.
pub(super) fn status(segment: &Segment<'_>, reader: &Reader<'_>) -> Status {
    let field = segment.field(8);
    let words = [4, 5, 1, 2].map(|n| text(field.component(n), 40, reader).to_lowercase());
    if let Some(event) = words.iter().find_map(|word| SpecimenEvent::parse(word)) {
        return Status::Said(event);
    }
    match reader.text(field.component(1)).to_ascii_uppercase().as_str() {
        "" | "U" | "X" => Status::Silent,
        "I" | "P" => Status::Here,
        "O" | "R" => Status::InWork,
        "L" => Status::Left,
        "M" => Status::Missing,
        _ => Status::Other,
    }
}

/// Adds a container, once.
pub(super) fn put_into(said: &mut SpecimenSaid, container: &IssuedId) {
    if !container.is_empty() && !said.containers.contains(container) && said.containers.len() < MAX_CONTAINERS {
        said.containers.push(container.clone());
    }
}
