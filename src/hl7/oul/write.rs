//! Writing OUL^R22: `MSH PID { SPM {SAC} { OBR ORC {OBX} } }`.
//!
//! SPM is required, so a report that names no specimen has one without a number. A second specimen of one examination has
//! its OBR again, without results, for the grammar knows no results of two specimens.

use crate::hl7::message::{MessageBuilder, SegmentBuilder, escape};
use crate::hl7::oru::{Coded, ObservationToSend, OruToSend, Specimen, coded_parts, entity_parts};
use crate::model::IssuedId;

pub(in crate::hl7) fn build(report: &OruToSend<'_>) -> MessageBuilder {
    let mut message = MessageBuilder::new();
    message.push(report.msh(["OUL", "R22", "OUL_R22"]));
    message.push(report.pid());
    let mut numbers = Numbers::default();
    let leads = matches!(report.observations.first(), Some(ObservationToSend::Section { .. }));
    if !leads {
        begin(&mut message, report, &[], None, &mut numbers);
    }
    for (index, observation) in report.observations.iter().enumerate() {
        match observation {
            ObservationToSend::Section { title, specimens, order } => {
                numbers.title = Some(title);
                begin(&mut message, report, specimens, *order, &mut numbers);
            }
            _ => report.result(&mut message, index + 1, observation),
        }
    }
    report.study(&mut message);
    message
}

/// Set ids of the message, and the title of the examination at hand.
#[derive(Default)]
struct Numbers<'a> {
    spm: usize,
    obr: usize,
    title: Option<&'a Coded>,
}

/// The specimens of an examination and its OBR; where it names none of its own, that of the specimen before.
fn begin(
    message: &mut MessageBuilder,
    report: &OruToSend<'_>,
    specimens: &[Specimen],
    answers: Option<usize>,
    numbers: &mut Numbers<'_>,
) {
    let nameless = [Specimen::default()];
    let specimens = match specimens {
        [] if numbers.spm == 0 => &nameless[..],
        specimens => specimens,
    };
    let title = numbers.title.unwrap_or(report.title);
    let order = |message: &mut MessageBuilder, obr: &mut usize| {
        *obr += 1;
        message.push(report.obr(*obr, title, answers));
        message.push(report.orc(answers));
    };
    // The one with the results last: they follow.
    for specimen in specimens {
        numbers.spm += 1;
        spm(message, specimen, numbers.spm);
        order(message, &mut numbers.obr);
    }
    if specimens.is_empty() {
        order(message, &mut numbers.obr);
    }
}

/// The specimens of the results before them, as an ORU has them.
pub(in crate::hl7) fn specimens(message: &mut MessageBuilder, specimens: &[Specimen]) {
    for (index, specimen) in specimens.iter().enumerate() {
        spm(message, specimen, index + 1);
    }
}

fn spm(message: &mut MessageBuilder, specimen: &Specimen, set_id: usize) {
    let eip = [&specimen.placer, &specimen.filler].map(subcomponents);
    let eip = format!("{}^{}", eip[0], eip[1]);
    let segment = SegmentBuilder::new("SPM").field(1, &set_id.to_string()).raw(2, eip.trim_end_matches('^').to_owned());
    // SPM-4 is required; the standard's null value for what is not known (2.A.13, CWE-1).
    let is_known = !(specimen.kind.code.is_empty() && specimen.kind.text.is_empty());
    message.push(if is_known {
        segment.components(4, &coded_parts(&specimen.kind))
    } else {
        segment.raw(4, "\"\"".into())
    });
    for container in &specimen.containers {
        message.push(SegmentBuilder::new("SAC").components(3, &entity_parts(container)));
    }
}

/// An EI in a component.
fn subcomponents(id: &IssuedId) -> String {
    match (id.value.is_empty(), id.issuer.is_empty()) {
        (true, _) => String::new(),
        (false, true) => escape(&id.value).into_owned(),
        (false, false) => format!("{}&{}", escape(&id.value), escape(&id.issuer)),
    }
}
