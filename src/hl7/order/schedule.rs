//! What an order says for the scanner: IPC, TQ1-7, ORC-7.4 and 12, OBR, PV1, AL1, and body weight and size in OBX (IHE RAD-4, RAD-13).
//!
//! In: segments as they come. Out: [`Requested`]. Nothing here is needed for an order to be taken: what cannot be read is left
//! out. Texts are cut to what their DICOM attribute holds; identifiers that are longer are left out.

use crate::hl7::{
    message::{Segment, Value},
    oru::{Reader, coded},
};
use crate::model::scheduled::{Code, EMPTIED, MAX_STEPS, Requested, Step};

/// Allergies one patient's worklist shows.
const MAX_ALLERGIES: usize = 20;

/// A text for people, in LO.
fn words(value: Value<'_>, reader: &Reader<'_>) -> String {
    if value.is_null() {
        return EMPTIED.to_owned();
    }
    let text = reader.text(value).replace('\\', "/");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(64).collect()
}

/// An identifier, in SH or AE: whole or not at all.
fn id(value: Value<'_>, reader: &Reader<'_>) -> String {
    if value.is_null() {
        return EMPTIED.to_owned();
    }
    let text = reader.text(value);
    let fits = text.chars().count() <= 16 && !text.contains(|c: char| c == '\\' || c.is_control());
    if fits { text } else { String::new() }
}

/// XCN (id^family^given^middle^suffix^prefix), the first repetition, as PN.
fn person(field: Value<'_>, reader: &Reader<'_>) -> String {
    if field.is_null() {
        return EMPTIED.to_owned();
    }
    let part = |n: usize| {
        let text = reader.text(field.component(n).subcomponent(1));
        text.replace(|c: char| matches!(c, '^' | '=' | '\\') || c.is_control(), " ")
    };
    let [family, given, middle, suffix, prefix] = [2, 3, 4, 5, 6].map(part);
    let name = [family, given, middle, prefix, suffix].join("^");
    name.trim_end_matches('^').chars().take(64).collect()
}

/// NDL-1 (a CNN in subcomponents), or XCN as many write it; as PN.
fn performer(field: Value<'_>, reader: &Reader<'_>) -> String {
    let first = field.first().component(1);
    if !first.has_subcomponents() {
        return person(field, reader);
    }
    let part = |n: usize| reader.text(first.subcomponent(n)).replace(['^', '=', '\\'], " ");
    let name = [2, 3, 4, 6, 5].map(part).join("^");
    name.trim_end_matches('^').chars().take(64).collect()
}

/// `YYYYMMDD[HHMM[SS]][.F][+ZZZZ]` (TS) as it is, if it names a day. Whose time it is, the hospital knows.
fn moment(value: Value<'_>, reader: &Reader<'_>) -> String {
    let text = reader.text(value.subcomponent(1));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if text.is_ascii() && text.len() <= 26 && digits >= 8 { text } else { String::new() }
}

fn set(known: &mut String, said: String) {
    if known.is_empty() {
        *known = said;
    }
}

/// What is said of the patient's visit, and so of every order of the message.
pub(super) fn patient(segment: &Segment<'_>, requested: &mut Requested, reader: &Reader<'_>) {
    if segment.is("PV1") {
        set(&mut requested.location, words(segment.field(3).component(1), reader));
        set(&mut requested.referring_physician, person(segment.field(8), reader));
        requested.pregnant |=
            segment.field(15).repetitions().take(20).any(|value| reader.text(value.component(1)) == "B6");
        let visit = segment.field(19);
        if requested.admission.is_empty() {
            requested.admission.value = reader.text(visit.component(1)).chars().take(64).collect();
            requested.admission.issuer = reader.text(visit.component(4).subcomponent(1)).chars().take(64).collect();
        }
    } else if segment.is("AL1") && requested.allergies.len() < MAX_ALLERGIES {
        let allergy = coded(segment.field(3), reader);
        let text = if allergy.text.is_empty() { allergy.code } else { allergy.text };
        let text: String = text.replace('\\', "/").chars().filter(|c| !c.is_control()).take(64).collect();
        if !text.is_empty() && !requested.allergies.contains(&text) {
            requested.allergies.push(text);
        }
    }
}

/// PID-18, where PV1-19 names no visit.
pub(super) fn account(pid: &Segment<'_>, requested: &mut Requested, reader: &Reader<'_>) {
    if requested.admission.is_empty() {
        requested.admission.value = reader.text(pid.field(18).component(1)).chars().take(64).collect();
        requested.admission.issuer = reader.text(pid.field(18).component(4).subcomponent(1)).chars().take(64).collect();
    }
}

/// An order's own segments. `steps` are those of IPC; the first is what TQ1, ORC and OBR say of all of them.
pub(super) fn of_order(segment: &Segment<'_>, requested: &mut Requested, all: &mut Step, reader: &Reader<'_>) {
    if segment.is("ORC") {
        set(&mut all.start, moment(segment.field(7).component(4), reader));
        set(&mut requested.requesting_physician, person(segment.field(12), reader));
    } else if segment.is("TQ1") {
        let start = moment(segment.field(7).component(1), reader);
        if !start.is_empty() {
            all.start = start;
        }
    } else if segment.is("OBR") {
        obr(segment, requested, all, reader);
    } else if segment.is("OBX") {
        obx(segment, requested, reader);
    } else if segment.is("IPC") {
        ipc(segment, requested, reader);
    }
}

fn obr(segment: &Segment<'_>, requested: &mut Requested, all: &mut Step, reader: &Reader<'_>) {
    set(&mut requested.procedure_scheme, id(segment.field(4).component(3), reader));
    set(&mut requested.danger, words(segment.field(12).component(2), reader));
    set(&mut requested.danger, words(segment.field(12).component(1), reader));
    set(&mut requested.history, words(segment.field(13), reader));
    set(&mut requested.requesting_physician, person(segment.field(16), reader));
    set(&mut requested.reason, words(segment.field(31).component(2), reader));
    set(&mut requested.reason, words(segment.field(31).component(1), reader));
    set(&mut all.start, moment(segment.field(36).component(1), reader));
    set(&mut all.performing_physician, performer(segment.field(34), reader));
}

/// Body weight in kg and size in cm or m, as LOINC names them.
fn obx(segment: &Segment<'_>, requested: &mut Requested, reader: &Reader<'_>) {
    let code = reader.text(segment.field(3).component(1));
    if segment.field(5).is_null() {
        match code.as_str() {
            "29463-7" | "3141-9" | "3142-7" => set(&mut requested.weight, EMPTIED.to_owned()),
            "8302-2" | "3137-7" => set(&mut requested.size, EMPTIED.to_owned()),
            _ => {}
        }
        return;
    }
    let Some(value) = decimal(&reader.text(segment.field(5).component(1))) else { return };
    let unit = reader.text(segment.field(6).component(1)).to_ascii_lowercase();
    match code.as_str() {
        "29463-7" | "3141-9" | "3142-7" => match unit.as_str() {
            "" | "kg" => set(&mut requested.weight, shown(value)),
            "g" => set(&mut requested.weight, shown(value / 1000.0)),
            _ => {}
        },
        "8302-2" | "3137-7" => match unit.as_str() {
            "cm" => set(&mut requested.size, shown(value / 100.0)),
            "m" => set(&mut requested.size, shown(value)),
            _ => {}
        },
        _ => {}
    }
}

fn decimal(text: &str) -> Option<f64> {
    let number = text.replace(',', ".").parse::<f64>().ok()?;
    (number.is_finite() && number > 0.0 && number < 100_000.0).then_some(number)
}

/// DS: 16 characters.
fn shown(number: f64) -> String {
    format!("{:.3}", number).trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn ipc(segment: &Segment<'_>, requested: &mut Requested, reader: &Reader<'_>) {
    if requested.steps.len() >= MAX_STEPS {
        return;
    }
    set(&mut requested.procedure_id, id(segment.field(2).component(1), reader));
    let protocol = coded(segment.field(6), reader);
    let cut = |text: String, most: usize| {
        text.chars().filter(|c| !c.is_control() && *c != '\\').take(most).collect::<String>()
    };
    requested.steps.push(Step {
        id: id(segment.field(4).component(1), reader),
        start: String::new(),
        modality: id(segment.field(5).component(1), reader),
        station_ae: id(segment.field(9), reader),
        station_name: id(segment.field(7).component(2), reader),
        location: id(segment.field(8).component(2), reader),
        protocol: Code {
            value: cut(protocol.code, 16),
            meaning: cut(protocol.text, 64),
            scheme: cut(protocol.system, 16),
        },
        performing_physician: String::new(),
    });
    let step = requested.steps.last_mut();
    if let Some(step) = step {
        set(&mut step.station_name, id(segment.field(7).component(1), reader));
        set(&mut step.location, id(segment.field(8).component(1), reader));
    }
}

/// What was said once for the order holds for each of its steps.
pub(super) fn finish(requested: &mut Requested, all: Step, patient: &Requested) {
    if requested.steps.is_empty() {
        requested.steps.push(Step::default());
    }
    for step in &mut requested.steps {
        set(&mut step.start, all.start.clone());
        set(&mut step.performing_physician, all.performing_physician.clone());
    }
    if requested.steps == [Step::default()] {
        requested.steps.clear();
    }
    // What is said of the patient's visit is said nowhere else.
    let Requested { location, referring_physician, admission, allergies, pregnant, .. } = patient.clone();
    *requested =
        Requested { location, referring_physician, admission, allergies, pregnant, ..std::mem::take(requested) };
}
